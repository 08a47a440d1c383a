"""Unbiased Pass@k: the chance that at least one of k attempts is right, from n attempts of which c were right.

The k attempts are a random subset of the n, so the estimate is 1 - C(n - c, k) / C(n, k): Chen et al. 2021, "Evaluating
Large Language Models Trained on Code", arXiv:2107.03374, equation 1. Averaging "first success among the first k"
instead is unbiased too but noisier, and 1 - (1 - c/n)^k is biased low.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pass_at_k(n: ArrayLike, c: ArrayLike, k: int) -> NDArray[np.float64]:
    """Pass@k of each problem.

    The chance of missing, the product over j < k of 1 - c / (n - j), is summed in logarithms and inverted with expm1:
    binomials do not overflow, and a tiny Pass@k is not lost to cancellation.

    Args:
        n: attempts per problem, [problems] or anything that broadcasts with c.
        c: accepted attempts per problem.
        k: size of the subset, at least 1.

    Returns:
        float64, shape of n and c broadcast, each in [0, 1].

    Raises:
        ValueError: k < 1; k greater than some n; c outside 0..n; counts that are not whole numbers.
    """
    n, c = np.broadcast_arrays(_counts("n", n), _counts("c", c))
    if k != int(k) or k < 1:
        raise ValueError(f"k must be a whole number of at least 1, got {k}")
    if n.size == 0:
        return np.zeros(n.shape)
    if (smallest := n.min()) < k:
        raise ValueError(f"Pass@{k} needs at least k = {k} attempts a problem, got n = {smallest}")
    if np.any(bad := (c < 0) | (c > n)):
        raise ValueError(f"accepted attempts must lie in 0..n, got c = {c[bad][0]} of n = {n[bad][0]}")
    log_miss = np.zeros(n.shape)
    with np.errstate(divide="ignore"):  # log1p(-1) = -inf where no subset can miss: Pass@k is 1
        for j in range(int(k)):
            log_miss += np.log1p(-np.minimum(c / (n - j), 1.0))
    return -np.expm1(log_miss)


def _counts(name: str, values: ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(values)
    whole = array.astype(np.int64)
    if np.any(whole != array):
        raise ValueError(f"{name} must be whole numbers, got {array[whole != array].flat[0]}")
    return whole
