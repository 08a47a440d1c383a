"""`selfprog bench rows`: do a decoding step's kernels agree with plain attention on this device, and how fast are they?

Uses random caches of the shapes that matter; each way runs in a loop on the device, as in a chunk, so that only its own
time counts. Prints one JSON line.
"""

import argparse
import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from t5x_selfprog import model_shapes
from t5x_selfprog.sampling.row_attention import Caches, RowAttention, Rows, plain
from t5x_selfprog.sampling.row_attention_triton import triton_attention
from verifier.errors import UserError

TOLERANCE = 0.02  # of the largest value; bfloat16 rounds to 1/256


@dataclasses.dataclass(frozen=True)
class Shape:
    """G prompts, R rows, H and K heads, C channels, S prompt slots, T ring slots, P prefix tokens."""

    groups: int
    rows: int
    heads: int
    kv: int
    size: int
    prompt: int
    ring: int
    prefix: int = 0
    window: int | None = None

    @classmethod
    def of(cls, model: str, groups: int, rows: int, **slots: int | None) -> "Shape":
        """model: a file of gin/models."""
        found = model_shapes.named(model)
        heads, kv, size = found.num_heads, found.num_kv_heads, found.head_dim
        return cls(groups=groups, rows=rows, heads=heads, kv=kv, size=size, prompt=512, **slots)  # type: ignore[arg-type]


SHAPES: dict[str, Callable[[], Shape]] = {
    "tiny": lambda: Shape(2, 4, 4, 2, 16, 40, 24, 9),
    "0p5b": lambda: Shape.of("qwen2p5_coder_0p5b", 64, 8, ring=160, prefix=437),
    "0p5b_2048": lambda: Shape.of("qwen2p5_coder_0p5b", 256, 8, ring=160, prefix=437),
    "smollm2": lambda: Shape.of("smollm2_135m", 64, 8, ring=160),
    "125m": lambda: Shape.of("gpt_neo_125m", 1, 128, ring=64),
    "125m_local": lambda: Shape.of("gpt_neo_125m", 1, 128, ring=64, window=256),
    "1p3b": lambda: Shape.of("gpt_neo_1p3b", 1, 128, ring=64),
    "2p7b": lambda: Shape.of("gpt_neo_2p7b", 1, 128, ring=64),
}
STEPS = 50


def command(args: argparse.Namespace) -> dict:
    """Compares both ways in --dtype for every shape of --size, a comma-separated list.

    Raises UserError naming an unknown shape, RuntimeError where the ways differ.
    """
    names = args.size.split(",")
    interpret = jax.default_backend() != "gpu"
    kernels = functools.partial(triton_attention, interpret=interpret)
    found = {}
    for name in names:
        if name not in SHAPES:
            raise UserError(f"--size={name}: choose from {', '.join(SHAPES)}, several with commas between.")
        found[name] = _compare(SHAPES[name](), kernels, args.dtype, steps=2 if interpret else STEPS)
    result = {"job": "rows", "dtype": args.dtype, "device": jax.devices()[0].device_kind, "shapes": found}
    worst = max(shape["worst"] for shape in found.values())
    if not worst < TOLERANCE:
        print(json.dumps(result), file=sys.stderr)  # shows which shape differs
        raise RuntimeError(f"the kernels differ from plain attention by {worst:.3f} of the largest value")
    return result


def _compare(shape: Shape, kernels: RowAttention, dtype: str, steps: int) -> dict:
    given = _random(shape, dtype)
    exact = jax.tree.map(lambda x: x.astype("float32") if x.dtype == dtype else x, given)
    expected, _ = _jit(plain, shape)(*exact)
    result = {}
    for name, way in (("plain", plain), ("triton", kernels)):
        out, caches = _jit(way, shape)(*given)
        off = np.abs(np.asarray(out, np.float32) - np.asarray(expected))
        result[f"{name}_off"] = float(off.max() / np.abs(np.asarray(expected)).max())
        written = _jit(plain, shape)(*given)[1]
        same = all(bool(jnp.array_equal(a, b)) for a, b in zip(caches, written, strict=True))
        result[f"{name}_us"] = _time(way, shape, given, steps)
        if not same:
            raise RuntimeError(
                f"{name}: the caches of {shape} were not written as plain attention writes them"
            )
    return {**result, "worst": result["triton_off"]}


def _jit(way: RowAttention, shape: Shape) -> Callable:
    return jax.jit(functools.partial(way, window=shape.window, scale=shape.size**-0.5))


def _time(way: RowAttention, shape: Shape, given: tuple, steps: int) -> float:
    """Microseconds per step, in a loop that carries the caches as a chunk does."""
    q, k, v, caches, rows = given

    def chunk(q, own):
        def step(carry, _):
            q, own = carry
            out, own = way(
                q, k, v, caches._replace(own=own), rows, window=shape.window, scale=shape.size**-0.5
            )
            return (out, own), None

        return jax.lax.scan(step, (q, own), length=steps)[0]

    run = jax.jit(chunk)
    jax.block_until_ready(run(q, caches.own))
    begun = time.perf_counter()
    jax.block_until_ready(run(q, caches.own))
    return round((time.perf_counter() - begun) / steps * 1e6, 1)


def _random(s: Shape, dtype: str) -> tuple:
    keys = iter(jax.random.split(jax.random.key(0), 9))

    def normal(*shape: int) -> jax.Array:
        return jax.random.normal(next(keys), shape, dtype)

    ages = np.random.default_rng(0).integers(1, s.ring + 1, (s.groups, s.rows))
    lengths = np.random.default_rng(1).integers(s.prompt // 2, s.prompt + 1, s.groups)
    rows = Rows(
        jnp.asarray(lengths, jnp.int32), jnp.asarray(ages, jnp.int32), jnp.int32(s.ring // 3), s.prefix
    )
    prefix = (normal(1, s.kv, s.size, s.prefix), normal(1, s.kv, s.prefix, s.size)) if s.prefix else None
    return (
        normal(s.groups, s.rows, s.heads, s.size),
        normal(s.groups, s.rows, s.kv, s.size),
        normal(s.groups, s.rows, s.kv, s.size),
        Caches(
            (normal(s.groups, s.kv, s.size, s.prompt), normal(s.groups, s.kv, s.prompt, s.size)),
            (normal(s.groups, s.kv, s.rows, s.size, s.ring), normal(s.groups, s.kv, s.rows, s.ring, s.size)),
            prefix,
        ),
        rows,
    )
