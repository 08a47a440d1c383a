"""Intervals, tests and words against closed forms, scipy, enumeration and simulated experiments."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from t5x_selfprog.evaluation.pass_at_k import pass_at_k
from t5x_selfprog.evaluation.statistics import (
    Interval,
    claim,
    difference_interval,
    holm,
    mean_interval,
    paired_test,
    ratio_interval,
    sign_flip_test,
)


def wins(won: int, lost: int, tied: int = 10, problems: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Solved or not, of an arm and its base: `won` by the arm alone, `lost` by it, `tied` solved by both."""
    arm, base = np.zeros(problems), np.zeros(problems)
    arm[:won] = base[won : won + lost] = 1
    arm[problems - tied :] = base[problems - tied :] = 1
    return arm, base


def verdict(arm: np.ndarray, base: np.ndarray) -> str:
    return claim(difference_interval(arm, base, seed=0), ratio_interval(arm, base, seed=0))


# Intervals.


def test_agrees_with_scipy_bootstrap_on_many_problems():
    values = np.random.default_rng(0).beta(1, 3, 3000)
    ours = mean_interval(values, seed=0)
    theirs = scipy.stats.bootstrap((values,), np.mean, method="BCa", rng=1).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.06 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.06 * width)


def test_paired_difference_agrees_with_the_t_interval_on_many_problems():
    rng = np.random.default_rng(0)
    base = rng.beta(1, 3, 4000)
    arm = np.clip(base + rng.normal(0.01, 0.05, 4000), 0, 1)
    ours = difference_interval(arm, base, seed=0)
    theirs = scipy.stats.ttest_rel(arm, base).confidence_interval()
    assert ours.estimate == pytest.approx((arm - base).mean())
    np.testing.assert_allclose([ours.low, ours.high], theirs, atol=0.08 * (theirs.high - theirs.low))


def test_pairing_pays():
    rng = np.random.default_rng(0)
    base = rng.beta(1, 3, 200)
    arm = np.clip(base + rng.normal(0.02, 0.02, 200), 0, 1)
    paired, unpaired = (difference_interval(a, base, seed=0) for a in (arm, rng.permutation(arm)))
    assert paired.high - paired.low < 0.2 * (unpaired.high - unpaired.low)


def test_nothing_solved_is_bounded_by_the_exact_binomial():
    exact = scipy.stats.binomtest(0, 120).proportion_ci(method="exact")
    zeros, ones = mean_interval(np.zeros(120), seed=0), mean_interval(np.ones(120), seed=0)
    assert (zeros.low, zeros.high) == (0, pytest.approx(exact.high))
    assert (ones.low, ones.high) == (pytest.approx(1 - exact.high), 1)
    nothing = difference_interval(np.zeros(120), np.zeros(120), seed=0)
    assert (nothing.low, nothing.high) == (pytest.approx(-exact.high), pytest.approx(exact.high))


def test_ratio_over_nothing_is_unbounded_and_never_nan_at_its_ends():
    arm, base = wins(12, 0, tied=0)
    ratio = ratio_interval(arm, base, seed=0)
    assert ratio.estimate == math.inf == ratio.high and ratio.low > 1
    both = ratio_interval(base, base, seed=0)
    assert (both.low, both.high) == (0, math.inf)
    assert both.as_dict() == {"estimate": None, "low": 0.0, "high": None}


def test_same_seed_same_interval_and_order_of_problems_is_all_that_else_matters():
    arm, base = wins(9, 3)
    assert difference_interval(arm, base, seed=3) == difference_interval(arm, base, seed=3)
    backwards = difference_interval(base, arm, seed=3)
    forwards = difference_interval(arm, base, seed=3)
    assert backwards.estimate == -forwards.estimate
    assert (backwards.low, backwards.high) == (
        pytest.approx(-forwards.high, abs=0.01),
        pytest.approx(-forwards.low, abs=0.01),
    )


