"""Decoding through prefix, prompt and ring equals one pass over the whole sequence, in every style."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x_selfprog.model import network
from t5x_selfprog.sampling import decode
from t5x_selfprog.sampling.grid import IDLE, empty_grid
from t5x_selfprog.sampling.placing import Placement, load_prompts, share_prompts
from t5x_selfprog.sampling.prefill import Prefilling, compute_prefix, prefill
from t5x_selfprog.sampling.stop import StopRule, token_texts
from t5x_selfprog.sampling.token_choice import TokenChoice
from t5x_selfprog.sampling.weights import prepare, sampling_config
from tests.sampling import byte_model

STYLES = {
    "grouped_rotary": {},
    "qk_norm_separate_head": {"qk_norm": "rms", "head": "separate", "num_kv_heads": 1},
    "gpt_neo": {
        "num_kv_heads": 4,
        "positions": "learned",
        "norm": "layer",
        "mlp": "gelu_tanh",
        "windows": (None, 7),
        "attention_scale": 1.0,
        "biases": ("out", "mlp"),
    },
    "parallel_interleaved": {
        "residual": "parallel",
        "positions": "rotary_interleaved",
        "rotary_dim": 4,
        "norm": "layer",
        "biases": ("mlp", "head", "qkv"),
    },
    "parallel_two_norms_tiny_window": {"residual": "parallel", "parallel_norms": 2, "windows": (1, 3)},
    "ungrouped": {"num_kv_heads": 4, "qk_norm": "rms"},
    "gemma": {"norm": "rms_plus_one", "mlp": "geglu", "embed_scale": 5.7, "windows": (20, None)},
}
PREFIX = "x = 12\n\n"
PROMPTS = ("d", "def f(a: int, b=37):\n", "[1, 2, 3] and then some more")
ROWS, NEW, STEPS = 2, 6, 17  # the ring is filled nearly three times
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def reference_logits(config, params, texts: list[list[int]]) -> np.ndarray:
    """Logits [B, longest, V] by one plain pass."""
    longest = max(map(len, texts))
    tokens = np.zeros((len(texts), longest), np.int32)
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = text
    positions = jnp.broadcast_to(jnp.arange(longest)[None], tokens.shape)

    @quick_jit
    def logits(params, tokens):
        hidden = network.forward(config, params, tokens, positions, jnp.ones(tokens.shape, jnp.int32))
        return network.bind(config, params).logits(hidden)

    return np.asarray(logits(params, tokens))


def close(actual: np.ndarray, expected: np.ndarray, tolerance: float = 1e-4) -> None:
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize(
    "style, with_prefix",
    [
        *((style, True) for style in STYLES),
        ("gpt_neo", False),
        pytest.param("grouped_rotary", False, marks=pytest.mark.slow),
    ],
)
def test_logits_through_the_caches_equal_the_full_pass(style, with_prefix):
    check(style, with_prefix, "float32", "float32", 1e-4)


@pytest.mark.parametrize(
    "weights_dtype, cache_dtype, tolerance",
    [pytest.param("float32", "int8", 0.03, marks=pytest.mark.slow), ("int8", "int8", 0.1)],
)
def test_int8_stays_near_the_full_pass(weights_dtype, cache_dtype, tolerance):
    check("gpt_neo", True, weights_dtype, cache_dtype, tolerance)


@pytest.mark.parametrize("style", ["gpt_neo", "ungrouped"])
@pytest.mark.parametrize(
    "cache_dtype, tolerance", [("float32", 1e-4), pytest.param("bfloat16", 0.03, marks=pytest.mark.slow)]
)
def test_the_layout_of_tpus_gives_the_same(style, cache_dtype, tolerance):
    check(style, True, cache_dtype, cache_dtype, tolerance, by_slots=True)


def check(
    style: str,
    with_prefix: bool,
    weights_dtype: str,
    cache_dtype: str,
    tolerance: float,
    by_slots: bool = False,
) -> None:
    config, tokenizer = byte_model.tiny_config(**STYLES[style]), byte_model.ByteTokenizer()
    params = byte_model.random_params(config)
    weights, fast = prepare(config, params, weights_dtype, None), sampling_config(config, weights_dtype)
    before = tokenizer.encode(PREFIX) if with_prefix else []
    fixed = decode.Decoding(
        fast, TokenChoice(1.0), len(before), tokenizer.vocab_size, (tokenizer.eos_id,), NEW
    )
    tables = StopRule().tables(token_texts(tokenizer), config.vocab_size)

    prompts = [tokenizer.encode(prompt) for prompt in PROMPTS]
    padded = np.full((len(prompts), 32), 9, np.int32)
    for row, prompt in zip(padded, prompts, strict=True):
        row[: len(prompt)] = prompt
    placement = Placement(
        group=jnp.asarray([2, 0, 1], jnp.int32),
        real=jnp.ones(3, bool),
        tokens=jnp.asarray(padded),
        length=jnp.asarray([len(prompt) for prompt in prompts], jnp.int32),
        starts_at_line=jnp.asarray([prompt.endswith("\n") for prompt in PROMPTS]),
        item_hash=jnp.arange(6, dtype=jnp.uint32).reshape(3, 2),
        first_sample=jnp.zeros(3, jnp.int32),
        end_sample=jnp.full(3, 1000, jnp.int32),
    )
    prompt_of_group = {2: prompts[0], 0: prompts[1], 1: prompts[2], 3: prompts[1]}

    computing = Prefilling(fast, len(before))

    @quick_jit
    def run(weights, placement):
        prefix = (
            compute_prefix(computing, weights, jnp.asarray(before, jnp.int32), cache_dtype)
            if before
            else None
        )
        grid = empty_grid(fast, len(prompts) + 1, ROWS, 40, NEW, cache_dtype, by_slots)
        stage_key = jnp.zeros(2, jnp.uint32)
        grid = load_prompts(computing, None, weights, prefix, stage_key, grid, placement)
        # A copied prompt must serve as well; the second copy goes nowhere and moves no attempts.
        source, target, middle = (jnp.asarray(x, jnp.int32) for x in ([0, 1], [3, 4], [500, 0]))
        grid = share_prompts(grid, source, target, middle)

        def step(grid, _):
            logits, _ = decode.next_logits(fixed, weights, prefix, decode.start_attempts(grid))
            grid, events = decode.decode_step(fixed, weights, prefix, tables, grid)
            return grid, (logits, events)

        grid, (logits, events) = jax.lax.scan(step, grid, length=STEPS)
        return grid.first_logits, logits, events

    first_logits, logits, events = jax.device_get(run(weights, placement))
    texts, seen = {}, []  # (group, row, sample) -> tokens; (that key, tokens before, logits)
    for i, g, r in np.ndindex(*events.sample.shape):
        key = (g, r, int(events.sample[i, g, r]))
        assert key[2] != IDLE
        text = texts.setdefault(key, [])
        if text:
            seen.append((key, len(text), logits[i, g, r]))
        text.append(int(events.token[i, g, r]))
    assert len({age for _, age, _ in seen}) == NEW - 1 and any(len(text) < NEW for text in texts.values())

    keys = list(texts)
    whole = [before + prompt_of_group[key[0]] + texts[key] for key in keys]
    expected = reference_logits(config, params, whole)
    for key, age, logits in seen:
        last = len(before) + len(prompt_of_group[key[0]]) + age - 1
        close(logits, expected[keys.index(key), last], tolerance)
    for g, prompt in prompt_of_group.items():
        first = expected[[key[0] for key in keys].index(g), len(before) + len(prompt) - 1]
        close(first_logits[g], first, tolerance)


@pytest.mark.parametrize(
    "window, block",
    (
        (None, 128),
        (1, 128),
        pytest.param(128, 128, marks=pytest.mark.slow),
        (200, 128),
        (200, 512),
        (None, 100),
    ),
)
def test_long_prompts_computed_in_blocks_equal_the_full_pass(window, block):
    config = byte_model.tiny_config(context_length=512, windows=(window,))
    params = byte_model.random_params(config)
    weights, fast = prepare(config, params, "float32", None), sampling_config(config, "float32")
    tokens = np.random.default_rng(0).integers(2, 258, 150 + 300)
    computing = Prefilling(fast, 150, block)

    @quick_jit
    def run(weights, tokens):
        prefix = compute_prefix(computing, weights, tokens[:150])
        lengths = jnp.asarray([260], jnp.int32)
        return prefill(computing, weights, prefix, tokens[None, 150:], lengths)[2]

    last = run(weights, jnp.asarray(tokens, jnp.int32))
    close(np.asarray(last), reference_logits(config, params, [list(tokens)])[:, 150 + 259])
