"""Commits beside sampling: in order, all or an error, whatever ends the process."""

import os
import signal
import sys
import threading
import time

import pytest

from t5x_selfprog.stages.commits import Commits
from tests.stages.test_attempts import Writer
from tests.stages.test_shard_stream import PUZZLES, SHARDS, Shards, sample
from tests.test_preemption import started
from verifier.storage.records import PAIR, RecordError
from verifier.storage.shards import Ledger


def ledger_at(path, shards=3) -> Ledger:
    return Ledger(str(path), stage="s", schema=PAIR, shard_count=shards, seed=0, fingerprint="f")


def rows(shard, count=300):
    return [{"puzzle_id": f"{shard}/{i}", "text": "x" * i, "weight": 1.0} for i in range(count)]


def content(path):
    return {name: (path / name).read_bytes() for name in os.listdir(path)}


def test_files_are_those_of_commits_in_place(tmp_path):
    with Commits(ledger_at(tmp_path / "beside")) as commits:
        for shard in (1, 0, 2):
            commits.commit(shard, rows(shard), seen=shard)
    plain = ledger_at(tmp_path / "plain")
    for shard in range(3):
        plain.commit(shard, rows(shard), seen=shard)
    assert content(tmp_path / "beside") == content(tmp_path / "plain")


def test_one_shard_is_written_while_one_waits_and_no_more(tmp_path):
    """The third is not taken before the first is done, so that memory holds two."""
    storage_works, taken = threading.Event(), []

    def slowly():
        storage_works.wait(60)
        yield from rows(0)

    with Commits(ledger_at(tmp_path)) as commits:
        commits.commit(0, slowly())
        commits.commit(1, rows(1))
        giver = threading.Thread(target=lambda: taken.append(commits.commit(2, rows(2))))
        giver.start()
        giver.join(0.2)
        assert giver.is_alive() and ledger_at(tmp_path).committed() == []
        storage_works.set()
        giver.join(60)
    assert taken == [None] and ledger_at(tmp_path).committed() == [0, 1, 2]


def test_the_block_ends_with_what_was_given_even_if_it_fails(tmp_path):
    with pytest.raises(KeyboardInterrupt), Commits(ledger_at(tmp_path)) as commits:
        commits.commit(0, rows(0))
        commits.commit(1, rows(1))
        raise KeyboardInterrupt
    assert ledger_at(tmp_path).committed() == [0, 1]


def test_after_an_error_nothing_is_committed_and_the_caller_hears_of_it(tmp_path):
    with pytest.raises(RecordError, match="'wieght'"), Commits(ledger_at(tmp_path)) as commits:
        commits.commit(0, [{"wieght": 1.0}])
        commits.commit(1, rows(1))
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            commits.check()
    assert ledger_at(tmp_path).committed() == []


def test_an_error_is_not_lost_where_the_block_is_left_by_another(tmp_path):
    with pytest.raises(RecordError, match="'wieght'"), Commits(ledger_at(tmp_path)) as commits:
        commits.commit(0, [{"wieght": 1.0}])
        raise KeyboardInterrupt


@pytest.mark.parametrize("failing", [0, SHARDS - 1])
def test_a_stage_whose_shard_cannot_be_written_ends_with_the_reason(tmp_path, failing):
    whole = sample(tmp_path / "whole", Shards())
    ledger = Shards().ledger(str(tmp_path / "3"), "solutions", whole.schema)
    os.mkdir(ledger.shard_path(failing))  # in the way
    with pytest.raises(IsADirectoryError, match=f"part-0000{failing}"):
        sample(tmp_path / "3", Shards())
    assert ledger.committed() == list(range(failing)) and not (tmp_path / "3" / "manifest.json").exists()
    os.rmdir(ledger.shard_path(failing))
    sample(tmp_path / "3", Shards())
    assert content(tmp_path / "3") == content(tmp_path / "whole")


def test_sampling_stops_soon_after_an_error(tmp_path):
    """Not at the next shard, which may be hours away."""

    class Slow(Writer):
        def sample(self, requests, key):
            for completions in super().sample(requests, key):
                time.sleep(0.02)
                yield completions

    context = Shards(Slow())
    os.mkdir(
        context.ledger(str(tmp_path), "solutions", sample(tmp_path / "w", Shards()).schema).shard_path(0)
    )
    with pytest.raises(IsADirectoryError):
        sample(tmp_path, context)
    assert len(context.writer.asked) < len(PUZZLES) // 2


COMMITTING = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background ignores
from t5x_selfprog import preemption
from t5x_selfprog.stages.commits import Commits
from tests.stages.test_commits import ledger_at, rows
preemption.PATIENCE_S = float(sys.argv[3])

def slowly():
    yield from rows(1)
    print("ready", flush=True)
    time.sleep(float(sys.argv[2]))

with preemption.listening(), Commits(ledger_at(sys.argv[1])) as commits:
    commits.commit(0, rows(0))
    commits.commit(1, slowly())
    while True:
        preemption.check()
        time.sleep(0.01)
"""


@pytest.mark.parametrize(
    ("signals", "writing_s", "patience_s", "status", "committed"),
    [
        ([signal.SIGKILL], 60, 10, -signal.SIGKILL, [0]),
        ([signal.SIGTERM], 0.5, 10, 143, [0, 1]),
        ([signal.SIGTERM], 60, 0.5, 143, [0]),  # storage hangs
        ([signal.SIGINT], 0.5, 10, -signal.SIGINT, [0, 1]),
        ([signal.SIGINT, signal.SIGINT], 60, 10, -signal.SIGINT, [0]),
    ],
)
def test_ended_during_a_commit_a_shard_is_there_or_pending(
    tmp_path, user_environment, signals, writing_s, patience_s, status, committed
):
    command = [sys.executable, "-c", COMMITTING, str(tmp_path / "s"), str(writing_s), str(patience_s)]
    with started([command], user_environment) as (process,):
        for number in signals:
            process.send_signal(number)
            time.sleep(0.2)
        assert process.wait(30) == status
    ledger = ledger_at(tmp_path / "s")  # removes what a killed writer left
    assert ledger.committed() == committed
    with Commits(ledger) as commits:
        for shard in ledger.pending():
            commits.commit(shard, rows(shard))
    with Commits(ledger_at(tmp_path / "whole")) as commits:
        for shard in range(3):
            commits.commit(shard, rows(shard))
    assert content(tmp_path / "s") == content(tmp_path / "whole")
