"""The host's own hard limits (`ulimit -H`), which no unprivileged process can raise: are they above what judging needs?

Where one is not, every child would fail to set its limits, and every verdict would be `infrastructure`. So it is said
before any work.
"""

import contextlib
import resource
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the worker imports this, and must stay small
    from verifier.verdict import Limits

DESCRIPTORS = 256  # of a worker; its own processes take a few dozen
_SPARE_MB = 128  # for what a shared child is to do, beside what it is given to do it
SHARED_MEMORY = 1.25  # of the limit, for children that plain programs share (programs.Demand)
_SPARE = 1 << 20  # of a file in memory, beside the answer it is for

_UNLIMITED = resource.RLIM_INFINITY


def too_low(limits: "Limits") -> list[str]:
    """What is in the way of judging under these limits, one sentence each; empty where nothing is."""
    return list(_obstacles(limits))


def _obstacles(limits: "Limits") -> Iterator[str]:
    memory_mb = int(SHARED_MEMORY * limits.memory_mb) + _SPARE_MB
    for name, letter in (("AS", "v"), ("DATA", "d")):
        hard_mb = _hard(name) >> 20
        if hard_mb < memory_mb:
            enough = f", or judge with --memory_mb={most}" if (most := _most_mb(hard_mb)) >= 64 else ""
            yield (
                f"processes get {hard_mb} MB here (hard limit of RLIMIT_{name}), less than the {memory_mb} MB that "
                f"memory_mb={limits.memory_mb} takes: raise it (`ulimit -H{letter}`){enough}"
            )
    hard, needed = _hard("CPU"), int(limits.cpu_s) + 2
    if hard < needed:
        yield (
            f"processes get {hard} CPU seconds here (hard limit of RLIMIT_CPU), but {needed} are needed for "
            f"cpu_s={limits.cpu_s:g}: raise it (`ulimit -Ht`), or judge with a lower --timeout_s"
        )
    hard, needed = _hard("FSIZE"), limits.output_bytes + _SPARE
    if hard < needed:
        yield (
            f"files, and memory shared as a file, may have {hard} bytes here (hard limit of RLIMIT_FSIZE), but answers "
            f"of output_bytes={limits.output_bytes} need {needed}: raise it (`ulimit -Hf`), or judge with a lower "
            "--output_mb"
        )
    hard = _hard("NOFILE")
    if hard < DESCRIPTORS:
        yield (
            f"processes get {hard} descriptors here (hard limit of RLIMIT_NOFILE), but a worker needs {DESCRIPTORS}: "
            "raise it (`ulimit -Hn`)"
        )


def _most_mb(hard_mb: int) -> int:
    return int((hard_mb - _SPARE_MB) / SHARED_MEMORY)


def _hard(name: str) -> int:
    hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[1]
    return 1 << 62 if hard == _UNLIMITED else hard


def raise_soft() -> None:
    """Lift this process's soft limits to the hard ones: a soft one is a default of the host's, no rule."""
    for name in ("AS", "DATA", "CPU", "FSIZE", "NOFILE"):
        which = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(which)[1]
        with contextlib.suppress(ValueError, OSError):  # some systems cap what they call unlimited
            resource.setrlimit(which, (hard, hard))
