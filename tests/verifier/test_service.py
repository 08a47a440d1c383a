"""The service: shards in, shards out, whatever dies in between."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from verifier import Limits, Pool
from verifier.fleet.metrics import Metrics
from verifier.fleet.service import COMPLETE, BadShards, FolderWork, LedgerWork, find_work, recording, serve
from verifier.storage import files
from verifier.storage.records import ATTEMPT, VERDICT, read_tfrecord, write_tfrecord
from verifier.storage.shards import Ledger

REPOSITORY = Path(__file__).resolve().parents[2]
PUZZLE = "def f(x: int, n={}):\n    return x == n"


def attempts(shard: int, count: int = 20) -> list[dict]:
    return [
        {
            "puzzle_id": f"{shard}-{i}",
            "puzzle": PUZZLE.format(shard),
            "solution": f"def g(n={shard}):\n    return n + {i % 2}",
            "sample_index": i,
        }
        for i in range(count)
    ]


def make_ledger(path, shards: int, committed: int) -> Ledger:
    ledger = Ledger(path, stage="solutions", schema=ATTEMPT, shard_count=shards, seed=3, fingerprint="abc")
    for i in range(committed):
        ledger.commit(i, attempts(i))
    return ledger


@pytest.fixture(scope="module")
def pool():
    with Pool(1, Limits(cpu_s=0.5)) as pool:
        yield pool


def run(work, pool, **options) -> Metrics:
    metrics = Metrics(None, {"isolation": "test"})
    serve(work, recording(pool.judge), metrics, facts={"calibration_cpu_s": 0.1}, poll_s=0.05, **options)
    return metrics


def check_record(record: dict, shard: int, place: int) -> None:
    assert record["puzzle_id"] == f"{shard}-{place}"
    assert record["outcome"] == ("wrong" if place % 2 else "accepted")
    assert record["count"] is None  # readers take it for how many attempts a record stands for


@pytest.mark.parametrize("scheme", ["local", "memory"])
def test_ledger_to_ledger(tmp_path, pool, scheme):
    if scheme == "memory":
        pytest.importorskip("fsspec")
        root = f"memory://{tmp_path.name}"
    else:
        root = str(tmp_path)
    make_ledger(f"{root}/in", 4, 4)
    metrics = run(find_work(f"{root}/in", f"{root}/out"), pool)
    out = Ledger.open(f"{root}/out")
    assert out.is_complete() and out.manifest()["stage_counters"] == {"calibration_cpu_s": 0.1}
    records = list(out)
    assert len(records) == 80 == metrics.figures()["verdicts"]
    for place, record in enumerate(records):
        check_record(record, place // 20, place % 20)
    run(find_work(f"{root}/in", f"{root}/out"), pool)  # once more is harmless
    assert out.counters()["accepted"] == 40


def test_follows_a_ledger_that_grows(tmp_path, pool):
    source = make_ledger(tmp_path / "in", 3, 1)
    run(LedgerWork(tmp_path / "in", tmp_path / "out"), pool, once=True)
    out = Ledger.open(tmp_path / "out")
    assert out.committed() == [0] and not out.is_complete()
    for i in (1, 2):
        source.commit(i, attempts(i))
    run(LedgerWork(tmp_path / "in", tmp_path / "out"), pool)
    assert out.is_complete() and len(list(out)) == 60


def test_plain_folder_until_complete(tmp_path, pool):
    for i in range(3):
        write_tfrecord(tmp_path / "in" / f"some-{i}.tfrecord", attempts(i), ATTEMPT)
    (tmp_path / "in" / COMPLETE).touch()
    run(find_work(tmp_path / "in", tmp_path / "out"), pool)
    for i in range(3):
        records = list(read_tfrecord(tmp_path / "out" / f"some-{i}.tfrecord", VERDICT))
        for place, record in enumerate(records):
            check_record(record, i, place)
        assert json.loads((tmp_path / "out" / f"some-{i}.json").read_text())["rows"] == 20
    assert not [name for name in os.listdir(tmp_path / "out") if "claim" in name]


def test_a_shard_that_cannot_be_read_stops_no_other(tmp_path, pool):
    for i in range(3):
        write_tfrecord(tmp_path / "in" / f"{i}.tfrecord", attempts(i), ATTEMPT)
    data = bytearray((tmp_path / "in" / "1.tfrecord").read_bytes())
    data[200] ^= 1
    (tmp_path / "in" / "1.tfrecord").write_bytes(data)
    (tmp_path / "in" / COMPLETE).touch()
    with pytest.raises(BadShards, match=r"1\.tfrecord"):
        run(FolderWork(tmp_path / "in", tmp_path / "out"), pool)
    assert {name for name in os.listdir(tmp_path / "out") if name.endswith(".json")} == {"0.json", "2.json"}


def test_a_claim_of_the_living_is_respected_and_one_of_the_dead_runs_out(tmp_path, pool):
    write_tfrecord(tmp_path / "in" / "a.tfrecord", attempts(1), ATTEMPT)
    (tmp_path / "in" / COMPLETE).touch()
    other = FolderWork(tmp_path / "in", tmp_path / "out")
    assert other.claim("a", "another-host", 1.0)
    mine = FolderWork(tmp_path / "in", tmp_path / "out")
    run(mine, pool, once=True)
    assert mine.open_shards() == ["a"]
    run(mine, pool)  # until the claim has run out
    assert mine.open_shards() == []
    assert not other.commit("a", [], {})  # too late: what is committed never changes
    assert len(list(read_tfrecord(tmp_path / "out" / "a.tfrecord", VERDICT))) == 20


def test_a_host_that_loses_the_race_for_its_own_old_claim_commits_nothing(tmp_path, monkeypatch):
    write_tfrecord(tmp_path / "in" / "a.tfrecord", attempts(1), ATTEMPT)
    mine, other = (FolderWork(tmp_path / "in", tmp_path / "out") for _ in range(2))
    assert mine.claim("a", "me", 0.05)
    time.sleep(0.1)
    create = files.create_exclusive

    def beaten(path, data):
        monkeypatch.setattr(files, "create_exclusive", create)
        assert other.claim("a", "another-host", 100)  # between my look and my claim
        return create(path, data)

    monkeypatch.setattr(files, "create_exclusive", beaten)
    assert not mine.claim("a", "me", 100)
    assert not mine.commit("a", [], {})


def test_a_host_told_to_go_when_its_claim_was_just_made_gives_it_up(tmp_path, pool, monkeypatch):
    make_ledger(tmp_path / "in", 1, 1)
    create = files.create_exclusive

    def told_to_go(path, data):
        made = create(path, data)
        if "claim" in str(path):
            raise SystemExit(128 + signal.SIGTERM)  # as its handler of SIGTERM does, wherever it is
        return made

    with monkeypatch.context() as patched:
        patched.setattr(files, "create_exclusive", told_to_go)
        with pytest.raises(SystemExit):
            run(LedgerWork(tmp_path / "in", tmp_path / "out"), pool)
    assert any("claim" in name for name in os.listdir(tmp_path / "out"))
    assert LedgerWork(tmp_path / "in", tmp_path / "out").claim("0", "another-host", 100)


def serving(tmp_path, *more: str) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "verifier",
        "serve",
        str(tmp_path / "in"),
        "--output",
        str(tmp_path / "out"),
    ]
    options = ["--workers", "1", "--poll_s", "0.1", "--claim_s", "1.5", "--timeout_s", "0.3", "--quiet"]
    return subprocess.Popen([*command, *options, *more], cwd=REPOSITORY, stderr=subprocess.PIPE)


def test_hosts_are_killed_and_nothing_is_lost_or_doubled(tmp_path):
    """Two hosts share twelve shards; one after another is killed and replaced."""
    shards, size = 12, 300
    source = make_ledger(tmp_path / "in", shards, 0)
    hosts = [serving(tmp_path), serving(tmp_path)]
    deaths = 0
    try:
        for i in range(shards):
            source.commit(i, attempts(i, size))
            if i % 4 == 2:
                deadline = time.monotonic() + 60  # it dies at work
                while time.monotonic() < deadline and not any(
                    "claim" in n for n in files.listdir(tmp_path / "out")
                ):
                    time.sleep(0.01)
                victim = hosts[deaths % 2]
                victim.send_signal(signal.SIGKILL)
                victim.wait()
                victim.stderr.close()
                hosts[deaths % 2] = serving(tmp_path)
                deaths += 1
        source.finish()
        for host in hosts:
            assert host.wait(120) == 0, host.stderr.read().decode()
    finally:
        for host in hosts:
            host.kill()
            host.wait()
            host.stderr.close()
    out = Ledger.open(tmp_path / "out")
    assert out.is_complete() and deaths == 3
    ids = [record["puzzle_id"] for record in out]
    assert ids == [f"{shard}-{i}" for shard in range(shards) for i in range(size)]
    assert out.manifest()["counters"] == {"accepted": shards * size // 2, "infrastructure": 0}


def test_metrics_for_prometheus_and_for_programs(tmp_path):
    make_ledger(tmp_path / "in", 1, 1)
    host = serving(tmp_path, "--metrics", str(tmp_path / "m.prom"), "--json")
    assert host.wait(60) == 0
    host.stderr.close()
    text = (tmp_path / "m.prom").read_text()
    assert 'verifier_verdicts_total{outcome="accepted"} 10' in text
    assert "verifier_shards 1" in text and 'isolation="' in text and "calibration_cpu_s" in text
    metrics = Metrics(tmp_path / "m.json", {"x": 'say "hi"\n'})
    metrics.write(now=True)
    assert json.loads((tmp_path / "m.json").read_text())["verdicts"] == 0


def test_a_folder_that_is_not_there_is_no_work(tmp_path, pool):
    run(find_work(tmp_path / "nothing", tmp_path / "out"), pool, once=True)
