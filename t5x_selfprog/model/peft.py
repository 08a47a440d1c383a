"""Adapters in PEFT's format: `adapter_model.safetensors` and `adapter_config.json`, read and written.

PEFT adapts published modules, some of which hold several of our projections (`query_key_value`) and so share one `a`.
Our adapters of such a module are written side by side as one, whose rank and alpha are multiplied by their number, with
zeros between them, so that the function is the same. On reading, each of ours gets all of `a`.
"""

import dataclasses
import json
import math
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from t5x_selfprog.model import hf, low_rank, store
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.families import table
from t5x_selfprog.model.families.family import Family
from t5x_selfprog.model.low_rank import Adapters
from t5x_selfprog.model.tensor_files import FLOATS, TensorSpec, read_safetensors, write_safetensors
from t5x_selfprog.model.weight_map import Weight
from verifier.errors import UserError
from verifier.storage import files

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
BASE_IDENTITY = (
    "base_identity"  # in the metadata of WEIGHTS: of the model that the adapters were trained beside
)
_PREFIX = "base_model.model."
# Settings that change the function in ways that ours cannot follow, each with the value that does not.
_PLAIN: Mapping[str, Any] = {
    "bias": "none",
    "use_dora": False,
    "lora_bias": False,
    "fan_in_fan_out": False,
    "modules_to_save": None,
    "layer_replication": None,
    "trainable_token_indices": None,
    "alora_invocation_tokens": None,
    "target_parameters": None,
    "use_qalora": False,
    "use_bdlora": False,
    "arrow_config": None,
}
# How adapters may have begun. Other ways (PiSSA, OLoRA, CorDA, LoftQ) take a part out of the base's weights first.
_BEGINNINGS = (None, True, False, "gaussian", "eva", "orthogonal")
_PATTERNS = ("rank_pattern", "alpha_pattern")


@dataclasses.dataclass(frozen=True)
class Read:
    """Adapters from a file, with their scale multiplied into b, so that their own scale is 1."""

    adapters: Adapters
    base_identity: str


@dataclasses.dataclass(frozen=True)
class _Module:
    """A published linear layer whose weight is one or several of our kernels."""

    weight: Weight
    name: str  # with "{}" for the layer

    @property
    def parts(self) -> list[tuple[str, str]]:
        """(part, projection) of each of our kernels."""
        return [(path.split("/")[1], path.split("/")[2]) for path in self.weight.ours]

    @property
    def short(self) -> str:
        """As target_modules names it."""
        return self.name.rpartition(".")[2]


def write(
    folder: files.Path,
    family: Family,
    config: ModelConfig,
    adapters: Adapters,
    *,
    rank: int,
    alpha: float,
    base: str,
    base_identity: str,
) -> None:
    """Writes both files into a folder, local or in a bucket; `base` is the model onto which PEFT loads them.

    Every adapter has this rank and is scaled by alpha / rank.
    """
    shapes = hf.layer_shapes(config)
    modules = [
        m for m in _modules(family, config) if any(name in adapters.get(part, {}) for part, name in m.parts)
    ]
    specs, widened = [], {}
    for module in modules:
        theirs = _published(module, adapters, shapes, config.num_layers, rank)
        width = next(iter(theirs.values()))[0].shape[0]
        if width != rank:
            widened[module.short] = width
        for layer, (a, b) in theirs.items():
            stem = _PREFIX + module.name.format(layer)
            specs += [_spec(f"{stem}.lora_A.weight", a), _spec(f"{stem}.lora_B.weight", b)]
    said = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": widened,
        "alpha_pattern": {name: alpha * width / rank for name, width in widened.items()},
        "target_modules": sorted({module.short for module in modules}),
        "lora_dropout": 0.0,
        "inference_mode": True,
        "init_lora_weights": True,
        "use_rslora": False,
        **{name: value for name, value in _PLAIN.items() if name in ("bias", "use_dora", "fan_in_fan_out")},
    }
    with tempfile.TemporaryDirectory(prefix="selfprog-") as here:
        path = os.path.join(here, WEIGHTS)
        write_safetensors(path, specs, {"format": "pt", BASE_IDENTITY: base_identity})
        files.write_atomic(files.join(folder, WEIGHTS), files.read_bytes(path))
    files.write_json(files.join(folder, CONFIG), said)


