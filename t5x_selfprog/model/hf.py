"""A published model: its family, and the location of each of its tensors.

Nothing is loaded here. Tensors are checked by name, shape and number format against the family's weight map
(families/), and mapped from disk on demand. gguf/published.py does the same for GGUF files.
"""

import dataclasses
import functools
import json
import math
import os
import re
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from t5x_selfprog.model import network, store
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.families import table
from t5x_selfprog.model.families.family import Family
from t5x_selfprog.model.tensor_files import FLOATS, StoredTensor, read_safetensors
from t5x_selfprog.model.torch_files import read_torch_file
from t5x_selfprog.model.weight_map import Weight, numbered
from verifier.errors import UserError

SAFETENSORS, TORCH = "model.safetensors", "pytorch_model.bin"
# A tied head is sometimes stored beside the embedding table; it is ignored, as transformers does.
TIED_HEAD = r"(lm_head|embed_out)\.weight$"


class Tensor(store.StoredLeaf, Protocol):
    """A published tensor; `stored_as` is the file's name for its number format."""

    @property
    def stored_as(self) -> str: ...


@dataclasses.dataclass(frozen=True)
class Published:
    """A published model, checked against its family; weights are mapped on demand.

    Attributes:
      folder: holds its config.json and its tokenizer.
      name: the folder or the file it came from, for messages.
      said: its config.json.
      family, config: its family and our configuration.
      tensors: by the names in the family's weight map.
      origin: provenance that only the files themselves record.
      notes: how contradictions between files were resolved.
    """

    folder: str
    name: str
    said: Mapping[str, Any]
    family: Family
    config: ModelConfig
    tensors: Mapping[str, Tensor]
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def layer(self, weight: Weight, leaf: str, name: str) -> np.ndarray:
        """One layer of our `leaf`, taken from the published tensor `name` as `weight` describes."""
        return weight.split(self.tensors[name].open(), leaf, layer_shapes(self.config))


@functools.lru_cache(maxsize=8)
def layer_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of our leaves by path; leaves of the blocks are given without the layer axis."""
    leaves = store.flatten(network.abstract_params(config))
    return {name: x.shape[1:] if name.startswith("blocks/") else x.shape for name, x in leaves.items()}


def open_published(folder: str) -> Published:
    """Reads config.json and the location of each tensor.

    Raises:
      UserError: files are missing, the architecture is unknown, or tensors do not match (each is listed).
    """
    where = os.path.join(folder, "config.json")
    said = read_json(where)
    table.of_published(said, where)  # before looking for weights, which an unsupported model does not need
    return check(folder, said, find_tensors(folder), folder, where)


def check(
    folder: str,
    said: Mapping[str, Any],
    found: Mapping[str, Tensor],
    model: str,
    where: str,
    origin: Mapping[str, Any] | None = None,
) -> Published:
    """Checks that the tensors are those that config.json describes.

    Args:
      found: tensors by their published names, current or former.
      model, where: the model, and the file that describes it, for messages.

    Raises:
      UserError: the architecture is unknown, or tensors do not match (each is listed).
    """
    family = table.of_published(said, where)
    config = family.config(said, where)
    found, notes = dict(found), []
    if config.num_layers > len(found):  # else millions of missing tensors would be listed
        raise UserError(
            f"{model}: {where} says that it has {config.num_layers:,} layers, and it holds {len(found)} tensors; fetch "
            "or copy it again"
        )
    if config.head == "tied" and (stored := [key for key in found if re.match(TIED_HEAD, key)]):
        table_name = next(weight.theirs for weight in family.weights(config) if weight.ours == ("embedding",))
        if table_name not in found:
            found[table_name] = found[stored[0]]
        elif not _equal(found[table_name], found[stored[0]]):
            notes.append(
                f"{stored[0]} is kept: it differs from {table_name}, although {os.path.basename(where)} ties the two"
            )
            said = {**said, "tie_word_embeddings": False}
            config = family.config(said, where)
    shapes = layer_shapes(config)
    wanted, renamed = {}, {}
    for weight in family.weights(config):
        for layer, name in numbered(weight, config.num_layers):
            wanted[name] = weight.shape(shapes)
            renamed.update({other.format(layer): name for other in weight.also})
    tensors = {renamed.get(name, name): tensor for name, tensor in found.items()}
    surplus = re.compile(f"{family.surplus}|{TIED_HEAD}" if config.head == "tied" else family.surplus)
    tensors = {name: x for name, x in tensors.items() if name in wanted or not surplus.match(name)}
    wrong = store.mismatches({name: x.shape for name, x in tensors.items()}, wanted, os.path.basename(where))
    wrong += [
        f"{name}: numbers of type {x.stored_as}; only floating point is supported"
        for name, x in sorted(tensors.items())
        if name in wanted and x.dtype not in FLOATS
    ]
    if wrong:
        raise UserError(
            f"{model} does not hold the {family.model_type} model that {os.path.basename(where)} describes:\n  "
            + "\n  ".join(wrong)
        )
    return Published(folder, model, said, family, config, tensors, origin or {}, tuple(notes))


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same numbers; compares a few million at a time."""
    if one.shape != other.shape:
        return False
    a, b = one.open(), other.open()
    step = max(1, (4 << 20) // max(1, math.prod(one.shape[1:])))
    return all(np.array_equal(a[i : i + step], b[i : i + step]) for i in range(0, len(a), step))


def read_json(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; give the folder of a published model") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); fetch or copy it again") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error}); fetch or copy it again") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: not a JSON object; fetch or copy it again")
    return found


def find_tensors(folder: str) -> dict[str, StoredTensor]:
    """All tensors of a folder: safetensors before PyTorch's own files, a single file before an indexed set.

    This is transformers' order too. Raises UserError where there are none.
    """
    for base, read in ((SAFETENSORS, lambda path: read_safetensors(path)[0]), (TORCH, read_torch_file)):
        index = os.path.join(folder, base + ".index.json")
        indexed = os.path.exists(index) and not os.path.isfile(os.path.join(folder, base))
        names = _indexed(index) if indexed else [base]
        paths = [os.path.join(folder, name) for name in names]
        missing = [name for name, path in zip(names, paths, strict=True) if not os.path.isfile(path)]
        if missing and indexed:
            raise UserError(f"{index} names files that are not there: {', '.join(missing)}; fetch them too")
        if names and not missing:
            tensors: dict[str, StoredTensor] = {}
            for path in paths:
                found = read(path)
                if twice := sorted(set(found) & set(tensors)):
                    other = os.path.basename(tensors[twice[0]].path)
                    raise UserError(
                        f"{path}: {', '.join(twice[:5])} is in {other} too; fetch the model's files again"
                    )
                tensors |= found
            return tensors
    raise UserError(
        f"{folder} holds no weights (looked for {SAFETENSORS} and {TORCH}, whole or with an index): "
        "give the folder of a published model"
    )


def _indexed(index: str) -> list[str]:
    """The files that an index names, each once. Raises UserError for an invalid index."""
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()) or not names:
        raise UserError(f"{index}: its weight_map does not map tensors to files; fetch or copy it again")
    if odd := sorted({name for name in names.values() if os.path.basename(name) != name or not name}):
        raise UserError(f"{index}: it names {', '.join(map(repr, odd))}, which is not a file beside it")
    return sorted(set(names.values()))
