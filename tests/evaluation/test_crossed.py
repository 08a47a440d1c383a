"""Problems and seeds as crossed effects: against the two-way layout's closed forms, and in simulated experiments."""

import math

import numpy as np
import pytest
import scipy.stats

from t5x_selfprog.evaluation.crossed import Spread, Trained, share_of_seeds, spread_of
from t5x_selfprog.evaluation.resampling import sampled_difference
from t5x_selfprog.evaluation.statistics import difference_and_test, prepare, ratio_interval

ARMS = 5  # compared with the base: Holm's first step multiplies by it


def table(rng: np.random.Generator, *, seeds: int, problems: int, by_seed: float, noise: float) -> np.ndarray:
    """[seeds, problems] with known parts of the variance."""
    return (
        rng.normal(0, by_seed, (seeds, 1))
        + rng.normal(0, 1, problems)
        + rng.normal(0, noise, (seeds, problems))
    )


def test_the_part_of_the_seeds_is_found_and_not_the_noise():
    rng = np.random.default_rng(0)
    shape = {"seeds": 4, "problems": 50, "noise": 0.7}
    found = [spread_of([table(rng, by_seed=0.5, **shape) for _ in range(4)]) for _ in range(300)]
    assert np.mean([spread.alone for spread in found]) == pytest.approx(0.5**2, rel=0.05)
    assert np.mean([spread.apart for spread in found]) == pytest.approx(0.5**2, rel=0.05)
    assert {(spread.freedom, spread.freedom_apart) for spread in found} == {(12, 9)}
    steady = [spread_of([table(rng, by_seed=0.0, **shape) for _ in range(4)]).alone for _ in range(300)]
    assert np.mean(steady) < 0.2 * 0.7**2 / 50  # all that lies between seeds would be 1.0 of it


def test_what_all_arms_have_in_common_at_a_seed_is_no_part_of_their_difference():
    rng = np.random.default_rng(0)
    common = rng.normal(0, 1, (3, 1))
    arms = [common + table(rng, seeds=3, problems=100, by_seed=0.0, noise=0.1) for _ in range(4)]
    spread = spread_of(arms)
    assert spread.alone == pytest.approx(common.var(ddof=1), rel=0.2) and spread.apart < 0.01 * spread.alone
    assert Trained(spread, 3, 3).part() == (spread.apart * 2 / 3, 6)
    assert Trained(spread, 3, 0).part() == (spread.alone / 3, 8)
    # arms that were not trained with as many seeds are not paired
    assert Trained(spread, 3, 2).part(2.0) == (pytest.approx(spread.alone * (1 / 3 + 4 / 2)), 8)
    # a ratio of one leaves the common part out, any other holds some of it
    far = Trained(spread, 3, 3).part(3.0)[0]
    assert far == pytest.approx((4 * spread.alone + 6 * spread.apart) / 3)


def test_models_that_nobody_trains_again_add_nothing():
    rng = np.random.default_rng(0)
    wild = spread_of([table(rng, seeds=3, problems=100, by_seed=1.0, noise=0.1)])
    assert Trained(wild, 0).part(0.0)[0] == 0 == Trained(wild, 0, 0).part()[0]
    one = rng.random((1, 100))
    assert spread_of([one, one]) == Spread() and Trained(Spread(), 1, 1).part()[0] == 0
    # but an arm of one seed, in a table whose other arms say how far seeds differ, is one draw of many
    assert Trained(wild, 1).part()[0] == wild.alone


def test_arms_of_other_numbers_of_seeds_speak_by_their_degrees_of_freedom():
    rng = np.random.default_rng(0)
    two, five = (table(rng, seeds=seeds, problems=60, by_seed=1.0, noise=0.1) for seeds in (2, 5))
    spread, alone = spread_of([two, five]), [spread_of([arm]).alone for arm in (two, five)]
    assert spread.freedom == 5 and spread.freedom_apart == 0
    assert spread.alone == pytest.approx((alone[0] + 4 * alone[1]) / 5)


