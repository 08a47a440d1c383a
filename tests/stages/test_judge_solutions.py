"""Stage 4: what stage 3 wrote gets its verdicts, under the limits given, and nothing is finished before its time."""

import os

import pytest

from t5x_selfprog.run_layout import RunDir
from t5x_selfprog.stages import judge_solutions
from tests.stages.test_attempts import EASY, OneShard
from tests.stages.test_judging import ENDLESS, attempt
from verifier import Limits
from verifier.storage.records import ATTEMPT
from verifier.storage.shards import Ledger, LedgerIncomplete


@pytest.fixture
def context(tmp_path):
    made = OneShard()
    made.run = RunDir(str(tmp_path))
    return made


def test_every_attempt_has_its_verdict(context):
    solutions = ["def g(a=3):\n    return 4", "def g(a=3):\n    return 3", ENDLESS, "def g(a=3:"]
    source = context.ledger(context.run.stage(2, "solutions"), "solutions", ATTEMPT)
    source.commit(0, [attempt(EASY, text, i) for i, text in enumerate(solutions)])
    judge_solutions.run(context, 2, Limits(cpu_s=0.2))
    assert not os.path.exists(f"{context.run.stage(2, 'verdicts')}/manifest.json")
    judge_solutions.finish(context, 2)
    verdicts = list(Ledger.open(context.run.stage(2, "verdicts")))
    assert [v["outcome"] for v in verdicts] == ["accepted", "wrong", "cpu_limit", "syntax"]
    assert [v["solution"] for v in verdicts] == solutions
    assert 0.1 < verdicts[2]["cpu_s"] < 0.8, "the limit is the one that was given, not the usual second"


def test_attempts_that_nobody_writes_are_not_waited_for(context):
    context.ledger(context.run.stage(2, "solutions"), "solutions", ATTEMPT)
    with pytest.raises(LedgerIncomplete):
        judge_solutions.run(context, 2, writer_alive=lambda: False)
