"""Pass@k against enumeration of subsets, exact fractions and the property that defines it."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import binom

from t5x_selfprog.evaluation.pass_at_k import pass_at_k


@pytest.mark.parametrize("n", range(1, 8))
def test_is_the_share_of_subsets_that_hold_a_right_attempt(n):
    for c, k in itertools.product(range(n + 1), range(1, n + 1)):
        subsets = list(itertools.combinations(range(n), k))
        share = sum(min(subset) < c for subset in subsets) / len(subsets)
        assert pass_at_k(n, c, k) == pytest.approx(share, abs=1e-14)


@pytest.mark.parametrize(("n", "k"), [(100, 1), (100, 10), (100, 100), (1000, 100), (20_000, 64)])
def test_agrees_with_exact_fractions_at_both_ends(n, k):
    counts = sorted({0, 1, 2, n // 3, n - k - 1, n - k, n - k + 1, n - 1, n} & set(range(n + 1)))
    exact = [1 - Fraction(math.comb(n - c, k), math.comb(n, k)) for c in counts]
    np.testing.assert_allclose(pass_at_k(n, counts, k), [float(e) for e in exact], rtol=1e-12)


def test_keeps_its_digits_where_one_minus_would_lose_them():
    assert pass_at_k(10**9, 1, 1) == pytest.approx(1e-9, rel=1e-12)


@pytest.mark.parametrize(("p", "k"), [(0.003, 10), (0.2, 5), (0.9, 30)])
def test_is_unbiased(p, k):
    """Averaged over c ~ Binomial(n, p) it is 1 - (1 - p)^k, the chance of k fresh attempts."""
    n = 40
    c = np.arange(n + 1)
    assert binom.pmf(c, n, p) @ pass_at_k(n, c, k) == pytest.approx(1 - (1 - p) ** k, rel=1e-12)


def test_attempts_may_differ_between_problems():
    values = pass_at_k([3, 10, 100], [1, 1, 0], 2)
    np.testing.assert_allclose(values, [2 / 3, 1 / 5, 0])


@pytest.mark.parametrize(
    ("n", "c", "k", "words"),
    [
        ([10, 7], [0, 0], 8, ["k = 8", "n = 7"]),
        (5, 6, 1, ["c = 6", "n = 5"]),
        (5, -1, 1, ["c = -1"]),
        (5, 1, 0, ["got 0"]),
        (5, 1.5, 1, ["c must be whole", "1.5"]),
    ],
)
def test_impossible_counts_are_named(n, c, k, words):
    with pytest.raises(ValueError) as error:
        pass_at_k(n, c, k)
    for word in words:
        assert word in str(error.value)