def test_degrees_of_freedom_go_from_students_to_none_at_all():
    rng = np.random.default_rng(0)
    base = np.full((1, 500), 0.3)
    wild = table(rng, seeds=3, problems=500, by_seed=5.0, noise=0.1)
    drawn = sampled_difference(wild, base, Trained(spread_of([wild]), 3), 1.0, 0, 2000)
    assert drawn.freedom == pytest.approx(2, rel=0.01)
    pooled = Trained(spread_of([wild, *(table(rng, seeds=3, problems=500, by_seed=5.0, noise=0.1),) * 4]), 3)
    assert sampled_difference(wild, base, pooled, 1.0, 0, 2000).freedom == pytest.approx(10, rel=0.01)
    same = np.tile(rng.random(500), (3, 1))
    alike = spread_of([same])
    assert alike.alone == 0 and share_of_seeds(same) == 0
    assert sampled_difference(same, base, Trained(alike, 3), 1.0, 0, 2000).freedom == math.inf


def test_the_other_arms_say_how_sure_one_is():
    """Two seeds that happen to agree look certain alone, but not among arms whose seeds lie far apart."""
    rng = np.random.default_rng(0)
    base = (rng.random((2, 200)) < 0.2).astype(float)
    arm = np.maximum(base, rng.random(200) < 0.15)
    wild = [np.clip(base + shift, 0, 1) for shift in (np.array([[0.2], [-0.2]]), np.array([[-0.3], [0.1]]))]
    quiet = [np.maximum(base, rng.random(200) < 0.15) for _ in range(2)]
    for others, is_sure in ((quiet, True), (wild, False)):
        trained = Trained(spread_of([arm, *others]), 2)
        difference, p_value = difference_and_test(arm, base, seed=0, trained=trained)
        assert (difference.low > 0) == is_sure == (p_value < 0.05)


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
@pytest.mark.parametrize("problems", [1, 2, 20])
def test_arms_at_the_edge_give_sane_words(seeds, problems):
    rng = np.random.default_rng(0)
    zeros, ones = np.zeros((seeds, problems)), np.ones((seeds, problems))
    heavy = np.minimum(
        1, rng.pareto(0.3, (seeds, problems)) * 1e-3
    )  # a few easy problems hold nearly all of the mean
    for arm in (zeros, ones, heavy, np.round(rng.random((seeds, problems)))):
        for base in (zeros, ones, heavy):
            found, p_value = difference_and_test(arm, base, seed=0)
            assert -1 <= found.low <= found.estimate <= found.high <= 1 and 0 < p_value <= 1
            ratio = ratio_interval(arm, base, seed=0)
            assert 0 <= ratio.low <= ratio.high and not (ratio.low > 1 and found.high < 0)
            if (arm == base).all():
                assert p_value == 1.0 and found.low < 0 < found.high
    assert not claims(ones, zeros) or problems == 20  # one or two problems prove nothing
    assert claims(ones, zeros) == (problems == 20)


# Simulated experiments at Pass@100 of 100 attempts: a problem is solved or not.


def solved(rng: np.random.Generator, odds: np.ndarray, seeds: int) -> np.ndarray:
    chance = -np.expm1(-100 * np.log1p(np.exp(np.minimum(odds, 30))))
    return (rng.random((seeds, odds.shape[-1])) < chance).astype(float)


def experiment(rng, *, shifts, per_seed, own: float = 1.0, seeds: int = 3, problems: int = 228):
    """A base of 8% and its arms, each [seeds, problems]: shifted in log odds, helped here and hurt there."""
    difficulty = rng.normal(-9.79, 3.0, problems)
    base = solved(rng, difficulty, seeds)
    odds = [difficulty + shift + rng.normal(0, own, problems) for shift in shifts]
    return base, [solved(rng, one + rng.normal(0, per_seed, (seeds, 1)), seeds) for one in odds]


def claims(arm: np.ndarray, base: np.ndarray, arms: list[np.ndarray] | None = None) -> bool:
    """ "Improves", as a table of `arms` says it: the base is one model, measured with every seed."""
    trained = Trained(spread_of(arms), len(arm)) if arms else None
    difference, p_value = difference_and_test(arm, base, seed=0, trained=trained)
    return difference.low > 0 and p_value * ARMS < 0.05


