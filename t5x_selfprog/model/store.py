"""Models on disk: weights, shape and tokenizer in one directory, with an identity derived from the weights.

There are two layouts, told apart by their files:
  weights.safetensors + model.json + tokenizer.json      one file: shipped, or from `pretrain` or `import`
  <step>/ (Orbax) + done.json + model.json + tokenizer   what training leaves behind

Either may be in a bucket: Orbax reads its steps there itself, and other files are fetched to a temporary folder.
"""

import contextlib
import dataclasses
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from t5x_selfprog import hosts
from t5x_selfprog.model import device_room, network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.tensor_files import (
    FLOATS,
    StoredTensor,
    TensorSpec,
    all_finite,
    in_chunks,
    read_safetensors,
    write_safetensors,
)
from t5x_selfprog.nearest import nearest
from t5x_selfprog.partitioning import Partitioner
from t5x_selfprog.tokenizer import Tokenizer
from verifier.errors import UserError
from verifier.storage import files

SHIPPED = os.path.join(os.path.dirname(os.path.dirname(__file__)), "assets")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
)
# Files copied along with a model: its tokenizer, and an imported model's published configuration.
COMPANIONS = (*TOKENIZER_FILES, "config.json", "generation_config.json")
WEIGHTS = "weights.safetensors"
FITS = (
    "Take a device with more memory, split the weights over several (MeshConfig.fsdp), or take a smaller model "
    "(`selfprog models`)."
)
NOT_FINITE = "holds numbers that are not finite (NaN or infinite) as {}"
_NO_IDENTITY = "0" * 16  # placeholder in a file's header until its weights are known


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model in memory.

    Attributes:
      config, params, tokenizer: its shape, weights and tokenizer.
      identity: 16 hex digits derived from the weights alone, written into every record sampled from them.
      path: the directory it was loaded from.
    """

    config: ModelConfig
    params: network.Params
    tokenizer: Tokenizer
    identity: str
    path: str


class StoredLeaf(Protocol):
    """A stacked weight on disk; `open` reads it, or maps it."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype: ...
    def open(self) -> np.ndarray: ...


class Identity:
    """A digest of the names, shapes and float32 values of all weights, which must be added in order of their names."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def begin(self, name: str, shape: tuple[int, ...]) -> None:
        self._digest.update(f"{name} {tuple(shape)}".encode())

    def add(self, values: np.ndarray) -> None:
        self._digest.update(np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint8).data)

    def hex(self) -> str:
        return self._digest.hexdigest()[:16]


def weights_identity(params: network.Params) -> str:
    """The identity of weights in memory; a collective call where they are spread over several hosts."""
    identity = Identity()
    for path, value in sorted(flatten(params).items()):
        array = hosts.whole(value)
        identity.begin(path, array.shape)
        identity.add(array)
    return identity.hex()


def resolve(path: str) -> str:
    """The model directory of a path, or of the name of a shipped model (`base`)."""
    for candidate in (path,) if files.is_remote(path) else (path, os.path.join(SHIPPED, path)):
        if files.exists(files.join(candidate, "model.json")):
            return candidate
    if files.exists(files.join(path, "config.json")):
        raise UserError(
            f"{path} holds a published model, not one of ours (config.json, but no model.json): convert it with "
            f"`selfprog import --model={path} --output=DIR`."
        )
    raise UserError(
        f"No model at {path!r} (no model.json there, nor a shipped model of that name). {_instead(path)}"
    )


def _instead(path: str) -> str:
    """For a model that is not there: what the name may mean, or what must be done first."""
    from t5x_selfprog.model.known import KNOWN

    names = {model.name for model in KNOWN}
    on_hub = re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w.-]+)?", path)
    last = path.rstrip("/").rpartition("/")[2].partition("@")[0]
    # Names of folders here, which no organisation on the Hub has.
    local = {"models", "runs", "exported", "downloads"}
    owner = path.partition("/")[0]
    if path in names or (on_hub and owner not in local and not files.exists(owner)):
        target = f"models/{last}"
        return (
            f"It is a published model's name: `selfprog import --model={path} --output={target}` makes one of ours of "
            f"it, where there is a network; then Experiment.base = '{target}'."
        )
    folder = path.rstrip("/").rpartition("/")[0]
    beside = [files.join(folder, name) for name in files.listdir(folder or ".") if name]
    there = [found for found in beside if files.exists(files.join(found, "model.json"))]
    shipped = [
        name for name in files.listdir(SHIPPED) if files.exists(files.join(SHIPPED, name, "model.json"))
    ]
    guess = nearest(path, [*there, *shipped, *names])
    if guess in names:
        return _instead(guess)
    if guess:
        return f"Did you mean {guess!r}?"
    return (
        f"{', '.join(map(repr, shipped))} ships; `selfprog import` and `selfprog pretrain` make others, and a finished "
        "run has one in each iter_NNN/6_checkpoints."
    )


def stored_identity(path: str) -> str:
    """The identity of a model on disk, without loading its weights. Raises UserError where there is none."""
    path = resolve(path)
    if files.exists(files.join(path, WEIGHTS)):
        with _fetched(path, [WEIGHTS]) as folder:
            return _open_weights(folder, read_config(path))[1]
    return _done(path)["identity"]


def require_weights(model: str) -> None:
    """Raises UserError where a model's weights are not beside its shape; reads none."""
    path = resolve(model)
    if not files.exists(files.join(path, WEIGHTS)):
        _trained(path)


