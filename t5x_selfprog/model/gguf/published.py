"""A GGUF file as a published model, checked and imported in the same way as a Hugging Face folder."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np

from t5x_selfprog.model import hf
from t5x_selfprog.model.gguf import architectures, vocabulary
from t5x_selfprog.model.gguf.container import KEPT, QuantizedTensor, open_container
from verifier.errors import UserError
from verifier.storage.files import write_json

# Relative differences: a tied head that was quantised separately differs from the embedding table by about 0.1 (4
# bits), an independently trained one by 1.4.
SAME_QUANTIZED, SAME_EXACT = 0.2, 1e-3


@contextlib.contextmanager
def open_gguf(
    paths: Sequence[str], dtype: np.dtype | None = None, sha256: str | None = None, scratch: str = "."
) -> Iterator[hf.Published]:
    """Opens a GGUF file (whole, split or in pieces) checked against its family; `open_container` has the arguments.

    Raises:
      UserError: naming the file, and what in it is unknown or damaged.
    """
    with (
        open_container(paths, dtype, sha256, scratch) as container,
        tempfile.TemporaryDirectory(prefix="selfprog-") as folder,
    ):
        where, tensors = container.name, dict(container.tensors)
        architecture, said = architectures.describe(container.metadata, tensors, where)
        tensors.pop("rope_freqs.weight", None)  # read by `describe`
        if "output.weight" in tensors and _one_matrix(tensors["token_embd.weight"], tensors["output.weight"]):
            said["tie_word_embeddings"] = True
            head = tensors.pop("output.weight")
            tensors["token_embd.weight"] = max(tensors["token_embd.weight"], head, key=_bytes)
        said["torch_dtype"] = str(tensors["token_embd.weight"].dtype)
        write_json(os.path.join(folder, "config.json"), said)
        vocabulary.write_tokenizer(container.metadata, folder, where)
        if ends := vocabulary.ends(container.metadata):
            write_json(os.path.join(folder, "generation_config.json"), {"eos_token_id": ends})
        formats = sorted({tensor.stored_as for tensor in container.tensors.values()})
        origin = {
            "files": [
                {"name": name, "sha256": found, "bytes": size}
                for name, (found, size) in container.checksums.items()
            ],
            "name": container.metadata.get("general.name"),
            "licence": container.metadata.get("general.license"),
            "formats": formats,
        }
        renamed = architectures.rename(architecture, tensors, said)
        try:
            yield hf.check(folder, said, renamed, where, "its metadata", origin)
        except UserError as error:
            # Also while it is imported: name the file, not the folder that describes it.
            message = str(error).replace(folder, where)
            raise UserError(message if where in message else f"{where}: {message}") from error


def _bytes(tensor: QuantizedTensor) -> int:
    return tensor.data.nbytes


def _one_matrix(table: QuantizedTensor, head: QuantizedTensor) -> bool:
    """Whether a head is a second copy of the embedding table (llama.cpp quantises it more finely)."""
    if table.shape != head.shape:
        return False
    exact = table.stored_as in KEPT and head.stored_as in KEPT
    difference = size = 0.0
    for (place, one), (other_place, other) in zip(table.pieces(), head.pieces(), strict=True):
        assert place == other_place  # the shapes are the same
        difference += float(np.square(one - other).sum(dtype=np.float64))
        size += float(np.square(other).sum(dtype=np.float64))
    if not np.isfinite(difference) or not size:
        return False  # the importer reports numbers that are not finite
    return (difference / size) ** 0.5 < (SAME_EXACT if exact else SAME_QUANTIZED)
