"""A published model's folder: which family it is of, and where each of its tensors lies.

Nothing is loaded here. Tensors are checked by name, shape and number format against the family's weight map
(families/), and mapped from disk when somebody asks for one.
"""

import dataclasses
import functools
import json
import os
import re
from collections.abc import Mapping
from typing import Any

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
# A tied head is sometimes stored beside the table that it is; transformers leaves it out too.
TIED_HEAD = r"(lm_head|embed_out)\.weight$"


@dataclasses.dataclass(frozen=True)
class Published:
    """A published model's folder, checked against its family; weights are mapped when asked for.

    Attributes:
      tensors: by the names of the family's weight map.
      said: its config.json.
    """

    folder: str
    said: Mapping[str, Any]
    family: Family
    config: ModelConfig
    tensors: Mapping[str, StoredTensor]

    def layer(self, weight: Weight, leaf: str, name: str) -> np.ndarray:
        """One layer of our `leaf`, out of the published tensor `name`, which `weight` describes."""
        return weight.split(self.tensors[name].open(), leaf, layer_shapes(self.config))


@functools.lru_cache(maxsize=8)
def layer_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of our leaves by path; of those of the blocks, without the layer axis."""
    leaves = store.flatten(network.abstract_params(config))
    return {name: x.shape[1:] if name.startswith("blocks/") else x.shape for name, x in leaves.items()}


def open_published(folder: str) -> Published:
    """Reads config.json and where each tensor lies.

    Raises:
      UserError: no such files, an unknown architecture, or tensors that do not match (each is listed).
    """
    where = os.path.join(folder, "config.json")
    said = read_json(where)
    family = table.of_published(said, where)
    config = family.config(said, where)
    shapes = layer_shapes(config)
    wanted, renamed = {}, {}
    for weight in family.weights(config):
        for layer, name in numbered(weight, config.num_layers):
            wanted[name] = weight.shape(shapes)
            renamed.update({other.format(layer): name for other in weight.also})
    tensors = {renamed.get(name, name): tensor for name, tensor in find_tensors(folder).items()}
    surplus = re.compile(f"{family.surplus}|{TIED_HEAD}" if config.head == "tied" else family.surplus)
    tensors = {name: x for name, x in tensors.items() if name in wanted or not surplus.match(name)}
    wrong = store.mismatches({name: x.shape for name, x in tensors.items()}, wanted, "config.json")
    wrong += [
        f"{name}: numbers of type {x.stored_as}, only floating point is supported"
        for name, x in sorted(tensors.items())
        if name in wanted and x.dtype not in FLOATS
    ]
    if wrong:
        raise UserError(
            f"{folder} does not hold the {family.model_type} model that its config.json describes:\n  "
            + "\n  ".join(wrong)
        )
    return Published(folder, said, family, config, tensors)


def read_json(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; give the folder of a published model") from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); fetch or copy it again") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: not a JSON object; fetch or copy it again")
    return found


def find_tensors(folder: str) -> dict[str, StoredTensor]:
    """All tensors of a folder, safetensors before PyTorch's own files. Raises UserError where there are none."""
    for base, read in ((SAFETENSORS, lambda path: read_safetensors(path)[0]), (TORCH, read_torch_file)):
        index = os.path.join(folder, base + ".index.json")
        if os.path.exists(index):
            names = sorted(set(read_json(index).get("weight_map", {}).values()))
        else:
            names = [base]
        paths = [os.path.join(folder, name) for name in names]
        missing = [name for name, path in zip(names, paths, strict=True) if not os.path.exists(path)]
        if missing and (len(missing) < len(names) or os.path.exists(index)):
            raise UserError(f"{index} names files that are not there: {', '.join(missing)}; fetch them too")
        if names and not missing:
            return {name: tensor for path in paths for name, tensor in read(path).items()}
    raise UserError(
        f"{folder} holds no weights (looked for {SAFETENSORS} and {TORCH}, whole or with an index): "
        "give the folder of a published model"
    )
