"""Tiered limits: what they save, what they never change."""

import pytest

from verifier import Limits, Pool, Tiers
from verifier.errors import UserError

PUZZLE = "def f(x: int, n={}):\n    return x == n"
LOOP = "def g(n=0):\n    while n >= 0:\n        n += {}"
SLOW = "def g(n=0):\n    for i in range(6 * 10**6):\n        pass\n    return {}"
QUICK = "def g(n=0):\n    return {}"


@pytest.fixture(scope="module")
def pool():
    with Pool(1, Limits(cpu_s=3, tiers=Tiers(first_s=0.06, candidates=2))) as pool:
        yield pool


def judge(pool, *pairs):
    return list(pool.judge({"puzzle": PUZZLE.format(n), "solution": text} for n, text in pairs))


def test_unsolved_puzzle_gets_the_full_limit(pool):
    slow, quick = judge(pool, (1, SLOW.format(1)), (1, QUICK.format(2)))
    assert slow.outcome == "accepted" and quick.outcome == "wrong"


def test_solved_puzzle_does_not(pool):
    slow, quick = judge(pool, (2, SLOW.format(2)), (2, QUICK.format(2)))
    assert quick.accepted
    assert slow.outcome == "cpu_limit" and "first tier of 0.06 s" in slow.detail and slow.cpu_s < 0.5


def test_few_candidates_one_after_another(pool):
    """Two of four endless ones get the full limit, then no more; the copy of one of them is no further candidate."""
    verdicts = judge(pool, *((3, LOOP.format(step)) for step in (1, 2, 1, 3, 4)))
    assert {v.outcome for v in verdicts} == {"cpu_limit"}
    assert [v.cpu_s > 1 for v in verdicts] == [True, True, True, False, False]


def test_the_first_success_ends_the_search(pool):
    first, second = judge(pool, (4, SLOW.format(4)), (4, LOOP.format(7)))
    assert first.accepted and second.cpu_s < 0.5


def test_windows_remember():
    """A puzzle solved in one window stays solved in the next."""
    with Pool(1, Limits(cpu_s=3, tiers=Tiers(first_s=0.06, window=1))) as pool:
        quick, slow = judge(pool, (5, QUICK.format(5)), (5, SLOW.format(5)))
    assert quick.accepted and slow.outcome == "cpu_limit"


def test_full_limit_below_the_first_tier_is_the_limit():
    with Pool(1, Limits(cpu_s=0.1, tiers=Tiers(first_s=0.5))) as pool:
        (verdict,) = judge(pool, (6, LOOP.format(1)))
    assert verdict.outcome == "cpu_limit" and verdict.cpu_s < 0.3 and "tier" not in verdict.detail


@pytest.mark.parametrize("fields", [{"first_s": 0}, {"candidates": -1}, {"window": 0}])
def test_nonsense_is_refused(fields):
    with pytest.raises(ValueError, match="must be"):
        Tiers(**fields)


def test_what_needs_exact_limits_refuses_tiers():
    Limits().require_exact("evaluate")
    with pytest.raises(UserError, match="evaluate takes every attempt to its full limit"):
        Limits(tiers=Tiers()).require_exact("evaluate")
