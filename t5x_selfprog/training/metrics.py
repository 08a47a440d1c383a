"""Writes scalars by step: one JSON line each (for programs and resuming) and TensorBoard events (for people)."""

from collections.abc import Mapping

from t5x_selfprog.telemetry.sinks import Events, Lines
from verifier.storage import files


class MetricsWriter:
    """Appends to `metrics.jsonl` in a directory, local or remote.

    Lines after `start_step` come from a run that was killed and are dropped, since those steps are repeated.

    Attributes:
      lost_steps, lost_s: the steps and seconds lost, according to these lines.
    """

    def __init__(self, directory: str, start_step: int = 0):
        self._lines = Lines(files.join(directory, "metrics.jsonl"), lambda line: line["step"] <= start_step)
        self._events = Events(files.join(directory, "events"), purge_step=start_step + 1)
        self.lost_steps, self.lost_s, before = 0, 0.0, start_step
        for line in self._lines.dropped:
            self.lost_steps += line["step"] - before
            self.lost_s += line.get("step_s", 0.0) * (line["step"] - before)
            before = line["step"]

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        self._lines.write({"step": step} | dict(scalars))
        self._events.write(step, scalars)

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *exc: object) -> None:
        self._lines.close()
        self._events.close()
