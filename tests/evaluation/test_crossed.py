"""Problems and seeds as crossed effects: against the two-way layout's closed forms, and in simulated experiments."""

import math

import numpy as np
import pytest
import scipy.stats

from t5x_selfprog.evaluation.crossed import contrast_parts, freedom_of, seed_part
from t5x_selfprog.evaluation.statistics import difference_and_test, difference_interval, ratio_interval

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
    shape = {"seeds": 12, "problems": 50, "noise": 0.7}
    varying = np.mean([seed_part(table(rng, by_seed=0.5, **shape)).variance for _ in range(400)])
    assert varying == pytest.approx(0.5**2 / 12, rel=0.08)
    steady = np.mean([seed_part(table(rng, by_seed=0.0, **shape)).variance for _ in range(400)])
    assert steady < 0.25 * 0.7**2 / (12 * 50)  # all of MS_A would be 1.0 of it


def test_degrees_of_freedom_go_from_students_to_none_at_all():
    rng = np.random.default_rng(0)
    wild = [seed_part(table(rng, seeds=3, problems=500, by_seed=5.0, noise=0.1))]
    assert freedom_of(1 / 500, wild) == pytest.approx(2, rel=0.01)
    same = [seed_part(np.tile(rng.random(500), (3, 1)))]
    assert same[0].variance == 0 and freedom_of(1 / 500, same) == math.inf
    assert seed_part(rng.random((1, 500))).variance == 0


def noise(rng: np.random.Generator, seeds: int, problems: int) -> np.ndarray:
    """[seeds, problems] without any effect of a problem or of a seed, to the last digit."""
    values = rng.normal(0, 1, (seeds, problems))
    return values - values.mean(1, keepdims=True)


def test_seeds_that_look_alike_by_chance_make_no_small_effect_sure():
    """Three seeds with the same mean and no spread between problems: the least that is assumed is 2.5 MS_AB."""
    values = 0.1 * noise(np.random.default_rng(0), 3, 228)
    (part,) = contrast_parts(values, np.zeros_like(values))
    by_problem, by_seed = values.mean(0), values.mean(1, keepdims=True)
    together = ((values - by_problem - by_seed) ** 2).sum() / (2 * 227)
    assert part.shown == 0 and freedom_of(1.0, [part]) == math.inf
    total = part.variance + 3 * (by_problem**2).sum() / 227 / (3 * 228)
    assert total == pytest.approx(2.5 * together / (3 * 228))
    error = math.sqrt(total)
    for shift, is_sure in ((2.2 * error, False), (3.2 * error, True)):
        _, p_value = difference_and_test(values + shift, np.zeros_like(values), seed=0)
        assert (p_value * ARMS < 0.05) == is_sure
    # 2.2 of these errors are 3.5 of those that problems alone give, which would have been sure of it
    one = values.reshape(1, -1) + 2.2 * error
    assert difference_and_test(one, np.zeros_like(one), seed=0)[1] * ARMS < 0.05


def test_the_least_that_is_assumed_goes_where_problems_vary_or_seeds_are_many():
    rng = np.random.default_rng(0)
    varied = noise(rng, 3, 228) + rng.normal(0, 1, 228)
    assert seed_part(varied).variance == seed_part(varied).shown
    few, many = (seed_part(noise(rng, seeds, 228)).variance * seeds * 228 for seeds in (3, 60))
    assert few == pytest.approx(1.5, abs=0.3) and many < 0.3


def test_an_arm_of_several_seeds_against_one_model_is_paired_by_problem():
    rng = np.random.default_rng(0)
    base = rng.random((1, 200))
    arm = base + rng.normal(0.1, 0.01, (3, 200))
    assert contrast_parts(arm, base) == [seed_part(arm - base)]
    assert difference_interval(arm, base, seed=0).low > 0.09


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


def test_seeds_of_two_arms_are_paired_where_there_are_as_many():
    rng = np.random.default_rng(0)
    base = table(rng, seeds=3, problems=100, by_seed=1.0, noise=0.1)
    assert sum(part.variance for part in contrast_parts(base + 1, base)) == 0
    four = table(rng, seeds=4, problems=100, by_seed=1.0, noise=0.1)
    mine, theirs = contrast_parts(base, four, 2.0)
    assert mine == seed_part(base) and theirs.variance == pytest.approx(4 * seed_part(four).variance)


# Simulated experiments at Pass@100 of 100 attempts: a problem is solved or not.


