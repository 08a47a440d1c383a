"""Where a suite's file comes from: a path, a cache, a server that may lie."""

import gzip
import hashlib
import http.server
import threading

import pytest

from t5x_selfprog.evaluation import suite_sources
from t5x_selfprog.evaluation.suite_sources import Published, find_suite
from verifier.errors import UserError

TEXT = b'{"task_id": "HumanEval/900"}\n'


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves what the test puts into `answer`, as the release of a suite called `ours`."""
    answer = {"body": gzip.compress(TEXT, mtime=0)}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if answer["body"] else 404)
            self.end_headers()
            self.wfile.write(answer["body"] or b"")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{running.server_port}/x.jsonl.gz"
        ours = Published(url, "Ours-v1.jsonl", hashlib.md5(TEXT).hexdigest())
        monkeypatch.setitem(suite_sources.PUBLISHED, "ours", ours)
        monkeypatch.setenv(suite_sources.FOLDER, str(tmp_path / "cache"))
        yield answer
        running.shutdown()


def test_a_published_suite_is_fetched_once(server, tmp_path):
    path, name = find_suite("ours")
    assert name == "ours" and path == str(tmp_path / "cache" / "Ours-v1.jsonl")
    with open(path, "rb") as file:
        assert file.read() == TEXT
    server["body"] = b""
    assert find_suite("ours") == (path, name), "what is there is not fetched again"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (gzip.compress(b"<html>sign in</html>", mtime=0), "expected .* Nothing was written"),
        (b"<html>sign in</html>", "cannot be fetched"),
        (gzip.compress(TEXT, mtime=0)[:-9], "cannot be fetched"),
        (b"", "404"),
    ],
)
def test_an_answer_that_is_not_the_file_leaves_nothing(server, tmp_path, body, words):
    server["body"] = body
    with pytest.raises(UserError, match=words):
        find_suite("ours")
    assert not (tmp_path / "cache" / "Ours-v1.jsonl").exists()


def test_a_name_that_is_neither_suite_nor_file_lists_the_suites(tmp_path):
    with pytest.raises(
        UserError, match="--suite=mbbp: no such file; give one, or humaneval_plus or mbpp_plus"
    ):
        find_suite("mbbp")
    with pytest.raises(UserError, match=r"--suite=.*: is a folder; give a file of tasks"):
        find_suite(str(tmp_path))
    (tmp_path / "my tasks.jsonl.gz").write_bytes(gzip.compress(TEXT, mtime=0))
    assert find_suite(str(tmp_path / "my tasks.jsonl.gz"))[1] == "my_tasks"