@pytest.mark.parametrize("problems", [40, 228])
@pytest.mark.parametrize(("a", "k"), [(0.1, 1), (0.1, 100), (0.3, 10)])
def test_mean_interval_covers(problems, a, k):
    """Problems of Beta(a, 2) difficulty, most nearly impossible: nominal 95% holds in at least 90%."""
    rng = np.random.default_rng(1)
    truth = np.mean(1 - (1 - rng.beta(a, 2, 400_000)) ** k)
    hits = 0
    for trial in range(200):
        c = rng.binomial(100, rng.beta(a, 2, problems))
        interval = mean_interval(pass_at_k(100, c, k), seed=trial, resamples=500)
        hits += interval.low <= truth <= interval.high
    assert hits / 200 >= 0.9


@pytest.mark.parametrize(("problems", "a", "k"), [(40, 0.05, 1), (120, 0.01, 100), (228, 0.3, 10)])
def test_arms_without_difference_are_rarely_told_apart(problems, a, k):
    """A third of the problems change difficulty at random between the arms: about 5% claims at most."""
    rng = np.random.default_rng(2)
    claims = 0
    for trial in range(200):
        before = rng.beta(a, 2, problems)
        after = np.where(rng.random(problems) < 0.3, rng.beta(a, 2, problems), before)
        arm, base = (pass_at_k(100, rng.binomial(100, p), k) for p in (after, before))
        interval = difference_interval(arm, base, seed=trial, resamples=500)
        claims += interval.low > 0 or interval.high < 0
    assert claims / 200 <= 0.07


# Several seeds.


def test_identical_seeds_say_no_more_than_one():
    arm, base = wins(9, 3)
    one = difference_interval(arm, base, seed=0)
    three = difference_interval(np.tile(arm, (3, 1)), np.tile(base, (3, 1)), seed=0)
    assert three == one


def test_variance_between_seeds_is_in_the_interval():
    """Seeds that differ on every problem alike: the interval is that of a mean of eight."""
    rng = np.random.default_rng(0)
    levels = 0.5 + np.linspace(-0.2, 0.2, 8)
    table = (rng.random((8, 400)) < levels[:, None]).astype(float)
    crossed = mean_interval(table, seed=0)
    averaged = mean_interval(table.mean(0), seed=0)
    between = scipy.stats.sem(table.mean(1))
    assert crossed.high - crossed.low > 2 * 1.8 * between > 2 * (averaged.high - averaged.low)


def trained(rng, seeds: int, problems: int, between: float) -> np.ndarray:
    """[seeds, problems] of models that differ by seed on all problems alike."""
    level = 0.5 + rng.normal(0, between, (seeds, 1))
    return np.clip(level + rng.normal(0, 0.01, (seeds, problems)), 0, 1)


def test_where_seeds_dominate_the_interval_is_students():
    tables = [trained(np.random.default_rng(i), 3, 4000, 0.05) for i in range(2)]
    means = np.subtract(*tables).mean(1)
    theirs = scipy.stats.t.interval(0.95, 2, means.mean(), scipy.stats.sem(means))
    ours = difference_interval(*tables, seed=0)
    np.testing.assert_allclose([ours.low, ours.high], theirs, atol=0.1 * (theirs[1] - theirs[0]))


def test_three_seeds_that_vary_are_covered():
    """Two arms of three seeds without difference: redrawing the seeds would claim one in a quarter of trials."""
    rng = np.random.default_rng(0)
    hits, claims = 0, 0
    for trial in range(200):
        arm, base = trained(rng, 3, 40, 0.05), trained(rng, 3, 40, 0.05)
        interval = difference_interval(arm, base, seed=trial % 3, resamples=2000)
        hits += interval.low <= 0 <= interval.high
        claims += paired_test(arm, base, seed=trial % 3, resamples=500) < 0.05
    assert hits / 200 >= 0.92 and claims / 200 <= 0.08


def test_what_the_runs_of_a_seed_share_cancels():
    base = trained(np.random.default_rng(0), 3, 200, 0.1)
    paired, crossed = (
        difference_interval(base[order] + 0.02, base, seed=0) for order in ([0, 1, 2], [1, 2, 0])
    )
    assert 0 < paired.low <= paired.high < 0.05 and crossed.low < 0 < crossed.high


