"""Other arguments for a puzzle and its solution. The verifier measures generality with them: see there."""

from verifier.generality import variants

__all__ = ["variants"]
