"""Exports one of our models as a folder that `transformers` and vLLM load as it is."""

import functools
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from t5x_selfprog.model import hf, network, store
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.families import table
from t5x_selfprog.model.families.family import Family, same
from t5x_selfprog.model.new_folder import new_folder
from t5x_selfprog.model.tensor_files import TensorSpec, dtype_named, write_safetensors
from t5x_selfprog.model.weight_map import Weight, numbered
from t5x_selfprog.tokenizer import Tokenizer
from verifier.storage.shards import atomic_write

SHARD_BYTES = 5_000_000_000  # maximum size of a published file, as in transformers


def export_model(model: str, output: str, dtype: str | None = None) -> dict[str, Any]:
    """Writes config.json, tokenizer and safetensors.

    Args:
      model: a model directory, a finished run's 6_checkpoints, or the name of a model that ships.
      dtype: the type weights are rounded to; None keeps theirs.

    Returns:
      What was exported: family, parameters, files, bytes, output.
    """
    path = store.resolve(model)
    config, leaves = store.leaves(path)
    family, said = _family_of(path, config)
    tokenizer = Tokenizer.load(path)
    specs = list(_their_tensors(family, config, leaves, None if dtype is None else dtype_named(dtype)))
    num_bytes = sum(spec.num_bytes for spec in specs)
    with new_folder(output, num_bytes) as partial:
        _copy(path, partial, store.TOKENIZER_FILES if said is None else store.COMPANIONS)
        written = said or {
            **family.published(config),
            "bos_token_id": tokenizer.start_id,
            "eos_token_id": tokenizer.eos_id,
            "pad_token_id": tokenizer.pad_id,
        }
        written = {key: value for key, value in written.items() if key != "dtype"}
        _write_json(os.path.join(partial, "config.json"), {**written, "torch_dtype": str(specs[0].dtype)})
        names = write_files(partial, cut(specs, SHARD_BYTES))
    return {
        "family": family.model_type,
        "parameters": network.num_params(config),
        "files": names,
        "bytes": num_bytes,
        "output": output,
    }


def _copy(source: str, target: str, names: tuple[str, ...]) -> None:
    for name in names:
        if name != "config.json" and os.path.exists(os.path.join(source, name)):
            shutil.copyfile(os.path.join(source, name), os.path.join(target, name))


def _family_of(path: str, config: ModelConfig) -> tuple[Family, Mapping[str, Any] | None]:
    """The family to export as, and the config.json that came with the model if it still describes it."""
    where = os.path.join(path, "config.json")
    if os.path.exists(where):
        said = hf.read_json(where)
        family = table.of_published(said, where)
        if same(family.config(said, where), config):
            return family, said
        if family.fits(config):
            return family, None
    return table.of_config(config), None


def _their_tensors(
    family: Family, config: ModelConfig, leaves: Mapping[str, store.StoredLeaf], dtype: np.dtype | None
) -> Iterator[TensorSpec]:
    """Published tensors, grouped by entry, so that a leaf that must be read whole is read only once."""
    shapes = hf.layer_shapes(config)

    @functools.lru_cache(maxsize=1)
    def opened(names: tuple[str, ...]) -> list[np.ndarray]:
        return [leaves[name].open() for name in names]

    for weight in family.weights(config):
        for layer, name in numbered(weight, config.num_layers):

            def parts(weight: Weight = weight, layer: int | None = layer) -> Iterator[np.ndarray]:
                whole = opened(weight.ours)
                yield weight.join([x if layer is None else x[layer] for x in whole], shapes)

            yield TensorSpec(name, weight.shape(shapes), dtype or leaves[weight.ours[0]].dtype, parts)


def cut(specs: list[TensorSpec], limit: int) -> list[list[TensorSpec]]:
    """Splits tensors, in order, into files of at most `limit` bytes (a larger tensor gets its own)."""
    files: list[list[TensorSpec]] = [[]]
    for spec in specs:
        if files[-1] and sum(x.num_bytes for x in files[-1]) + spec.num_bytes > limit:
            files.append([])
        files[-1].append(spec)
    return files


def write_files(folder: str, files: list[list[TensorSpec]]) -> list[str]:
    """Writes safetensors files named as in transformers, with an index if there are several."""
    pattern = "model-{:05}-of-{:05}.safetensors"
    names = (
        [hf.SAFETENSORS]
        if len(files) == 1
        else [pattern.format(i + 1, len(files)) for i in range(len(files))]
    )
    for name, specs in zip(names, files, strict=True):
        write_safetensors(os.path.join(folder, name), specs, {"format": "pt"})
    if len(files) > 1:
        total = sum(spec.num_bytes for specs in files for spec in specs)
        where = {spec.name: name for name, specs in zip(names, files, strict=True) for spec in specs}
        index = {"metadata": {"total_size": total}, "weight_map": where}
        _write_json(os.path.join(folder, hf.SAFETENSORS + ".index.json"), index)
    return names


def _write_json(path: str, value: Mapping[str, Any]) -> None:
    atomic_write(path, json.dumps(value, indent=2) + "\n")
