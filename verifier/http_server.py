"""Judging over HTTP, with the standard library's server: for trainers not written in Python, or not on this host.

  POST /judge     {"attempts": [...]} answers {"verdicts": [...]}, in order
  GET  /health    200 while attempts can be judged, 503 once the pool is broken
  GET  /metrics   Prometheus text

Requests wait in one bounded queue of attempts: what does not fit is refused with 429 before any work is done. One
thread takes all waiting requests and has them judged as one batch, so that many small requests cost no more than a few
large ones. There is no authentication and no encryption: listen on a trusted network, or behind a proxy that has both.
"""

import json
import signal
import sys
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from verifier.errors import UserError
from verifier.fleet.metrics import prometheus
from verifier.pool import Pool
from verifier.unit_tests.suite_calls import SuiteError
from verifier.unit_tests.suite_files import make_suite
from verifier.verdict import Verdict

MOST_BYTES = 64 << 20  # of a request
MOST_IN_TASK = 1 << 20  # characters of a task, which is parsed here, outside any sandbox
MOST_CONNECTIONS = 256
SOCKET_S = 60.0  # a connection idle for this long is closed


class _Refused(Exception):
    """The request is answered with this status and message."""

    def __init__(self, status: int, words: str):
        super().__init__(words)
        self.status = status


class _Asked:
    """One request's attempts, and their verdicts as they come."""

    def __init__(self, attempts: list[dict[str, str]]):
        self.attempts = attempts
        self.verdicts: list[Verdict] = []
        self.done = threading.Event()


