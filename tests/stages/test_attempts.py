"""Sampling and judging from ledger to ledger, with a scripted model and a real verifier."""

import contextlib
import itertools
import threading
import time
from types import SimpleNamespace

import pytest

from t5x_selfprog.puzzles.prompts import SolvePrompt
from t5x_selfprog.sampling.interface import Completion, SamplingConfig
from t5x_selfprog.stages.attempts import Allocation, Solving, sample_attempts
from t5x_selfprog.stages.context import Context
from t5x_selfprog.stages.earlier_attempts import EarlierAttempts
from t5x_selfprog.stages.judging import finish_verdicts, judge_attempts
from t5x_selfprog.stages.shard_stream import known_lengths
from verifier import Limits, Pool
from verifier.errors import UserError
from verifier.fleet.follow import follow
from verifier.fleet.metrics import Metrics
from verifier.fleet.terms import Terms
from verifier.storage.records import ATTEMPT, VERDICT
from verifier.storage.shards import Ledger, LedgerIncomplete

LIMITS = Limits(cpu_s=1.0)
EASY = "def f(x: int, a=3):\n    return x > a"
HARD = "def f(x: int, a=3):\n    return x * x == a"
LONG = f"def f(x: int):\n    return x == {'1' * 100}"
PUZZLES = [("easy", EASY), ("long", LONG), ("hard", HARD)]


class Writer:
    """Answers each attempt with half its index: every solution occurs twice, and EASY's are right from 8 on."""

    checkpoint, longest_prompt = "abc", 80

    def __init__(self):
        self.asked: list[tuple[str, int, int]] = []

    def stats(self):
        return dict.fromkeys(("tokens", "row_steps", "prefill_s", "decode_s", "host_s"), 0.0)

    def fits(self, prompt):
        return len(prompt) <= self.longest_prompt

    def sample(self, requests, key):
        for r in requests:
            self.asked.append((r.item_id, r.first_sample, r.attempts))
            yield [
                Completion(r.item_id, i, f"\n    return {i // 2}\n", 3, -1.0, "unindented")
                for i in range(r.first_sample, r.first_sample + r.attempts)
            ]


class OneShard:
    """The part of a context that the stages use."""

    pending, commit, finish = Context.pending, Context.commit, Context.finish

    experiment = SimpleNamespace(judges="hosts", workers=1)

    def __init__(self):
        self.writer = Writer()

    def ledger(self, path, stage, schema):
        return Ledger(path, stage=stage, schema=schema, shard_count=1, seed=0, fingerprint="f")

    def shard_of(self, items, shard):
        return items

    def require_room(self, path, sampling):
        """Always enough: the test's models are scripted."""

    def model(self, path):
        return SimpleNamespace(tokenizer=SimpleNamespace(encode=list))

    def sampler(self, model, sampling, prefix):
        return self.writer

    @contextlib.contextmanager
    def pool(self, limits, hash_seed=0, track=""):
        with Pool(workers=1, limits=limits, hash_seed=hash_seed) as pool:
            yield pool


def sample(path, allocation=None, attempts=40, earlier=None):
    context = OneShard()
    sample_attempts(
        context, PUZZLES, str(path), Solving(attempts, SamplingConfig(), SolvePrompt("none"), allocation), model="m",
        key=None, label="0.3", earlier=earlier,
    )  # fmt: skip
    return context, list(Ledger.open(str(path))), Ledger.open(str(path)).counters()


def of(records, puzzle_id):
    return [r["sample_index"] for r in records if r["puzzle_id"] == puzzle_id]


def test_a_prompt_too_long_is_counted_and_named(tmp_path, capsys):
    _, records, counters = sample(tmp_path / "3")
    assert of(records, "easy") == of(records, "hard") == list(range(40)) and not of(records, "long")
    assert counters["too_long"] == 1 and counters["spared"] == 0
    assert "1 of 3 puzzles get no attempts, their prompts exceed 80 tokens: long" in capsys.readouterr().err


