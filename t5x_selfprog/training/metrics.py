"""Scalars over steps: a JSON line each (for programs and resuming) and TensorBoard events (for people)."""

import json
import os
from collections.abc import Mapping

from verifier.shards import atomic_write


class MetricsWriter:
    """Appends to `metrics.jsonl`. Lines at or after `start_step` come from a run that was killed and are dropped."""

    def __init__(self, directory: str, start_step: int = 0):
        from tensorboardX import SummaryWriter

        os.makedirs(directory, exist_ok=True)
        path = os.path.join(directory, "metrics.jsonl")
        kept = [line for line in _whole_lines(path) if json.loads(line)["step"] <= start_step]
        atomic_write(path, "".join(kept))
        self._lines = open(path, "a")  # noqa: SIM115 (closed by __exit__)
        self._events = SummaryWriter(os.path.join(directory, "events"), purge_step=start_step + 1)

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        self._lines.write(json.dumps({"step": step} | dict(scalars)) + "\n")
        self._lines.flush()
        for name, value in scalars.items():
            self._events.add_scalar(name, value, step)

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *exc: object) -> None:
        self._lines.close()
        self._events.close()


def _whole_lines(path: str) -> list[str]:
    """The lines of a file that end in a newline: a kill may have cut the last."""
    if not os.path.exists(path):
        return []
    with open(path) as file:
        return [line for line in file if line.endswith("\n")]
