"""Every look at held-out problems is counted once, and said."""

import json

from t5x_selfprog.evaluation import held_out
from t5x_selfprog.evaluation.evaluation import ProblemCount, markdown_table, summarise, table

LOOK = {
    "split": "test",
    "arm": "verified",
    "iteration": 0,
    "output": "iter_000/7_eval",
    "config": "aa",
    "seed": 0,
}


def test_a_look_that_is_resumed_is_one_look(tmp_path):
    for _ in range(3):
        held_out.record(str(tmp_path), LOOK)
    assert held_out.read(str(tmp_path)) == [LOOK]
    assert held_out.notes(str(tmp_path)) == [
        "Split test (held out) was evaluated once in this run, by one configuration: verified 1."
    ]


def test_looks_are_told_apart_by_everything_that_was_asked(tmp_path):
    for change in ({}, {"iteration": 1}, {"config": "bb"}, {"seed": 1}, {"arm": "base"}, {"split": "dev"}):
        held_out.record(str(tmp_path), LOOK | change)
    dev, test = held_out.notes(str(tmp_path))
    assert "evaluated 5 times in this run, by 2 configurations: base 1, verified 4" in test
    assert "Split dev (for choices) was evaluated once" in dev


def test_the_order_of_looks_leaves_no_trace(tmp_path):
    looks = [LOOK | {"iteration": i} for i in range(4)]
    for folder, order in (("a", looks), ("b", looks[::-1])):
        for look in order:
            held_out.record(str(tmp_path / folder), look)
    assert held_out.read(str(tmp_path / "a")) == held_out.read(str(tmp_path / "b"))


def test_a_run_without_looks_says_nothing(tmp_path):
    assert held_out.notes(str(tmp_path)) == []


def test_the_table_carries_the_note(tmp_path):
    held_out.record(str(tmp_path), LOOK)
    evaluation = {"arm": "base", "iteration": None} | summarise([ProblemCount("a", "A", "g", 10, 1)], {})
    note = held_out.notes(str(tmp_path))
    assert "evaluated once" in table([evaluation], notes=note)
    assert "evaluated once" in markdown_table([evaluation], notes=note)
    json.dumps(held_out.read(str(tmp_path)))
