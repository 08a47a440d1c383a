"""Judges candidate programs in sandboxed processes; runnable alone: `python -m verifier`.

from verifier import Pool, Limits
with Pool(workers=8, limits=Limits(cpu_s=1.0)) as pool:
    for verdict in pool.judge(pairs):
        print(verdict.outcome)

The wings are packages below, the rest is what callers use. Imports no other package of this repository, and neither
NumPy nor JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from verifier import former_names

if TYPE_CHECKING:
    from verifier.language.puzzle import Puzzle, PuzzleError, parse_puzzle
    from verifier.pool import Pool, PoolError
    from verifier.rewards import Reward, reward
    from verifier.tiers import Tiers
    from verifier.verdict import Limits, PuzzleReport, Verdict

__all__ = [
    "Limits",
    "Pool",
    "PoolError",
    "Puzzle",
    "PuzzleError",
    "PuzzleReport",
    "Reward",
    "Tiers",
    "Verdict",
    "parse_puzzle",
    "reward",
]

_HOMES = {
    "Pool": "pool",
    "PoolError": "pool",
    "Puzzle": "language.puzzle",
    "PuzzleError": "language.puzzle",
    "parse_puzzle": "language.puzzle",
    "PuzzleReport": "verdict",
    "Limits": "verdict",
    "Tiers": "tiers",
    "Verdict": "verdict",
    "Reward": "rewards",
    "reward": "rewards",
}


def __getattr__(name: str) -> Any:
    # imported on first use: workers import this package too and must stay small
    if name in _HOMES:
        return getattr(import_module(f"verifier.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'verifier' has no attribute {name!r}")


former_names.install()