def read(folder: str, family: Family, config: ModelConfig) -> Read:
    """The adapters in a local folder, for a model of this family and shape.

    Raises UserError naming what is missing, has the shape or rank of another base, or is of a kind that ours is not.
    """
    said = _config(folder)
    path = os.path.join(folder, WEIGHTS)
    if not os.path.exists(path):
        raise UserError(
            f"{folder}: no {WEIGHTS} (older files, adapter_model.bin, are to be saved anew with peft)"
        )
    tensors, metadata = read_safetensors(path)
    left = dict(tensors)
    shapes = hf.layer_shapes(config)
    wrong: list[str] = []
    adapters: Adapters = {}
    for module in _modules(family, config):
        pairs = []
        for layer in range(config.num_layers):
            stem = _PREFIX + module.name.format(layer)
            pairs.append([left.pop(f"{stem}.lora_{which}.weight", None) for which in "AB"])
        if all(tensor is None for pair in pairs for tensor in pair):
            continue
        inputs, outputs = module.weight.shape(shapes)[::-1]
        found = []
        for layer, pair in enumerate(pairs):
            stem = module.name.format(layer)
            rank, scale = _rank_and_scale(said, stem)
            for which, tensor, wanted in zip("AB", pair, ((rank, inputs), (outputs, rank)), strict=True):
                if tensor is None:
                    wrong.append(f"{stem}.lora_{which}: missing, where other layers have it")
                elif tensor.dtype not in FLOATS:
                    wrong.append(f"{stem}.lora_{which}: numbers of type {tensor.stored_as}")
                elif tensor.shape != wanted:
                    wrong.append(
                        f"{stem}.lora_{which}: shape {tensor.shape}, where rank {rank} and this base make {wanted}"
                    )
            if not wrong:
                a, b = (np.asarray(tensor.open(), np.float32) for tensor in pair if tensor is not None)
                found.append((a, np.float32(scale) * b))
        if not wrong:
            _take(adapters, module, _of_one_rank(found), shapes)
    wrong += [f"{name}: this model has no such projection to adapt" for name in sorted(left)]
    if wrong:
        shown = "\n  ".join(wrong[:12] + [f"and {len(wrong) - 12} more"] * (len(wrong) > 12))
        raise UserError(
            f"{folder}: adapters of another base or rank than this {family.model_type} of {config.num_layers} layers:"
            f"\n  {shown}"
        )
    if not adapters:
        raise UserError(f"{path}: holds no adapters")
    _require_finite(adapters, path)
    return Read(adapters, metadata.get(BASE_IDENTITY, ""))


def _config(folder: str) -> Mapping[str, Any]:
    path = os.path.join(folder, CONFIG)
    if not os.path.exists(path):
        raise UserError(f"{folder}: no {CONFIG}: not a folder of PEFT's adapters")
    try:
        said = json.loads(files.read_bytes(path))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from error
    if not isinstance(said, dict) or str(said.get("peft_type")).upper() != "LORA":
        kind = said.get("peft_type") if isinstance(said, dict) else said
        raise UserError(f"{path}: peft_type {kind!r}; only LORA is supported here")
    for name, plain in _PLAIN.items():
        if said.get(name) not in (plain, None, [], {}):
            raise UserError(f"{path}: {name}={said[name]!r} is not supported here, only {plain!r}")
    beginning = said.get("init_lora_weights")
    if beginning not in _BEGINNINGS:
        raise UserError(
            f"{path}: init_lora_weights={beginning!r}: the adapters are of a base whose weights that changed; convert "
            "them to plain ones as they are saved (peft's path_initial_model_for_weight_conversion)"
        )
    _require_rank(path, "r", said.get("r"))
    _require_alpha(path, "lora_alpha", said.get("lora_alpha"))
    for name, require in zip(_PATTERNS, (_require_rank, _require_alpha), strict=True):
        patterns = said.get(name) or {}
        if not isinstance(patterns, dict):
            raise UserError(f"{path}: {name}={patterns!r} must be an object of modules and numbers")
        for key, value in patterns.items():
            require(path, f"{name}[{key!r}]", value)
            try:
                re.compile(key)
            except re.error as error:
                raise UserError(f"{path}: {name}: {key!r} is no regular expression ({error})") from error
    return said


def _require_rank(path: str, name: str, value: Any) -> None:
    if type(value) is not int or value < 1:
        raise UserError(f"{path}: {name}={value!r} must be a whole number of at least 1")


def _require_alpha(path: str, name: str, value: Any) -> None:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise UserError(f"{path}: {name}={value!r} must be a number")


