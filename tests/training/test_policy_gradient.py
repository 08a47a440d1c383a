"""Policy gradients against their papers' formulas in float64, and what may become a batch."""

import functools

import jax
import numpy as np
import pytest

from t5x_selfprog.model import network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.training.policy_gradient import PolicyGradient, policy_loss
from t5x_selfprog.training.rollouts import Rollout, group, rows, shared_out
from tests.sampling.byte_model import random_params
from tests.training import policy_gradient_reference
from verifier.errors import UserError

CONFIG = ModelConfig(31, 32, 16, 2, 2, 1, 8, 24)
LONGEST = 9


@functools.cache
def params():
    # Flat enough that ratios of new to old stay near one, and steep enough that tokens differ.
    return jax.tree.map(lambda x: x * 2.0, random_params(CONFIG, 3))


def jitted(function):
    """Compiled with little effort: these models are tiny."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def logits_of(weights, batch):
    hidden = network.forward(CONFIG, weights, batch.tokens, batch.positions, batch.segment_ids)
    return network.bind(CONFIG, weights).logits(hidden)


def made(objective, seed=0, count=7):
    """A batch whose old log-probabilities are near the new ones, some beyond the bounds; its attempts; its logits."""
    random = np.random.default_rng(seed)
    rollouts = []
    for _ in range(count):
        prompt, tokens = (
            random.integers(2, 31, random.integers(least, most)).astype(np.int32)
            for least, most in ((2, 6), (1, LONGEST + 1))
        )
        rollouts.append(Rollout(prompt, tokens, np.zeros(len(tokens), np.float32), float(random.normal())))
    batch = rows(objective, rollouts, length=24, longest=LONGEST, ways=1)
    with jax.default_matmul_precision("highest"):
        logits = np.asarray(jitted(logits_of)(params(), batch), np.float64)
    logs = np.take_along_axis(policy_gradient_reference.log_softmax(logits), batch.targets[..., None], -1)[
        ..., 0
    ]
    chosen = batch.weights > 0
    old = np.where(chosen, logs + random.normal(0, 0.25, logs.shape), 0.0).astype(np.float32)
    base = np.where(chosen, logs + random.normal(0, 0.5, logs.shape), 0.0).astype(np.float32)
    batch = batch._replace(old=old, base=base)
    attempts = []
    for row in range(len(batch.tokens)):
        for segment in range(1, batch.segment_ids[row].max() + 1):
            where = np.flatnonzero((batch.segment_ids[row] == segment) & chosen[row])
            advantage = float(batch.advantages[row, where[0]])
            attempts.append(
                (row, where, batch.targets[row, where], old[row, where], base[row, where], advantage)
            )
    assert len(attempts) == count
    return batch, attempts, logits


OBJECTIVES = [
    PolicyGradient(),
    PolicyGradient(clip_low=0.2, clip_high=0.28, average="token"),
    PolicyGradient(average="constant", kl=0.04),
    PolicyGradient(clip_low=0.05, clip_high=3.0, kl=0.5),
]


def reference_arguments(objective):
    return {
        "low": objective.clip_low,
        "high": objective.clip_high,
        "average": objective.average,
        "kl": objective.kl,
        "longest": LONGEST,
    }


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_loss_and_gradients_are_those_of_the_formula(objective):
    batch, attempts, logits = made(objective)
    wanted, by_logits = policy_gradient_reference.reference(
        logits, attempts, **reference_arguments(objective)
    )

    def loss(weights):
        total, shown = policy_loss(objective, CONFIG, weights, batch, 7)
        return total / shown["weight"], shown

    with jax.default_matmul_precision("highest"):
        (found, shown), gradients = jitted(jax.value_and_grad(loss, has_aux=True))(params())
        pull = jitted(lambda weights, g: jax.vjp(lambda w: logits_of(w, batch), weights)[1](g)[0])
        expected = pull(params(), np.asarray(by_logits, np.float32))
    assert float(found) == pytest.approx(wanted, rel=1e-5, abs=1e-6)
    largest = max(float(np.abs(x).max()) for x in jax.tree.leaves(expected))
    assert largest > 1e-3
    for path, value in jax.tree_util.tree_flatten_with_path(gradients)[0]:
        there = functools.reduce(lambda tree, key: tree[key.key], path, expected)
        np.testing.assert_allclose(value, there, rtol=1e-5, atol=1e-5 * largest, err_msg=str(path))
    beyond = float(shown["clipped"]) / float(shown["weight"])
    assert 0.0 < beyond < 1.0 or objective.clip_high == 3.0, "the bounds were tried"


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_formula_is_what_torch_differentiates(objective):
    pytest.importorskip("torch", reason="torch is not installed: pip install torch==2.13.0")
    _, attempts, logits = made(objective)
    ours = policy_gradient_reference.reference(logits, attempts, **reference_arguments(objective))
    theirs = policy_gradient_reference.torch_reference(logits, attempts, **reference_arguments(objective))
    assert ours[0] == pytest.approx(theirs[0], rel=1e-12)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("kind", ["grpo", "rloo", "dr_grpo"])
@pytest.mark.parametrize("rewards", [(1, 0), (1, 0, 0, 0, 0), (0.5, 1, 0, 1)])
def test_advantages_are_those_of_the_papers(kind, rewards):
    found = PolicyGradient(advantage=kind).advantages(np.asarray(rewards, float))
    np.testing.assert_allclose(found, policy_gradient_reference.advantages(kind, rewards), rtol=1e-12)
    assert abs(found.sum()) < 1e-9


def test_groups_of_one_mind_teach_nothing_and_are_counted():
    def attempt(puzzle, outcome):
        return {"puzzle_id": puzzle, "outcome": outcome, "tokens": [5, 6], "logprobs": [-1.0, -2.0]}

    records = [
        *(attempt("mixed", outcome) for outcome in ("accepted", "wrong", "infrastructure", "cpu_limit")),
        *(attempt("solved", "accepted") for _ in range(4)),
        *(attempt("hard", "error:TypeError") for _ in range(4)),
        *(
            attempt("lost", outcome)
            for outcome in ("infrastructure", "infrastructure", "accepted", "infrastructure")
        ),
    ]
    found = group(
        PolicyGradient(advantage="dr_grpo"),
        {name: [1, 2] for name in ("mixed", "solved", "hard", "lost")},
        records,
    )
    assert (found.groups, found.alike, found.judged, found.accepted) == (4, 3, 12, 6)
    assert [r.advantage for r in found.rollouts] == pytest.approx([2 / 3, -1 / 3, -1 / 3]), (
        "nobody's fault is no failure"
    )


def test_parts_of_a_batch_hold_every_attempt_once():
    objective = PolicyGradient(average="token")
    rollouts = [
        Rollout(np.arange(3), np.full(1 + i % 4, i), np.full(1 + i % 4, -float(i)), i - 4.0) for i in range(9)
    ]
    parts = shared_out(rollouts, 2, (0, 1, 2))
    assert sorted(r.advantage for part in parts for r in part) == [r.advantage for r in rollouts]
    assert [r.advantage for r in shared_out(rollouts, 2, (0, 1, 3))[0]] != [r.advantage for r in parts[0]]
    batch = rows(objective, rollouts, length=8, longest=4, ways=2)
    assert len(batch.tokens) == 8, "a power of two times the ways"
    for number, rollout in enumerate(rollouts):
        mine = (batch.targets == number) & (batch.weights > 0)
        assert mine.sum() == len(rollout.tokens) and set(batch.old[mine]) == {-float(number)}
        assert set(batch.advantages[mine]) == {rollout.advantage}
    assert batch.counts.sum() == sum(len(r.tokens) for r in rollouts)
    with pytest.raises(ValueError, match="an attempt of 6 tokens"):
        rows(objective, rollouts, length=5, longest=4, ways=1)


def test_nothing_to_learn_from_is_a_batch_of_no_weight():
    batch = rows(PolicyGradient(), [], length=8, longest=4, ways=2)
    assert batch.tokens.shape == (2, 8) and not batch.weights.any() and not batch.counts.any()


@pytest.mark.parametrize(
    "changes",
    [
        {"advantage": "ppo"},
        {"average": "mean"},
        {"clip_low": 0.0},
        {"clip_low": 1.2},
        {"clip_high": 0.0},
        {"kl": -1.0},
    ],
)
def test_a_bad_choice_is_named(changes):
    with pytest.raises(
        UserError, match=f"PolicyGradient.*{next(iter(changes))}={next(iter(changes.values()))!r}"
    ):
        PolicyGradient(**changes)
