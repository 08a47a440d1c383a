"""The chunked loss: its value, its gradients, and its bound on memory."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.training.cross_entropy import total_loss

TIED = ModelConfig(101, 64, 16, 2, 4, 2, 8, 64)
CONFIGS = {
    "tied": TIED,
    "separate": dataclasses.replace(TIED, head="separate"),
    "bias": dataclasses.replace(TIED, head="separate", biases=("head",)),
}
B, L, D, V = 2, 13, 16, 101


def problem(config):
    random = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(random.normal(size=shape), jnp.float32)  # noqa: E731
    tied = config.head == "tied"
    params = {"embedding": draw(V, D)} if tied else {"embedding": draw(V, D), "head": draw(D, V)}
    if config.biases:
        params["head_bias"] = draw(V)
    targets = jnp.asarray(random.integers(0, V, (B, L)), jnp.int32)
    weights = jnp.asarray(random.random((B, L)) * (random.random((B, L)) < 0.7), jnp.float32)
    return params, draw(B, L, D), targets, weights


def plain_loss(config, params, hidden, targets, weights):
    kernel = params["embedding"].T if config.head == "tied" else params["head"]
    logits = hidden @ kernel + params.get("head_bias", jnp.zeros(V))[None, None]
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1)[..., 0]
    return -jnp.sum(weights * picked)


@pytest.mark.parametrize("chunk", [5, 100])
@pytest.mark.parametrize("style", CONFIGS)
def test_value_and_gradients_are_the_plain_ones(style, chunk):
    config = CONFIGS[style]
    params, hidden, targets, weights = problem(config)

    def scaled(loss):  # a factor, so that the incoming gradient is not one
        return jax.value_and_grad(lambda p, h: 3.0 * loss(p, h), (0, 1))(params, hidden)

    value, grads = scaled(lambda p, h: total_loss(config, p, h, targets, weights, chunk))
    expected, expected_grads = scaled(lambda p, h: plain_loss(config, p, h, targets, weights))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), grads, expected_grads)


def test_no_array_holds_all_logits():
    params, hidden, targets, weights = problem(TIED)
    loss = lambda p, h: total_loss(TIED, p, h, targets, weights, 5)  # noqa: E731
    text = str(jax.make_jaxpr(jax.value_and_grad(loss, (0, 1)))(params, hidden))
    assert f"f32[{B},5,{V}]" in text and f"[{B},{L},{V}]" not in text
    assert text.count(f"f32[{B},5,{V}] = dot_general") == 2, "logits of a chunk are computed once"
