"""Tokens are chosen with the right frequencies, from the right set, and never with probability zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x_selfprog.sampling.token_choice import TokenChoice, heaviest_threshold, invert_cumulative
from verifier.errors import UserError

UNIFORMS = (np.arange(20_000) + 0.5) / 20_000


def frequencies(choice: TokenChoice, logits: np.ndarray) -> np.ndarray:
    """The frequency of each token, over evenly spread uniforms."""
    rows = jnp.broadcast_to(jnp.asarray(logits, jnp.float32)[None], (UNIFORMS.size, logits.size))
    tokens = np.asarray(jax.jit(choice)(rows, jnp.asarray(UNIFORMS, jnp.float32)))
    return np.bincount(tokens, minlength=logits.size) / UNIFORMS.size


def truncated(logits: np.ndarray, choice: TokenChoice) -> np.ndarray:
    """The truncated distribution by sorting, in float64."""
    p = np.exp((logits - logits.max()) / choice.temperature)
    order = np.argsort(-p, kind="stable")
    if choice.top_k:
        p[order[choice.top_k :]] = 0.0
    p /= p.sum()
    mass = np.cumsum(p[order])
    p[order[np.searchsorted(mass, choice.top_p) + 1 :]] = 0.0
    return p / p.sum()


@pytest.mark.parametrize("size", (2, 37, 300))
@pytest.mark.parametrize(
    "choice",
    [
        TokenChoice(1.0),
        TokenChoice(0.5),
        TokenChoice(1.7, top_k=5),
        TokenChoice(0.9, top_p=0.6),
        TokenChoice(1.3, top_k=9, top_p=0.8),
        TokenChoice(1.0, top_k=1000),
        TokenChoice(1.0, top_p=1e-6),
    ],
    ids=str,
)
def test_frequencies_are_the_truncated_softmax(choice, size):
    logits = np.random.default_rng(size).normal(size=size) * 2
    expected = truncated(logits, choice)
    actual = frequencies(choice, logits)
    np.testing.assert_allclose(actual, expected, atol=2 / 20_000 + 1e-5)
    assert not actual[expected == 0].any()


def test_temperature_zero_is_argmax_and_small_temperatures_tend_to_it():
    logits = np.asarray([0.0, 3.0, 2.9, -50.0])
    for choice in (TokenChoice(0.0), TokenChoice(1e-3)):
        np.testing.assert_array_equal(frequencies(choice, logits), [0, 1, 0, 0])


def test_impossible_tokens_are_never_chosen_at_either_end_of_the_uniforms():
    weights = np.zeros((3, 50), np.float32)
    weights[0, 7] = 1e-30
    weights[1, [3, 40]] = 1.0, 1e-12
    weights[2, [0, 49]] = 1.0
    for u in (0.0, 0.3, 1 - 2**-24):
        tokens = np.asarray(invert_cumulative(jnp.asarray(weights), jnp.full(3, u, jnp.float32)))
        assert (weights[np.arange(3), tokens] > 0).all(), (u, tokens)


def test_ties_at_the_threshold_are_all_kept():
    logits = np.log(np.asarray([0.1, 0.3, 0.3, 0.3]))
    for choice in (TokenChoice(1.0, top_k=2), TokenChoice(1.0, top_p=0.4)):
        np.testing.assert_allclose(frequencies(choice, logits), [0, 1 / 3, 1 / 3, 1 / 3], atol=1e-3)


def test_heaviest_threshold_is_exact():
    weights = np.random.default_rng(0).random((20, 61)).astype(np.float32) ** 8
    needed = 0.7 * weights.sum(-1, keepdims=True)
    threshold = np.asarray(heaviest_threshold(jnp.asarray(weights), jnp.asarray(needed)))
    for row, t, need in zip(weights, threshold, needed, strict=True):
        assert t in row and row[row >= t].sum() >= need > row[row > t].sum()


@pytest.mark.parametrize(
    "bad",
    [{"temperature": -1.0}, {"temperature": float("nan")}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}],
)
def test_bad_settings_are_named(bad):
    with pytest.raises(UserError, match=next(iter(bad))):
        TokenChoice(**bad)
