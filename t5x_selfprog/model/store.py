"""Models on disk: weights, shape and tokenizer in one directory, with an identity that follows the weights.

Two layouts, told apart by what is there:
  weights.safetensors + model.json + tokenizer.json      small, one file: what ships, what `pretrain` exports
  <step>/ (Orbax) + done.json + model.json + tokenizer   what training stages leave behind
"""

import dataclasses
import hashlib
import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np

from t5x_selfprog.model import network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.partitioning import Partitioner
from t5x_selfprog.tokenizer import Tokenizer
from verifier.errors import UserError
from verifier.shards import atomic_write

SHIPPED = os.path.join(os.path.dirname(os.path.dirname(__file__)), "assets")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
)


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """identity: 16 hex digits that follow from the weights alone; it stands in every record sampled from them."""

    config: ModelConfig
    params: network.Params
    tokenizer: Tokenizer
    identity: str
    path: str


def weights_identity(params: network.Params) -> str:
    """A digest of names, shapes and float32 values of all weights."""
    digest = hashlib.sha256()
    for path, value in sorted(_flatten(params).items()):
        array = np.asarray(jax.device_get(value), np.float32)
        digest.update(f"{path} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def resolve(path: str) -> str:
    """A model directory: as given, or by name among those that ship (`base`)."""
    for candidate in (path, os.path.join(SHIPPED, path)):
        if os.path.exists(os.path.join(candidate, "model.json")):
            return candidate
    raise UserError(
        f"No model at {path!r} (no model.json there, nor a shipped model of that name in {SHIPPED}). "
        "Make one with `selfprog pretrain`, or name a finished run's 6_checkpoints directory."
    )


def load(path: str, partitioner: Partitioner | None = None) -> LoadedModel:
    """Reads config, tokenizer and weights (float32, laid out by the partitioner).

    Raises:
      UserError: nothing there, an unfinished training run, or weights that do not match model.json (every
        missing, surplus and misshapen tensor is listed).
    """
    path = resolve(path)
    with open(os.path.join(path, "model.json")) as file:
        config = ModelConfig.from_json(file.read(), os.path.join(path, "model.json"))
    abstract = network.abstract_params(config)
    if partitioner is not None:
        shardings = partitioner.param_shardings(network.logical_axes(config), abstract)
    else:
        shardings = jax.tree.map(
            lambda _: jax.sharding.SingleDeviceSharding(jax.local_devices()[0]), abstract
        )
    if os.path.exists(os.path.join(path, "weights.safetensors")):
        params = _load_safetensors(os.path.join(path, "weights.safetensors"), abstract, shardings)
        identity = weights_identity(params)
    elif os.path.exists(os.path.join(path, "done.json")):
        from t5x_selfprog.training.checkpoints import abstract_like, restore_params

        with open(os.path.join(path, "done.json")) as file:
            done = json.load(file)
        params, identity = (
            restore_params(path, done["step"], abstract_like(abstract, shardings)),
            done["identity"],
        )
    else:
        raise UserError(f"{path} holds an unfinished training run: finish it with the command that began it.")
    return LoadedModel(config, params, Tokenizer.load(path), identity, path)


def save(
    path: str, config: ModelConfig, params: network.Params, tokenizer_from: str, dtype: str = "bfloat16"
) -> None:
    """Writes the small layout; weights are rounded to `dtype`."""
    from safetensors.flax import save as to_bytes

    describe(path, config, tokenizer_from)
    flat = {name: jnp.asarray(value, dtype) for name, value in _flatten(params).items()}
    atomic_write(os.path.join(path, "weights.safetensors"), to_bytes(flat))


def describe(path: str, config: ModelConfig, tokenizer_from: str) -> None:
    """Writes model.json and copies the tokenizer's files beside it."""
    os.makedirs(path, exist_ok=True)
    for name in TOKENIZER_FILES:
        source = os.path.join(tokenizer_from, name)
        target = os.path.join(path, name)
        if os.path.exists(source) and not os.path.exists(target):
            shutil.copyfile(source, target + ".tmp")
            os.replace(target + ".tmp", target)
    atomic_write(os.path.join(path, "model.json"), config.to_json())


def _flatten(params: network.Params) -> dict[str, jax.Array]:
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    return {"/".join(str(key.key) for key in path): value for path, value in leaves}


def _load_safetensors(path: str, abstract: network.Params, shardings: network.Params) -> network.Params:
    from safetensors import safe_open

    wanted, places = _flatten(abstract), _flatten(shardings)
    with safe_open(path, framework="flax") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        wrong = [f"{n}: missing" for n in sorted(set(wanted) - set(found))]
        wrong += [f"{n}: not part of this model" for n in sorted(set(found) - set(wanted))]
        wrong += [
            f"{n}: shape {found[n]}, model.json wants {wanted[n].shape}"
            for n in sorted(set(found) & set(wanted))
            if found[n] != wanted[n].shape
        ]
        if wrong:
            raise UserError(f"{path} does not match model.json beside it:\n  " + "\n  ".join(wrong))
        values = {n: jax.device_put(file.get_tensor(n).astype(jnp.float32), places[n]) for n in wanted}
    return jax.tree_util.tree_map_with_path(
        lambda p, _: values["/".join(str(key.key) for key in p)], abstract
    )
