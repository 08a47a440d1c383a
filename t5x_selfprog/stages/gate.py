"""A gate that is less strict than the verifier, on purpose: how many wrong pairs does self-training bear?

Between pairs that were all accepted and pairs that nobody looked at lies a share of wrong ones. The number of pairs
stays what verification gives, so that a model learns as much in every case, and less of it is right.
"""

from collections.abc import Iterable
from typing import Any

from t5x_selfprog.puzzles.source import short_hash

Pair = dict[str, Any]


def let_through(right: Iterable[Pair], wrong: Iterable[Pair], share: float) -> list[Pair]:
    """As many pairs as are right, of which `share` are wrong: those stand in for right ones, both chosen blindly.

    Fewer are wrong only where there are no more of them.
    """
    right, wrong = sorted(right, key=_blind), sorted(wrong, key=_blind)
    count = min(round(share * len(right)), len(wrong))
    return right[count:] + wrong[:count]


def _blind(pair: Pair) -> str:
    """An order that knows nothing of what the pair is worth."""
    return short_hash(f"gate {pair['text']}")