def _rank_and_scale(said: Mapping[str, Any], module: str) -> tuple[int, float]:
    ranks, alphas = (said.get(name) or {} for name in _PATTERNS)
    rank, alpha = _of_pattern(ranks, module, said["r"]), _of_pattern(alphas, module, said["lora_alpha"])
    return rank, alpha / (rank**0.5 if said.get("use_rslora") else rank)


def _of_pattern(pattern: Mapping[str, Any], module: str, otherwise: Any) -> Any:
    """PEFT's patterns match the whole name of a module, in one layer, or its end."""
    for key, value in pattern.items():
        if re.match(rf"(.*\.)?({key})$", module):
            return value
    return otherwise


def _of_one_rank(pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(A, B) of every layer with the highest rank of them, filled up with zeros."""
    ranks = [len(a) for a, _ in pairs]
    more = [max(ranks) - rank for rank in ranks]
    return [
        (np.pad(a, ((0, n), (0, 0))), np.pad(b, ((0, 0), (0, n))))
        for (a, b), n in zip(pairs, more, strict=True)
    ]


def _modules(family: Family, config: ModelConfig) -> Iterator[_Module]:
    """The linear layers of a family's blocks."""
    for weight in family.weights(config):
        is_kernel = all(path.startswith("blocks/") and path.endswith("/kernel") for path in weight.ours)
        if is_kernel and weight.inputs and weight.per_layer:
            yield _Module(weight, weight.theirs.removesuffix(".weight"))


def _published(
    module: _Module, adapters: Adapters, shapes: Mapping[str, tuple[int, ...]], layers: int, rank: int
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """(A [R, inputs], B [outputs, R]) by layer; R is the rank times how many of the module's parts have adapters."""
    there = [(i, p) for i, p in enumerate(module.parts) if p[1] in adapters.get(p[0], {})]
    found = {}
    for layer in range(layers):
        pairs = [
            {which: np.asarray(adapters[part][name][which][layer], np.float32) for which in "ab"}
            for _, (part, name) in there
        ]
        a = np.concatenate([pair["a"].reshape(-1, rank).T for pair in pairs])
        width = rank * len(there)
        rows = []
        for i, path in enumerate(module.weight.ours):
            outputs = shapes[path][module.weight.inputs :]
            b = np.zeros((width, *outputs), np.float32)
            for place, (index, _) in enumerate(there):
                if index == i:
                    b[place * rank : (place + 1) * rank] = pairs[place]["b"]
            rows.append(b)
        found[layer] = (a, _rows(module.weight).join(rows, _row_shapes(module.weight, shapes, width)))
    return found


def _take(
    adapters: Adapters,
    module: _Module,
    pairs: list[tuple[np.ndarray, np.ndarray]],
    shapes: Mapping[str, tuple[int, ...]],
) -> None:
    """Adds a module's adapters, all layers of them, to the tree."""
    for path, (part, name) in zip(module.weight.ours, module.parts, strict=True):
        inputs = shapes[path][: module.weight.inputs]
        a = np.stack([a.T.reshape(*inputs, -1) for a, _ in pairs])
        b = np.stack(
            [
                _rows(module.weight).split(b, path, _row_shapes(module.weight, shapes, b.shape[1]))
                for _, b in pairs
            ]
        )
        adapters.setdefault(part, {})[name] = {"a": a, "b": b}


def _rows(weight: Weight) -> Weight:
    """The entry of B, whose rows are laid out as the weight's; its one input is the rank."""
    return dataclasses.replace(weight, inputs=1)


def _row_shapes(
    weight: Weight, shapes: Mapping[str, tuple[int, ...]], rank: int
) -> dict[str, tuple[int, ...]]:
    return {path: (rank, *shapes[path][weight.inputs :]) for path in weight.ours}


def _spec(name: str, values: np.ndarray) -> TensorSpec:
    return TensorSpec(name, values.shape, np.dtype(np.float32), lambda: iter([np.ascontiguousarray(values)]))


def _require_finite(adapters: Adapters, path: str) -> None:
    for part, name in low_rank.projections(adapters):
        if not all(np.isfinite(adapters[part][name][which]).all() for which in "ab"):
            raise UserError(f"{path}: {part}.{name} {store.NOT_FINITE.format('float32')}")


def family_of(path: str, config: ModelConfig) -> Family:
    """The family as which one of our models is exported."""
    where = os.path.join(path, "config.json")
    if not files.is_remote(path) and os.path.exists(where):
        family = table.of_published(hf.read_json(where), where)
        if family.fits(config):
            return family
    return table.of_config(config)
