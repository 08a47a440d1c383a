"""Stage 3 with a scripted model: kept puzzles are attempted by the newest weights, as often as the schedule says."""

import json
import os
from types import SimpleNamespace

import pytest

from t5x_selfprog.puzzles.prompts import SolvePrompt
from t5x_selfprog.run_layout import RunDir
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.stages import sample_solutions
from tests.stages.test_attempts import EASY, HARD, OneShard, of
from verifier.storage.records import PUZZLE
from verifier.storage.shards import Ledger


class ThirdStage(OneShard):
    experiment = SimpleNamespace(base="the base")

    def __init__(self, root):
        super().__init__()
        self.run, self.loaded = RunDir(str(root)), []

    def key(self, iteration, stage):
        return (iteration, stage)

    def sampler(self, model, sampling, prefix):
        self.loaded.append(model)
        return self.writer


@pytest.mark.parametrize(("pairs", "attempts"), [(7, 6), (0, 12)])
def test_attempts_follow_from_what_the_iteration_before_brought(tmp_path, pairs, attempts):
    """Twice as many after an iteration without a pair, and then from the base, because nothing was trained."""
    context = ThirdStage(tmp_path)
    os.makedirs(context.run.stage(0, "dataset"))
    with open(f"{context.run.stage(0, 'dataset')}/manifest.json", "w") as file:
        json.dump({"rows": pairs}, file)
    kept = context.ledger(context.run.stage(1, "kept"), "kept", PUZZLE)
    kept.commit(0, [{"puzzle_id": name, "source": source} for name, source in (("a", EASY), ("b", HARD))])
    kept.finish()
    sample_solutions.run(context, 1, SamplingConfig(), SolvePrompt("none"), attempts=6)
    records = list(Ledger.open(context.run.stage(1, "solutions")))
    assert of(records, "a") == of(records, "b") == list(range(attempts)) and len(records) == 2 * attempts
    assert {record["puzzle"] for record in records} == {EASY, HARD}
    assert context.loaded == [context.run.stage(0, "checkpoints") if pairs else "the base"]
