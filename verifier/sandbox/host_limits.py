"""The host's own hard limits (`ulimit -H`), which no unprivileged process can raise: do they allow what judging needs?

If one does not, every child would fail to set its limits, and every verdict would be `infrastructure`. So this is
reported before any work.
"""

import contextlib
import resource
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the worker imports this, and must stay small
    from verifier.verdict import Limits

DESCRIPTORS = 256  # of a worker; its own processes take a few dozen
_SPARE = 1 << 20  # bytes of a file in memory, beside the answer it holds

_UNLIMITED = resource.RLIM_INFINITY


def too_low(limits: "Limits") -> list[str]:
    """What prevents judging under these limits, one sentence each; empty if nothing does."""
    return list(_obstacles(limits))


def _obstacles(limits: "Limits") -> Iterator[str]:
    memory = limits.memory_mb << 20
    for name, letter in (("AS", "v"), ("DATA", "d")):
        hard = _hard(name)
        if hard < memory:
            yield (
                f"processes get {hard >> 20} MB here (hard limit of RLIMIT_{name}), less than "
                f"memory_mb={limits.memory_mb}: raise it (`ulimit -H{letter}`), or judge with --memory_mb={hard >> 20}"
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


def _hard(name: str) -> int:
    hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[1]
    return 1 << 62 if hard == _UNLIMITED else hard


def raise_soft() -> None:
    """Lifts this process's soft limits to the hard ones: a soft one is the host's default, not a rule."""
    for name in ("AS", "DATA", "CPU", "FSIZE", "NOFILE"):
        which = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(which)[1]
        with contextlib.suppress(ValueError, OSError):  # some systems cap what they call unlimited
            resource.setrlimit(which, (hard, hard))
