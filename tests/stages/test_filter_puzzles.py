"""Stage 2 on puzzles that the test writes, with real workers: a repaired puzzle is judged like any other."""

import pytest

from t5x_selfprog.run_dir import open_run
from t5x_selfprog.stages import filter_puzzles
from t5x_selfprog.stages.context import Context, Experiment
from t5x_selfprog.stages.screening import Screening, Settings
from verifier.storage.records import PUZZLE

SOURCES = {
    "whole": "def f(x: List[int], n=33):\n    return len(x) == n and sum(x) == 2",
    "mended": "def f(x: List[int], n: int):\n    return len(x) == n + 50",
    "unused": "def f(x: int, spare=3):\n    return x * x == 361201",
    "trivial": "def f(x: int, n: int):\n    return x != n",
    "hopeless": "def f(x: int, a: Foo):\n    return x == a",
    "broken": "def f(x: int, n: int:\n    return x == n",
}


@pytest.fixture
def context(tmp_path):
    context = Context(open_run(tmp_path, {}), Experiment(shards=2, workers=1))
    ledger = context.ledger(context.run.stage(0, "puzzles"), "puzzles", PUZZLE)
    records = [
        dict.fromkeys(PUZZLE) | {"puzzle_id": name, "source": source, "origin": name}
        for name, source in SOURCES.items()
    ]
    for shard in range(2):
        ledger.commit(shard, context.shard_of(records, shard))
    ledger.finish()
    return context


def names(context, stage):
    return {record["origin"]: record for record in context.run.read(0, stage)}


def test_repaired_puzzles_are_judged_like_any_other_and_counted_apart(context):
    filter_puzzles.run(context, 0, Screening(context, 0, Settings(behaviour=None, repair=True)))
    kept, rejected = names(context, "kept"), names(context, "rejected")
    assert set(kept) == {"whole", "mended+repaired", "unused+repaired"}
    assert kept["unused+repaired"]["source"] == "def f(x: int):\n    return x * x == 361201"
    assert rejected["trivial+repaired"]["reason"] == "trivial"
    assert (rejected["hopeless"]["reason"], rejected["broken"]["reason"]) == ("bad_signature", "no_parse")
    solved = {kept["mended+repaired"]["puzzle_id"], kept["whole"]["puzzle_id"]}
    funnel = filter_puzzles.write_funnel(context, 0, solved)
    assert funnel["repaired"] == {"tried": 3, "kept": 2, "solved": 1}
    assert funnel["stages"][-1] == {"name": "solved", "count": 2}
    assert "repaired: tried 3, kept 2, solved 1" in filter_puzzles.format_funnel(funnel)


def test_nothing_is_repaired_unasked(context):
    filter_puzzles.run(context, 0, Screening(context, 0, Settings(behaviour=None)))
    assert set(names(context, "kept")) == {"whole"}
    assert names(context, "rejected")["mended"]["source"] == SOURCES["mended"]
    assert "repaired" not in filter_puzzles.write_funnel(context, 0)
