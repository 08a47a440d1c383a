"""The decoder: parameters as Flax NNX modules, computation as plain functions of a pytree of weights.

Throughout this project `params` is a nested dict of arrays, as `init` returns and checkpoints hold it;
`bind(config, params)` turns it into a module for the duration of one trace.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.int8 import Stored, unscaled
from t5x_selfprog.model.layers import MLP, Norm, Projection, normal, param, rotate, zeros
from t5x_selfprog.model.packed_attention import PackedAttention, plain
from t5x_selfprog.partitioning import constrain, constrain_weights

Params = dict[str, Any]
# How a block attends, given by its caller: (q [..., H, C], k [..., K, C], v [..., K, C]) -> (mixed, what to keep).
Attend = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, Any]]


class Attention(nnx.Module):
    """Query, key, value and output projections around an attention function supplied by the caller."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs, joint: bool = False):
        self.config = config
        n, c, narrow = config.num_layers, config.head_dim, ((config.embed_dim, "embed"),)
        heads, kv = ((config.num_heads, "heads"), (c, "head")), ((config.num_kv_heads, "kv"), (c, "head"))
        biased = "qkv" in config.biases
        self.is_joint = joint
        if joint:
            group = config.num_heads // config.num_kv_heads
            outputs = (kv[0], (group + 2, None), kv[1])
            self.joint = Projection(rngs, n, narrow, outputs, 0.02, biased)
        else:
            self.query = Projection(rngs, n, narrow, heads, 0.02, biased)
            self.key = Projection(rngs, n, narrow, kv, 0.02, biased)
            self.value = Projection(rngs, n, narrow, kv, 0.02, biased)
        self.out = Projection(rngs, n, heads, narrow, 0.02 / (2 * n) ** 0.5, "out" in config.biases)
        if config.qk_norm == "rms":
            self.query_norm = Norm(config, c, rngs, (n,), axis="head")
            self.key_norm = Norm(config, c, rngs, (n,), axis="head")

    def __call__(self, x: jax.Array, positions: jax.Array, attend_fn: Attend) -> tuple[jax.Array, Any]:
        q, k, v = self._project(x)
        if self.config.qk_norm == "rms":
            q, k = self.query_norm(q), self.key_norm(k)
        q, k = rotate(q, positions, self.config), rotate(k, positions, self.config)
        mixed, kept = attend_fn(q, k, v)
        return self.out(mixed), kept

    def _project(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """x: [..., D] -> queries [..., H, C], keys and values [..., K, C]."""
        if not self.is_joint:
            return self.query(x), self.key(x), self.value(x)
        both = self.joint(x)  # [..., K, H/K + 2, C]
        q = both[..., :-2, :].reshape(*x.shape[:-1], self.config.num_heads, self.config.head_dim)
        return q, both[..., -2, :], both[..., -1, :]


class Block(nnx.Module):
    """One residual layer; declared with all N layers' weights stacked, applied to one slice of them.

    Args:
      joint: fuses projections that read the same input: query, key and value, and a gated MLP's gate and up (see
        `join`). Decoding then needs fewer products per step; training and checkpoints keep them separate.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs, joint: bool = False):
        self.config = config
        stacked = (config.num_layers,)
        self.attention_norm = Norm(config, config.embed_dim, rngs, stacked)
        self.attention = Attention(config, rngs, joint)
        if config.residual == "serial" or config.parallel_norms == 2:
            self.mlp_norm = Norm(config, config.embed_dim, rngs, stacked)
        self.mlp = MLP(config, rngs, joint)

    def __call__(self, x: jax.Array, positions: jax.Array, attend_fn: Attend) -> tuple[jax.Array, Any]:
        """x: [..., D] -> [..., D], and what `attend_fn` keeps (for instance new cache entries)."""
        normed = self.attention_norm(x)
        mixed, kept = self.attention(normed, positions, attend_fn)
        if self.config.residual == "serial":
            x = x + mixed
            return x + self.mlp(self.mlp_norm(x)), kept
        normed = self.mlp_norm(x) if self.config.parallel_norms == 2 else normed
        return x + mixed + self.mlp(normed), kept


class Decoder(nnx.Module):
    """Embedding, N blocks, final norm, output head."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs, joint: bool = False):
        self.config = config
        self.embedding = param(rngs, (config.vocab_size, config.embed_dim), ("vocab", "embed"), normal(0.02))
        if config.positions == "learned":
            shape = (config.context_length, config.embed_dim)
            self.position_embedding = param(rngs, shape, (None, "embed"), normal(0.01))
        self.blocks = Block(config, rngs, joint)
        self.final_norm = Norm(config, config.embed_dim, rngs)
        if config.head == "separate":
            self.head = param(rngs, (config.embed_dim, config.vocab_size), ("embed", "vocab"), normal(0.02))
        if "head" in config.biases:
            self.head_bias = param(rngs, (config.vocab_size,), ("vocab",), zeros)

    def embed(self, tokens: jax.Array, positions: jax.Array) -> jax.Array:
        """tokens, positions: [...] int32 -> [..., D] in the compute dtype."""
        x = jnp.take(self.embedding[...], tokens, axis=0).astype(self.config.dtype)
        if self.config.embed_scale != 1.0:
            x = x * jnp.asarray(self.config.embed_scale, x.dtype)
        if self.config.positions == "learned":
            x = x + jnp.take(self.position_embedding[...], positions, axis=0).astype(x.dtype)
        return x

    def head_kernel(self) -> Stored:
        """[D, V], as stored."""
        return self.embedding[...].T if self.config.head == "tied" else self.head.get_value()

    def logits(self, hidden: jax.Array) -> jax.Array:
        """hidden: [..., D] after the final norm -> [..., V] float32."""
        kernel, scale = unscaled(self.head_kernel())
        out = jnp.matmul(hidden, kernel.astype(hidden.dtype), preferred_element_type=jnp.float32)
        if scale is not None:
            out = out * scale.reshape((1,) * (out.ndim - 1) + (-1,))
        if "head" in self.config.biases:
            out = out + self.head_bias[...].astype(jnp.float32).reshape((1,) * (out.ndim - 1) + (-1,))
        return out


@functools.lru_cache(maxsize=64)
def _structure(config: ModelConfig, joint: bool = False) -> tuple[nnx.GraphDef, nnx.State]:
    with nnx.use_eager_sharding(False):
        return nnx.split(nnx.eval_shape(lambda: Decoder(config, nnx.Rngs(0), joint)))


@functools.lru_cache(maxsize=64)
def _block_structure(config: ModelConfig, joint: bool) -> tuple[nnx.GraphDef, nnx.State]:
    with nnx.use_eager_sharding(False):
        return nnx.split(nnx.eval_shape(lambda: Block(config, nnx.Rngs(0), joint)))


def _merge(structure: tuple[nnx.GraphDef, nnx.State], params: Params) -> Any:
    graphdef, abstract = structure
    state = jax.tree.map(lambda x: x, abstract)
    nnx.replace_by_pure_dict(state, params)
    return nnx.merge(graphdef, state)


def bind(config: ModelConfig, params: Params) -> Decoder:
    """The decoder holding these weights."""
    return _merge(_structure(config), params)


def bind_block(config: ModelConfig, layer_params: Params) -> Block:
    """One block holding one layer's weights: `params["blocks"]` without its leading axis, joined or not."""
    return _merge(_block_structure(config, "joint" in layer_params["attention"]), layer_params)


def init(config: ModelConfig, key: jax.Array) -> Params:
    """Fresh float32 weights (GPT-2's initialisation: normal 0.02, residual outputs scaled by 1/sqrt(2N))."""
    with nnx.use_eager_sharding(False):
        return nnx.to_pure_dict(nnx.state(Decoder(config, nnx.Rngs(params=key)), nnx.Param))


def abstract_params(config: ModelConfig, joint: bool = False) -> Params:
    """Shapes and dtypes of the weights, as `jax.ShapeDtypeStruct`s; nothing is allocated."""
    return nnx.to_pure_dict(_structure(config, joint)[1])


def logical_axes(config: ModelConfig, joint: bool = False) -> Params:
    """The logical axis names of every weight: the tree of `params` with tuples of names as leaves."""
    _, state = _structure(config, joint)
    flat = {path: variable.get_metadata()["axes"] for path, variable in nnx.to_flat_state(state)}
    return nnx.traversals.unflatten_mapping(flat)


def num_params(config: ModelConfig) -> int:
    return sum(x.size for x in jax.tree.leaves(abstract_params(config)))


def layer_slice(params: Params, layer: int) -> Params:
    """One layer's weights out of the stacked `params["blocks"]`."""
    return jax.tree.map(lambda x: x[layer], params["blocks"])


def join(config: ModelConfig, layer_params: Params) -> Params:
    """One layer's weights with projections of the same input fused, kernels and biases alike.

    Queries are grouped with the keys and values that they meet, [..., K, H/K + 2, C], and gate precedes up,
    [..., 2, F], so that sharding by heads or by the feed-forward dimension still applies.
    """
    attention, mlp = dict(layer_params["attention"]), dict(layer_params["mlp"])
    shape = (config.num_kv_heads, -1, config.head_dim)

    def side_by_side(*parts: jax.Array) -> jax.Array:
        return jnp.concatenate([x.reshape(*x.shape[:-2], *shape) for x in parts], axis=-2)

    parts = [attention.pop(name) for name in ("query", "key", "value")]
    attention["joint"] = jax.tree.map(side_by_side, *parts)
    if "gate" in mlp:
        parts = [mlp.pop(name) for name in ("gate", "up")]
        mlp["joint"] = jax.tree.map(lambda *x: jnp.stack(x, axis=-2), *parts)
    return {**layer_params, "attention": attention, "mlp": mlp}


def forward(
    config: ModelConfig,
    params: Params,
    tokens: jax.Array,
    positions: jax.Array,
    segment_ids: jax.Array,
    remat: Callable[[Callable], Callable] = lambda f: f,
    unroll: int = 1,
    attention: PackedAttention = plain,
) -> jax.Array:
    """The hidden states of packed rows (`Decoder.logits` turns them into logits, in chunks where V is large).

    Args:
      tokens, positions, segment_ids: [B, L] int32; segments attend only to themselves, segment 0 is padding.
      remat: wraps the layer body, e.g. `jax.checkpoint`.
      unroll: layers per step of the loop over depth; N unrolls it (a third faster on a CPU, slower to compile).

    Returns:
      [B, L, D] after the final norm, in the compute dtype.
    """
    axes = logical_axes(config)
    params = constrain_weights(params, axes)
    of_a_layer = jax.tree.map(lambda names: names[1:], axes["blocks"], is_leaf=lambda x: isinstance(x, tuple))
    model = bind(config, params)
    x = constrain(model.embed(tokens, positions), ("batch", "length", "embed"))
    scale = config.attention_scale or config.head_dim**-0.5

    def layer(x: jax.Array, weights: Params, window: int | None) -> jax.Array:
        mix = lambda q, k, v: (attention(q, k, v, positions, segment_ids, window, scale), None)  # noqa: E731
        x, _ = bind_block(config, constrain_weights(weights, of_a_layer))(x, positions, mix)
        return constrain(x, ("batch", "length", "embed"))

    layers = [remat(functools.partial(layer, window=window)) for window in config.windows]

    def apply(x: jax.Array, weights: Params) -> tuple[jax.Array, None]:
        """Applies one layer of each span; `weights` are stacked on their leading axis."""
        for i, apply_layer in enumerate(layers[: len(jax.tree.leaves(weights)[0])]):
            x = apply_layer(x, jax.tree.map(lambda w, i=i: w[i], weights))
        return x, None

    # Each step of the loop covers one period of the spans, so that every span is a constant; remaining layers follow.
    period = len(layers)
    looped = config.num_layers // period * period
    periods = jax.tree.map(
        lambda w: w[:looped].reshape(looped // period, period, *w.shape[1:]), params["blocks"]
    )
    if looped:
        x, _ = jax.lax.scan(apply, x, periods, unroll=max(1, unroll // period))
    if looped < config.num_layers:
        x, _ = apply(x, jax.tree.map(lambda w: w[looped:], params["blocks"]))
    return model.final_norm(x)
