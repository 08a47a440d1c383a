"""Saturating power laws: against scipy's least squares, and what they refuse to say."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from t5x_selfprog.evaluation.scaling import NotSupported, fit

SIZES = (1e6, 3e6, 1e7, 3e7, 1e8)


def table(level: float, problems: int = 400, seed: int = 0) -> np.ndarray:
    """Values of problems whose mean is `level`: the same problems get easier as the level rises."""
    hardness = np.random.default_rng(seed).permutation((np.arange(problems) + 0.5) / problems)
    return (hardness < level).astype(float)


def law(x, limit=0.6, scale=0.1, exponent=0.4):
    return limit - scale * (np.asarray(x) / 1e8) ** -exponent


def test_finds_the_law_that_made_the_data_as_scipy_does():
    rng = np.random.default_rng(1)
    levels = law(SIZES) + rng.normal(0, 0.002, len(SIZES))
    found = fit(SIZES, [np.full(50, level) for level in levels], seed=0)
    theirs, _ = curve_fit(
        lambda x, floor, scale, exponent: 1 - floor - scale * x**-exponent,
        np.array(SIZES) / 1e8, levels, p0=(0.5, 0.1, 0.5),
    )  # fmt: skip
    assert (found.law.floor, found.law.scale, found.law.exponent) == pytest.approx(tuple(theirs), rel=0.02)
    assert found.law.exponent == pytest.approx(0.4, rel=0.1)


def test_the_units_of_size_do_not_matter():
    tables = [table(level) for level in law(SIZES)]
    one, other = (fit([unit * x for x in SIZES], tables, seed=0) for unit in (1.0, 1e-6))
    assert one.law.exponent == pytest.approx(other.law.exponent)
    assert one.predict(2e7) == other.predict(20.0)


def test_the_interval_holds_the_truth_and_narrows_with_problems():
    widths = []
    for problems in (100, 3000):
        inside = 0
        for seed in range(20):
            rng = np.random.default_rng(seed)
            tables = [(rng.random(problems) < level).astype(float) for level in law(SIZES)]
            try:
                interval = fit(SIZES, tables, seed=seed, resamples=200).predict(3e7)
            except NotSupported:
                continue
            inside += interval.low <= law(3e7) <= interval.high
            widths.append(interval.high - interval.low)
        assert inside >= 15
    assert np.mean(widths[-20:]) < 0.4 * np.mean(widths[:10])


def test_a_limit_is_named_only_where_the_curve_bends():
    bent = fit(SIZES, [np.full(60, level) for level in law(SIZES, exponent=1.0, scale=0.002)], seed=0)
    assert bent.limit is not None and bent.limit.estimate == pytest.approx(0.6, abs=0.01)
    straight = fit(SIZES, [table(level) for level in np.linspace(0.1, 0.5, 5)], seed=0)
    assert straight.limit is None


@pytest.mark.parametrize(
    ("sizes", "levels", "words"),
    [
        (SIZES[:3], (0.1, 0.2, 0.3), "3 different sizes"),
        ((1, 1, 1, 1, 2), (0.1, 0.1, 0.1, 0.1, 0.2), "2 different sizes"),
        ((1, 1.5, 2, 3), (0.1, 0.2, 0.3, 0.4), "less than a factor of 4"),
        (SIZES, (0.3, 0.3, 0.3, 0.3, 0.3), "no rise shown"),
        (SIZES, (0.5, 0.4, 0.3, 0.2, 0.1), "no rise shown"),
        (SIZES, (0.1, 0.1, 0.1, 0.1, 0.105), "no rise shown"),
    ],
)
def test_no_law_where_there_is_none(sizes, levels, words):
    with pytest.raises(NotSupported, match=words):
        fit(sizes, [table(level) for level in levels], seed=0)


def test_refuses_to_extrapolate():
    found = fit(SIZES, [table(level) for level in law(SIZES)], seed=0)
    assert found.predict(1e6).low < found.predict(1e8).low
    for x in (1e9, 1e5):
        with pytest.raises(NotSupported, match="outside the data"):
            found.predict(x)


def test_what_is_no_data_is_refused():
    with pytest.raises(ValueError, match="positive sizes"):
        fit((0, 1, 2, 3), [table(0.1)] * 4, seed=0)
    with pytest.raises(ValueError, match="same problems"):
        fit(SIZES, [table(0.1), *[table(0.2, 300)] * 4], seed=0)