def read_config(path: str) -> ModelConfig:
    """The shape of the model in a directory that `resolve` returned."""
    file = files.join(path, "model.json")
    return ModelConfig.from_json(files.read_bytes(file).decode(), file)


def load_tokenizer(path: str) -> Tokenizer:
    """The tokenizer of the model in a directory that `resolve` returned."""
    with _fetched(path, COMPANIONS) as folder:  # config.json too: it says what else ends a completion
        return Tokenizer.load(folder)


def load(path: str, partitioner: Partitioner | None = None) -> LoadedModel:
    """Reads config, tokenizer and weights (float32, laid out by the partitioner).

    Each device's part of a weight is read separately, so host memory holds one weight at a time.

    Raises:
      UserError: there is no model, its training has not finished, a device has no room for its weights, or they do not
        match model.json (every missing, surplus and misshapen tensor is listed).
    """
    path = resolve(path)
    config = read_config(path)
    abstract = network.abstract_params(config)
    devices = jax.local_devices()[:1] if partitioner is None else list(partitioner.mesh.devices.flat)
    device_room.require_room(path, config, [device_room.loaded(config, partitioner)], FITS, devices)
    if partitioner is not None:
        shardings = partitioner.param_shardings(network.logical_axes(config), abstract)
    else:
        shardings = jax.tree.map(
            lambda _: jax.sharding.SingleDeviceSharding(jax.local_devices()[0]), abstract
        )
    if files.exists(files.join(path, WEIGHTS)):
        with _fetched(path, (WEIGHTS,)) as folder:
            tensors, identity = _open_weights(folder, config)
            params = _place(tensors, abstract, shardings, path)
    else:
        from t5x_selfprog.model.orbax_restore import abstract_like, restore_params

        done = _trained(path)
        params = restore_params(path, done["step"], abstract_like(abstract, shardings))
        require_finite(params, path)
        identity = done["identity"]
    return LoadedModel(config, params, load_tokenizer(path), identity, path)


def leaves(path: str) -> tuple[ModelConfig, Mapping[str, StoredLeaf]]:
    """The shape of a model directory, and its weights by name; no weight is read yet.

    Raises UserError as `load` does.
    """
    path = resolve(path)
    config = read_config(path)
    if os.path.exists(os.path.join(path, WEIGHTS)):  # callers work on local folders only
        return config, _open_weights(path, config)[0]
    from t5x_selfprog.model.orbax_leaves import open_leaves

    return config, open_leaves(path, _trained(path)["step"], flatten(network.abstract_params(config)))


def save(
    path: str, config: ModelConfig, params: network.Params, tokenizer_from: str, dtype: str = "bfloat16"
) -> None:
    """Writes the one-file layout, with weights rounded to `dtype`."""
    describe(path, config, tokenizer_from)
    rounded = jnp.dtype(dtype)

    def parts(value: jax.Array) -> Iterator[np.ndarray]:
        yield np.asarray(jax.device_get(value))

    specs = [
        TensorSpec(name, value.shape, rounded, lambda value=value: parts(value))  # type: ignore[misc]
        for name, value in flatten(params).items()
    ]
    write_weights(path, specs)