def test_what_was_attempted_before_is_not_sampled_again(tmp_path):
    """After growing from 4 attempts to 12, and a growth that was cut off: 8 more are sampled, and 12 recorded."""
    run = tmp_path / "run"
    _, everything, counted = sample(tmp_path / "whole", attempts=12)
    sample(run / "earlier" / "part_000" / "iter_000" / "3_solutions", attempts=4)
    cut_off = run / "earlier" / "part_001" / "iter_000" / "3_solutions"
    OneShard().ledger(str(cut_off), "solutions", ATTEMPT)  # none of its shards exists
    path = run / "iter_000" / "3_solutions"
    context, records, counters = sample(path, attempts=12, earlier=EarlierAttempts(str(run), str(path)))
    assert context.writer.asked == [("easy", 4, 8), ("hard", 4, 8)]
    assert records == everything and counters == counted
    assert known_lengths(Ledger.open(str(path)), 0) == [(3,) * 12] * 2


def test_attempts_of_other_weights_or_with_holes_are_sampled_anew(tmp_path):
    whole = list(sample(tmp_path / "whole", attempts=4)[1])
    for name, made in {
        "other": [row | {"checkpoint": "other"} for row in whole],
        "holes": [row for row in whole if row["sample_index"] != 1],
        "enough": whole,
    }.items():
        run = tmp_path / name
        place = run / "earlier" / "part_000" / "iter_000" / "3_solutions"
        ledger = OneShard().ledger(str(place), "solutions", ATTEMPT)
        ledger.commit(0, made)
        ledger.finish()
        path = run / "iter_000" / "3_solutions"
        wanted = 3 if name == "enough" else 12
        context, records, _ = sample(path, attempts=wanted, earlier=EarlierAttempts(str(run), str(path)))
        assert context.writer.asked == [("easy", 0, wanted), ("hard", 0, wanted)]
        assert of(records, "easy") == list(range(wanted))


def test_an_allocation_ends_a_puzzle_that_has_enough(tmp_path):
    context, records, counters = sample(tmp_path / "3", Allocation(needed=4, rounds=4))
    # Samples 0-9 contain one right answer (4), 10-19 five more (5 to 9): enough after the second round.
    assert of(records, "easy") == list(range(20)) and of(records, "hard") == list(range(40))
    assert counters["spared"] == 20
    assert context.writer.asked[:2] == [("easy", 0, 10), ("hard", 0, 10)]
    _, everything, _ = sample(tmp_path / "all")
    assert all(record in everything for record in records)


def test_rounds_cover_all_attempts_once():
    for attempts, rounds in itertools.product(range(12), range(1, 9)):
        spans = Allocation(rounds=rounds).spans(attempts)
        assert [i for first, n in spans for i in range(first, first + n)] == list(range(attempts))
    with pytest.raises(UserError, match=r"Allocation.needed=0"):
        Allocation(needed=0)


