"""A decoding step's GPU kernels compute what plain attention does; here they run as plain JAX."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x_selfprog.model.int8 import quantize
from t5x_selfprog.sampling.row_attention import Caches, Rows, plain
from t5x_selfprog.sampling.row_attention_triton import triton_attention
from t5x_selfprog.sampling.sampler import Sampler, SamplingConfig
from tests.sampling import byte_model
from verifier.errors import UserError

SIZE, SLOTS, RING, BEFORE = (
    16,
    150,
    70,
    37,
)  # channels, prompt slots, ring slots, prefix: not multiples of a block
GROUPS, ROWS = 2, 3
AGES = np.asarray([[0, 1, 5], [70, 33, 69]])
LENGTHS = np.asarray([150, 1])


def arguments(heads: int, kv: int, dtype: str, before: int, slot: int) -> tuple:
    random = np.random.default_rng(heads * kv + slot)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(random.normal(size=shape), dtype)

    q, k, v = (
        normal(GROUPS, ROWS, heads, SIZE),
        normal(GROUPS, ROWS, kv, SIZE),
        normal(GROUPS, ROWS, kv, SIZE),
    )
    prompt = normal(GROUPS, kv, SIZE, SLOTS), normal(GROUPS, kv, SLOTS, SIZE)
    own = normal(GROUPS, kv, ROWS, SIZE, RING), normal(GROUPS, kv, ROWS, RING, SIZE)
    prefix = (normal(1, kv, SIZE, before), normal(1, kv, before, SIZE)) if before else None
    place = [jnp.asarray(x, jnp.int32) for x in (LENGTHS, AGES, slot)]
    return q, k, v, Caches(prompt, own, prefix), Rows(*place, before)


@pytest.mark.parametrize(
    "heads, kv, dtype, before, slot, window",
    [
        (14, 2, "float32", BEFORE, 3, None),  # seven queries per key, as in Qwen2.5-Coder 0.5B
        (2, 2, "float32", 0, 69, None),  # one query per key
        (2, 2, "float32", BEFORE, 40, 20),
        (4, 1, "float32", BEFORE, 64, 1),
        (14, 2, "bfloat16", BEFORE, 66, 50),
    ],
)
def test_the_kernels_equal_plain_attention(heads, kv, dtype, before, slot, window):
    given = arguments(heads, kv, dtype, before, slot)
    expected, caches = jax.jit(functools.partial(plain, window=window, scale=0.3))(*given)
    kernels = functools.partial(triton_attention, window=window, scale=0.3, interpret=True)
    actual, written = jax.jit(kernels)(*given)
    for cache, ours in zip(caches, written, strict=True):
        np.testing.assert_array_equal(np.asarray(cache, np.float32), np.asarray(ours, np.float32))
    assert np.isfinite(np.asarray(actual, np.float32)).all()
    begun = AGES > 0  # the output of other rows is garbage
    tolerance = 1e-5 if dtype == "float32" else 0.02
    np.testing.assert_allclose(
        np.asarray(actual, np.float32)[begun], np.asarray(expected, np.float32)[begun], atol=tolerance
    )


def test_what_the_kernels_cannot_read_is_named():
    q, k, v, caches, rows = arguments(2, 2, "float32", 0, 0)
    own = caches.own
    narrow = quantize(own[0], -2), quantize(own[1], -1)
    for bad, named in ((narrow, "cache_dtype"), (tuple(x.astype("bfloat16") for x in own), "bfloat16")):
        with pytest.raises(UserError, match=named):
            triton_attention(q, k, v, caches._replace(own=bad), rows, None, 1.0)
    with pytest.raises(UserError, match="24"):
        odd = q[..., :1].repeat(24, axis=-1)
        triton_attention(odd, odd, odd, caches, rows, None, 1.0)


def test_kernels_are_refused_where_there_is_no_gpu():
    config = SamplingConfig(attention="triton", prompt_buckets=(8,), max_new_tokens=4)
    with pytest.raises(UserError, match="attention='plain'"):
        Sampler(byte_model.tiny_config(), {}, byte_model.ByteTokenizer(), config, checkpoint="none")
    with pytest.raises(UserError, match="flash"):
        SamplingConfig(attention="flash")
