"""Runs that outlive their machine: `pack` leaves what a run needs to go on in one small file, `unpack` brings it back.

Imports `run_dir` and `verifier`; no JAX.
"""
