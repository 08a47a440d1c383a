"""What the command line shows: progress while it runs, a histogram and a JSON object at the end."""

import argparse
import contextlib
import json
import sys
import time
from typing import Any


class Tally:
    """Counts outcomes; shows progress while it runs, the histogram and the JSON object at the end."""

    def __init__(self, options: argparse.Namespace, total: int | None, unit: str):
        self._options, self._unit, self._total = options, unit, total
        self._counts: dict[str, int] = {}
        self._bar: Any = None
        self.isolation = ""
        self.counters: dict[str, int] = {}

    def __enter__(self) -> "Tally":
        self._start = time.monotonic()
        if sys.stderr.isatty() and not self._options.quiet:
            with contextlib.suppress(ImportError):  # the bar is a courtesy
                from tqdm import tqdm

                self._bar = tqdm(total=self._total, unit=f" {self._unit}", smoothing=0.1, mininterval=0.3)
        return self

    def add(self, outcome: str) -> None:
        self._counts[outcome] = self._counts.get(outcome, 0) + 1
        if self._bar is not None:
            self._bar.set_postfix_str(f"accepted {self._counts.get('accepted', 0)}", refresh=False)
            self._bar.update()

    def __exit__(self, kind: object, *rest: object) -> None:
        if self._bar is not None:
            self._bar.close()
        if kind is not None:
            return
        count, wall_s = sum(self._counts.values()), time.monotonic() - self._start
        counts = dict(sorted(self._counts.items(), key=lambda item: (-item[1], item[0])))
        if not self._options.quiet:
            print_histogram(count, self._unit, wall_s, self.isolation, counts)
        if self._options.json:
            from verifier.calibration import calibrate

            figures = {
                self._unit: count,
                "outcomes": counts,
                "wall_s": round(wall_s, 3),
                "per_s": round(count / wall_s, 1),
                "isolation": self.isolation,
                **{name: number for name, number in self.counters.items() if name not in ("verdicts",)},
                "calibration_cpu_s": round(calibrate(), 5),
            }
            print(json.dumps(figures), flush=True)


def print_histogram(count: int, unit: str, wall_s: float, isolation: str, counts: dict[str, int]) -> None:
    print(f"{count} {unit} in {wall_s:.1f} s, isolation {isolation}", file=sys.stderr)
    for outcome, number in counts.items():
        print(f"  {outcome:<28} {number:>8}  {100 * number / count:5.1f}%", file=sys.stderr)
