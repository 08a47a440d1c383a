"""Measures a model: Pass@k with intervals, comparisons and tables, diversity, and the enumerator.

Everything is computed on the host.
May import `data` (the pairs of a run), `puzzles` and `sampling` (its configuration and its stop rule).
"""
