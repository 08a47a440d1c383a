"""Stages that sample as one stream over their shards: shards are committed early, and a resumed run is the same."""

import contextlib
import os
from types import SimpleNamespace

import pytest

from t5x_selfprog.puzzles.prompts import SolvePrompt
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.sampling.sampler import Sampler
from t5x_selfprog.stages.allocation import Allocation, _order
from t5x_selfprog.stages.attempts import Solving, sample_attempts
from tests.sampling.byte_model import ByteTokenizer, random_params, tiny_config
from tests.sampling.test_sampler import KEY
from tests.stages.test_attempts import LIMITS, OneShard
from verifier.errors import UserError
from verifier.storage.shards import Ledger

SHARDS, ATTEMPTS = 5, 6
PUZZLES = [(f"p{i}", f"def f(x: int, a={i}):\n    return x == a") for i in range(17)]
GRID = SamplingConfig(
    prompts_in_flight=4, rows_per_prompt=2, max_new_tokens=9, prompt_buckets=(64,), prompts_per_load=1, chunk_steps=3,
    tail_prompts=0,
)  # fmt: skip
MODEL = tiny_config(num_layers=1)


class Shards(OneShard):
    """A context whose model really samples, and which dies after some commits."""

    def __init__(self, sampler=None, dies_after=SHARDS):
        super().__init__()
        self.writer = sampler or self.writer
        self.left = dies_after

    def ledger(self, path, stage, schema):
        return Ledger(path, stage=stage, schema=schema, shard_count=SHARDS, seed=0, fingerprint="f")

    def shard_of(self, items, shard):
        return items[shard * len(items) // SHARDS : (shard + 1) * len(items) // SHARDS]

    def require_room(self, path, sampling):
        """Always enough for a tiny model."""

    def model(self, path):
        return SimpleNamespace(tokenizer=ByteTokenizer())

    def commit(self, ledger, shard, records, **counters):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        super().commit(ledger, shard, records, **counters)


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    return Sampler(MODEL, random_params(MODEL), ByteTokenizer(), GRID, checkpoint="abc")


def sample(path, context, allocation=None):
    with contextlib.suppress(KeyboardInterrupt):
        sample_attempts(
            context, PUZZLES, str(path), Solving(ATTEMPTS, GRID, SolvePrompt("none"), allocation), model="m", key=KEY,
            label="0.3",
        )  # fmt: skip
    return Ledger.open(str(path))


@pytest.fixture(scope="module")
def unbroken(sampler, tmp_path_factory) -> list:
    return list(sample(tmp_path_factory.mktemp("unbroken") / "3", Shards(sampler)))


@pytest.mark.parametrize("dies_after", [1, 3])
def test_a_killed_stage_ends_in_the_bits_of_one_that_was_not(sampler, unbroken, tmp_path, dies_after):
    killed = sample(tmp_path / "3", Shards(sampler, dies_after))
    assert killed.committed() == list(range(dies_after))
    assert list(sample(tmp_path / "3", Shards(sampler))) == unbroken


def test_a_shard_that_was_deleted_is_made_again(sampler, unbroken, tmp_path):
    ledger = sample(tmp_path / "3", Shards(sampler))
    for shard in (1, 3):
        os.remove(ledger.shard_path(shard))
    again = Shards(sampler)
    assert list(sample(tmp_path / "3", again)) == unbroken and again.left == SHARDS - 2


@pytest.mark.parametrize("dies_after", [SHARDS, 1, 2])
def test_rounds_of_several_shards_end_where_verdicts_say_though_killed(tmp_path, dies_after):
    """Samples 2a and 2a + 1 answer a: a puzzle about a has one right answer, which is found in its round."""
    allocation = Allocation(needed=1, rounds=3, limits=LIMITS)
    sample(tmp_path / "3", Shards(dies_after=dies_after), allocation)
    context = Shards()
    records = list(sample(tmp_path / "3", context, allocation))
    made = {name: [r["sample_index"] for r in records if r["puzzle_id"] == name] for name, _ in PUZZLES}
    assert made == {f"p{i}": list(range(2 * (i + 1) if i < 3 else ATTEMPTS)) for i in range(len(PUZZLES))}
    assert [r["puzzle_id"] for r in records] == sorted(
        (r["puzzle_id"] for r in records), key=lambda name: int(name[1:])
    )


def test_rounds_wait_for_the_round_before_and_no_longer():
    for shards, rounds, ahead in ((5, 3, 2), (1, 4, 9), (7, 2, 7), (3, 1, 1)):
        order = list(_order(shards, rounds, ahead))
        assert sorted(order) == [(s, r) for s in range(shards) for r in range(rounds)]
        for shard, round_number in order:
            if round_number:
                since = order[order.index((shard, round_number - 1)) : order.index((shard, round_number))]
                others = {s for s, _ in since} - {shard}
                assert len(others) >= min(ahead, shards) - 1 or shard + ahead > shards


def test_a_shard_of_other_prompts_is_refused(sampler, tmp_path):
    ledger = sample(tmp_path / "3", Shards(sampler, dies_after=2))
    assert ledger.committed() == [0, 1]
    with pytest.raises(UserError, match=r"part-00000.*holds attempts at 3 prompts where this run asks for"):
        sample_attempts(
            Shards(sampler), PUZZLES[3:], str(tmp_path / "3"), Solving(ATTEMPTS, GRID, SolvePrompt("none")),
            model="m", key=KEY, label="0.3",
        )  # fmt: skip
