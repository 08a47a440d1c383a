"""A ledger loses nothing, trusts nothing unverified, and ends in the same bytes however interrupted."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from verifier.storage import files, records
from verifier.storage.records import CorruptRecordError
from verifier.storage.shards import Ledger, LedgerIncomplete, LedgerMismatch, MissingStage, atomic_write

SHARDS = 3


def _open(path: Path | str, **changed) -> Ledger:
    settings = {
        "stage": "pairs",
        "schema": records.PAIR,
        "shard_count": SHARDS,
        "seed": 1,
        "fingerprint": "abc",
    }
    return Ledger(path, **{**settings, **changed})


def _rows(shard: int, count: int = 5) -> list[dict]:
    return [
        {"puzzle_id": f"{shard}-{i}", "text": "def f(x: int):\n" * i, "weight": 0.5, "iteration": i}
        for i in range(count)
    ]


def _fill(ledger: Ledger) -> Ledger:
    for shard in ledger.pending():
        ledger.commit(shard, _rows(shard), rows_seen=5)
    ledger.finish(stage_rows=15)
    return ledger


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_was_committed_is_read_in_order(tmp_path: Path) -> None:
    ledger = _open(tmp_path)
    for shard in (2, 0, 1):
        ledger.commit(shard, _rows(shard))
    ledger.finish()
    assert list(Ledger.open(tmp_path)) == [row for shard in range(SHARDS) for row in _rows(shard)]


def test_only_the_expected_files_are_there_and_the_manifest_sums_up(tmp_path: Path) -> None:
    _fill(_open(tmp_path))
    parts = [f"part-{i:05d}-of-{SHARDS:05d}.{kind}" for i in range(SHARDS) for kind in ("json", "tfrecord")]
    assert sorted(_contents(tmp_path)) == sorted(["ledger.json", "manifest.json", *parts])
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest == Ledger.open(tmp_path).manifest()
    assert (manifest["rows"], manifest["counters"]) == (15, {"rows_seen": 15})
    assert manifest["stage_counters"] == {"stage_rows": 15}
    assert manifest["bytes"] == sum(path.stat().st_size for path in tmp_path.glob("*.tfrecord"))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("stage", "attempts"),
        ("seed", 2),
        ("shard_count", 4),
        ("fingerprint", "abd"),
        ("schema", records.TOKENS),
    ],
)
def test_another_configuration_is_refused_with_both_values(tmp_path: Path, setting: str, value) -> None:
    before = _open(tmp_path)
    with pytest.raises(LedgerMismatch) as caught:
        _open(tmp_path, **{setting: value})
    message = str(caught.value)
    assert str(tmp_path) in message and f"{setting}: " in message
    if setting != "schema":
        assert f"has {getattr(before, setting)!r}, this run has {value!r}" in message
    assert before.pending() == [0, 1, 2]


def test_a_missing_stage_names_its_path_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(MissingStage, match=r"iter_000.*`selfprog solve`"):
        Ledger.open(tmp_path / "iter_000", made_by="selfprog solve")
    assert not (tmp_path / "iter_000").exists()


def test_half_a_stage_is_neither_finished_nor_read_as_a_whole(tmp_path: Path) -> None:
    ledger = _open(tmp_path)
    ledger.commit(1, _rows(1))
    assert (ledger.committed(), ledger.pending(), ledger.is_complete()) == ([1], [0, 2], False)
    for use in (ledger.finish, lambda: list(ledger), ledger.manifest, lambda: list(ledger.read(0))):
        with pytest.raises(LedgerIncomplete, match=str(tmp_path)):
            use()
    assert list(ledger.read(1)) == _rows(1)


def test_a_committed_shard_never_changes(tmp_path: Path) -> None:
    ledger = _fill(_open(tmp_path))
    before = _contents(tmp_path)
    assert ledger.commit(1, _rows(0)) is False
    assert _contents(tmp_path) == before


def test_a_failing_generator_leaves_nothing(tmp_path: Path) -> None:
    def failing():
        yield from _rows(0)
        raise RuntimeError("sampler died")

    ledger = _open(tmp_path)
    with pytest.raises(RuntimeError, match="sampler died"):
        ledger.commit(0, failing())
    assert sorted(_contents(tmp_path)) == ["ledger.json"]


@pytest.mark.parametrize("counter", [True, "3", None])
def test_a_counter_is_a_number(tmp_path: Path, counter) -> None:
    with pytest.raises(TypeError, match="'solved'"):
        _open(tmp_path).commit(0, [], solved=counter)


def test_any_flipped_bit_of_a_committed_shard_is_found_before_a_record_is_read(tmp_path: Path) -> None:
    ledger = _fill(_open(tmp_path))
    path = Path(ledger.shard_path(1))
    good = path.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(good)), 200):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(CorruptRecordError) as caught:
            next(ledger.read(1))
        assert caught.value.path == str(path)
        assert caught.value.offset <= bit // 8


def test_a_shard_cut_between_records_or_swapped_for_another_is_found(tmp_path: Path) -> None:
    ledger = _fill(_open(tmp_path))
    path = Path(ledger.shard_path(1))
    records.write_tfrecord(path, _rows(1)[:-1], records.PAIR)
    with pytest.raises(CorruptRecordError, match="committed"):
        list(ledger)
    path.write_bytes(Path(ledger.shard_path(2)).read_bytes())
    with pytest.raises(CorruptRecordError, match="committed"):
        list(ledger)


def test_a_damaged_entry_is_reported_with_its_file(tmp_path: Path) -> None:
    ledger = _fill(_open(tmp_path))
    (tmp_path / "part-00001-of-00003.json").write_text('{"rows": ')
    with pytest.raises(CorruptRecordError, match=r"part-00001-of-00003\.json"):
        list(ledger)


@pytest.mark.parametrize("kind", ["tfrecord", "json"])
def test_deleting_a_damaged_shard_makes_it_pending_and_its_bytes_come_back(tmp_path: Path, kind: str) -> None:
    before = _contents(_fill_path(tmp_path))
    (tmp_path / f"part-00001-of-00003.{kind}").unlink()
    ledger = _open(tmp_path)
    assert ledger.pending() == [1] and not ledger.is_complete()
    assert _contents(_fill_path(tmp_path)) == before


def _fill_path(path: Path) -> Path:
    _fill(_open(path))
    return path


# A writer in a process of its own. With a number it kills itself at that operation on files, without warning.
_WRITER = """
import os, signal, sys
from verifier.storage import records
from verifier.storage.shards import Ledger

