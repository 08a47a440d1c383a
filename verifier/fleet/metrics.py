"""Counters of a long-running service, for whoever watches it: one JSON object, or Prometheus' text format."""

import json
import time
from collections import Counter
from collections.abc import Mapping

from verifier.storage import files

PREFIX = "verifier"
EVERY_S = 5.0


class Metrics:
    """Counts, and writes the counts to `path` every few seconds: Prometheus' text where it ends in .prom, else JSON.

    A Prometheus node exporter picks such a file up from its textfile folder.
    """

    def __init__(self, path: files.Path | None, facts: Mapping[str, object]):
        self._path, self._facts = path, dict(facts)
        self._start = time.monotonic()
        self._written = float("-inf")
        self.outcomes: Counter[str] = Counter()
        self.counters: Counter[str] = Counter()

    def figures(self) -> dict:
        """All figures, as plain values."""
        count, wall_s = sum(self.outcomes.values()), time.monotonic() - self._start
        return {
            **self._facts,
            "verdicts": count,
            "outcomes": dict(self.outcomes.most_common()),
            **self.counters,
            "wall_s": round(wall_s, 3),
            "per_s": round(count / max(wall_s, 1e-9), 1),
            "written_at": round(time.time(), 3),
        }

    def write(self, *, now: bool = False) -> None:
        """Writes the file, if there is one and it is time."""
        if self._path is None or not (now or time.monotonic() - self._written > EVERY_S):
            return
        self._written = time.monotonic()
        figures = self.figures()
        text = prometheus(figures) if str(self._path).endswith(".prom") else json.dumps(figures) + "\n"
        files.write_atomic(self._path, text)


def prometheus(figures: Mapping) -> str:
    """https://prometheus.io/docs/instrumenting/exposition_formats/"""
    lines = [f"# TYPE {PREFIX}_verdicts_total counter"]
    lines += [
        f'{PREFIX}_verdicts_total{{outcome="{_escaped(outcome)}"}} {count}'
        for outcome, count in figures["outcomes"].items()
    ]
    facts = []
    for name, value in figures.items():
        if isinstance(value, str):
            facts.append(f'{name}="{_escaped(value)}"')
        elif isinstance(value, int | float) and name != "verdicts":
            lines += [f"# TYPE {PREFIX}_{name} gauge", f"{PREFIX}_{name} {value}"]
    lines += [f"# TYPE {PREFIX}_info gauge", f"{PREFIX}_info{{{','.join(facts)}}} 1"]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