class Front:
    """The queue between connections and the pool. `judge` blocks the calling thread until its attempts are judged."""

    def __init__(self, pool: Pool, capacity: int):
        if capacity < 1:
            raise UserError(f"--queue={capacity}: must be at least 1")
        self.capacity = capacity
        self.outcomes: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.cpu_s = 0.0
        self.broken = ""
        self._pool = pool
        self._isolation = pool.isolation
        self._queue: deque[_Asked] = deque()
        self._waiting = 0  # attempts in the queue or being judged
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._start = time.monotonic()
        self._thread.start()

    def judge(self, attempts: list[dict[str, str]]) -> list[Verdict]:
        """Raises _Refused: 429 if they do not fit the queue now, 413 if they never will, 503 once it is closing."""
        asked = _Asked(attempts)
        with self._changed:
            if len(attempts) > self.capacity:
                raise _Refused(413, f"{len(attempts)} attempts; send at most {self.capacity} at a time")
            if self._closing or self.broken:
                raise _Refused(503, self.broken or "closing")
            if self._waiting + len(attempts) > self.capacity:
                raise _Refused(429, f"{self._waiting} attempts are waiting; ask again later")
            self._waiting += len(attempts)
            self._queue.append(asked)
            self._changed.notify_all()
        asked.done.wait()
        if len(asked.verdicts) < len(attempts):
            raise _Refused(503, self.broken or "closing")
        return asked.verdicts

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing)
                taken = list(self._queue)
                self._queue.clear()
            if not taken:
                return
            try:
                verdicts = self._pool.judge(attempt for asked in taken for attempt in asked.attempts)
                for asked in taken:
                    for _ in asked.attempts:
                        verdict = next(verdicts)
                        asked.verdicts.append(verdict)
                        self.outcomes[verdict.outcome] += 1
                        self.cpu_s += verdict.cpu_s
                    asked.done.set()  # without waiting for the other requests
                for _ in verdicts:  # a generator ends only when asked for one item more
                    pass
            except Exception as e:  # whatever it is, no request may wait forever for this thread
                self.broken = f"{type(e).__name__}: {e}"
                traceback.print_exc()
            finally:
                with self._changed:
                    self._waiting -= sum(len(asked.attempts) for asked in taken)
                for asked in taken:
                    asked.done.set()
            if self.broken:
                self.close()

    def close(self) -> None:
        """Refuses new and waiting requests."""
        with self._changed:
            self._closing = True
            left = list(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        for asked in left:
            asked.done.set()

    def figures(self) -> dict[str, Any]:
        """For metrics.prometheus."""
        wall_s = time.monotonic() - self._start
        return {
            "isolation": self._isolation,
            "outcomes": dict(self.outcomes),
            "verdicts": sum(self.outcomes.values()),
            "queue_length": self._waiting,
            "queue_capacity": self.capacity,
            "requests_refused": sum(n for status, n in self.statuses.items() if status in (413, 429, 503)),
            "requests_bad": self.statuses[400],
            "requests_answered": self.statuses[200],
            "cpu_s": round(self.cpu_s, 3),
            "wall_s": round(wall_s, 3),
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "verifier"
    sys_version = ""
    timeout = SOCKET_S
    front: Front

    def do_GET(self) -> None:
        if self.path == "/health":
            broken = self.front.broken
            status = {"status": broken or "ok", **self.front.figures()}
            self._say(503 if broken else 200, json.dumps(status), "application/json")
        elif self.path == "/metrics":
            self._say(200, prometheus(self.front.figures()), "text/plain; version=0.0.4")
        else:
            self._error(404, f"no {self.path}; there are POST /judge, GET /health, GET /metrics")

    def do_POST(self) -> None:
        try:
            if self.path != "/judge":
                raise _Refused(404, f"no {self.path}; there are POST /judge, GET /health, GET /metrics")
            attempts = self._attempts()
            verdicts = self.front.judge(attempts)
        except _Refused as e:
            self.front.statuses[e.status] += 1
            self._error(e.status, str(e))
            return
        self.front.statuses[200] += 1
        answer = {"verdicts": [verdict.as_record({}) for verdict in verdicts]}
        self._say(200, json.dumps(answer), "application/json")

    def _attempts(self) -> list[dict[str, str]]:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self.close_connection = True
            raise _Refused(411, "say Content-Length")
        if len(length) > 20 or int(length) > MOST_BYTES:
            self.close_connection = True  # the body is not read
            raise _Refused(413, f"{length[:20]} bytes; send at most {MOST_BYTES}")
        body = self.rfile.read(int(length))
        try:
            rows = json.loads(body)["attempts"]
            if not isinstance(rows, list):
                raise TypeError("attempts must be a list")
            return [_attempt(row) for row in rows]
        except (ValueError, TypeError, KeyError, RecursionError, SuiteError) as e:
            raise _Refused(400, f"not what is judged: {type(e).__name__}: {e}"[:500]) from e

    def _error(self, status: int, words: str) -> None:
        self._say(status, json.dumps({"error": words}), "application/json")

    def _say(self, status: int, text: str, kind: str) -> None:
        data = text.encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if status == 429:
            self.send_header("Retry-After", "1")
        if self.close_connection:  # else the client would send its next request on this connection
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing: /metrics counts requests."""


def _attempt(row: Any) -> dict[str, str]:
    if not isinstance(row, Mapping) or not isinstance(row.get("solution"), str):
        raise TypeError(f"an attempt needs a text 'solution': {str(row)[:80]}")
    if isinstance(row.get("task"), Mapping):
        if len(json.dumps(row["task"])) > MOST_IN_TASK:
            raise TypeError(f"a task has more than {MOST_IN_TASK} characters")
        return make_suite(row["task"]).attempt(row["solution"])
    if not isinstance(row.get("puzzle"), str):
        raise TypeError(f"an attempt needs a text 'puzzle', or an object 'task': {str(row)[:80]}")
    return {"puzzle": row["puzzle"], "solution": row["solution"]}


class Server(ThreadingHTTPServer):
    """Listens at `address` as soon as it is made; `serve_forever` runs until `shutdown`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, pool: Pool, host: str, port: int, capacity: int):
        self.front = Front(pool, capacity)
        self._room = threading.BoundedSemaphore(MOST_CONNECTIONS)
        handler = type("Handler", (_Handler,), {"front": self.front})
        try:
            super().__init__((host, port), handler)
        except (OSError, OverflowError) as e:
            self.front.close()
            raise UserError(f"--host={host} --port={port}: cannot listen there: {e}") from e

    @property
    def address(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host if isinstance(host, str) else host.decode()}:{port}"

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.front.statuses[503] += 1
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of ours; anything else is a bug and keeps its traceback."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def server_close(self) -> None:
        self.front.close()
        super().server_close()


def serve_http(pool: Pool, host: str, port: int, capacity: int) -> None:
    """Serves until SIGTERM or Ctrl-C. Prints the address on standard error."""
    with Server(pool, host, port, capacity) as server:
        # `shutdown` waits for the loop, which this thread runs, so another thread must call it
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        print(f"verifier: {server.address}, isolation {pool.isolation}", file=sys.stderr, flush=True)
        server.serve_forever(poll_interval=0.1)
