"""Sampling from ledger to ledger, with a scripted model; also what tests of judging sample with."""

import contextlib
import itertools
from types import SimpleNamespace

import pytest

from t5x_selfprog.puzzles.prompts import SolvePrompt
from t5x_selfprog.sampling.interface import Completion, SamplingConfig
from t5x_selfprog.stages.attempts import Allocation, Solving, sample_attempts
from t5x_selfprog.stages.context import Context
from t5x_selfprog.stages.earlier_attempts import EarlierAttempts
from t5x_selfprog.stages.shard_stream import known_lengths
from verifier import Limits, Pool
from verifier.errors import UserError
from verifier.storage.records import ATTEMPT
from verifier.storage.shards import Ledger

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
