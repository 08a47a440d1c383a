"""The pool's handle of one worker: starts it, queues messages to it, reads what it says, ends it.

Only `subprocess` is used, so that a pool works inside a process with threads and a gigabyte of JAX without
forking it. All descriptors are non-blocking: nothing a worker does or leaves undone can hold up its pool.
"""

import contextlib
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

from verifier.language import literal
from verifier.worker import wire

_CODE = "import sys; sys.path.insert(0, sys.argv[1]); from verifier.worker.process import main; main()"
# A child's memory goes back when it ends, not each time a program drops a long list: this saves 2% of the CPU.
_KEEP_MEMORY = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(1 << 30))
_ROOT = str(pathlib.Path(__file__).resolve().parents[2])


class Worker:
    """One worker. `silent_s` says how long it has been silent when it should have spoken."""

    def __init__(self, isolation: str, require: str, imports: str, hash_seed: int, once: bool):
        command = [sys.executable, "-P", "-s", "-S", "-W", "ignore", "-X", "int_max_str_digits=0"]
        environment = {
            "PYTHONHASHSEED": str(hash_seed),
            "LC_ALL": "C.UTF-8",
            "PATH": "/nonexistent",
            **_KEEP_MEMORY,
        }
        self._process = subprocess.Popen(
            [*command, "-c", _CODE, _ROOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd="/",
            start_new_session=True,  # Ctrl-C is for the pool, which then ends its workers
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._stdin, self._stdout, self._stderr = (
            self._process.stdin,
            self._process.stdout,
            self._process.stderr,
        )
        for pipe in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(pipe.fileno(), False)
        self._unpacker = wire.Unpacker()
        self._outgoing = bytearray()
        self._last_said = time.monotonic()
        self.isolation: str | None = None  # known once it said hello
        self.notes: list[str] = []
        self.jobs: dict[int, Any] = {}  # number -> what the pool asked of it
        self.judged = 0
        self.since = 0.0  # when it began the first of its jobs, on the monotonic clock
        self.send(("config", isolation, require, imports, once))

    def fileno(self) -> int:
        """Where its messages arrive."""
        return self._stdout.fileno()

    def input_fileno(self) -> int:
        return self._stdin.fileno()

    @property
    def has_outgoing(self) -> bool:
        return bool(self._outgoing)

    @property
    def pid(self) -> int:
        return self._process.pid

    def silent_s(self) -> float:
        return time.monotonic() - self._last_said

    def excuse(self) -> None:
        """Does not count the time until now as silence: nobody was listening."""
        self._last_said = time.monotonic()

    def send(self, message: object) -> None:
        """Queues a message and writes what the pipe takes; the rest goes by `flush`."""
        self._outgoing += wire.pack(message)
        self.flush()

    def flush(self) -> None:
        try:
            while self._outgoing:
                written = os.write(self._stdin.fileno(), memoryview(self._outgoing)[: 1 << 18])
                del self._outgoing[:written]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._outgoing.clear()  # reading will show that it ended

    def receive(self) -> list | None:
        """The messages that have arrived; None when the worker is gone or talks nonsense."""
        messages: list = []
        while True:
            try:
                data = os.read(self._stdout.fileno(), 1 << 18)
            except BlockingIOError:
                return messages
            if not data:
                return None
            self._last_said = time.monotonic()
            try:
                messages += self._unpacker.feed(data)
            except literal.CorruptLiteral:
                return None

    def last_words(self) -> str:
        """The end of what it wrote to its standard error: our own traceback, if it had one."""
        try:
            return os.read(self._stderr.fileno(), 1 << 16).decode("utf-8", "replace")[-2000:].strip()
        except BlockingIOError:
            return ""

    def hang_up(self) -> None:
        """Closes its pipe, upon which it ends by itself unless it is stuck."""
        with contextlib.suppress(BrokenPipeError):  # it was gone before it had read everything
            self._stdin.close()

    def end(self, patience_s: float = 0.0) -> None:
        """Hangs up and waits; after `patience_s`, kills it. Its children die with it."""
        self.hang_up()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()
        self._stderr.close()
