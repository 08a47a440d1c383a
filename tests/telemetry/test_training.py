"""An observed training run: its metrics, its trace, and its records after a kill and a restart."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from t5x_selfprog.model import network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.telemetry import recorder
from t5x_selfprog.telemetry.capture import Profile
from t5x_selfprog.telemetry.sinks import read_lines
from t5x_selfprog.telemetry.watchdog import Watchdog
from t5x_selfprog.training.batches import PackedDocuments
from t5x_selfprog.training.optimizers import OptimizerConfig
from t5x_selfprog.training.task import TrainingTask
from t5x_selfprog.training.train_loop import LoopConfig, train
from tests.telemetry.events import scalars
from verifier.errors import UserError
from verifier.storage import files

CONFIG = ModelConfig(101, 64, 32, 2, 4, 2, 8, 64)
STEPS, KILLED_AT = 8, 5  # a checkpoint is at 3, the next at 6
NAMES = {
    "loss", "grad_norm", "learning_rate", "tokens_per_s", "tokens_per_s_per_chip", "padding", "step_s",
    "compilations", "cached_programs", "compile_s",
}  # fmt: skip


class Source:
    """Batches of noise, which call `stop` at step `stop_at`."""

    def __init__(self, stop_at: int | None = None, stop=lambda: None):
        rng = np.random.default_rng(5)
        docs = [rng.integers(2, 99, 20) for _ in range(60)]
        self._packed = PackedDocuments(docs, [1.0] * 60, batch_size=8, length=64, seed=0)
        self._stop_at, self._stop = stop_at, stop

    def batch(self, step):
        if step == self._stop_at:
            self._stop()
        return self._packed.batch(step)


def run(root: Path, source: Source, profile: Profile = Profile(), stuck_after_s: float = 0.0) -> None:
    directory = str(root / "iter_000" / "6_checkpoints")
    loop = LoopConfig(OptimizerConfig("adamw", 1e-3, warmup_steps=2), checkpoint_every=3, log_every=1)
    one = Partitioner(MeshConfig(1, 1, 1).make(jax.devices()[:1]))
    with (
        jax.numpy_dtype_promotion("standard"),
        recorder.observed(str(root), Watchdog(stuck_after_s), profile) as watch,
        watch.clock.stage("iteration 0: training"),
        watch.stage(directory),
    ):
        train(
            loop, CONFIG, lambda: network.init(CONFIG, jax.random.key(0)), TrainingTask(source, STEPS),
            directory, one, label="tiny",
        )  # fmt: skip


def kill_once_saved(root: Path) -> None:
    """The process dies between two checkpoints, the first of which is complete."""
    while not (root / "iter_000" / "6_checkpoints" / "3").is_dir():
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)


def test_lines_and_events_hold_the_same_numbers_under_the_promised_names(tmp_path):
    run(tmp_path, Source())
    lines = [line for line in read_lines(tmp_path / "metrics.jsonl") if line["kind"] == "train"]
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert all(line.keys() >= NAMES and line["iteration"] == 0 for line in lines)
    assert all(0 <= line["padding"] < 1 and line["step_s"] > 0 for line in lines)
    compiled = [line["compilations"] + line["cached_programs"] for line in lines]
    assert compiled[0] >= 1 and sum(compiled[3:]) == 0
    folder = tmp_path / "events" / "iter_000" / "6_checkpoints"
    seen = scalars(folder, os.listdir(folder))
    assert seen.keys() >= NAMES
    for line in lines:
        assert seen["loss"][line["step"]] == pytest.approx(line["loss"], rel=1e-5)


def test_a_killed_training_counts_the_steps_it_makes_again(tmp_path, quick_environment):
    code = (
        "import sys; from pathlib import Path; from tests.telemetry import test_training as t\n"
        "root = Path(sys.argv[1])\n"
        "t.run(root, t.Source(t.KILLED_AT, lambda: t.kill_once_saved(root)))\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=quick_environment, capture_output=True, timeout=200
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    run(tmp_path, Source())
    found = files.read_json(tmp_path / "goodput.json")
    assert found["lost_steps"] == KILLED_AT - 3
    steps = [line["step"] for line in read_lines(tmp_path / "iter_000" / "6_checkpoints" / "metrics.jsonl")]
    assert steps == list(range(1, STEPS + 1))
    # Telemetry keeps both attempts at these steps, because it records what happened.
    tried = [line["step"] for line in read_lines(tmp_path / "metrics.jsonl") if line["kind"] == "train"]
    assert tried == [*range(1, KILLED_AT + 1), *range(4, STEPS + 1)]


def test_a_step_that_hangs_is_told_with_its_stage_and_number(tmp_path):
    run(tmp_path, Source(5, lambda: time.sleep(10.0)), stuck_after_s=4.0)
    said = (tmp_path / "stuck-0.txt").read_text()
    assert "in iter_000/6_checkpoints, after: step 5 " in said and said.count("is stuck") == 1


def test_the_profile_of_a_stage_leaves_a_trace_and_a_table(tmp_path, capsys):
    run(tmp_path, Source(), Profile((4, 6)))
    names = [str(p) for p in (tmp_path / "profile").rglob("*") if p.is_file()]
    assert any(name.endswith(".xplane.pb") for name in names)
    table = files.read_json(tmp_path / "profile" / "operations.json")
    assert table["stage"] == "iter_000/6_checkpoints" and table["steps"] == [4, 6]
    assert table["operations"][0]["share"] >= table["operations"][-1]["share"]
    assert table["operations"][0]["operation"] in capsys.readouterr().err


def test_a_profile_of_another_stage_traces_nothing(tmp_path):
    run(tmp_path, Source(), Profile((4, 6), stage="3_solutions"))
    assert not (tmp_path / "profile").exists()


@pytest.mark.parametrize("steps", [(3,), (5, 5), (-1, 2), (1, 2, 3)])
def test_steps_that_are_no_window_are_refused(steps):
    with pytest.raises(UserError, match=r"Profile\.steps"):
        Profile(steps)
