"""Planned power against closed forms, and in the directions that anybody would expect."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from t5x_selfprog.evaluation.power import Design, power, smallest

SMALL = Design(
    gain=0.03, problems=100, attempts=20, seeds=1, k=1, base=0.2, per_problem=2.0, per_seed=0.0, arms=1
)


def test_agrees_with_the_paired_t_test_where_values_are_nearly_normal():
    """Many attempts at k = 1: the values are the chances themselves, and their differences a paired t test's."""
    design = replace(SMALL, attempts=100_000, spread=2.0, per_problem=1.0, gain=0.018, problems=400)
    rng = np.random.default_rng(0)
    base = rng.beta(2.0, 8.0, 400_000)  # mean 0.2
    odds = np.log(base / (1 - base)) + rng.normal(0, 1.0, len(base))
    shift = scipy.optimize.brentq(lambda s: np.mean(1 / (1 + np.exp(-odds - s))) - 0.218, -5, 5)
    differences = 1 / (1 + np.exp(-odds - shift)) - base
    shifted = differences.mean() / differences.std() * np.sqrt(400)
    closed = scipy.stats.nct.sf(scipy.stats.t.ppf(0.975, 399), 399, shifted)
    assert 0.3 < closed < 0.9
    assert power(design, trials=150) == pytest.approx(closed, abs=0.13)


def test_no_gain_is_rarely_claimed():
    assert power(replace(SMALL, gain=1e-9), trials=100) <= 0.05


@pytest.mark.parametrize(
    ("start", "better"),
    [
        ({}, {"gain": 0.15}),
        pytest.param({}, {"problems": 600}, marks=pytest.mark.slow),
        ({"per_problem": 0.05, "gain": 0.01}, {"attempts": 400}),
        pytest.param({}, {"per_problem": 0.05}, marks=pytest.mark.slow),
    ],
)
def test_more_of_what_helps_helps(start, better):
    design = replace(SMALL, **start)
    assert power(replace(design, **better), trials=40) > power(design, trials=40)


def test_seeds_that_vary_cost_power_and_more_of_them_buy_it_back():
    steady, wild = (replace(SMALL, gain=0.1, seeds=3, per_seed=s) for s in (0.0, 0.8))
    assert power(steady, trials=40) > power(wild, trials=40)
    assert power(replace(wild, seeds=12), trials=40) > power(wild, trials=40)


def test_a_pilot_replaces_the_assumed_difficulties():
    """Problems that nobody solves or everybody does leave a gain nowhere to show."""
    pilot = [{"n": 100, "c": c} for c in (0, 0, 0, 100)] * 20
    graded = [{"n": 100, "c": c} for c in (5, 20, 40, 35)] * 20
    design = replace(SMALL, gain=0.04, per_problem=0.2)
    assert power(design, pilot=graded, trials=40) > power(design, pilot=pilot, trials=40)


def test_the_smallest_size_that_does():
    size, found = smallest(replace(SMALL, gain=0.1), "problems", (5, 80, 4000), trials=40)
    assert size == 80 or (size == 4000 and found[80] < 0.8)
    assert found[5] < 0.5
    assert smallest(SMALL, "problems", (3,), trials=20)[0] is None


@pytest.mark.parametrize(("change", "words"), [({"k": 30}, "at least 30"), ({"gain": 0.9}, "must lie in")])
def test_impossible_designs_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        replace(SMALL, **change)
