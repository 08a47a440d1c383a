"""Imports published weights: a Hugging Face folder or a GGUF file becomes one of our model directories.

The host never holds more than one tensor: input is mapped from disk, one layer of one tensor at a time, and output is
written in pieces.
"""

import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from t5x_selfprog.machine import gib
from t5x_selfprog.model import hf, network, store
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.device_room import free_host_bytes
from t5x_selfprog.model.gguf.published import open_gguf
from t5x_selfprog.model.new_folder import new_folder, require_new
from t5x_selfprog.model.tensor_files import DTYPES, TensorSpec, all_finite, dtype_named
from t5x_selfprog.model.weight_map import Weight, numbered
from t5x_selfprog.tokenizer import Tokenizer
from verifier.errors import UserError
from verifier.storage import files


def import_model(folder: str, output: str, dtype: str | None = None) -> dict[str, Any]:
    """Turns a published model's folder into one of our model directories.

    Args:
      dtype: the type weights are rounded to; None keeps theirs.

    Returns:
      What was imported: family, parameters, identity, bytes.
    """
    rounded = None if dtype is None else dtype_named(dtype)
    return import_published(hf.open_published(folder), output, rounded)


def import_gguf(
    paths: Sequence[str], output: str, dtype: str | None = None, sha256: str | None = None
) -> dict[str, Any]:
    """Turns a GGUF file (whole, split, or in pieces) into one of our model directories; see `open_gguf`."""
    rounded = None if dtype is None else dtype_named(dtype)
    require_new(output)
    beside = os.path.dirname(os.path.abspath(output))
    with open_gguf(paths, rounded, sha256, beside) as published:
        return import_published(published, output, rounded)


def import_published(published: hf.Published, output: str, rounded: np.dtype | None) -> dict[str, Any]:
    config = published.config
    _check_tokenizer(published)
    specs = list(_our_tensors(published, rounded))
    _require_memory(published.name, config, specs)
    with new_folder(output, sum(spec.num_bytes for spec in specs)) as partial:
        store.describe(partial, config, published.folder)
        if published.origin:
            files.write_json(files.join(partial, "origin.json"), published.origin)
        identity = store.write_weights(partial, specs)
    return {
        "family": published.family.model_type,
        "parameters": network.num_params(config),
        "identity": identity,
        "bytes": sum(spec.num_bytes for spec in specs),
        "model": output,
        "notes": list(published.notes),
        **({"origin": dict(published.origin)} if published.origin else {}),
    }


def _require_memory(name: str, config: ModelConfig, specs: Sequence[TensorSpec]) -> None:
    """Raises UserError if this machine has no memory for the largest tensor, which is all that importing takes.

    Whether there is room to sample or train is not asked here: the model may be for another machine.
    """
    layers = {spec.name: config.num_layers if spec.name.startswith("blocks/") else 1 for spec in specs}
    largest = max(specs, key=lambda spec: math.prod(spec.shape) / layers[spec.name])
    needed = 2 * 4 * math.prod(largest.shape) // layers[largest.name]  # as it is read, and as it is written
    free = free_host_bytes()
    if free is not None and needed > free:
        raise UserError(
            f"{name}: importing it takes {gib(needed)} of memory for its largest tensor ({largest.name}), and this "
            f"machine has {gib(free)} free: stop what else runs here, or import it elsewhere and copy the folder"
        )


def _our_tensors(published: hf.Published, dtype: np.dtype | None) -> Iterator[TensorSpec]:
    """Our leaves; each is assembled from its layers as it is written."""
    config = published.config
    stacked = {name: x.shape for name, x in store.flatten(network.abstract_params(config)).items()}
    for weight in published.family.weights(config):
        names = [name for _, name in numbered(weight, config.num_layers)]
        found = {published.tensors[name].dtype for name in names}
        kept = found.pop() if len(found) == 1 else DTYPES["F32"]
        for leaf in weight.ours:

            def parts(weight: Weight = weight, leaf: str = leaf, names: Sequence[str] = names):
                return (_finite(published, weight, leaf, name) for name in names)

            yield TensorSpec(leaf, stacked[leaf], dtype or kept, parts)


def _finite(published: hf.Published, weight: Weight, leaf: str, name: str) -> np.ndarray:
    """One layer of a leaf. Raises UserError with the tensor's published name if it holds NaN or infinities."""
    array = published.layer(weight, leaf, name)
    if not all_finite(array):
        raise UserError(
            f"{published.name}: {name} holds numbers that are not finite (NaN or infinite): the file is damaged, or "
            "training overflowed; fetch it again, or use an earlier checkpoint"
        )
    return array


def _check_tokenizer(published: hf.Published) -> None:
    """Raises UserError for a tokenizer that is missing or belongs to another model."""
    name, config, said = published.name, published.config, published.said
    tokenizer = Tokenizer.load(published.folder)
    if tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"{name}: the tokenizer has {tokenizer.vocab_size:,} tokens, the model's embedding {config.vocab_size:,} "
            "rows, so it belongs to another model: copy the tokenizer's files from the model's own page"
        )
    ends = said.get("eos_token_id")
    ends = ends if isinstance(ends, list) else [ends]
    if ends != [None] and not set(ends) & set(tokenizer.end_ids):
        raise UserError(
            f"{name}: end of text is token {tokenizer.eos_id} for the tokenizer and {said['eos_token_id']} in "
            "config.json: copy the tokenizer's files from the model's own page, or name the right eos_token in "
            "tokenizer_config.json"
        )
