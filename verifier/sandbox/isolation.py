"""Which layers of isolation a worker puts around its children. What the host allows is tried, never assumed.

rlimits      CPU, address space, no descriptors, no processes; nothing inherited; root becomes a user of the worker's
             own in an empty folder. Only the layers below stop what needs no descriptor (`left_open`)
seccomp      some thirty system calls, those of a process that only computes
landlock     no file can be opened, no port bound or connected to, no outside process signalled
namespaces   an empty read-only root, no network, no other processes, no capabilities
"""

import os
import signal
from collections.abc import Callable
from typing import NamedTuple

from verifier.sandbox import confine, landlock, linux, namespaces, seccomp, sweep

LAYERS = ("rlimits", "seccomp", "landlock", "namespaces")  # each level asks for its layer and those before it


class IsolationError(RuntimeError):
    """The host does not allow the level asked for; the message says what failed."""


class Established(NamedTuple):
    """layers: those that are on. notes: why each of the others is off. left_open: what none of them stops."""

    jail: confine.Jail
    layers: list[str]
    notes: list[str]
    left_open: list[str]

    def __str__(self) -> str:
        open_ = f" (open: {', '.join(self.left_open)})" if self.left_open else ""
        return "+".join(self.layers) + open_


def establish(level: str, require: str) -> Established:
    """Puts this process into the layers up to `level` ("auto": all that work here).

    With namespaces it returns in another process, the first of its own world. Raises IsolationError if a layer up to
    `require`, or one of a `level` given by name, is not available.
    """
    wanted = LAYERS if level == "auto" else LAYERS[: _rank(level) + 1]
    needed = set(LAYERS[: _rank(require) + 1])
    if level != "auto":
        needed |= set(wanted)
    null = os.open(os.devnull, os.O_RDWR)
    notes: dict[str, str] = {layer: "not asked for" for layer in LAYERS if layer not in wanted}
    on = ["rlimits"]
    load_filter: Callable[[], None] | None = None
    # from the outermost to the innermost: each would forbid setting up the one before it
    if "namespaces" in wanted:
        why = _attempt(namespaces.enter)
        if why:
            notes["namespaces"] = why
        else:
            namespaces.enter()
            on.append("namespaces")
    is_root = os.geteuid() == 0  # never inside namespaces
    root = None
    own_objects = "namespaces" in on
    if is_root:
        own_objects = not _attempt(namespaces.leave_shared_objects)
        if own_objects:
            namespaces.leave_shared_objects()
        root = confine.open_empty_folder()
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    if "seccomp" in wanted:
        try:
            load_filter = seccomp.make_loader()
            why = _attempt(load_filter)
        except OSError as e:
            why = str(e)
        if why:
            notes["seccomp"], load_filter = why, None
        else:
            on.append("seccomp")
    if "landlock" in wanted:
        try:
            landlock.restrict()
            on.append("landlock")
        except OSError as e:
            notes["landlock"] = str(e)
    filtered = "seccomp" in on  # which allows neither objects nor keys
    apart = is_root and own_objects and not filtered
    missing = [f"{layer} ({notes[layer]})" for layer in LAYERS if layer in needed and layer not in on]
    if missing:
        raise IsolationError(
            f"this host does not allow {', '.join(missing)}. `python -m verifier doctor` says how to turn it on; "
            f"with --require={on[-1]} it works without."
        )
    jail = confine.Jail(
        parent=os.getpid(),
        null=null,
        drop_user=is_root,
        root=root,
        sweep=_sweeper(on),
        load_filter=load_filter,
        leave_shared=namespaces.leave_shared_objects if apart else None,
    )
    layers = [layer for layer in LAYERS if layer in on]
    left_open = []
    if "seccomp" not in on and "namespaces" not in on:
        if root is None:
            left_open.append("paths" if "landlock" not in on else "modes and times of files")
        if not is_root:
            left_open.append("signals to the same user")
    if not filtered:
        if not apart:
            left_open.append("System V objects")
        if not is_root or _attempt(_become_a_user_of_its_own):
            left_open.append("keys")
    said = [f"{layer}: {notes[layer]}" for layer in LAYERS if layer in notes]
    return Established(jail, layers, said, left_open)


def _become_a_user_of_its_own() -> None:
    confine.become_nobody(os.getpid())
    if os.geteuid() == confine.NOBODY:
        raise OSError("there are no users beyond the usual 65,536")


def _sweeper(on: list[str]) -> Callable[[int], None]:
    if "seccomp" in on:
        return sweep.nothing
    return sweep.namespace if "namespaces" in on else sweep.orphans


def _rank(level: str) -> int:
    if level not in LAYERS:
        raise IsolationError(f"no isolation level {level!r}; there are auto, {', '.join(LAYERS)}")
    return LAYERS.index(level)


def _attempt(layer: Callable[[], None]) -> str:
    """Tries a layer in a process of its own; "" if it works, else why not."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        why = "it failed without saying why"
        try:
            signal.alarm(10)
            layer()
            why = ""
        except OSError as e:
            why = str(e)
        finally:
            os.write(writer, (why or "works").encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(child, 0)
    return "" if said == "works" else said or "the attempt died"