def solved(rng: np.random.Generator, odds: np.ndarray, seeds: int) -> np.ndarray:
    chance = -np.expm1(-100 * np.log1p(np.exp(np.minimum(odds, 30))))
    return (rng.random((seeds, odds.shape[-1])) < chance).astype(float)


def experiment(rng, *, shift: float, per_seed: float, problems: int = 228, seeds: int = 3):
    """Arm and base, [seeds, problems]: a base of 8%, an arm shifted in log odds, that helps here and hurts there."""
    difficulty = rng.normal(-9.79, 3.0, problems)
    own = difficulty + shift + rng.normal(0, 1.0, problems) + rng.normal(0, per_seed, (seeds, 1))
    return solved(rng, own, seeds), solved(rng, difficulty, seeds)


def claims(arm: np.ndarray, base: np.ndarray) -> bool:
    difference, p_value = difference_and_test(arm, base, seed=0)
    return difference.low > 0 and p_value * ARMS < 0.05


@pytest.mark.parametrize(("per_seed", "shown"), [(0.1, 0.85), (0.3, 0.65)])
def test_more_seeds_never_mean_less_power(per_seed, shown):
    """The audit's design: 8% to 16%, five arms. The same runs, the first one, two, three and five seeds of them."""
    rng = np.random.default_rng(1)
    found = dict.fromkeys((1, 2, 3, 5), 0)
    levels = []
    for _ in range(40):
        arm, base = experiment(rng, shift=1.23, per_seed=per_seed, seeds=5)
        levels.append((arm.mean(), base.mean()))
        for seeds in found:
            found[seeds] += claims(arm[:seeds], base[:seeds])
    assert np.mean(levels, axis=0) == pytest.approx([0.16, 0.08], abs=0.015)
    assert found[1] <= found[2] + 2 and found[2] <= found[3] + 2 and found[3] <= found[5] + 1, found
    assert found[3] >= shown * 40, found  # results/power/doubling.json says 92%; all of MS_A gave a fifth


@pytest.mark.parametrize(("per_seed", "own"), [(0.0, 1.0), (0.6, 1.0), (0.6, 0.0)])
def test_no_gain_is_rarely_called_one(per_seed, own):
    """Five arms that share a base, three seeds, which differ by 0.6 logits too, and problems that all gain alike.

    `shift` makes up for what noise in log odds adds to the mean. results/statistics has many more trials.
    """
    rng = np.random.default_rng(2)
    shift = -0.207 * own - (0.073 if per_seed else 0.0)
    families, arms, bases = 0, [], []
    for _ in range(30):
        difficulty = rng.normal(-9.79, 3.0, 228)
        base = solved(rng, difficulty, 3)
        odds = difficulty + shift
        trial = [
            solved(rng, odds + rng.normal(0, own, 228) + rng.normal(0, per_seed, (3, 1)), 3)
            for _ in range(ARMS)
        ]
        families += any(claims(arm, base) for arm in trial)
        arms.append(np.mean([arm.mean() for arm in trial]))
        bases.append(base.mean())
    assert np.mean(arms) == pytest.approx(np.mean(bases), abs=0.01)
    assert families <= 3


def test_the_ratio_is_of_crossed_effects_too():
    """Fieller's set by Student's t where seeds dominate: arm - r * base is not told from zero at its ends."""
    rng = np.random.default_rng(0)
    arm = 0.5 + rng.normal(0, 0.03, (3, 1)) + rng.normal(0, 0.01, (3, 4000))
    base = 0.2 + rng.normal(0, 0.03, (3, 1)) + rng.normal(0, 0.01, (3, 4000))
    ratio = ratio_interval(arm, base, seed=0)
    assert ratio.estimate == pytest.approx(arm.mean() / base.mean())
    for end in (ratio.low, ratio.high):
        means = (arm - end * base).mean(1)
        assert abs(scipy.stats.ttest_1samp(means, 0).pvalue - 0.05) < 0.02
        assert difference_interval(arm / end, base, seed=0).low <= 1e-3


def test_a_ratio_of_seeds_that_agree_is_that_of_one():
    rng = np.random.default_rng(0)
    base = (rng.random(200) < 0.2).astype(float)
    arm = np.maximum(base, rng.random(200) < 0.3)
    one, three = ratio_interval(arm, base, seed=0), ratio_interval(np.tile(arm, (3, 1)), base, seed=0)
    assert three == one and 1 < one.low < one.estimate < one.high
