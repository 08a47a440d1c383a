"""Self-play from the command line, small but whole: killed in its first batch and continued, to the same bytes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from t5x_selfprog.evaluation.rollout_accounts import accounts
from tests.test_loop import contents, few_problems, finish

pytestmark = pytest.mark.slow

CONFIG = """
include 'runs/quickstart_selfplay.gin'
Experiment.eval_split = 'dev'
Experiment.problems = {problems!r}
Experiment.max_eval_problems = 3
Experiment.shards = 2
Experiment.workers = 1
loop.run.iterations = 1
sample_puzzles.run.prompts = 4
sample_puzzles.run.attempts = 32
sample_solutions.run.attempts = 8
evaluate.run.attempts = 2
Mix.prompts = 2
Mix.puzzles = 2
Mix.deductions = 1
Mix.abductions = 1
PolicyTraining.batches = 2
PolicyTraining.attempts = 4
LoopConfig.checkpoint_every = 1
LoopConfig.log_every = 1
"""


def start(config: Path, run_dir: Path, environment: dict[str, str]) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "t5x_selfprog.main",
        "run",
        f"--gin_file={config}",
        f"--run_dir={run_dir}",
    ]
    log = open(run_dir.with_suffix(".log"), "a")  # noqa: SIM115 (the process owns it)
    return subprocess.Popen(
        [*command, "--quiet"], env=environment, stdout=log, stderr=log, start_new_session=True
    )


def test_a_run_killed_in_a_batch_ends_in_the_same_bytes(tmp_path, quick_environment):
    config = tmp_path / "small.gin"
    config.write_text(CONFIG.format(problems=str(few_problems(tmp_path / "problems"))))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(config, whole, quick_environment), whole)

    process = start(config, killed, quick_environment)
    batch = killed / "iter_000/6_checkpoints/rollouts/0000"
    deadline = time.monotonic() + 500
    while not (batch / "screened/manifest.json").exists():
        assert process.poll() is None and time.monotonic() < deadline, killed.with_suffix(".log").read_text()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "iter_000/6_checkpoints/done.json").exists()
    finish(start(config, killed, quick_environment), killed)

    assert contents(killed) == contents(whole)
    output = whole / "iter_000/6_checkpoints"
    done = json.loads((output / "done.json").read_text())
    made = list(accounts(str(output)))
    assert len(made) == done["step"] == 2 and done["proposals"]["asked"] == 2 * 2 * 4
    assert {"puzzle", "deduction", "abduction"} <= set(made[0].tasks)
    page = (whole / "report/index.html").read_text()
    assert "Learning from verdicts" in page and "16 proposals" in page and "Numbers by step" in page