folder, kill_at = sys.argv[1], int(sys.argv[2])
count = 0

def counted(operation):
    def wrapper(*arguments, **options):
        global count
        for moment in ("before", "after"):
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if moment == "before":
                result = operation(*arguments, **options)
        return result
    return wrapper

for name in ("replace", "link", "fsync", "remove", "makedirs"):
    setattr(os, name, counted(getattr(os, name)))

ledger = Ledger(folder, stage="pairs", schema=records.PAIR, shard_count=2, seed=1, fingerprint="abc")
for shard in ledger.pending():
    rows = ({"puzzle_id": f"{shard}-{i}", "text": "x" * 50, "iteration": i} for i in range(300))
    ledger.claim(shard, "writer", 30.0)
    ledger.commit(shard, rows, rows_seen=300)
ledger.finish()
"""


def _run_writer(folder: Path, environment: dict, kill_at: int = 0, kill_after_s: float | None = None) -> int:
    process = subprocess.Popen([sys.executable, "-c", _WRITER, str(folder), str(kill_at)], env=environment)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        process.kill()
    return process.wait(timeout=60)


def test_killed_at_every_file_operation_the_bytes_end_the_same(
    tmp_path: Path, user_environment: dict
) -> None:
    assert _run_writer(tmp_path / "whole", user_environment) == 0
    whole = _contents(tmp_path / "whole")
    # One directory, killed one operation later each time: every state is also a state resumed from.
    kill_at, kills = 1, 0
    while _run_writer(tmp_path / "fresh", user_environment, kill_at) == -signal.SIGKILL:
        kills += 1
        kill_at = 1 + kills
        assert kills < 200
    assert kills > 20
    assert _contents(tmp_path / "fresh") == whole
    assert len(list(Ledger.open(tmp_path / "fresh"))) == 600


def test_killed_once_at_each_operation_of_a_fresh_directory(tmp_path: Path, user_environment: dict) -> None:
    assert _run_writer(tmp_path / "whole", user_environment) == 0
    whole = _contents(tmp_path / "whole")
    for kill_at in range(3, 60, 7):
        folder = tmp_path / str(kill_at)
        assert _run_writer(folder, user_environment, kill_at) == -signal.SIGKILL
        assert _run_writer(folder, user_environment) == 0
        assert _contents(folder) == whole, kill_at


def test_killed_at_random_moments_the_bytes_end_the_same(tmp_path: Path, user_environment: dict) -> None:
    started = time.monotonic()
    assert _run_writer(tmp_path / "whole", user_environment) == 0
    duration_s = time.monotonic() - started
    moments = random.Random(7)
    for _ in range(8):
        _run_writer(
            tmp_path / "killed", user_environment, kill_after_s=moments.uniform(0.3, 1.1) * duration_s
        )
    assert _run_writer(tmp_path / "killed", user_environment) == 0
    assert _contents(tmp_path / "killed") == _contents(tmp_path / "whole")


def test_leftovers_of_the_dead_go_and_files_of_the_living_stay(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as living:
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        host = os.uname().nodename
        names = {
            which: tmp_path / f".part.{name}-{process}-00ff.tmp"
            for which, name, process in [
                ("dead", host, dead.pid),
                ("living", host, living.pid),
                ("elsewhere", "other-host-7", dead.pid),
                ("long ago", "other-host-8", living.pid),
            ]
        }
        for path in names.values():
            path.write_bytes(b"half")
        old = time.time() - 2 * files.STALE_TEMPORARY_S
        os.utime(names["long ago"], (old, old))
        ledger = _open(tmp_path)
        assert {which for which, path in names.items() if path.exists()} == {"living", "elsewhere"}
        _fill(ledger)
        assert not any(path.exists() for path in names.values())
        living.communicate(b"\n")


def test_atomic_write_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.json"
    atomic_write(path, "é")
    assert path.read_bytes() == "é".encode()
    with pytest.raises(TypeError):
        atomic_write(path, 3)  # type: ignore[arg-type]
    assert _contents(path.parent) == {"x.json": "é".encode()}


def test_a_claim_excludes_others_until_it_expires_or_is_released(tmp_path: Path) -> None:
    ours, theirs = _open(tmp_path), _open(tmp_path)
    assert ours.claim(0, "a", 60.0)
    assert ours.claim(0, "a", 60.0)  # prolonged
    assert not theirs.claim(0, "b", 60.0)
    ours.release(0)
    assert theirs.claim(0, "b", 0.05)
    assert not ours.claim(0, "a", 60.0)
    time.sleep(0.06)
    assert ours.claim(0, "a", 60.0)


def test_a_commit_after_the_claim_was_lost_is_dropped(tmp_path: Path) -> None:
    slow, quick = _open(tmp_path), _open(tmp_path)
    assert slow.claim(0, "slow", 0.01)
    time.sleep(0.02)
    assert quick.claim(0, "quick", 60.0)
    assert slow.commit(0, _rows(0, count=2)) is False
    assert quick.commit(0, _rows(0, count=3)) is True
    assert not slow.claim(0, "slow", 60.0)
    assert len(list(slow.read(0))) == 3


def test_a_claim_taken_over_while_a_shard_is_written_keeps_the_other_ones_shard(tmp_path: Path) -> None:
    slow, quick = _open(tmp_path), _open(tmp_path)

    def rows_overtaken():
        yield _rows(0)[0]
        time.sleep(0.06)
        assert quick.claim(0, "quick", 60.0)
        quick.commit(0, _rows(0, count=3))
        yield _rows(0)[1]

    assert slow.claim(0, "slow", 0.05)
    assert slow.commit(0, rows_overtaken()) is False
    assert list(quick.read(0)) == _rows(0, count=3)


def _claim_all(folder: str, owner: str, start, won) -> None:
    ledger = Ledger.open(folder)
    start.wait()
    won.put((owner, [shard for shard in range(ledger.shard_count) if ledger.claim(shard, owner, 60.0)]))


def test_of_several_processes_exactly_one_gets_each_shard(tmp_path: Path) -> None:
    _open(tmp_path, shard_count=40)
    # Half of the claims have expired: taking over is a race of its own.
    stale = Ledger.open(tmp_path)
    for shard in range(0, 40, 2):
        assert stale.claim(shard, "gone", -1.0)
    context = multiprocessing.get_context("spawn")
    start, won = context.Event(), context.Queue()
    processes = [
        context.Process(target=_claim_all, args=(str(tmp_path), f"host{i}", start, won)) for i in range(4)
    ]
    for process in processes:
        process.start()
    start.set()
    shards = [shard for _ in processes for shard in won.get(timeout=60)[1]]
    for process in processes:
        process.join(timeout=60)
    assert sorted(shards) == list(range(40))


def test_the_same_ledger_lives_on_a_remote_file_system() -> None:
    fsspec = pytest.importorskip("fsspec")
    root = "memory://bucket/run/1_puzzles"
    try:
        assert not files.exists(root)
        ledger = _open(root)
        assert ledger.claim(0, "a", 60.0)
        assert not _open(root).claim(0, "b", 60.0)
        _fill(ledger)
        assert list(Ledger.open(root)) == [row for shard in range(SHARDS) for row in _rows(shard)]
        with pytest.raises(LedgerMismatch):
            _open(root, seed=2)
        path = ledger.shard_path(0)
        files.write_atomic(path, files.read_bytes(path)[:-1])
        with pytest.raises(CorruptRecordError, match="memory://"):
            list(ledger)
    finally:
        fsspec.filesystem("memory").store.clear()
