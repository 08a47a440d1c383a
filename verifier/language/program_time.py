"""The module `time` of programs: a clock that only its own readings move.

A verdict is a function of puzzle and solution, so no program may read a real clock. Refusing `time` would refuse
honest programs that measure themselves, or stop when their time is up; here every reading comes a millisecond
after the one before it, and `sleep` takes no time but moves the clock. Dates, time zones and formats are left out.
"""

import math
from types import ModuleType
from typing import Any

TICK_NS = 1_000_000
EPOCH_NS = 1_000_000_000_000_000_000  # where `time` starts: 9 September 2001

_now_ns = 0


def reset() -> None:
    """Back to the start, for each program."""
    global _now_ns
    _now_ns = 0


def _read_ns() -> int:
    global _now_ns
    _now_ns += TICK_NS
    return _now_ns


def sleep(seconds: float) -> None:
    """Moves the clock. Raises as `time.sleep` does: TypeError for no number, ValueError for a negative one or NaN."""
    global _now_ns
    if type(seconds) not in (int, float, bool):
        raise TypeError(f"'{type(seconds).__name__}' object cannot be interpreted as an integer")
    if math.isnan(seconds):
        raise ValueError("Invalid value NaN (not a number)")
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    if seconds > 1e9:
        raise OverflowError("timestamp too large to convert to C _PyTime_t")
    _now_ns += int(seconds * 1e9)


def time_ns() -> int:
    return EPOCH_NS + _read_ns()


def time() -> float:
    return time_ns() / 10**9


def monotonic_ns() -> int:
    return _read_ns()


def monotonic() -> float:
    return _read_ns() / 10**9


def module() -> ModuleType:
    """What `import time` gives."""
    found: Any = ModuleType("time")
    found.time, found.time_ns, found.sleep = time, time_ns, sleep
    for name in ("monotonic", "perf_counter", "process_time", "thread_time"):
        setattr(found, name, monotonic)
        setattr(found, f"{name}_ns", monotonic_ns)
    return found
