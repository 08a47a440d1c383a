"""The whole loop on a small scale, as a user runs it: a real process, killed, restarted, compared byte by byte.

The shipped model writes the puzzles. At this size it learns nothing; what is tested is that the same command ends in
the same bytes, whatever happens to it.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import gin
from t5x_selfprog import main
from verifier.storage.shards import Ledger

CONFIG = """
include 'runs/quickstart.gin'
Experiment.eval_split = 'dev'
Experiment.problems = {problems!r}
Experiment.shards = 3
Experiment.workers = 1
loop.run.iterations = {iterations}
loop.run.controls = ('unverified',)
sample_puzzles.run.prompts = 6
sample_puzzles.run.attempts = 32
sample_solutions.run.attempts = 8
evaluate.run.attempts = 4
Selection.lists = 0.5
finetune.run.epochs = 2
LoopConfig.checkpoint_every = 2
"""
# No more rows than so few attempts fill, and the same compiled programs for stages 3 and 7.
SMALL_DEVICE_WORK = """
puzzles/SamplingConfig.prompts_in_flight = 8
puzzles/SamplingConfig.tail_prompts = 0
solutions/SamplingConfig.prompts_in_flight = 8
solutions/SamplingConfig.tail_prompts = 0
evaluation/SamplingConfig.prompts_in_flight = 8
evaluation/SamplingConfig.tail_prompts = 0
finetune.run.length = 256
finetune.run.batch_size = 2
LoopConfig.unroll = 1
"""
MEASURED = ("cpu_s", "peak_mb")  # differs between any two runs


def few_problems(folder: Path) -> Path:
    """A part of our seeds small enough to evaluate in seconds."""
    from t5x_selfprog.puzzles.p3 import SEEDS_FOLDER

    folder.mkdir()
    split = json.loads((SEEDS_FOLDER / "split.json").read_text())
    split = {"train": split["train"][:80], "dev": split["dev"][::13], "test": split["test"][:2]}
    names = {name for part in split.values() for name in part}
    entries = json.loads((SEEDS_FOLDER / "puzzles.json").read_text())
    kept = [entry for entry in entries if entry["name"].rpartition(":")[0] in names]
    (folder / "puzzles.json").write_text(json.dumps(kept))
    (folder / "split.json").write_text(json.dumps(split))
    return folder


@pytest.fixture(scope="module")
def launch(tmp_path_factory, quick_environment):
    """`launch(run_dir)` starts `selfprog run`; its compiled programs are kept for the next start."""
    folder = tmp_path_factory.mktemp("loop")
    problems = few_problems(folder / "problems")

    def start(run_dir: Path, iterations: int = 1, flags: tuple[str, ...] = ()) -> subprocess.Popen:
        config = folder / f"small_{iterations}.gin"
        config.write_text(CONFIG.format(problems=str(problems), iterations=iterations) + SMALL_DEVICE_WORK)
        command = [sys.executable, "-m", "t5x_selfprog.main", "run", f"--gin_file={config}"]
        log = open(run_dir.with_suffix(".log"), "a")  # noqa: SIM115 (the process owns it)
        return subprocess.Popen(
            [*command, *flags, f"--run_dir={run_dir}", "--quiet"], env=quick_environment, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip

    return start


def finish(process: subprocess.Popen, run_dir: Path) -> None:
    assert process.wait(timeout=500) == 0, run_dir.with_suffix(".log").read_text()[-3000:]


def contents(run_dir: Path) -> dict[str, object]:
    """The results of a run by path: records without measured times, evaluations, identities of weights."""
    found: dict[str, object] = {}
    for path in sorted(run_dir.rglob("ledger.json")):
        rows = [{k: v for k, v in row.items() if k not in MEASURED} for row in Ledger.open(str(path.parent))]
        found[str(path.parent.relative_to(run_dir))] = rows
    for name in ("evaluation.json", "done.json", "funnel.json"):
        for path in sorted(run_dir.rglob(name)):
            found[str(path.relative_to(run_dir))] = json.loads(path.read_text())
    return found


@pytest.fixture(scope="module")
def unbroken(launch, tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("unbroken") / "run"
    finish(launch(run_dir), run_dir)
    return run_dir


def test_the_loop_ends_in_a_table_and_a_report(unbroken):
    log = unbroken.with_suffix(".log").read_text()
    for word in ("base", "verified", "unverified", "enumerator", "sampled", "non_trivial", "kept"):
        assert word in log
    assert (unbroken / "report" / "index.html").stat().st_size > 5_000
    summary = json.loads((unbroken / "summary.json").read_text())
    assert [e["arm"] for e in summary["evaluations"]] == ["base", "verified", "unverified", "enumerator"]


def test_the_funnel_only_narrows_and_accounts_for_every_puzzle(unbroken):
    funnel = json.loads((unbroken / "iter_000" / "funnel.json").read_text())
    counts = {stage["name"]: stage["count"] for stage in funnel["stages"]}
    names = ("sampled", "parsed", "well_formed", "new", "non_trivial", "distinct", "solved")
    steps = [counts[name] for name in names]
    assert steps == sorted(steps, reverse=True) and steps[-1] > 0
    assert counts["sampled"] == counts["distinct"] + sum(funnel["rejections"].values()) == 6 * 32


def test_the_dataset_holds_the_pairs_and_half_as_many_lists_of_their_puzzles(unbroken):
    funnel = json.loads((unbroken / "iter_000" / "funnel.json").read_text())
    kept = next(stage["count"] for stage in funnel["stages"] if stage["name"] == "kept")
    texts = [record["text"] for record in Ledger.open(str(unbroken / "iter_000" / "5_dataset"))]
    pairs = [text for text in texts if text.endswith("assert f(g())")]
    lists = [text for text in texts if text.startswith("def f1(")]
    assert len(pairs) == kept > 0 and len(lists) == round(kept / 2)
    assert len(pairs) + len(lists) == len(texts)


def test_records_say_which_weights_wrote_them(unbroken):
    done = json.loads((unbroken / "iter_000" / "6_checkpoints" / "done.json").read_text())
    written = {record["checkpoint"] for record in Ledger.open(str(unbroken / "iter_000" / "1_puzzles"))}
    assert written == {done["start"]} and done["identity"] != done["start"]
    evaluated = {r["checkpoint"] for r in Ledger.open(str(unbroken / "iter_000" / "7_eval" / "verdicts"))}
    assert evaluated == {done["identity"]}


@pytest.mark.slow  # tests/test_schedule.py kills a smaller run
def test_a_killed_run_ends_as_if_it_had_not_been(unbroken, launch, tmp_path):
    run_dir, draw, kills = tmp_path / "run", random.Random(0), 0
    while True:
        process = launch(run_dir)
        if kills < 2:
            time.sleep(draw.uniform(4, 25))
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
                continue
        finish(process, run_dir)
        break
    assert kills >= 1
    assert contents(run_dir) == contents(unbroken)


@pytest.mark.slow
def test_a_run_that_moves_to_another_machine_ends_as_if_it_had_not(
    unbroken, launch, tmp_path, user_environment
):
    """Killed after training and before evaluation, packed, unpacked elsewhere: the weights are trained again."""
    here, there = tmp_path / "here", tmp_path / "there"
    process = launch(here)
    while process.poll() is None and not (here / "iter_000" / "6_checkpoints" / "done.json").exists():
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for command in (
        ["pack", f"--run_dir={here}", f"--output={tmp_path}/run.pack"],
        ["unpack", f"{tmp_path}/run.pack", f"--run_dir={there}", "--base=base"],
    ):
        subprocess.run(
            [sys.executable, "-m", "t5x_selfprog.main", *command], env=user_environment, check=True
        )
    assert not (there / "iter_000" / "6_checkpoints" / "done.json").exists()
    finish(launch(there), there)
    assert contents(there) == contents(unbroken)


@pytest.mark.slow
def test_a_fork_ends_as_if_it_had_shared_nothing(unbroken, launch, tmp_path):
    """Even if it is killed on the way; and the first run's files are unchanged."""
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in unbroken.rglob("*") if p.is_file()}
    fork, alone = tmp_path / "fork", tmp_path / "alone"
    setting = "--gin.finetune.run.epochs=1"
    process = launch(fork, flags=(f"--from={unbroken}", setting))
    while process.poll() is None and not (fork / "iter_000" / "6_checkpoints").exists():
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finish(launch(fork, flags=(f"--from={unbroken}", setting)), fork)
    finish(launch(alone, flags=(setting,)), alone)
    assert "first solutions from run" in (fork / "taken_over.json").read_text()
    assert contents(fork) == contents(alone)
    assert before == {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in unbroken.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_a_fleet_that_loses_members_changes_nothing(launch, unbroken, tmp_path, user_environment):
    """All judging is left to fleet members; one is killed while working, and another replaces it."""
    run_dir = tmp_path / "run"
    member = [
        sys.executable,
        "-m",
        "verifier",
        "follow",
        str(run_dir),
        "--workers=1",
        "--poll_s=0.1",
        "--claim_s=3",
    ]
    members = [subprocess.Popen(member, env=user_environment)]
    run = launch(run_dir, flags=("--gin.Experiment.judges='fleet'",))
    try:
        claimed = run_dir / "base" / "7_eval" / "verdicts"
        while not list(claimed.glob("part-*.claim-??????")) and run.poll() is None:
            time.sleep(0.02)
        members[0].kill()
        members.append(subprocess.Popen(member, env=user_environment))
        finish(run, run_dir)
        assert members[1].wait(60) == 0  # it exits when the run has a summary
    finally:
        for process in (*members, run):
            process.kill()
            process.wait()
    assert contents(run_dir) == contents(unbroken)


@pytest.fixture
def refused(capsys):
    """`refused(*flags)`: what `selfprog run` says, in this process, before it exits with 2."""

    def run(*flags: str) -> str:
        assert main.main(["run", "--gin_file=quickstart", "--quiet", *flags]) == 2
        return capsys.readouterr().err

    yield run
    gin.clear_config()


def test_another_configuration_is_refused_with_both_values(unbroken, refused):
    assert "sample_puzzles.run.prompts: there 6, now" in refused(f"--run_dir={unbroken}")


def test_a_missing_model_names_the_path_and_the_command(tmp_path, refused):
    said = refused(f"--run_dir={tmp_path / 'run'}", "--gin.Experiment.base='nowhere/model'")
    assert "nowhere/model" in said and "selfprog import --model=nowhere/model" in said


def test_the_run_says_where_its_time_went(unbroken):
    log = unbroken.with_suffix(".log").read_text()
    (said,) = [line for line in log.splitlines() if line.startswith("Goodput: ")]
    assert "chips waited for verdicts" in said
    found = json.loads((unbroken / "goodput.json").read_text())
    assert sum(found["parts"].values()) == pytest.approx(found["wall_s"], abs=0.1)
    assert all(found["parts"][part] > 0 for part in ("train", "prefill", "decode", "compile", "load"))
    assert {"base/7_eval/attempts", "iter_000/3_solutions"} <= found["overlap"].keys()
    assert found["lives"] == 1 and found["lost_steps"] == 0 and found["parts"]["lost"] == 0


def test_the_run_leaves_its_metrics_in_lines_and_events(unbroken):
    lines = [json.loads(line) for line in (unbroken / "metrics.jsonl").read_text().splitlines()]
    of = {kind: [line for line in lines if line["kind"] == kind] for kind in ("train", "sample", "judge")}
    assert all(line["tokens_per_s"] > 0 and 0 <= line["padding"] < 1 for line in of["train"])
    sampled = {(line["stage"], line["iteration"]) for line in of["sample"]}
    assert {("1_puzzles", 0), ("3_solutions", 0), ("base/7_eval/attempts", None)} <= sampled
    assert all(0 < line["row_occupancy"] <= 1 for line in of["sample"] if line["new_tokens"])
    judged = [line for line in of["judge"] if (line["stage"], line["iteration"]) == ("4_verdicts", 0)]
    assert sorted(line["shard"] for line in judged) == [0, 1, 2]  # two are judged at once
    attempts = len(list(Ledger.open(str(unbroken / "iter_000" / "3_solutions"))))
    assert sum(line["verdicts"] for line in judged) == attempts
    assert judged[-1]["queue_attempts"] == 0
    for stage in ("3_solutions", "4_verdicts", "6_checkpoints"):
        assert list((unbroken / "events" / "iter_000" / stage).glob("events.out.tfevents.*"))
    assert not list(unbroken.glob("stuck-*"))
