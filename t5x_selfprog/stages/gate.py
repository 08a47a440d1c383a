"""A gate that is deliberately less strict than the verifier: how many wrong pairs does self-training tolerate?

The share of wrong pairs varies between "all accepted" and "nobody checked". The number of pairs stays what verification
yields, so that a model learns from equally many in every case, but fewer of them are right.
"""

from collections.abc import Iterable
from typing import Any

from t5x_selfprog.puzzles.source import short_hash

Pair = dict[str, Any]


def let_through(right: Iterable[Pair], wrong: Iterable[Pair], share: float) -> list[Pair]:
    """As many pairs as `right` holds, but a `share` of them replaced by wrong ones; both are chosen blindly.

    Fewer are replaced only if there are not enough wrong ones.
    """
    right, wrong = sorted(right, key=_blind), sorted(wrong, key=_blind)
    count = min(round(share * len(right)), len(wrong))
    return right[count:] + wrong[:count]


def _blind(pair: Pair) -> str:
    """A sort key that does not depend on whether the pair is right."""
    return short_hash(f"gate {pair['text']}")
