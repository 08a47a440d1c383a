"""Where the time went: each stage writes its seconds and its devices under RUN/times, for the report.

Measured on this host's clock, including compilation. An interrupted run has several entries for a stage; they add up.
Short stretches are not written: looking at a finished stage is not work.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator

import jax

from t5x_selfprog.run_layout import RunDir
from t5x_selfprog.telemetry import recorder
from verifier.storage import files
from verifier.storage.shards import atomic_write

FOLDER = "times"
_LEAST_S = 0.5


@contextlib.contextmanager
def timed(run: RunDir, stage: str) -> Iterator[None]:
    """Times the block as one stretch of work on `stage`, a name like "iteration 0: puzzles"."""
    started = time.monotonic()
    try:
        with recorder.current().clock.stage(stage):
            yield
    finally:  # an interrupted stretch took time, too
        seconds = time.monotonic() - started
        if seconds >= _LEAST_S and jax.process_index() == 0:
            folder = files.join(run.root, FOLDER)
            entry = {
                "stage": stage,
                "seconds": round(seconds, 1),
                "devices": jax.device_count(),
                "platform": jax.default_backend(),
                "cores": os.cpu_count(),
            }
            files.makedirs(folder)
            name = f"{len(files.listdir(folder)):05d}.json"
            atomic_write(files.join(folder, name), json.dumps(entry) + "\n")
