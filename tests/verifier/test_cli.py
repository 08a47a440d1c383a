"""The command line: files in, files out, figures, and clear words for bad input."""

import json
import os
import subprocess
import sys

import pytest

from verifier.storage import records

GOOD = {
    "puzzle": "def f(x: int, n=3):\n    return x == n",
    "solution": "def g(n=3):\n    return n",
    "id": "a",
    "more": [1],
}
BAD = {"puzzle": "def f(x: int):\n    return x == 7", "solution": "def g():\n    return 8"}


def run(*arguments, stdin: str | None = None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "verifier", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, input=stdin, timeout=120)


def write_lines(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_json_lines(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", GOOD, BAD, "", GOOD)
    target = tmp_path / "deep" / "out.jsonl"
    done = run("judge", "--input", source, "--output", target, "--workers", 2, "--timeout_s", 1, "--json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row["outcome"] for row in rows] == ["accepted", "wrong", "accepted"]
    assert GOOD.items() <= rows[0].items()
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["verdicts"] == 3 and figures["outcomes"] == {"accepted": 2, "wrong": 1}
    assert "accepted" in done.stderr and "%" in done.stderr


def test_quiet(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", GOOD)
    done = run("judge", "--input", source, "--output", tmp_path / "out.jsonl", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_standard_streams():
    done = run("judge", "--input", "-", "--output", "-", "--quiet", stdin=json.dumps(GOOD) + "\n")
    assert json.loads(done.stdout)["outcome"] == "accepted"


def test_empty_input(tmp_path):
    source = write_lines(tmp_path / "in.jsonl")
    done = run("judge", "--input", source, "--output", tmp_path / "out.jsonl", "--json")
    assert done.returncode == 0
    assert (tmp_path / "out.jsonl").read_text() == ""
    assert json.loads(done.stdout)["verdicts"] == 0


def test_tfrecords(tmp_path):
    attempts = [
        {
            "puzzle_id": f"p{i}",
            "sample_index": i,
            "logprob": -0.5,
            "puzzle": row["puzzle"],
            "solution": row["solution"],
        }
        for i, row in enumerate([GOOD, BAD])
    ]
    attempts[1]["solution"] += "  # \ud800"
    records.write_tfrecord(tmp_path / "in.tfrecord", attempts, records.ATTEMPT)
    done = run("judge", "--input", tmp_path / "in.tfrecord", "--output", tmp_path / "out.tfrecord", "--quiet")
    assert done.returncode == 0, done.stderr
    rows = list(records.read_tfrecord(tmp_path / "out.tfrecord", records.VERDICT))
    assert [row["outcome"] for row in rows] == ["accepted", "syntax"]
    assert [row["puzzle_id"] for row in rows] == ["p0", "p1"]
    assert rows[1]["solution"] == attempts[1]["solution"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not JSON"),
        ("[1]", "must be an object"),
        ('{"puzzle": "x"}', "has no 'solution'"),
        ('{"puzzle": 3, "solution": "x"}', "has 3 for 'puzzle'"),
        ('{"puzzle": null, "solution": "x"}', "has None for 'puzzle'"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_malformed_line(tmp_path, line, says):
    source = write_lines(tmp_path / "in.jsonl", GOOD, line, GOOD)
    done = run("judge", "--input", source, "--output", tmp_path / "out.jsonl")
    assert done.returncode == 2
    assert f"{source}, line 2: " in done.stderr and says in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ["in.jsonl"]


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "in.jsonl").write_bytes(b'{"puzzle": "\xff\xfe"}\n')
    done = run("judge", "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    assert done.returncode == 2 and "line 1" in done.stderr


def test_damaged_tfrecord(tmp_path):
    path = tmp_path / "in.tfrecord"
    records.write_tfrecord(path, [{"puzzle": "x", "solution": "y"}] * 3, records.ATTEMPT)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    done = run("judge", "--input", path, "--output", tmp_path / "out.tfrecord")
    assert done.returncode == 2 and str(path) in done.stderr and "byte" in done.stderr
    assert os.listdir(tmp_path) == ["in.tfrecord"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--timeout_s", "0"], "cpu_s must be"),
        (["--memory_mb", "1"], "memory_mb must be"),
        (["--workers", "0"], "workers must be"),
        (["--isolation", "magic"], "magic"),
        (["--isolation", "rlimits", "--require", "namespaces"], "weaker"),
        (["--imports", "all"], "imports must be"),
    ],
)
def test_options_that_make_no_sense(tmp_path, arguments, says):
    source = write_lines(tmp_path / "in.jsonl", GOOD)
    done = run("judge", "--input", source, "--output", tmp_path / "out.jsonl", *arguments)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ["in.jsonl"]


def test_missing_input(tmp_path):
    done = run("judge", "--input", tmp_path / "none.jsonl", "--output", tmp_path / "out.jsonl")
    assert done.returncode == 2 and "none.jsonl: No such file" in done.stderr


def test_filter(tmp_path):
    rows = [
        {"puzzle": "def f(x: int):\n    return x == 5", "id": 1},
        {"puzzle": "def f(x: int):\n    return x == 500"},
    ]
    source = write_lines(tmp_path / "in.jsonl", *rows)
    done = run("filter", "--input", source, "--output", tmp_path / "out.jsonl", "--json")
    reports = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(report["ok"], report["reason"], report["detail"]) for report in reports] == [
        (False, "trivial", "5"),
        (True, "", ""),
    ]
    assert reports[0]["id"] == 1
    assert json.loads(done.stdout)["outcomes"] == {"ok": 1, "trivial": 1}


def test_doctor():
    found = json.loads(run("doctor", "--json").stdout)
    assert found["layers"]["rlimits"] == "on" and found["calibration_cpu_s"] > 0
    assert set(found["remedies"]) == {layer for layer, state in found["layers"].items() if state != "on"}
    assert "rlimits" in run("doctor").stdout


def test_no_command_prints_help():
    done = run()
    assert done.returncode == 2 and "COMMAND" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["judge"], ["filter"]])
def test_help_is_light(arguments):
    command = [sys.executable, "-X", "importtime", "-m", "verifier", *arguments, "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "--help" in done.stdout
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert not imported & {"numpy", "jax", "tensorflow", "transformers", "google", "google_crc32c", "tqdm"}


def test_worker_is_lean():
    """What a worker imports is forked for every batch."""
    code = (
        "import sys, verifier.worker.process; from verifier.language import policy; "
        "policy.import_modules(policy.WIDE_IMPORTS); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    heavy = {
        "inspect",
        "ast.",
        "dataclasses",
        "json",
        "subprocess",
        "threading",
        "logging",
        "socket",
        "tqdm",
        "numpy",
    }
    assert not modules & heavy
    assert not {"verifier.pool", "verifier.storage.records", "verifier.verdict"} & modules


def test_tiers_certificate_and_generality(tmp_path):
    loop = {"puzzle": GOOD["puzzle"], "solution": "def g(n=3):\n    while True:\n        n += 1"}
    lucky = {
        "puzzle": "def f(s: str):\n    return True",
        "solution": "def g():\n    return str(list({'alpha', 'beta', 'gamma', 'delta', 'epsilon', 'zeta'}))",
    }
    checked = {
        "puzzle": "def f(s: str):\n    return s == str(list({'alpha', 'beta', 'gamma', 'delta', 'epsilon', 'zeta'}))",
        "solution": "def g():\n    return {answer!r}",
    }
    once = write_lines(tmp_path / "once.jsonl", lucky)
    run("judge", "--input", once, "--output", tmp_path / "seen.jsonl", "--workers", 1)
    answer = json.loads((tmp_path / "seen.jsonl").read_text())["answer"]
    checked["solution"] = f"def g():\n    return {answer}"
    source = write_lines(tmp_path / "in.jsonl", GOOD, loop, checked, GOOD)
    options = [
        "--first_tier_s",
        0.1,
        "--candidates",
        1,
        "--certify",
        "--generality",
        2,
        "--no_reuse",
        "--json",
    ]
    done = run(
        "judge",
        "--input",
        source,
        "--output",
        tmp_path / "out.jsonl",
        "--workers",
        1,
        "--timeout_s",
        5,
        *options,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["outcome"] for row in rows] == ["accepted", "cpu_limit", "unstable", "accepted"]
    assert rows[0]["generality"] == 1.0 and "generality" not in rows[1]
    assert rows[1]["cpu_s"] < 1 and "first tier" in rows[1]["detail"]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["calibration_cpu_s"] > 0 and "same_text" not in figures


def test_fields_that_are_named_like_ours_are_kept(tmp_path):
    mine = {"answer": "the reference", "detail": ["note"], "generality": 3, "ok": 0, "cpu_s": None}
    row = {"puzzle": "def f(x: int):\n    return x == 7", "solution": "def g():\n    return 7"} | mine
    (tmp_path / "in.jsonl").write_text(json.dumps(row) + "\n")
    judged, again, screened = tmp_path / "judged.jsonl", tmp_path / "again.jsonl", tmp_path / "screened.jsonl"
    run("judge", "--input", tmp_path / "in.jsonl", "--output", judged, "--quiet", "--generality", 2)
    run("judge", "--input", judged, "--output", again, "--quiet")
    run("filter", "--input", tmp_path / "in.jsonl", "--output", screened, "--quiet")
    (verdict,), (second,), (report,) = (
        [json.loads(line) for line in path.read_text().splitlines()] for path in (judged, again, screened)
    )
    for name in ("answer", "detail", "generality", "cpu_s"):
        assert verdict[f"input_{name}"] == mine[name] == second[f"input_{name}"]
    assert (
        verdict["answer"] == "7" == second["answer"]
        and verdict["ok"] == 0
        and "input_input_answer" not in second
    )
    assert report["input_ok"] == 0 and report["ok"] is False and report["answer"] == "the reference"


@pytest.mark.parametrize(
    ("more", "output", "words"),
    [
        (
            {"answer": 1, "input_answer": 2},
            "out.jsonl",
            "row 1: 'answer' is a field of ours, and there is 'input_answer'",
        ),
        (
            {"outcome": 1},
            "out.tfrecord",
            "row 1: 'outcome' is a field of ours, and a TFRecord file has no place",
        ),
    ],
)
def test_a_field_that_would_be_lost_is_refused(tmp_path, more, output, words):
    row = {"puzzle": "def f(x: int):\n    return x == 7", "solution": "def g():\n    return 7"} | more
    (tmp_path / "in.jsonl").write_text(json.dumps(row) + "\n")
    done = run("judge", "--input", tmp_path / "in.jsonl", "--output", tmp_path / output, "--quiet")
    assert done.returncode == 2 and words in done.stderr and not (tmp_path / output).exists()
