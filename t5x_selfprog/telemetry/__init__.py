"""Observes a run: what it does, how fast, what it waits for, and whether it still makes progress.

Stages report to `recorder.current()`; the other modules are its parts. No stage reads anything back.
May import no other package, only modules such as `hosts`.
"""
