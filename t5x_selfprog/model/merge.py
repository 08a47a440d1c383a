"""`selfprog merge`: PEFT's adapters added to the weights of a model, as a new model."""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from t5x_selfprog.model import network, peft, store
from t5x_selfprog.model.low_rank import Adapters, projections, ranks
from t5x_selfprog.model.new_folder import new_folder
from t5x_selfprog.model.tensor_files import TensorSpec, dtype_named
from verifier.errors import UserError


def merge(model: str, adapters: str, output: str, dtype: str | None = None) -> dict[str, Any]:
    """Writes a model folder; sums are made in float32 and rounded to `dtype`, or to what the base is stored in.

    Raises UserError if the adapters belong to another base, or `output` already has content.
    """
    path = store.resolve(model)
    config, leaves = store.leaves(path)
    found = peft.read(adapters, peft.family_of(path, config), config)
    identity = store.stored_identity(path)
    if found.base_identity and found.base_identity != identity:
        raise UserError(
            f"{adapters}: trained beside a base with the identity {found.base_identity}; {model} is {identity}"
        )
    rounded = None if dtype is None else dtype_named(dtype)
    specs = [
        TensorSpec(
            name,
            leaf.shape,
            rounded or leaf.dtype,
            functools.partial(_sums, leaf, found.adapters, name),
        )
        for name, leaf in leaves.items()
    ]
    with new_folder(output, sum(spec.num_bytes for spec in specs)) as partial:
        store.describe(partial, config, path)
        merged = store.write_weights(partial, specs)
    return {
        "model": output,
        "base": model,
        "identity": merged,
        "parameters": network.num_params(config),
        "ranks": ranks(found.adapters),
    }


def _sums(leaf: store.StoredLeaf, adapters: Adapters, name: str) -> Iterator[np.ndarray]:
    """The leaf, a layer at a time where it has adapters."""
    stored = leaf.open()
    pair = next((adapters[p][n] for p, n in projections(adapters) if name == f"blocks/{p}/{n}/kernel"), None)
    if pair is None:
        yield stored
        return
    for layer in range(stored.shape[0]):
        a, b = pair["a"][layer], pair["b"][layer]
        product = a.reshape(-1, a.shape[-1]) @ b.reshape(b.shape[0], -1)
        yield np.asarray(stored[layer], np.float32) + product.reshape(stored.shape[1:])
