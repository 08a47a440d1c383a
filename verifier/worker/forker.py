"""Every child that runs a candidate is forked from one process, which never holds any of the children's work.

A child starts with the memory of the process it was forked from. The judging process keeps puzzles and answers to them:
a solution forked there could look for them, and would have less memory the more there are. So the judging process forks
this one before it hears of any work, and only passes descriptors through it: of a request (request.py), which the child
opens, and of the memory to report in. The first child and the millionth begin alike, whatever was judged before.
"""

import _socket
import os
import select
import struct
import sys
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from verifier.sandbox import confine, linux
from verifier.worker import child
from verifier.worker.area import Area, Progress
from verifier.worker.request import Request, open_request, read_checks_request, read_solutions_request
from verifier.worker.runtime import Allowance, Runtime
from verifier.worker.watch import Ended, Nursery, Watched
from verifier.worker.wire import WireClosed

_DESCRIPTORS = struct.Struct("@2i")
# checks?, plain?, alone or -1, items, capacity of the area; then of Watched: CPU, wall, memory; of Allowance: the rest
_ORDER = struct.Struct("<BBqIQddIdIQ")
_ENDED = struct.Struct("<qdq32s")
BEAT_S = 1.0
del sys.modules["_socket"]  # programs need not find it


class Forker:
    """Runs children, from another process. `start` it before there is anything to hide."""

    def __init__(self, process: int, channel: _socket.socket, while_waiting: Callable[[], None]):
        self.process = process
        self._channel, self._while_waiting = channel, while_waiting

    @classmethod
    def start(cls, jail: confine.Jail, runtime: Runtime, while_waiting: Callable[[], None]) -> "Forker":
        """Forks the process from which children will be forked. Raises OSError."""
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        parent = os.getpid()
        process = os.fork()
        if process == 0:
            linux.die_with_parent(parent)
            ours.close()
            os.dup2(jail.null, 0)
            os.dup2(jail.null, 1)
            _serve(jail._replace(parent=os.getpid()), runtime, theirs)
        theirs.close()
        return cls(process, ours, while_waiting)

    def stop(self) -> None:
        """Ends the process and reaps it."""
        self._channel.close()
        os.waitpid(self.process, 0)

    def run(
        self,
        request: Request,
        area: Area,
        items: int,
        watched: Watched,
        limits: Allowance,
        *,
        checks: bool,
        plain: bool,
    ) -> Ended:
        """Runs one child on a request of `checks` or of solutions; it reports in `area`.

        items: item numbers are below this; each item has the CPU seconds that `watched` has for item 0, or for the one
            that is alone.
        plain: the items share the child.

        Raises WireClosed if the process is gone.
        """
        alone = -1 if watched.alone is None else watched.alone
        cpu_s = watched.cpu_s[max(alone, 0)]
        head = checks, plain, alone, items, area.capacity
        rest = limits.cpu_s, limits.memory_mb, limits.output_bytes
        order = _ORDER.pack(*head, cpu_s, watched.wall_s, watched.memory_mb, *rest)
        descriptors = _DESCRIPTORS.pack(request.descriptor, area.descriptor)
        try:
            self._channel.sendmsg([order], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptors)])
        except (BrokenPipeError, ConnectionResetError) as e:
            raise WireClosed from e
        while not select.select([self._channel.fileno()], [], [], BEAT_S)[0]:
            self._while_waiting()
        reply = self._channel.recv(_ENDED.size)
        if len(reply) != _ENDED.size:
            raise WireClosed
        item, cpu_s, peak_kb, how = _ENDED.unpack(reply)
        return Ended(None if item < 0 else item, how.rstrip(b"\0").decode(), cpu_s, peak_kb)


def _serve(jail: confine.Jail, runtime: Runtime, channel: _socket.socket) -> NoReturn:
    """The process's whole life."""
    nursery = Nursery(jail, lambda: None, channel.fileno())
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    try:
        while True:
            order, rights, _, _ = channel.recvmsg(_ORDER.size, _socket.CMSG_LEN(_DESCRIPTORS.size))
            if not order:
                os._exit(0)
            request, area = _DESCRIPTORS.unpack(rights[0][2])
            ended = _run(nursery, runtime, order, request, area)
            os.close(request)
            os.close(area)
            item = -1 if ended.item is None else ended.item
            channel.send(_ENDED.pack(item, ended.cpu_s, ended.peak_kb, ended.how.encode()))
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)


def _run(nursery: Nursery, runtime: Runtime, order: bytes, request: int, area: int) -> Ended:
    checks, plain, alone, items, capacity, cpu_s, wall_s, memory_mb, *rest = _ORDER.unpack(order)
    budget = dict.fromkeys(range(items), cpu_s) if alone < 0 else {alone: cpu_s}
    watched = Watched(budget, wall_s, memory_mb, None if alone < 0 else alone)
    limits = Allowance(rest[0], wall_s, *rest[1:])
    body = _check if checks else _solve
    progress = Progress(area)

    def opening() -> Callable[[], None]:
        return partial(body, open_request(request), Area(capacity, area), runtime, limits, plain=bool(plain))

    try:
        return nursery.run_opening(opening, progress, watched)
    finally:
        progress.close()


def _solve(data: memoryview, area: Area, runtime: Runtime, limits: Allowance, *, plain: bool) -> None:
    child.run_solutions(area, *read_solutions_request(data), runtime, limits, plain=plain)


def _check(data: memoryview, area: Area, runtime: Runtime, limits: Allowance, *, plain: bool) -> None:
    child.run_checks(area, read_checks_request(data), runtime, limits, alone=not plain)
