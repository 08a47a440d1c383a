"""Where a device's time goes: JAX's profiler around a block of work, and its trace summed by operation."""

import contextlib
import glob
import gzip
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import jax

from verifier.errors import UserError


@contextlib.contextmanager
def capture(directory: str | None) -> Iterator[None]:
    """Traces the block into `directory` for TensorBoard and Perfetto; does nothing if it is None."""
    if not directory:
        yield
        return
    with jax.profiler.trace(directory):
        yield


def by_operation(directory: str) -> list[dict[str, Any]]:
    """Operations of the newest trace, longest first: name (without numbers), seconds on all threads, calls, share.

    An event's time excludes that of events nested in it. Raises UserError if there is no trace.
    """
    found = sorted(glob.glob(os.path.join(directory, "**", "*.trace.json.gz"), recursive=True))
    if not found:
        raise UserError(
            f"{directory}: no trace here (*.trace.json.gz); make one with `selfprog bench ... --profile=DIR`."
        )
    with gzip.open(found[-1], "rt") as file:
        events = json.load(file)["traceEvents"]
    seconds: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    threads: dict[tuple, list[dict]] = defaultdict(list)
    for event in events:
        if event.get("ph") == "X" and "hlo_op" in event.get("args", {}):
            threads[event["pid"], event["tid"]].append(event)
    for of_thread in threads.values():
        open_events: list[dict] = []  # the events enclosing the current one, innermost last
        for event in sorted(of_thread, key=lambda e: (e["ts"], -e["dur"])):
            while open_events and open_events[-1]["ts"] + open_events[-1]["dur"] <= event["ts"]:
                open_events.pop()
            if open_events:
                seconds[_base(open_events[-1])] -= event["dur"] * 1e-6
            seconds[_base(event)] += event["dur"] * 1e-6
            calls[_base(event)] += 1
            open_events.append(event)
    total = sum(seconds.values()) or 1.0
    rows = [
        {
            "operation": name,
            "seconds": round(value, 4),
            "calls": calls[name],
            "share": round(value / total, 4),
        }
        for name, value in seconds.items()
    ]
    return sorted(rows, key=lambda row: -row["seconds"])


def _base(event: dict) -> str:
    return re.sub(r"[._]?\d+(\.\w+)?$", "", event["args"]["hlo_op"])
