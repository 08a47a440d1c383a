"""`--push`: what is checked before the work, and what arrives, against a server that answers like the Hub."""

from __future__ import annotations

import base64
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from t5x_selfprog.main import main
from t5x_selfprog.model.store import SHIPPED
from t5x_selfprog.run_dir import open_run
from tests.data.pairs_run import make_pairs_run


class Hub:
    """The requests and, by repository, the files of the last commit; `refuse` maps suffixes of paths to a status."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.made: list[dict[str, Any]] = []
        self.files: dict[str, dict[str, bytes]] = {}
        self.messages: list[str] = []
        self.tokens: dict[str, str | None] = {}
        self.refuse: dict[str, int] = {}

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        if path == "/api/whoami-v2":
            return {"type": "user", "name": "me", "orgs": [{"name": "Team"}]}
        if path == "/api/repos/create":
            self.made.append(json.loads(body))
            owner = self.made[-1].get("organization") or "me"
            return {"url": f"{self.address}/{owner}/{self.made[-1]['name']}"}
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}
        if path.endswith("/preupload/main"):
            asked = json.loads(body)["files"]
            return {
                "files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]
            }
        if path.endswith("/commit/main"):
            head, *rest = [json.loads(line) for line in body.splitlines()]
            self.messages.append(head["value"]["summary"])
            self.files[path.removesuffix("/commit/main").removeprefix("/api/")] = {
                entry["value"]["path"]: base64.b64decode(entry["value"]["content"]) for entry in rest
            }
            return {"commitUrl": f"{self.address}/me/x/commit/{'0' * 40}", "commitOid": "0" * 40}
        return {}

    address = ""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    # Other tests of this process may have switched the Hub off.
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    there = Hub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            there.asked.append(path)
            there.tokens[path] = self.headers.get("Authorization")
            status = next((code for end, code in there.refuse.items() if path.endswith(end)), 200)
            text = json.dumps(there.answer(path, body) if status == 200 else {"error": "no"}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            """Prints nothing on the test's standard error."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    there.address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", there.address)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield there
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose trained model is a copy of the shipped one."""
    root = tmp_path / "run"
    open_run(root, {"Experiment.base": "'base'"}, "Experiment.seed = 7\n")
    model = root / "iter_000" / "6_checkpoints"
    shutil.copytree(Path(SHIPPED, "base"), model)
    done = {"step": 12, "pairs": 3456, "start": "begun", "identity": "learnt"}
    (model / "done.json").write_text(json.dumps(done))
    (root / "table.md").write_text("| arm | Pass@1 |\n| --- | --- |\n| verified 0 | 2.5 |\n")
    return root


def test_a_model_arrives_whole_with_a_card_of_its_run(hub: Hub, run: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "out"
    assert main(["export", f"--model={run}", f"--output={output}", "--push=team/tuned"]) == 0
    assert "Pushed: " in capsys.readouterr().out
    sent = hub.files["models/team/tuned"]
    assert sent == {path.name: path.read_bytes() for path in output.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= sent.keys()
    card = sent["README.md"].decode()
    for words in ("library_name: transformers", "3,456 pairs in 12 steps", "identity is learnt", "| verified 0 | 2.5 |",
                  "iter_000/6_checkpoints", "Experiment.seed = 7", "It began as `base`"):  # fmt: skip
        assert words in card
    made = hub.made[0]  # its form differs between releases of huggingface_hub
    assert made.get("private") is True or made.get("visibility") == "private"
    for path in ("/api/whoami-v2", "/api/repos/create", "/api/models/team/tuned/commit/main"):
        assert hub.tokens[path] == "Bearer hf_secret"
    assert str(tmp_path) not in card, "no path of this machine"


def test_pairs_arrive_with_their_card(hub: Hub, tmp_path: Path) -> None:
    run, output = make_pairs_run(tmp_path / "run"), tmp_path / "out"
    flags = [f"--run_dir={run}", f"--output={output}", "--formats=jsonl", "--push=me/puzzles"]
    assert main(["export-data", *flags]) == 0
    sent = hub.files["datasets/me/puzzles"]
    assert sent == {path.name: path.read_bytes() for path in output.iterdir()}
    assert b"30 pairs of 15 puzzles" in sent["README.md"] and hub.messages == ["30 pairs of 15 puzzles"]


@pytest.mark.parametrize(
    ("target", "refuse", "words"),
    [
        ("puzzles", {}, "write ORG/NAME"),
        ("https://x.org/me/puzzles", {}, "write ORG/NAME"),
        ("me/two words", {}, "write ORG/NAME"),
        ("someone/puzzles", {}, "you are logged in as me, and someone is none of me, Team"),
        ("me/puzzles", {"whoami-v2": 401}, "the token is not valid"),
    ],
)
def test_what_cannot_be_pushed_is_said_before_anything_is_made(
    hub: Hub, run: Path, tmp_path: Path, capsys, target: str, refuse: dict[str, int], words: str
) -> None:
    hub.refuse = refuse
    make_pairs_run(run)
    for command in (["export", f"--model={run}"], ["export-data", f"--run_dir={run}"]):
        assert main([*command, f"--output={tmp_path / 'out'}", f"--push={target}"]) == 2
        said = capsys.readouterr().err
        assert f"--push={target}" in said and words in said and "Traceback" not in said
    assert not (tmp_path / "out").exists() and not hub.made


def test_without_a_login_or_a_network_nothing_is_made(
    hub: Hub, run: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["export", f"--model={run}", f"--output={tmp_path / 'out'}", "--push=me/tuned"]
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert main(command) == 2
    assert "could not be reached" in capsys.readouterr().err
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert main(command) == 2
    assert "`hf auth login` does that" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_refused_at_the_end_is_kept_here(hub: Hub, run: Path, tmp_path: Path, capsys) -> None:
    hub.refuse = {"/commit/main": 403}
    output = tmp_path / "out"
    assert main(["export", f"--model={run}", f"--output={output}", "--push=me/tuned"]) == 2
    said = capsys.readouterr().err
    assert "the token may not write there" in said and f"hf upload me/tuned {output} ." in said
    assert (output / "model.safetensors").exists() and (output / "README.md").exists()


def test_a_model_of_no_run_is_exported_as_before(tmp_path: Path) -> None:
    assert main(["export", "--model=base", f"--output={tmp_path / 'out'}"]) == 0
    assert not (tmp_path / "out" / "README.md").exists()