@pytest.mark.parametrize(("per_seed", "shown"), [(0.1, 0.9), (0.3, 0.8)])
def test_more_seeds_never_mean_less_power(per_seed, shown):
    """The audit's design: 8% to 16%, one arm of five. The same runs, the first one, two, three and five seeds of
    them. results/statistics has many more."""
    rng = np.random.default_rng(1)
    trials = [experiment(rng, shifts=[1.23, *[-0.2] * 4], per_seed=per_seed, seeds=5) for _ in range(40)]
    levels = [(arms[0].mean(), arms[1].mean(), base.mean()) for base, arms in trials]
    assert np.mean(levels, axis=0) == pytest.approx([0.16, 0.08, 0.08], abs=0.015)
    found = {}
    for seeds in (1, 2, 3, 5):
        prepare([(arms[0][:seeds], base[:seeds]) for base, arms in trials], seed=0)
        found[seeds] = sum(
            claims(arms[0][:seeds], base[:seeds], [arm[:seeds] for arm in arms]) for base, arms in trials
        )
    assert found[1] <= found[2] + 1 and found[2] <= found[3] + 1 and found[3] <= found[5] + 1, found
    assert found[3] >= shown * 40, found


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize(("per_seed", "own"), [(0.0, 1.0), (0.6, 1.0), (0.6, 0.0)])
def test_no_gain_is_rarely_called_one(per_seed, own, seeds):
    """Five arms that share a base, and seeds that differ by 0.6 logits too, and problems that all gain alike.

    `shift` makes up for what noise in log odds adds to the mean. results/statistics has many more trials.
    """
    rng = np.random.default_rng(2)
    shift = -0.207 * own - (0.073 if per_seed else 0.0)
    trials = [
        experiment(rng, shifts=[shift] * ARMS, per_seed=per_seed, own=own, seeds=seeds) for _ in range(60)
    ]
    means = [(np.mean(arms), base.mean()) for base, arms in trials]
    assert np.subtract(*np.mean(means, axis=0)) == pytest.approx(0, abs=0.01)
    families = 0
    for some in (trials[:20], trials[20:40], trials[40:]):
        prepare([(arm, base) for base, arms in some for arm in arms], seed=0)
        families += sum(any(claims(arm, base, arms) for arm in arms) for base, arms in some)
    assert families <= 6


def test_draws_made_at_once_are_the_same():
    rng = np.random.default_rng(0)
    trials = [experiment(rng, shifts=[0.8], per_seed=0.3, problems=problems) for problems in (30, 228, 228)]
    asked = lambda: [  # noqa: E731
        (difference_and_test(arm, base, seed=0), ratio_interval(arm, base, seed=0)) for base, (arm,) in trials
    ]
    one_by_one = asked()
    prepare([(arm, base) for base, (arm,) in trials], seed=0)
    assert asked() == one_by_one


def test_the_ratio_is_of_crossed_effects_too():
    """Fieller's set by Student's t where seeds dominate: arm - r * base is not told from zero at its ends."""
    rng = np.random.default_rng(0)
    arm = 0.5 + rng.normal(0, 0.03, (3, 1)) + rng.normal(0, 0.01, (3, 1000))
    base = 0.2 + rng.normal(0, 0.01, (1, 1000))
    ratio = ratio_interval(arm, base, seed=0, resamples=4000)
    assert ratio.estimate == pytest.approx(arm.mean() / base.mean())
    for end in (ratio.low, ratio.high):
        assert abs(scipy.stats.ttest_1samp(arm.mean(1) - end * base.mean(), 0).pvalue - 0.05) < 0.02


def test_a_ratio_of_seeds_that_agree_is_that_of_one():
    rng = np.random.default_rng(0)
    base = (rng.random(200) < 0.2).astype(float)
    arm = np.maximum(base, rng.random(200) < 0.3)
    one, three = ratio_interval(arm, base, seed=0), ratio_interval(np.tile(arm, (3, 1)), base, seed=0)
    assert three == one and 1 < one.low < one.estimate < one.high
