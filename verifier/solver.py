"""Solutions run in children of a process of their own, which never holds a puzzle or another batch's work.

A forked child has the memory of the process it was forked from. The judging process keeps puzzles, and
answers to them, so a solution forked there could look for them. It therefore forks this process before it
hears of any work, and hands it only what is to run, with the memory to report in.
"""

import _socket
import os
import struct
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from verifier import child, linux, sandbox, wire
from verifier.area import Area
from verifier.child import Attempt
from verifier.programs import Allowance, Runtime
from verifier.watch import Ended, Nursery, Watched

_DESCRIPTOR = struct.Struct("@i")
del sys.modules["_socket"]  # programs need not find it


class Solver:
    """Runs solutions, from another process. `start` it before there is anything to hide."""

    def __init__(self, process: int, channel: _socket.socket, while_waiting: Callable[[], None]):
        self.process = process
        self._channel, self._while_waiting = channel, while_waiting

    @classmethod
    def start(cls, jail: sandbox.Jail, runtime: Runtime, while_waiting: Callable[[], None]) -> "Solver":
        """Fork the process that will run solutions. Raises OSError."""
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        parent = os.getpid()
        process = os.fork()
        if process == 0:
            linux.die_with_parent(parent)
            ours.close()
            os.dup2(jail.null, 0)
            os.dup2(jail.null, 1)
            _serve(jail._replace(zygote=os.getpid()), runtime, theirs)
        theirs.close()
        return cls(process, ours, while_waiting)

    def stop(self) -> None:
        """End the process and see it buried."""
        self._channel.close()
        os.waitpid(self.process, 0)

    def run(
        self,
        attempts: list[Attempt],
        known: list[Attempt],
        area: Area,
        watched: Watched,
        limits: Allowance,
        *,
        plain: bool,
    ) -> Ended:
        """Run solutions in one child that reports in `area`. Raises wire.WireClosed if the process is gone.

        See child.run_solutions for what is `known`.
        """
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, _DESCRIPTOR.pack(area.descriptor))
        self._channel.sendmsg([b"!"], [rights])
        fields = _pack(attempts), _pack(known)
        wire.send(self._channel.fileno(), (*fields, area.capacity, tuple(watched), tuple(limits), plain))
        return Ended(*wire.receive(self._channel.fileno(), self._while_waiting))


def _serve(jail: sandbox.Jail, runtime: Runtime, channel: _socket.socket) -> NoReturn:
    """The process's whole life. It keeps nothing from one request to the next."""
    nursery = Nursery(jail, lambda: None, channel.fileno())
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    try:
        while True:
            message, rights, _, _ = channel.recvmsg(1, _socket.CMSG_LEN(_DESCRIPTOR.size))
            if not message:
                os._exit(0)
            (descriptor,) = _DESCRIPTOR.unpack(rights[0][2])
            ended = _run(nursery, runtime, descriptor, wire.receive(channel.fileno()))
            wire.send(channel.fileno(), tuple(ended))
    except (wire.WireClosed, BrokenPipeError, ConnectionResetError):
        os._exit(0)


def _run(nursery: Nursery, runtime: Runtime, descriptor: int, request: Any) -> Ended:
    *fields, capacity, watched, limits, plain = request
    attempts, known = map(_unpack, fields)
    body = partial(
        child.run_solutions,
        attempts=attempts,
        known=known,
        runtime=runtime,
        limits=Allowance(*limits),
        plain=plain,
    )
    with Area(capacity, descriptor) as area:
        return nursery.run(body, area, Watched(*watched))


def _pack(attempts: list[Attempt]) -> tuple:
    """Columns of one type each, which are quick to encode; the few codes that are quoted are sent once."""
    codes: dict[tuple[bytes, bool], int] = {}
    quotes = [codes.setdefault((attempt.quoted, attempt.quoted_plain), len(codes)) for attempt in attempts]
    items, groups, sources = ([attempt[column] for attempt in attempts] for column in range(3))
    return items, groups, sources, quotes, list(codes)


def _unpack(columns: tuple) -> list[Attempt]:
    *rest, quotes, codes = columns
    rows = zip(*rest, quotes, strict=True)
    return [Attempt(item, group, source, *codes[quote]) for item, group, source, quote in rows]
