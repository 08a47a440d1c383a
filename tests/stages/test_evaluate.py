"""Evaluation: later work need not wait for verdicts, and the final measurement is the same."""

import json
import threading
from types import SimpleNamespace

import pytest

from t5x_selfprog import loop
from t5x_selfprog.budget import Budget
from t5x_selfprog.outlook import Outlook
from t5x_selfprog.puzzles.p3 import Problem
from t5x_selfprog.puzzles.prompts import SolvePrompt
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.schedule import Schedule
from t5x_selfprog.stages import evaluate, judging
from t5x_selfprog.stages.finetune import NothingToLearn
from tests.stages.test_attempts import EASY, HARD, LIMITS, OneShard
from verifier.storage.shards import Ledger


class Held(OneShard):
    """A context with two held-out problems."""

    def __init__(self, root):
        super().__init__()
        self.run = SimpleNamespace(root=str(root), fingerprint="f")
        self.experiment = SimpleNamespace(judges="hosts", workers=1, eval_split="test", seed=0, problems="p")
        names = {"easy": EASY, "hard": HARD}
        self.eval_problems = [
            Problem(name, "int", (source,), ((),), "", "m", "test", "all") for name, source in names.items()
        ]

    def key(self, iteration, stage):
        return None


def measure(context, output):
    return evaluate.run(
        context, evaluate.Subject("base", str(output), "base"), sampling=SamplingConfig(), prompt=SolvePrompt("none"),
        attempts=20, limits=LIMITS,
    )  # fmt: skip


def test_it_returns_when_all_is_sampled_and_its_result_waits_for_the_verdicts(tmp_path, monkeypatch):
    go_on = threading.Event()

    def late(context, attempts, verdicts, **terms):
        assert go_on.wait(60)
        judge_attempts(context, attempts, verdicts, **terms)

    judge_attempts = judging.judge_attempts
    monkeypatch.setattr(evaluate, "judge_attempts", late)
    context, output = Held(tmp_path), tmp_path / "7_eval"
    measured = measure(context, output)
    assert not Ledger.open(str(output / "attempts")).pending()
    assert not (output / "verdicts").exists() and not (output / "evaluation.json").exists()
    go_on.set()
    found = measured.result()
    assert found == json.loads((output / "evaluation.json").read_text()) and found is measured.result()
    # Each answer occurs twice, and those from 4 on are right: 12 of 20 for one problem, none for the other.
    assert found["pass_at_k"]["all"]["1"]["estimate"] == pytest.approx(0.5 * 12 / 20)
    assert found["checkpoint"] == "abc" and found["arm"] == "base"
    assert measure(context, output).result() == found  # as it was written


def test_the_enumerator_works_beside_what_follows(tmp_path):
    context, output = Held(tmp_path), tmp_path / "enumerator"
    measured = evaluate.run_enumerator(context, str(output), LIMITS)
    found = measured.result()
    assert found["arm"] == "enumerator" and found == json.loads((output / "evaluation.json").read_text())
    assert found["outcomes"]["accepted"] > 0
    assert evaluate.run_enumerator(context, str(output), LIMITS).result() == found


def test_what_the_enumerator_raises_is_raised_where_it_is_waited_for(tmp_path):
    context = Held(tmp_path)
    context.eval_problems[0] = None
    measured = evaluate.run_enumerator(context, str(tmp_path / "enumerator"), LIMITS)
    with pytest.raises(AttributeError, match="source"):
        measured.result()


def test_arms_are_trained_while_the_one_before_is_judged_but_two_at_a_time(tmp_path, monkeypatch, capsys):
    said = []

    def measurement(name):
        def finish(base):
            said.append(f"{name} judged, against {base}")
            return {"arm": name}

        said.append(f"{name} sampled")
        return evaluate.Measurement(finish)

    run = SimpleNamespace(
        root=str(tmp_path), base_eval="base", enumerator_eval="enumerator", stage=lambda i, name: str(tmp_path),
        learnt_nothing=lambda i: False, newest_learnt=lambda made: made - 1,
    )  # fmt: skip
    context = SimpleNamespace(run=run, experiment=SimpleNamespace(base="b", start="base"))
    (tmp_path / "done.json").write_text("{}")
    monkeypatch.setattr(loop.evaluate, "run", lambda *_: measurement("base"))
    monkeypatch.setattr(loop.evaluate, "run_enumerator", lambda *_: measurement("enumerator"))
    monkeypatch.setattr(loop, "write_puzzles", lambda context, i: said.append(f"puzzles {i}"))
    monkeypatch.setattr(loop, "solve", lambda context, i: said.append(f"solved {i}"))
    monkeypatch.setattr(loop, "pair", lambda context, i: said.append(f"paired {i}"))
    monkeypatch.setattr(loop, "learn", lambda context, i: said.append(f"learnt {i}"))
    monkeypatch.setattr(loop, "measure", lambda context, i: measurement(f"verified {i}"))
    monkeypatch.setattr(loop, "control", lambda context, arm, *_: measurement(arm))
    monkeypatch.setattr(loop, "_conclude", lambda context, evaluations, made: evaluations)
    monkeypatch.setattr(Schedule, "why_end", lambda self, run, made: None)
    ahead = Outlook(["base: evaluation", "table and report"], {}, quiet=True)
    found = loop._run(context, ahead, 1, ("human", "seeds_only"), "each", Budget(), Schedule())
    assert [one["arm"] for one in found] == ["base", "verified 0", "human", "seeds_only", "enumerator"]
    base = {"arm": "base"}
    assert said == [
        "base sampled", "enumerator sampled", "puzzles 0", "solved 0", "paired 0", "learnt 0",
        "verified 0 sampled", "base judged, against None", "human sampled", f"verified 0 judged, against {base}",
        "seeds_only sampled",
        f"human judged, against {base}", f"seeds_only judged, against {base}", "enumerator judged, against None",
    ]  # fmt: skip

    def control(context, arm, *_):
        if arm == "human":
            raise NothingToLearn("none of the 9 documents fits a row of 8 tokens")
        return measurement(arm)

    monkeypatch.setattr(loop, "control", control)
    found = loop._run(context, ahead, 1, ("human", "seeds_only"), "each", Budget(), Schedule())
    assert [one["arm"] for one in found] == ["base", "verified 0", "seeds_only", "enumerator"]
    assert "The arm human has no model: none of the 9 documents fits" in capsys.readouterr().err
    said.clear()
    loop._run(context, ahead, 0, (), "each", Budget(seconds=1000.0), Schedule())
    assert said[:2] == ["base sampled", "base judged, against None"]  # a budget includes the verdicts