def test_seeds_against_one_model():
    """Several runs against a base that was measured once: its own level is taken as it is."""
    base = np.full(400, 0.3)
    arm = np.repeat([[0.5], [0.52], [0.54]], 400, axis=1)
    interval = difference_interval(arm, base, seed=0)
    theirs = scipy.stats.t.interval(0.95, 2, 0.22, scipy.stats.sem([0.2, 0.22, 0.24]))
    np.testing.assert_allclose([interval.low, interval.high], theirs, atol=0.015)


def test_a_difference_that_one_seed_made_is_no_difference():
    base = np.zeros((3, 200))
    arm = base.copy()
    arm[0, :60] = 1
    assert sign_flip_test(arm, base, seed=0) < 1e-3
    assert paired_test(arm, base, seed=0) > 0.05
    assert verdict(arm, base) == "no difference shown"
    assert paired_test(arm[0], base[0], seed=0) == sign_flip_test(arm[0], base[0], seed=0)


# Tests and corrections.


def test_sign_flips_agree_with_scipy_enumeration():
    rng = np.random.default_rng(0)
    arm, base = rng.random(10), rng.random(10)

    def mean_difference(a, b, axis=-1):
        return np.mean(a - b, axis=axis)

    exact = scipy.stats.permutation_test(
        (arm, base), mean_difference, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_test(arm, base, seed=0) == pytest.approx(exact.pvalue)


@pytest.mark.parametrize(("won", "lost"), [(4, 0), (6, 0), (7, 5), (25, 10), (10, 25)])
def test_sign_flips_of_solved_or_not_are_the_sign_test(won, lost):
    exact = scipy.stats.binomtest(won, won + lost).pvalue
    assert sign_flip_test(*wins(won, lost), seed=0) == pytest.approx(exact, rel=0.1)


def test_sign_flip_never_says_impossible():
    assert 0 < sign_flip_test(*wins(100, 0), seed=0) < 1e-3
    assert sign_flip_test(*wins(0, 0), seed=0) == 1


def test_holm_is_closed_testing_with_bonferroni():
    rng = np.random.default_rng(0)
    for _ in range(20):
        p_values = dict(zip("abcde", rng.random(5) ** 3, strict=True))
        expected = {
            name: max(
                min(1.0, len(family) * min(p_values[other] for other in family))
                for size in range(1, 6)
                for family in itertools.combinations(p_values, size)
                if name in family
            )
            for name in p_values
        }
        assert holm(p_values) == pytest.approx(expected)


# Words.


@pytest.mark.parametrize(
    ("won", "lost", "words"),
    [
        (0, 0, "no difference shown"),
        (4, 0, "no difference shown"),  # p = 0.125, though no plain bootstrap draw falls below zero
        (5, 0, "no difference shown"),
        (6, 0, "improves"),
        (13, 0, "improves"),  # estimated at 2.3 times the base, but the interval reaches below 2
        (40, 0, "more than doubles"),
        (0, 8, "worsens"),
        (12, 10, "no difference shown"),
    ],
)
def test_words_follow_the_intervals(won, lost, words):
    assert verdict(*wins(won, lost)) == words


def test_an_end_on_the_line_claims_nothing():
    two = Interval(2.5, 2.0, 3.0)
    assert claim(Interval(0.1, 0.0, 0.2), two) == "no difference shown"
    assert claim(Interval(0.1, 0.01, 0.2), two) == "improves"
    assert claim(Interval(-0.1, -0.2, 0.0), Interval(0.5, 0.2, 1.0)) == "no difference shown"
    assert claim(Interval(math.nan, math.nan, math.nan), two) == "no difference shown"


# Bad input.


@pytest.mark.parametrize(
    ("arm", "base", "words"),
    [
        ([0, 1, 1], [0, 1], "arm has 3 problems, base 2"),
        ([], [], "not empty"),
        ([math.nan], [0], "finite"),
    ],
)
def test_unpairable_values_are_refused(arm, base, words):
    with pytest.raises(ValueError, match=words):
        difference_interval(arm, base, seed=0)


def test_percentages_are_refused():
    with pytest.raises(ValueError, match=r"\[0, 1\], got 12"):
        mean_interval([0, 12.0], seed=0)
