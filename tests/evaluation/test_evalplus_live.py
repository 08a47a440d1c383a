"""evalplus itself: it reads our samples.jsonl and comes to our verdicts, and we judge samples that it wrote.

It is not among what the tests install by themselves (pip install evalplus; CI does).
"""

import json
import os
import subprocess
import sys

import pytest

evalplus_data = pytest.importorskip(
    "evalplus.data", reason="the package evalplus is not installed: pip install evalplus"
)

from t5x_selfprog.evaluation.suite_tasks import read_suite  # noqa: E402
from tests.evaluation.suite_rows import HALF  # noqa: E402
from tests.stages.test_evaluate_suite import (  # noqa: E402
    ONLY_BASE,
    RIGHT,
    WRONG,
    Writer,
    evaluate,
    model,  # noqa: F401 (a fixture)
)
from verifier import Pool  # noqa: E402
from verifier.unit_tests.suite_files import read_samples, read_tasks  # noqa: E402

SQUARES = {
    "task_id": "HumanEval/901",
    "prompt": 'def squares(n):\n    """The first n squares, as a list of floats."""\n',
    "entry_point": "squares",
    "canonical_solution": "    return [float(i * i) for i in range(n)]\n",
    "base_input": [[3]],
    "plus_input": [[0], [7]],
    "atol": 1e-6,
}
ANSWERS = {
    "HumanEval/900": [RIGHT["HumanEval/900"], ONLY_BASE, WRONG["HumanEval/900"], "\n    return (\n"],
    "HumanEval/901": [
        "\n    return [float(i * i) for i in range(n)]\n",
        "\n    return [i ** 2.0 + 1e-9 for i in range(n)]\n",
        "\n    return [0.0, 1.0, 4.0]\n",
        "\n    raise ValueError(n)\n",
    ],
}


@pytest.fixture
def suite(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row | {"contract": ""}) + "\n" for row in (HALF, SQUARES)))
    return read_suite(str(path), "own")


def theirs(tmp_path, suite, samples):
    """What evalplus says of samples: (base, plus) statuses by task."""
    environment = os.environ | {
        "HUMANEVAL_OVERRIDE_PATH": suite.path, "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }  # fmt: skip
    command = [sys.executable, "-m", "evalplus.evaluate", "--dataset", "humaneval", "--samples", str(samples)]
    done = subprocess.run(
        [*command, "--parallel", "1", "--min-time-limit", "5"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((samples.parent / "samples_eval_results.json").read_text())["eval"]
    return {name: [(one["base_status"], one["plus_status"]) for one in each] for name, each in found.items()}


def test_it_reads_our_samples_and_says_what_our_verifier_says(tmp_path, suite, model):  # noqa: F811
    ours = evaluate(tmp_path, Writer(ANSWERS), suite, model)
    statuses = theirs(tmp_path, suite, tmp_path / "out" / "samples.jsonl")
    accepted = {problem["name"]: problem["c"] for problem in ours["problems"]}
    both = {name: sum(one == ("pass", "pass") for one in each) for name, each in statuses.items()}
    assert both == accepted == {"HumanEval/900": 1, "HumanEval/901": 2}
    base = sum(one[0] == "pass" for each in statuses.values() for one in each)
    assert base / 8 == ours["base_tests"]["pass_at_k"]["all"]["1"]["estimate"] == 5 / 8


def test_samples_that_it_wrote_are_judged_here(tmp_path, suite):
    path = str(tmp_path / "theirs.jsonl")
    written = [{"task_id": name, "completion": text} for name, texts in ANSWERS.items() for text in texts]
    evalplus_data.write_jsonl(path, written)
    tasks = read_tasks(suite.path)
    rows = list(read_samples(path, tasks))
    with Pool(workers=1) as pool:
        outcomes = [
            verdict.outcome == "accepted"
            for verdict in pool.judge(tasks[row["task_id"]].attempt(row["solution"]) for row in rows)
        ]
    assert outcomes == [True, False, False, False, True, True, False, False]
