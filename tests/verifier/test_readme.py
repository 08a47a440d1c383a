"""Every example of the verifier's README runs."""

import contextlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from verifier.fleet.service import COMPLETE
from verifier.storage.records import ATTEMPT, VERDICT, read_tfrecord, write_tfrecord

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "verifier" / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)
COMMANDS = [
    line.partition("   #")[0].split()[1:]
    for block in re.findall(r"```sh\n(.*?)```", README, re.S)
    for line in block.splitlines()
]
ROW = {"puzzle": "def f(x: int, n=3):\n    return x == n", "solution": "def g(n=3):\n    return n"}


@pytest.fixture
def place(tmp_path):
    """A folder with the files that the examples name."""
    (tmp_path / "attempts.jsonl").write_text(json.dumps(ROW) + "\n")
    (tmp_path / "puzzles.jsonl").write_text(json.dumps({"puzzle": ROW["puzzle"]}) + "\n")
    write_tfrecord(tmp_path / "attempts.tfrecord", [ROW], ATTEMPT)
    write_tfrecord(tmp_path / "attempts" / "a.tfrecord", [ROW], ATTEMPT)
    (tmp_path / "attempts" / COMPLETE).touch()
    task = {"task_id": "add", "entry_point": "add", "inputs": [[1, 2]], "outputs": [3]}
    (tmp_path / "tasks.jsonl").write_text(json.dumps(task) + "\n")
    sample = {"task_id": "add", "solution": "def add(a, b):\n    return a + b"}
    (tmp_path / "samples.jsonl").write_text(json.dumps(sample) + "\n")
    return tmp_path


def run(place, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=place, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def http_server():
    """The command that the README names, on a free port; its address."""
    command = [sys.executable, "-m", "verifier", "http", "--port", "0", "--workers", "1"]
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            yield process.stderr.readline().split()[1].rstrip(",")
        finally:
            process.terminate()


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_python(place, number):
    block = BLOCKS[number]
    if "apache_beam" in block and importlib.util.find_spec("apache_beam") is None:
        pytest.skip("Apache Beam is not installed")
    code = block if "import" in block else f"from verifier import Pool\n{block}"
    with contextlib.ExitStack() as stack:
        if "8000" in block:
            code = code.replace("http://127.0.0.1:8000", stack.enter_context(http_server()))
        said = run(place, "-c", code)
    if "# [1.0, 0.0]" in block:
        assert said == "[1.0, 0.0]\n"
    if "# ['accepted', 'wrong']" in block:
        assert said == "['accepted', 'wrong']\n"
    assert "print" not in block or said
    if "False trivial 6" in block:
        assert said == "False trivial 6\n10e\n"
    if "verdicts.tfrecord" in block:
        assert [row["outcome"] for row in read_tfrecord(place / "verdicts.tfrecord", VERDICT)] == ["accepted"]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[2])
def test_command(place, command):
    said = run(place, *command)
    if command[2] == "serve":
        assert list(read_tfrecord(place / "verdicts" / "a.tfrecord", VERDICT))
        assert "verifier_verdicts_total" in (place / "verifier.prom").read_text()
    if command[2] == "doctor":
        assert "isolation" in said
    if command[2] == "tests":
        assert json.loads((place / "results.jsonl").read_text())["passed"] is True


def test_every_command_is_shown():
    assert {command[2] for command in COMMANDS} == {"judge", "filter", "tests", "serve", "doctor"}
    assert len(BLOCKS) == 6


def test_every_file_that_the_table_names_is_in_its_folder():
    table = re.findall(r"(?m)^\| `(\w+)/`[^|]*\| (.*) \|$", README.partition("## Where things are")[2])
    package = REPOSITORY / "verifier"
    named = [
        (package if folder == "verifier" else package / folder) / file
        for folder, holds in table
        for file in re.findall(r"\w+\.py", holds)
    ]
    assert len(named) > 30
    assert not [path for path in named if not path.exists()]
