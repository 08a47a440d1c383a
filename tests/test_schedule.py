"""How much iterations sample, and when a run ends, as a function of its directory."""

import json
import os
import signal
import subprocess
import sys
import time

import jax
import pytest

from t5x_selfprog.model import network, store
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.run_layout import RunDir
from t5x_selfprog.schedule import Schedule
from tests.test_loop import SMALL_DEVICE_WORK, contents
from verifier.errors import UserError

CONFIG = """
include 'runs/quickstart.gin'
Experiment.base = {base!r}
Experiment.max_eval_problems = 2
Experiment.shards = 1
Experiment.workers = 1
loop.run.iterations = 5
loop.run.controls = ('unverified',)
filter_puzzles.run.behaviour = None
sample_puzzles.run.prompts = 2
sample_puzzles.run.attempts = 2
sample_puzzles.run.prompt_tokens = 100
puzzles/SamplingConfig.max_new_tokens = 8
sample_solutions.run.attempts = 2
evaluate.run.attempts = 1
evaluation/SamplingConfig.max_new_tokens = 8
"""


def run_with(root, rows):
    """A run whose iterations yielded these numbers of pairs."""
    run = RunDir(str(root))
    for iteration, number in enumerate(rows):
        folder = run.stage(iteration, "dataset")
        os.makedirs(folder)
        with open(f"{folder}/manifest.json", "w") as file:
            json.dump({"rows": number}, file)
    return run


def test_what_brought_nothing_has_no_checkpoint_and_what_follows_samples_more(tmp_path):
    run, schedule = run_with(tmp_path, [7, 0, 0]), Schedule(prompts=1.5, after_nothing=3.0)
    assert [schedule.prompts_of(run, i, 100) for i in range(4)] == [100, 150, 675, 1600]
    assert [schedule.attempts_of(run, i, 10) for i in range(4)] == [10, 10, 30, 90]
    assert Schedule(most=2.0).attempts_of(run, 3, 10) == 20
    first = str(tmp_path / "iter_000" / "6_checkpoints")
    assert [run.sampled_from(i, "BASE") for i in range(4)] == ["BASE", first, first, first]
    assert run.newest_learnt(3) == 0 and run.newest_learnt(0) is None


def test_attempts_teach_without_a_pair(tmp_path):
    """A policy gradient made steps in the second iteration, without a pair, and none in the third; in the fourth, none
    of the pairs could be trained on."""
    run = run_with(tmp_path, [7, 0, 0, 5])
    for iteration, step in ((1, 20), (2, 0), (3, 0)):
        os.makedirs(run.stage(iteration, "checkpoints"))
        with open(f"{run.stage(iteration, 'checkpoints')}/done.json", "w") as file:
            json.dump({"step": step}, file)
    assert [run.learnt_nothing(i) for i in range(4)] == [False, False, True, True]
    assert run.newest_learnt(4) == 1 and run.sampled_from(4, "BASE") == run.stage(1, "checkpoints")


def test_a_run_ends_where_there_is_no_point_in_another(tmp_path):
    run = run_with(tmp_path, [100, 50, 0, 100, 4, 0, 0])
    assert [made for made in range(8) if Schedule().why_end(run, made)] == [7]
    assert Schedule(nothing_in_a_row=1).why_end(run, 3) == "1 iterations in a row brought no pair"
    least = Schedule(least_gain=0.02, nothing_in_a_row=9)
    assert [made for made in range(8) if least.why_end(run, made)] == [3, 5, 6, 7]
    assert "brought 4 of 254 pairs" in least.why_end(run, 5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompts": 0},
        {"attempts": -1.0},
        {"after_nothing": 0.5},
        {"most": 0},
        {"nothing_in_a_row": 0},
        {"least_gain": 1},
    ],
)
def test_what_makes_no_sense_is_named(wrong):
    name, value = next(iter(wrong.items()))
    with pytest.raises(UserError, match=rf"Schedule\.{name}={value}"):
        Schedule(**wrong)


@pytest.fixture(scope="module")
def launch(tmp_path_factory, quick_environment):
    """`launch(run_dir)` starts a run, in a real process, whose random weights write no puzzle."""
    folder = tmp_path_factory.mktemp("never")
    base = str(folder / "base")
    config = ModelConfig(4096, 1024, 16, 1, 2, 1, 8, 16)
    store.save(base, config, network.init(config, jax.random.key(0)), store.resolve("base"))
    (folder / "small.gin").write_text(CONFIG.format(base=base) + SMALL_DEVICE_WORK)
    command = [sys.executable, "-m", "t5x_selfprog.main", "run", f"--gin_file={folder / 'small.gin'}"]

    def start(run_dir):
        return subprocess.Popen(
            [*command, f"--run_dir={run_dir}", "--quiet"], env=quick_environment, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    return start


@pytest.fixture(scope="module")
def unbroken(launch, tmp_path_factory):
    """The directory of a run that ended by itself, and what it said."""
    run_dir = tmp_path_factory.mktemp("unbroken") / "run"
    process = launch(run_dir)
    said = process.communicate(timeout=500)[1]
    assert process.returncode == 0, said[-3000:]
    return run_dir, said


def test_a_run_whose_model_never_solves_anything_ends_by_itself(unbroken):
    """A whole run ends cleanly after two iterations."""
    run_dir, said = unbroken
    assert "No attempt of any iteration was accepted" in said
    assert not (run_dir / "iter_002").exists() and (run_dir / "iter_001" / "funnel.json").exists()
    funnels = [json.loads((run_dir / f"iter_00{i}" / "funnel.json").read_text())["stages"] for i in (0, 1)]
    assert [stages[0]["count"] for stages in funnels] == [4, 8], "twice the prompts after nothing"
    assert [stages[-1] for stages in funnels] == [{"name": "kept", "count": 0}] * 2
    summary = json.loads((run_dir / "summary.json").read_text())
    assert [evaluation["arm"] for evaluation in summary["evaluations"]] == ["base", "enumerator"]
    assert "in a row" in json.loads((run_dir / "ended.json").read_text())["why"]


def test_killed_on_the_way_it_ends_as_if_it_had_not_been(unbroken, launch, tmp_path):
    """By SIGKILL in its second iteration; the base is evaluated by then, and one iteration has come to nothing."""
    run_dir = tmp_path / "run"
    process = launch(run_dir)
    while not (run_dir / "iter_001" / "1_puzzles").exists():
        assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (run_dir / "summary.json").exists()
    process = launch(run_dir)
    said = process.communicate(timeout=500)[1]
    assert process.returncode == 0, said[-3000:]
    assert contents(run_dir) == contents(unbroken[0])
    assert (run_dir / "ended.json").read_bytes() == (unbroken[0] / "ended.json").read_bytes()