def test_equal_attempts_are_judged_once_and_all_keep_the_verdict(tmp_path):
    context, attempts, _ = sample(tmp_path / "3")
    judge_attempts(context, str(tmp_path / "3"), str(tmp_path / "4"), terms=Terms(LIMITS))
    finish_verdicts(context, str(tmp_path / "4"))
    ledger = Ledger.open(str(tmp_path / "4"))
    verdicts = list(ledger)
    assert ledger.counters()["distinct"] == 40 and len(verdicts) == 80
    assert [v["sample_index"] for v in verdicts] == [a["sample_index"] for a in attempts]
    right = [v["outcome"] == "accepted" for v in verdicts if v["puzzle_id"] == "easy"]
    assert right == [i // 2 > 3 for i in range(40)]
    assert ledger.counters()["accepted"] == sum(right)


def test_what_depends_on_the_hash_seed_is_not_certified(tmp_path):
    first_of_set = "def g(words=['alpha', 'beta', 'gamma', 'delta']):\n    return next(iter(set(words)))\n"
    with Pool(workers=1, limits=LIMITS) as pool:
        (seen,) = pool.judge([{"puzzle": "def f(s: str):\n    return True", "solution": first_of_set}])
    puzzle = f"def f(s: str, words=['alpha', 'beta', 'gamma', 'delta']):\n    return s == {seen.answer}"
    honest = first_of_set.replace("next(iter(set(words)))", seen.answer)
    attempts = [
        {"puzzle_id": "p", "puzzle": puzzle, "solution": text, "sample_index": i, "logprob": 0.0, "n_tokens": 1,
         "stop_reason": "eos", "checkpoint": "c"}
        for i, text in enumerate((first_of_set, honest))
    ]  # fmt: skip
    context = OneShard()
    context.ledger(str(tmp_path / "3"), "solutions", ATTEMPT).commit(0, attempts)
    judge_attempts(
        context,
        str(tmp_path / "3"),
        str(tmp_path / "4"),
        terms=Terms(LIMITS, generality_trials=2, certify_seed=1),
    )
    ledger = Ledger.open(str(tmp_path / "4"))
    assert [verdict["outcome"] for verdict in ledger] == ["unstable", "accepted"]
    assert ledger.counters()["unstable"] == ledger.counters()["accepted"] == 1


def test_what_is_left_to_a_fleet_is_judged_by_it_alike(tmp_path):
    ours, _, _ = sample(tmp_path / "ours" / "3")
    judge_attempts(ours, str(tmp_path / "ours" / "3"), str(tmp_path / "ours" / "4"), terms=Terms(LIMITS))
    context, _, _ = sample(tmp_path / "run" / "3")
    context.experiment = SimpleNamespace(judges="fleet", workers=1)
    thread = threading.Thread(
        target=judge_attempts,
        args=(context, str(tmp_path / "run" / "3"), str(tmp_path / "run" / "4")),
        kwargs={"terms": Terms(LIMITS)},
    )
    thread.start()
    thread.join(1.0)
    assert thread.is_alive() and Ledger.open(tmp_path / "run" / "4").pending() == [0]
    follow(
        tmp_path / "run", lambda limits, seed: Pool(1, limits, hash_seed=seed), Metrics(None, {}), once=True
    )
    thread.join(30.0)
    assert not thread.is_alive()
    finish_verdicts(context, str(tmp_path / "run" / "4"))
    mine, theirs = (
        [
            {k: v for k, v in row.items() if k not in ("cpu_s", "peak_mb")}
            for row in Ledger.open(folder / "4").read(0)
        ]
        for folder in (tmp_path / "ours", tmp_path / "run")
    )
    assert mine == theirs


def test_the_shard_of_a_host_that_died_is_judged_once_its_claim_ran_out(tmp_path):
    context, _, _ = sample(tmp_path / "3")
    dead = context.ledger(str(tmp_path / "4"), "verdicts", VERDICT)
    assert dead.claim(0, "run-host-7", 2.0)
    began = time.monotonic()
    judge_attempts(context, str(tmp_path / "3"), str(tmp_path / "4"), terms=Terms(LIMITS))
    assert time.monotonic() - began > 1.0 and not dead.pending()


@pytest.mark.parametrize("owner", ["run-host-0", "run-host-0-1"])
def test_a_host_that_comes_back_takes_up_its_own_at_once(tmp_path, owner):
    """Whichever of its processes claimed them."""
    again, _, _ = sample(tmp_path / "3")
    assert again.ledger(str(tmp_path / "4"), "verdicts", VERDICT).claim(0, owner, 600.0)
    began = time.monotonic()
    judge_attempts(again, str(tmp_path / "3"), str(tmp_path / "4"), terms=Terms(LIMITS))
    assert time.monotonic() - began < 300


def test_attempts_that_will_not_come_are_not_waited_for(tmp_path):
    context = OneShard()
    with pytest.raises(LedgerIncomplete, match=r"shards \[0\] will not come"):
        judge_attempts(
            context, str(tmp_path / "3"), str(tmp_path / "4"), terms=Terms(LIMITS), writer_alive=lambda: False
        )
