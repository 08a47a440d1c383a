"""A fleet beside a run: it finds what is wanted, judges it under the run's own terms, and leaves no other trace."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from verifier import Limits, Pool
from verifier.errors import UserError
from verifier.fleet.follow import follow
from verifier.fleet.metrics import Metrics
from verifier.fleet.terms import ShardJudge, Terms
from verifier.storage import files
from verifier.storage.records import ATTEMPT, VERDICT
from verifier.storage.shards import Ledger
from verifier.tiers import Tiers

REPOSITORY = Path(__file__).resolve().parents[2]
GENERAL = "def f(x: int, n=5):\n    return x == n"
UNSTABLE = "def f(s: str, words=['alpha', 'beta', 'gamma', 'delta']):\n    return s == {answer!r}"
FIRST_OF_SET = "def g(words=['alpha', 'beta', 'gamma', 'delta']):\n    return next(iter(set(words)))"
LOOP = "def g(n=5):\n    while True:\n        pass"
STAGES = {
    "iter_000/4_verdicts": (
        "iter_000/3_solutions",
        Terms(Limits(cpu_s=0.3, tiers=Tiers()), 4, certify_seed=1),
    ),
    "base/7_eval/verdicts": ("base/7_eval/attempts", Terms(Limits(cpu_s=0.4))),
    "controls/human/7_eval/verdicts": ("controls/human/7_eval/attempts", Terms(Limits(cpu_s=0.4))),
}


def make_pool(limits: Limits, hash_seed: int) -> Pool:
    return Pool(1, limits, hash_seed=hash_seed)


def attempts(shard: int) -> list[dict]:
    with Pool(1) as pool:
        (seen,) = pool.judge([{"puzzle": "def f(s: str):\n    return True", "solution": FIRST_OF_SET}])
    solutions = [
        (GENERAL, "def g(n=5):\n    return n"),
        (GENERAL, "def g(n=5):\n    return 5"),
        (GENERAL, f"def g(n=5):\n    return n + {shard + 1}"),
        (GENERAL, LOOP),
        (UNSTABLE.format(answer=seen.answer.strip("'")), FIRST_OF_SET),
    ]
    return [
        {"puzzle_id": f"{shard}-{i}", "puzzle": puzzle, "solution": solution, "sample_index": i}
        for i, (puzzle, solution) in enumerate(solutions)
    ]


def ledger(path: str, schema, stage: str) -> Ledger:
    return Ledger(path, stage=stage, schema=schema, shard_count=2, seed=3, fingerprint="abc")


def make_run(root: str, shards=(0, 1)) -> None:
    for verdicts, (source, terms) in STAGES.items():
        wanted = ledger(f"{root}/{source}", ATTEMPT, "solutions")
        for shard in shards:
            wanted.commit(shard, attempts(shard))
        ledger(f"{root}/{verdicts}", VERDICT, "verdicts")
        terms.save(f"{root}/{verdicts}", f"{root}/{source}")
    files.makedirs(f"{root}/iter_000/6_checkpoints/000002")
    files.write_atomic(f"{root}/config.gin", "")


def outcomes(root: str, verdicts: str) -> list[tuple]:
    found = Ledger.open(f"{root}/{verdicts}")
    return [
        (r["puzzle_id"], r["outcome"], r.get("generality")) for i in found.committed() for r in found.read(i)
    ]


@pytest.mark.parametrize("scheme", ["local", "memory"])
def test_all_stages_are_judged_each_under_its_own_terms(tmp_path, scheme):
    root = str(tmp_path)
    if scheme == "memory":
        pytest.importorskip("fsspec")
        root = f"memory://{tmp_path.name}"
    make_run(root)
    metrics = Metrics(None, {})
    follow(root, make_pool, metrics, once=True, poll_s=0.05)
    assert metrics.counters["shards"] == 6 and metrics.figures()["verdicts"] == 30
    for verdicts, (source, terms) in STAGES.items():
        judged = Ledger.open(f"{root}/{verdicts}")
        assert not judged.pending() and not judged.is_complete()  # completing it is the run's to do
        assert not [name for name in files.listdir(f"{root}/{verdicts}") if "claim" in name]
        with ShardJudge(terms, make_pool) as judge:
            for shard in range(2):
                records, counters = judge(list(Ledger.open(f"{root}/{source}").read(shard)))
                assert judged.entry(shard)["counters"] == counters
                assert [(r["puzzle_id"], r["outcome"], r.get("generality")) for r in records] == [
                    (r["puzzle_id"], r["outcome"], r.get("generality")) for r in judged.read(shard)
                ]
    generated, evaluated = outcomes(root, "iter_000/4_verdicts"), outcomes(root, "base/7_eval/verdicts")
    assert [row[1] for row in generated[:5]] == ["accepted", "accepted", "wrong", "cpu_limit", "unstable"]
    assert [row[1] for row in evaluated[:5]] == ["accepted", "accepted", "wrong", "cpu_limit", "accepted"]
    assert generated[0][2] == 1.0 and generated[1][2] < 1.0 and evaluated[0][2] is None


def test_a_stage_another_version_judges_is_refused(tmp_path):
    make_run(str(tmp_path), shards=(0,))
    path = tmp_path / "base/7_eval/verdicts/terms.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"verifier_version": "1"}))
    with pytest.raises(UserError, match="judges by version 1 of the verifier, this is version"):
        follow(str(tmp_path), make_pool, Metrics(None, {}), once=True)
    path.write_text("{}")
    with pytest.raises(UserError, match=r"terms\.json: not the terms of this version"):
        follow(str(tmp_path), make_pool, Metrics(None, {}), once=True)


def test_attempts_lie_beside_their_verdicts(tmp_path):
    with pytest.raises(ValueError, match="not beside"):
        Terms(Limits()).save(tmp_path / "a" / "verdicts", tmp_path / "b" / "attempts")


def test_a_commit_that_comes_after_the_ledger_was_completed_changes_nothing(tmp_path):
    """The run may sweep away what a member that was thought dead is writing."""
    make_run(str(tmp_path))
    path = f"{tmp_path}/base/7_eval/verdicts"
    late, run = Ledger.open(path), ledger(path, VERDICT, "verdicts")
    assert late.claim(0, "late", 100)

    def slowly():
        yield {"puzzle_id": "late", "outcome": "wrong", "cpu_s": 0.0, "peak_mb": 1.0}
        for shard in range(2):
            run.commit(shard, [])
        run.finish()

    before = sorted(os.listdir(path))
    assert not late.commit(0, slowly())
    assert run.is_complete() and not list(run)
    assert set(os.listdir(path)) >= set(before) - {name for name in before if "claim" in name}
    assert not [name for name in os.listdir(path) if "tmp" in name]


def start(root: Path, *flags: str) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "verifier",
        "follow",
        str(root),
        "--workers",
        "1",
        "--poll_s",
        "0.1",
        *flags,
    ]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@contextlib.contextmanager
def ended(member: subprocess.Popen):
    try:
        yield member
    finally:
        member.kill()
        member.communicate()


def wait_for(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_member_waits_for_the_run_follows_it_and_ends_with_it(tmp_path):
    root = tmp_path / "run"
    with ended(start(root, "--json")) as member:
        time.sleep(0.5)
        make_run(str(root), shards=(0,))
        wait_for(lambda: all(Ledger.open(root / verdicts).committed() == [0] for verdicts in STAGES))
        for source, _ in STAGES.values():
            ledger(f"{root}/{source}", ATTEMPT, "solutions").commit(1, attempts(1))
        wait_for(lambda: not any(Ledger.open(root / verdicts).pending() for verdicts in STAGES))
        assert member.poll() is None
        (root / "summary.json").write_text("{}")
        out, err = member.communicate(timeout=30)
        assert member.returncode == 0, err
        figures = json.loads(out)
        assert figures["verdicts"] == 30 and figures["shards"] == 6 and figures["isolation"] in err


def test_a_member_that_is_told_to_go_gives_its_shard_back(tmp_path):
    """What a spot machine gets before it is taken away."""
    path = tmp_path / "base/7_eval"
    endless = [
        {"puzzle_id": f"p{i}", "puzzle": GENERAL, "solution": LOOP + f"  # {i}", "sample_index": i}
        for i in range(99)
    ]
    ledger(f"{path}/attempts", ATTEMPT, "solutions").commit(0, endless)
    verdicts = ledger(f"{path}/verdicts", VERDICT, "verdicts")
    Terms(Limits(cpu_s=20)).save(f"{path}/verdicts", f"{path}/attempts")
    with ended(start(tmp_path)) as member:
        wait_for(lambda: (path / "verdicts" / "part-00000-of-00002.claim-000001").exists())
        assert not verdicts.claim(0, "me", 100)
        member.send_signal(signal.SIGTERM)
        assert member.wait(30) == 128 + signal.SIGTERM
    assert verdicts.claim(0, "me", 100)


def test_what_a_host_cannot_do_is_said_at_once(tmp_path):
    with ended(start(tmp_path, "--isolation", "rlimits", "--require", "namespaces")) as member:
        _, err = member.communicate(timeout=30)
        assert member.returncode == 2 and "weaker" in err
