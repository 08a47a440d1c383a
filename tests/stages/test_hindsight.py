"""Hindsight on wrong answers with a real verifier: kept pairs hold, and no held-out problem gets in."""

import importlib.machinery
import importlib.util
import json
import os

import pytest

from t5x_selfprog.run_dir import open_run
from t5x_selfprog.stages import build_dataset, filter_puzzles, hindsight
from t5x_selfprog.stages.build_dataset import Selection
from t5x_selfprog.stages.context import Context, Experiment
from t5x_selfprog.stages.hindsight import Hindsight
from verifier import Pool
from verifier.storage.records import PUZZLE, VERDICT
from verifier.storage.shards import Ledger

SUM = "def f(x: List[int], n=1000):\n    return sum(x) == n"
SQUARE = "def f(x: int):\n    return x * x + 7"
HELD_OUT = "def f(x: int):\n    return x * 3 == 999"
WRONG = {
    (SUM, "[300] * 3"): "[300, 300, 300]",
    (SUM, "[n - 1]"): "[999]",  # n becomes another n
    (SUM, "[0] * 3"): "[0, 0, 0]",  # has the same sum as []: trivial
    (SUM, "[900]"): "[900]",  # the same puzzle as the first
    (SQUARE, "-5000"): "-5000",
    ("def f(x: int):\n    return x * 3 == 4", "111222"): "111222",  # the held-out one
}


def entry(name, source, answer):
    return {
        "name": f"{name}:0", "sat": source.replace("def f", "def sat"), "ans_type": answer, "sol_header": "def sol():",
        "sol_docstring": "", "sol_bodies": ["    return 111222"], "module": "m",
    }  # fmt: skip


@pytest.fixture
def context(tmp_path):
    """A run whose stage 4 judged these attempts wrong."""
    problems = tmp_path / "problems"
    problems.mkdir()
    held_out = "def sat(x: int):\n    return x * 3 == 333666"
    train = "def sat(x: str):\n    return len(x) == 1234"
    (problems / "puzzles.json").write_text(
        json.dumps([entry("A", train, "str"), entry("B", held_out, "int")])
    )
    (problems / "split.json").write_text(json.dumps({"train": ["A"], "test": ["B"]}))
    context = Context(open_run(tmp_path / "run", {}), Experiment(problems=str(problems), shards=2, workers=1))
    puzzles = context.ledger(context.run.stage(0, "puzzles"), "puzzles", PUZZLE)
    sources = list(dict.fromkeys(puzzle for puzzle, _ in WRONG))
    records = [dict.fromkeys(PUZZLE) | {"puzzle_id": s, "source": s, "origin": s} for s in sources]
    for shard in range(2):
        puzzles.commit(shard, context.shard_of(records, shard))
    puzzles.finish()
    filter_puzzles.run(context, 0)
    verdicts = context.ledger(context.run.stage(0, "verdicts"), "verdicts", VERDICT)
    made = []
    for (puzzle, answer), shown in WRONG.items():
        header = "def g(n=1000):" if puzzle == SUM else "def g():"
        solution = f"{header}\n    return {answer}\n"
        about = {"puzzle_id": puzzle, "puzzle": puzzle, "solution": solution, "answer": shown}
        made.append(dict.fromkeys(VERDICT) | about | {"outcome": "wrong", "detail": "", "checkpoint": "c"})
    right = "def g(n=1000):\n    return [n]\n"
    made.append(made[0] | {"solution": right, "outcome": "accepted", "answer": "[1000]"})
    for shard in range(2):
        verdicts.commit(shard, context.shard_of(made, shard))
    verdicts.finish()
    return context


def test_a_puzzle_that_hindsight_made_is_no_new_one_in_the_next_iteration(context):
    """The model has learnt it, and writes it again."""
    hindsight.run(context, 0, Hindsight())
    nine, other = SUM.replace("1000", "900"), "def f(s: str):\n    return s[::-1] == 'lever'"
    puzzles = context.ledger(context.run.stage(1, "puzzles"), "puzzles", PUZZLE)
    for shard, source in enumerate((nine, other)):
        puzzles.commit(
            shard, [dict.fromkeys(PUZZLE) | {"puzzle_id": source, "source": source, "origin": "1"}]
        )
    puzzles.finish()
    filter_puzzles.run(context, 1)
    assert [record["source"] for record in context.run.read(1, "kept")] == [other]
    assert [record["reason"] for record in context.run.read(1, "rejected")] == ["duplicate"]


def test_wrong_answers_become_right_ones_to_puzzles_that_pass_every_rule(context):
    hindsight.run(context, 0, Hindsight())
    found = {(r["puzzle"], r["solution"]) for r in context.run.read(0, "hindsight")}
    nine = SUM.replace("1000", "900")
    assert found == {
        (nine, "def g(n=900):\n    return [300] * 3\n"),
        (nine, "def g(n=900):\n    return [900]\n"),
        (SQUARE + " == 25000007", "def g():\n    return -5000\n"),
    }
    with Pool(1) as pool:
        assert all(v.accepted for v in pool.judge([{"puzzle": f, "solution": g} for f, g in found]))
    funnel = filter_puzzles.write_funnel(context, 0)
    assert funnel["hindsight"]["wrong"] == 6 and funnel["hindsight"]["kept"] == 3
    assert "accepted 5, kept 3" in filter_puzzles.format_funnel(funnel)


def test_its_pairs_are_weighted_apart_and_an_arm_does_without(context):
    hindsight.run(context, 0, Hindsight())
    build_dataset.run(context, 0, Selection(hindsight=0.5))
    weights = sorted(pair["weight"] for pair in context.run.read(0, "dataset"))
    assert weights[:3] == [0.5] * 3 and len(weights) == 4
    build_dataset.run_control(context, "no_hindsight", 1, Selection(hindsight=0.5))
    assert len(list(Ledger.open(context.run.control("no_hindsight", "dataset")))) == 1


def test_one_answer_a_puzzle_is_looked_at_where_one_is_asked_for(context):
    hindsight.run(context, 0, Hindsight(answers=1, max_chars=3))
    assert {r["solution"] for r in context.run.read(0, "hindsight")} == {"def g(n=900):\n    return [900]\n"}


def test_unasked_it_writes_nothing(context):
    hindsight.run(context, 0)
    assert hindsight.of_iteration(context, 0) is None
    build_dataset.run(context, 0)
    assert len(list(context.run.read(0, "dataset"))) == 1


def test_what_a_run_would_have_got_of_it_is_measured_beside_it(context, repository, capsys, monkeypatch):
    path = repository / "scripts" / "measure" / "measure_yield.py"
    loader = importlib.machinery.SourceFileLoader("measure_yield", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("measure_yield", loader))
    loader.exec_module(module)
    asked = [f"--run_dir={context.run.root}", f"--problems={context.experiment.problems}", "--workers=1"]
    monkeypatch.setattr("sys.argv", ["measure_yield", *asked])
    assert module.main() == 0
    found = json.loads(capsys.readouterr().out)
    assert found["as it was"]["hindsight"]["kept"] == 3 and "repaired" not in found["as it was"]
    distinct = [found[how]["stages"]["distinct"] for how in ("repaired", "as it was")]
    assert distinct == [1, 1]  # SQUARE asks nothing: stage 2 refuses it, hindsight makes a question of it
    assert {pair["puzzle"] for pair in found["as it was"]["pairs"]} > {SQUARE + " == 25000007"}
    assert not os.path.exists(context.run.stage(0, "hindsight")), "the run itself stays as it was"
