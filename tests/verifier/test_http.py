"""The HTTP front: answers in order, a bounded queue, health and metrics, and an end that keeps nobody waiting."""

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from verifier import Limits, Pool
from verifier.errors import UserError
from verifier.http_server import MOST_BYTES, Server

REPOSITORY = Path(__file__).resolve().parents[2]
PUZZLE = "def f(x: int):\n    return x == 7"
LOOP = {"puzzle": PUZZLE, "solution": "def g():\n    while True: pass"}


def attempt(answer: object) -> dict:
    return {"puzzle": PUZZLE, "solution": f"def g():\n    return {answer}"}


@pytest.fixture
def server():
    with Pool(1, Limits(cpu_s=0.5)) as pool, Server(pool, "127.0.0.1", 0, 64) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server: Server, path: str, body: object = None) -> tuple[int, str]:
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(f"{server.address}{path}", data, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def outcomes(said: tuple[int, str]) -> list[str]:
    assert said[0] == 200, said
    return [verdict["outcome"] for verdict in json.loads(said[1])["verdicts"]]


def test_attempts_are_judged_in_order(server):
    task = {"entry_point": "add", "inputs": [[1, 2]], "outputs": [3]}
    rows = [
        attempt(7),
        attempt(8),
        {"task": task, "solution": "def add(a, b):\n    return a + b"},
        attempt("'7'"),
    ]
    assert outcomes(ask(server, "/judge", {"attempts": rows})) == [
        "accepted",
        "wrong",
        "accepted",
        "wrong_type",
    ]
    assert outcomes(ask(server, "/judge", {"attempts": []})) == []


def test_many_clients_at_once(server):
    found: dict[int, list[str]] = {}

    def client(number: int) -> None:
        rows = {"attempts": [attempt(7 + number % 2), attempt(number)]}
        while (said := ask(server, "/judge", rows))[0] == 429:
            time.sleep(0.05)
        found[number] = outcomes(said)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(40):
        wanted = ["wrong" if number % 2 else "accepted", "accepted" if number == 7 else "wrong"]
        assert found[number] == wanted


def test_a_full_queue_refuses_at_once(server):
    """What does not fit is told so while the others are still at work, and is taken later."""
    rows = [{"puzzle": PUZZLE, "solution": f"def g():\n    while True: {i}"} for i in range(6)] + [
        attempt(7)
    ] * 50
    slow = threading.Thread(target=ask, args=(server, "/judge", {"attempts": rows}))
    slow.start()
    while json.loads(ask(server, "/health")[1])["queue_length"] < 56:
        time.sleep(0.01)
    start = time.monotonic()
    status, words = ask(server, "/judge", {"attempts": [attempt(7)] * 9})
    assert status == 429 and "56 attempts are waiting" in words and time.monotonic() - start < 2.0
    slow.join()
    assert outcomes(ask(server, "/judge", {"attempts": [attempt(7)] * 9})) == ["accepted"] * 9
    assert "verifier_requests_refused 1" in ask(server, "/metrics")[1]


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/judge", b"{", 400, "JSONDecodeError"),
        ("/judge", b"[]", 400, "TypeError"),
        ("/judge", b"[" * 100_000, 400, "RecursionError"),
        ("/judge", b"\xff", 400, "UnicodeDecodeError"),
        ("/judge", {"attempts": 1}, 400, "must be a list"),
        ("/judge", {"attempts": [{"puzzle": "x"}]}, 400, "text 'solution'"),
        ("/judge", {"attempts": [{"solution": "x"}]}, 400, "text 'puzzle'"),
        ("/judge", {"attempts": [{"solution": "x", "task": {"a": 1}}]}, 400, "none of the fields"),
        ("/judge", {"attempts": [{"solution": "x", "task": {"a": "7" * (1 << 20)}}]}, 400, "more than"),
        (
            "/judge",
            {"attempts": [{"solution": "x", "task": {"inputs": [[]], "entry_point": []}}]},
            400,
            "text",
        ),
        ("/judge", {"attempts": [{"solution": "x", "task": {"inputs": 1, "outputs": 1}}]}, 400, "a list"),
        ("/judge", {"attempts": [attempt(1)] * 65}, 413, "at most 64"),
        ("/nowhere", {"attempts": []}, 404, "POST /judge"),
    ],
)
def test_bad_requests_are_answered_and_harm_nobody(server, path, body, status, words):
    found = ask(server, path, body)
    assert found[0] == status and words in json.loads(found[1])["error"]
    assert outcomes(ask(server, "/judge", {"attempts": [attempt(7)]})) == ["accepted"]


def test_a_body_that_is_too_long_is_not_read(server):
    host, port = server.server_address[:2]
    connection = http.client.HTTPConnection(host, port, timeout=30)
    for length in (str(MOST_BYTES + 1), "9" * 5000):  # more digits than Python reads
        connection.putrequest("POST", "/judge")
        connection.putheader("Content-Length", length)
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == 413 and answer.read()


def test_health_and_metrics(server):
    ask(server, "/judge", {"attempts": [attempt(7), attempt(8), attempt(7)]})
    status, text = ask(server, "/health")
    health = json.loads(text)
    assert (
        status == 200 and health["status"] == "ok" and health["verdicts"] == 3 and health["queue_length"] == 0
    )
    text = ask(server, "/metrics")[1]
    for line in (
        'verifier_verdicts_total{outcome="accepted"} 2',
        "verifier_queue_capacity 64",
        "verifier_requests_answered 1",
    ):
        assert line in text
    assert ask(server, "/")[0] == 404


def test_a_broken_pool_is_said_and_nobody_waits(monkeypatch):
    with Pool(1) as pool, Server(pool, "127.0.0.1", 0, 8) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        monkeypatch.setattr(pool, "judge", lambda items: iter(()))  # ends before it has judged
        assert ask(server, "/judge", {"attempts": [attempt(7)]})[0] == 503
        assert ask(server, "/health")[0] == 503
        assert ask(server, "/judge", {"attempts": [attempt(7)]})[0] == 503
        server.shutdown()
        thread.join()


def test_a_port_that_is_taken(server):
    with Pool(1) as pool, pytest.raises(UserError, match="cannot listen there"):
        Server(pool, "127.0.0.1", server.server_address[1], 8)


def test_the_command_ends_when_told():
    command = [
        sys.executable,
        "-m",
        "verifier",
        "http",
        "--port",
        "0",
        "--workers",
        "1",
        "--timeout_s",
        "0.5",
    ]
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    address = process.stderr.readline().split()[1].rstrip(",")
    body = json.dumps({"attempts": [attempt(7), LOOP]}).encode()
    with urllib.request.urlopen(f"{address}/judge", body, timeout=60) as answer:
        assert [v["outcome"] for v in json.load(answer)["verdicts"]] == ["accepted", "cpu_limit"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    process.stderr.close()
