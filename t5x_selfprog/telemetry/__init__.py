"""Watching a run: what it does, how fast, what it waits for, and whether it still moves.

`recorder.py` is what stages report to; the other modules are its parts.
"""
