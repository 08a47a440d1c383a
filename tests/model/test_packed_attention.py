"""Every implementation of packed attention agrees with the plain formula, gradients included."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo

from t5x_selfprog import partitioning
from t5x_selfprog.model import network, packed_attention
from t5x_selfprog.model.attention import attend, causal_mask
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.training.batches import Batch
from t5x_selfprog.training.train_loop import LoopConfig
from t5x_selfprog.training.train_step import loss_sums
from verifier.errors import UserError

BATCH, HEADS, KV, SCALE = 2, 4, 2, 0.3
WINDOWS = (None, 1, 13)


def rows(length: int, head_dim: int = 8, dtype="float32"):
    """q, k, v, positions, segments of two rows: three documents and padding; one document to the end."""
    random = np.random.default_rng(length)
    q, k, v = (random.normal(size=(BATCH, length, h, head_dim)) for h in (HEADS, KV, KV))
    sizes = [length // 2 + 3, 1, length // 4, length - length // 2 - length // 4 - 4]
    segments = np.stack([np.repeat([1, 2, 3, 0], sizes), np.ones(length)])
    positions = np.stack([np.concatenate([np.arange(size) for size in sizes]), np.arange(length)])
    arrays = [jnp.asarray(x, dtype) for x in (q, k, v)]
    return (*arrays, jnp.asarray(positions, jnp.int32), jnp.asarray(segments, jnp.int32))


def formula(q, k, v, positions, segments, window, scale):
    return attend(q, k, v, causal_mask(positions, positions, segments, segments, window), scale)


def values_and_gradients(attention, arguments, window):
    """The output and the gradients of q, k, v, at positions that hold a token."""
    real = arguments[-1] > 0
    weights = jnp.sin(jnp.arange(arguments[0].size, dtype=jnp.float32)).reshape(arguments[0].shape)

    def loss(q, k, v):
        out = attention(q, k, v, *arguments[3:], window, SCALE).astype(jnp.float32)
        out = jnp.where(real[:, :, None, None], out, 0.0)
        return jnp.sum(weights * out), out

    quick = {"xla_backend_optimization_level": 0}  # compiling takes the time
    grads, out = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True), compiler_options=quick)(*arguments[:3])
    return [np.asarray(jnp.where(real[:, :, None, None], x, 0), np.float32) for x in (out, *grads)]


def assert_close(actual, expected, tolerance):
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=tolerance, atol=tolerance * np.abs(e).max())


@pytest.mark.parametrize("window", WINDOWS)
def test_blocks_of_queries_equal_the_whole(window):
    arguments = rows(37)
    blocks = functools.partial(packed_attention.plain, block=8)
    expected = values_and_gradients(formula, arguments, window)
    assert_close(values_and_gradients(blocks, arguments, window), expected, 1e-5)


@pytest.mark.parametrize("window", (None, 130))
def test_splash_equals_plain(window):
    arguments = rows(256, head_dim=64)
    splash = functools.partial(packed_attention.splash, interpret=True)
    expected = values_and_gradients(packed_attention.plain, arguments, window)
    assert_close(values_and_gradients(splash, arguments, window), expected, 2e-3)


def test_splash_under_a_mesh_equals_plain():
    arguments = rows(128, head_dim=64)
    expected = values_and_gradients(packed_attention.plain, arguments, None)
    partitioner = Partitioner(MeshConfig(2, 1, 2).make(jax.devices()[:4]))
    with partitioning.use(partitioner):
        splash = functools.partial(packed_attention.splash, interpret=True)
        assert_close(values_and_gradients(splash, arguments, None), expected, 2e-3)


@pytest.mark.parametrize("window", WINDOWS)
def test_what_cudnn_is_asked_for_is_plain_attention(window, monkeypatch):
    """Without a GPU here, XLA's implementation takes the kernel's place."""
    ask = jax.nn.dot_product_attention

    def ask_xla(*arguments, implementation, **options):
        assert implementation == "cudnn"
        return ask(*arguments, implementation="xla", **options)

    monkeypatch.setattr(jax.nn, "dot_product_attention", ask_xla)
    arguments = rows(37, dtype="bfloat16")
    expected = values_and_gradients(packed_attention.plain, arguments, window)
    with jax.numpy_dtype_promotion("standard"):  # XLA's own path is not strict
        asked = values_and_gradients(packed_attention.cudnn, arguments, window)
    assert_close(asked, expected, 3e-2)


def test_what_a_kernel_cannot_do_is_named():
    with pytest.raises(UserError, match=r"multiple of 128, not 37"):
        packed_attention.splash(*rows(37), None, SCALE)
    with pytest.raises(UserError, match=r"bfloat16, not float32"):
        packed_attention.cudnn(*rows(37), None, SCALE)


@pytest.mark.parametrize(("kernel", "platform"), [("splash", "tpu"), ("cudnn", "cuda")])
def test_a_train_step_with_the_kernel_lowers_for_its_machine(kernel, platform, monkeypatch):
    """Shapes, masks and layouts can be checked without such a machine."""
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(fused_attention_stablehlo, "check_compute_capability", lambda _: True)
    config = ModelConfig(101, 512, 128, 2, 2, 2, 64, 128, windows=(None, 256), dtype="bfloat16")
    row = jax.ShapeDtypeStruct((2, 512), jnp.int32)
    batch = Batch(row, row, row, row, jax.ShapeDtypeStruct(row.shape, jnp.float32))
    options = LoopConfig(attention=kernel, remat="dots").forward_options(config)
    grad = jax.jit(jax.grad(lambda params, batch: loss_sums(config, params, batch, 256, **options)[0]))
    with jax.numpy_dtype_promotion("standard"):  # the kernels are not strict
        lowered = grad.trace(network.abstract_params(config), batch).lower(lowering_platforms=(platform,))
    text = lowered.as_text()
    assert text.count({"splash": "tpu_custom_call", "cudnn": "__cudnn$fmha"}[kernel]) >= 4


@pytest.mark.parametrize(("mesh", "says"), [
    (MeshConfig(1, 1, 8), r"tensor=8 does not divide the model's 4 heads, .*choose one of 1, 2 with more fsdp"),
    (MeshConfig(2, 1, 4), r"tensor=4 does not divide the model's 2 heads of keys and values, .*choose one of 1, 2 "),
])  # fmt: skip
def test_splash_wants_whole_heads_on_every_device(mesh, says):
    with partitioning.use(Partitioner(mesh.make())), pytest.raises(UserError, match=says):
        packed_attention.splash(*rows(128, head_dim=64), None, SCALE)
