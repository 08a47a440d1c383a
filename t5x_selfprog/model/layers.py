"""Norms, rotary positions and projections: the parts of a block.

The weights of all N layers are stacked on a leading axis, so depth costs no compile time. A block is declared with that
axis and applied to one slice of it.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.products import project

Initializer = Callable[[jax.Array, tuple[int, ...], jnp.dtype], jax.Array]


def param(
    rngs: nnx.Rngs, shape: tuple[int, ...], axes: tuple[str | None, ...], init: Initializer
) -> nnx.Param:
    """A float32 weight with one logical axis name per dimension; every weight is created here."""
    if len(shape) != len(axes):
        raise ValueError(f"shape {shape} and axes {axes} differ in length")
    return nnx.Param(init(rngs.params(), shape, jnp.float32), axes=axes)


def normal(stddev: float) -> Initializer:
    return jax.nn.initializers.normal(stddev)


zeros, ones = jax.nn.initializers.zeros, jax.nn.initializers.ones


class Norm(nnx.Module):
    """RMSNorm (Zhang & Sennrich 2019) or LayerNorm (Ba et al. 2016), computed in float32."""

    def __init__(
        self,
        config: ModelConfig,
        dim: int,
        rngs: nnx.Rngs,
        stacked: tuple[int, ...] = (),
        axis: str | None = "embed",
    ):
        self.kind, self.eps = config.norm, config.norm_eps
        axes = ("layers",) * len(stacked) + (axis,)
        self.scale = param(rngs, stacked + (dim,), axes, zeros if self.kind == "rms_plus_one" else ones)
        if self.kind == "layer":
            self.bias = param(rngs, stacked + (dim,), axes, zeros)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: [..., dim] -> [..., dim], in x's dtype."""
        y = x.astype(jnp.float32)
        if self.kind == "layer":
            y = y - jnp.mean(y, axis=-1, keepdims=True)
        y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + self.eps)
        scale = self.scale[...].astype(jnp.float32)
        scale = (scale + 1.0 if self.kind == "rms_plus_one" else scale).reshape((1,) * (x.ndim - 1) + (-1,))
        y = y * scale
        if self.kind == "layer":
            y = y + self.bias[...].astype(jnp.float32).reshape(scale.shape)
        return y.astype(x.dtype)


class Projection(nnx.Module):
    """A linear map over the trailing `contracted` dimensions of its input, with or without a bias."""

    def __init__(
        self,
        rngs: nnx.Rngs,
        layers: int,
        inputs: tuple[tuple[int, str], ...],
        outputs: tuple[tuple[int, str | None], ...],
        stddev: float,
        biased: bool,
    ):
        sizes, axes = zip(*((layers, "layers"), *inputs, *outputs), strict=True)
        self.contracted = len(inputs)
        self.kernel = param(rngs, sizes, axes, normal(stddev))
        self.biased = biased
        if biased:
            sizes, axes = zip(*((layers, "layers"), *outputs), strict=True)
            self.bias = param(rngs, sizes, axes, zeros)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: [..., *inputs] -> [..., *outputs], in x's dtype."""
        y = project(x, self.kernel.get_value(), self.contracted)
        if self.biased:
            bias = self.bias[...].astype(x.dtype)
            y = y + bias.reshape((1,) * (y.ndim - bias.ndim) + bias.shape)
        return y


class MLP(nnx.Module):
    """Feed-forward half of a block: gated (Shazeer 2020) or plain."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs, joint: bool = False):
        n, wide, narrow = config.num_layers, ((config.mlp_dim, "mlp"),), ((config.embed_dim, "embed"),)
        self.kind, biased = config.mlp, "mlp" in config.biases
        gated = self.kind in ("swiglu", "geglu")
        self.is_joint = joint and gated
        if self.is_joint:
            self.joint = Projection(rngs, n, narrow, ((2, None), *wide), 0.02, biased)
        else:
            self.up = Projection(rngs, n, narrow, wide, 0.02, biased)
            if gated:
                self.gate = Projection(rngs, n, narrow, wide, 0.02, biased)
        self.down = Projection(rngs, n, wide, narrow, 0.02 / (2 * n) ** 0.5, biased)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: [..., D] -> [..., D]."""
        if self.kind not in ("swiglu", "geglu"):
            return self.down(jax.nn.gelu(self.up(x), approximate=self.kind == "gelu_tanh"))
        if self.is_joint:
            both = self.joint(x)  # [..., 2, F]
            gate, up = both[..., 0, :], both[..., 1, :]
        else:
            gate, up = self.gate(x), self.up(x)
        gate = jax.nn.silu(gate) if self.kind == "swiglu" else jax.nn.gelu(gate, approximate=True)
        return self.down(gate * up)


def rotary_frequencies(config: ModelConfig) -> np.ndarray:
    """Radians per position for each rotated pair of channels, [rotary_dim / 2] float32."""
    dim, scaling = config.rotary_dim or config.head_dim, config.rope_scaling
    frequency = config.rope_theta ** (-np.arange(0, dim, 2, dtype=np.float64) / dim)
    if scaling is not None and scaling.kind == "linear":
        frequency = frequency / scaling.factor
    elif scaling is not None:
        # Llama 3.1 looks at a frequency's turns within the original context: it keeps those with many, slows those
        # with few, and interpolates in between.
        turns = scaling.original_context * frequency / (2 * np.pi)
        low, high = scaling.low_freq_factor, scaling.high_freq_factor
        kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
        frequency = frequency * (kept + (1.0 - kept) / scaling.factor)
    return frequency.astype(np.float32)


def rotate(x: jax.Array, positions: jax.Array, config: ModelConfig) -> jax.Array:
    """Rotary position embedding (Su et al. 2021), computed in float32.

    Args:
      x: [..., heads, C]; positions: [...] int32, the leading dimensions of x.
    """
    if config.positions == "learned":
        return x
    dim = config.rotary_dim or config.head_dim
    frequency = jnp.asarray(rotary_frequencies(config))
    angle = positions[..., None].astype(jnp.float32) * frequency.reshape((1,) * positions.ndim + (-1,))
    sin, cos = jnp.sin(angle)[..., None, :], jnp.cos(angle)[..., None, :]
    turned, kept = x[..., :dim].astype(jnp.float32), x[..., dim:]
    if config.positions == "rotary":
        a, b = jnp.split(turned, 2, axis=-1)
        turned = jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
    else:
        a, b = turned[..., 0::2], turned[..., 1::2]
        turned = jnp.stack([a * cos - b * sin, b * cos + a * sin], axis=-1).reshape(turned.shape)
    return jnp.concatenate([turned.astype(x.dtype), kept], axis=-1)
