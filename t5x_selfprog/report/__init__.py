"""The HTML report of a run, and the page that compares runs: collected from disk, without JavaScript libraries.

Works on a run directory alone, finished or not; no JAX.
May import `evaluation`, `puzzles` and `telemetry`.
"""