def write_weights(path: str, tensors: Iterable[TensorSpec]) -> str:
    """Writes weights.safetensors piece by piece, with its identity in the header; returns the identity."""
    identity = Identity()

    def observe(tensor: TensorSpec, chunks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        identity.begin(tensor.name, tensor.shape)
        for chunk in chunks:
            if not all_finite(chunk):
                raise UserError(f"{tensor.name} {NOT_FINITE.format(tensor.dtype)}; nothing was written")
            identity.add(chunk)
            yield chunk

    write_safetensors(
        os.path.join(path, WEIGHTS),
        sorted(tensors, key=lambda tensor: tensor.name),
        {"identity": _NO_IDENTITY},
        observe,
        lambda: {"identity": identity.hex()},
    )
    return identity.hex()


def describe(path: str, config: ModelConfig, tokenizer_from: str) -> None:
    """Writes model.json, and copies the tokenizer's files and the published configuration beside it."""
    there, to_copy = files.listdir(path), files.listdir(tokenizer_from)
    for name in COMPANIONS:
        if name in to_copy and name not in there:
            files.write_atomic(files.join(path, name), files.read_bytes(files.join(tokenizer_from, name)))
    files.write_atomic(files.join(path, "model.json"), config.to_json())


def require_finite(params: network.Params, model: str) -> None:
    """Raises UserError naming every weight with NaN or infinities; collective if weights span several hosts."""
    finite = jax.jit(lambda tree: jax.tree.map(lambda x: jnp.isfinite(x).all(), tree))(params)
    if wrong := [name for name, fine in flatten(finite).items() if not bool(hosts.whole(fine))]:
        raise _not_finite(model, wrong)


def _not_finite(model: str, names: Iterable[str]) -> UserError:
    return UserError(
        f"{model}: {', '.join(sorted(names))} {NOT_FINITE.format('float32')}, so its samples would be meaningless. "
        "Its training diverged or its file is damaged; use an earlier checkpoint, or train again with a lower "
        "learning rate"
    )


def flatten(params: Any) -> dict[str, Any]:
    """Leaves by path: "blocks/attention/query/kernel"."""
    found = jax.tree_util.tree_flatten_with_path(params)[0]
    return {"/".join(str(key.key) for key in path): value for path, value in found}


def mismatches(
    found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], wants: str
) -> list[str]:
    """One line for each missing, surplus or misshapen tensor; `wants` names the file that states the shapes."""
    wrong = [f"{name}: missing" for name in sorted(set(wanted) - set(found))]
    wrong += [f"{name}: not part of this model" for name in sorted(set(found) - set(wanted))]
    return wrong + [
        f"{name}: shape {found[name]}, {wants} wants {wanted[name]}"
        for name in sorted(set(found) & set(wanted))
        if found[name] != wanted[name]
    ]


@contextlib.contextmanager
def _fetched(path: str, names: Iterable[str]) -> Iterator[str]:
    """A local folder with those of the named files that `path` has: `path` itself, or copies from a bucket."""
    if not files.is_remote(path):
        yield path
        return
    there = files.listdir(path)
    with tempfile.TemporaryDirectory(prefix="selfprog-") as folder:
        for name in names:
            if name in there:
                target = os.path.join(folder, name)
                with files.open_read(files.join(path, name)) as source, open(target, "wb") as copy:
                    shutil.copyfileobj(source, copy)
        yield folder


def _open_weights(path: str, config: ModelConfig) -> tuple[dict[str, StoredTensor], str]:
    """The tensors of weights.safetensors, and their identity."""
    file = os.path.join(path, WEIGHTS)
    tensors, metadata = read_safetensors(file)
    wanted = {name: leaf.shape for name, leaf in flatten(network.abstract_params(config)).items()}
    wrong = mismatches({name: x.shape for name, x in tensors.items()}, wanted, "model.json")
    wrong += [
        f"{name}: numbers of type {x.stored_as}" for name, x in tensors.items() if x.dtype not in FLOATS
    ]
    if wrong:
        raise UserError(f"{file} does not match model.json beside it:\n  " + "\n  ".join(wrong))
    return tensors, metadata.get("identity") or _identity_of(tensors)


def _identity_of(tensors: Mapping[str, StoredTensor]) -> str:
    identity = Identity()
    for name, tensor in sorted(tensors.items()):
        identity.begin(name, tensor.shape)
        for chunk in in_chunks(tensor.open(), np.dtype(np.float32)):
            identity.add(chunk)
    return identity.hex()


def _done(path: str) -> dict[str, Any]:
    try:
        return files.read_json(files.join(path, "done.json"))
    except FileNotFoundError as error:
        raise UserError(
            f"{path} holds an unfinished training run: finish it with the command that started it."
        ) from error


def _trained(path: str) -> dict[str, Any]:
    """done.json's content, of a model whose weights are there. Raises UserError for one that has none."""
    done = _done(path)
    if not files.is_folder(files.join(path, str(done["step"]))):
        raise UserError(
            f"{path}: its training has ended (done.json), but its weights are not there; `selfprog pack` leaves them "
            "behind where training can make them again. `selfprog unpack FILE --run_dir=DIR --go_on` and then "
            "`selfprog run --run_dir=DIR` train a run's newest model again; for others, use the run that was packed."
        )
    return done


def _place(
    tensors: Mapping[str, StoredTensor], abstract: network.Params, shardings: network.Params, model: str
) -> network.Params:
    """Reads weights into their shardings as float32, one by one. Raises UserError naming one that is not finite."""

    def one(path: tuple, shape: jax.ShapeDtypeStruct, sharding: jax.sharding.Sharding) -> jax.Array:
        name = "/".join(str(key.key) for key in path)
        stored = tensors[name].open()

        def read(index: Any) -> np.ndarray:
            part = np.array(stored[index], np.float32, order="C")
            if not all_finite(part):
                raise _not_finite(model, [name])
            return part

        array = jax.make_array_from_callback(shape.shape, sharding, read)
        return jax.block_until_ready(array)  # before reading the next: a transfer keeps its source in memory

    return jax.tree_util.tree_map_with_path(one, abstract, shardings)
