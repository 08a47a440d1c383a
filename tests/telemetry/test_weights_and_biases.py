"""Numbers at Weights & Biases, with a package of that name that writes down what it is told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from t5x_selfprog import main
from t5x_selfprog.telemetry import recorder
from t5x_selfprog.telemetry.capture import Profile
from t5x_selfprog.telemetry.watchdog import Watchdog
from t5x_selfprog.telemetry.weights_and_biases import Wandb
from verifier.errors import UserError

STUB = """
import json

def note(*what):
    with open({told!r}, "a") as file:
        file.write(json.dumps(what) + "\\n")

class Run:
    summary = type("Summary", (), {{"update": staticmethod(lambda figures: note("summary", figures))}})
    def define_metric(self, name, step_metric=None):
        note("metric", name, step_metric)
    def log(self, values):
        if values.get("iter_000/6_checkpoints/step") == {fails_at}:
            raise ConnectionError("no network")
        note("log", values)
    def finish(self):
        note("finish")

def init(**settings):
    note("init", settings)
    return Run()
"""


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """`stub(fails_at)` puts the package there; returns what it was told so far when called."""
    told = tmp_path / "told"

    def make(fails_at: int = -1):
        folder = tmp_path / "packages"
        folder.mkdir()
        (folder / "wandb.py").write_text(STUB.format(told=str(told), fails_at=fails_at))
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, "wandb", raising=False)
        return lambda: [json.loads(line) for line in told.read_text().splitlines()]

    yield make
    sys.modules.pop("wandb", None)


def observe(root: Path, wandb: Wandb, steps: int = 2) -> None:
    with recorder.observed(str(root), Watchdog(0), Profile(), wandb=wandb) as watch:
        for step in range(steps):
            watch.record("train", str(root / "iter_000" / "6_checkpoints"), step, {"loss": 0.5, "mfu": None})
        watch.record("judge", str(root / "iter_000" / "4_verdicts"), 0, {"accepted": 3})
        watch.conclude({"verified 0/pass@10": 0.25})


def test_what_tensorboard_gets_is_sent_too_with_an_axis_for_each_stage(stub, tmp_path):
    told = stub()
    observe(tmp_path / "run", Wandb("puzzles", "team", "offline"))
    (begun, *rest) = told()
    assert begun[0] == "init"
    assert {"project": "puzzles", "entity": "team", "name": "run", "resume": "allow"}.items() <= begun[
        1
    ].items()
    assert begun[1]["mode"] == "offline" and begun[1]["dir"] == str(tmp_path / "run")
    training, judging = "iter_000/6_checkpoints", "iter_000/4_verdicts"
    assert ["metric", f"{training}/*", f"{training}/step"] in rest
    logged = [values for what, values, *_ in rest[:-1] if what == "log"]
    assert logged == [
        {f"{training}/step": 0, f"{training}/loss": 0.5},
        {f"{training}/step": 1, f"{training}/loss": 0.5},
        {f"{judging}/step": 0, f"{judging}/accepted": 3},
    ]
    assert rest[-2:] == [["summary", {"verified 0/pass@10": 0.25}], ["finish"]]
    observe(tmp_path / "run", Wandb("puzzles"))
    first, second = (entry[1]["id"] for entry in told() if entry[0] == "init")
    assert first == second, "the same run, in its next life"


def test_a_service_that_fails_ends_no_run_and_is_said_once(stub, tmp_path, capsys):
    told = stub(fails_at=1)
    observe(tmp_path / "run", Wandb("puzzles"), steps=5)
    assert capsys.readouterr().err.count("ConnectionError: no network. The run goes on without") == 1
    assert [what for what, *_ in told()].count("log") == 1
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len([line for line in lines if '"train"' in line]) == 5


def test_without_the_package_it_is_refused_before_anything_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="SELFPROG_EXTRAS=wandb scripts/setup"):
        Wandb("puzzles")
    flags = ["--gin_file=quickstart_small", f"--run_dir={tmp_path / 'run'}", "--gin.Wandb.project='puzzles'"]
    assert main.main(["run", *flags]) == 2
    assert "Wandb.project='puzzles' needs a package" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_it_is_imported_only_where_it_was_asked_for(tmp_path, user_environment):
    (tmp_path / "wandb.py").write_text("raise SystemExit('imported')")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import t5x_selfprog.loop\n"
        "from t5x_selfprog.telemetry import recorder, capture, watchdog\n"
        "with recorder.observed(sys.argv[1] + '/run', watchdog.Watchdog(0), capture.Profile()) as watch:\n"
        "    watch.record('train', sys.argv[1] + '/run/6', 0, {'loss': 1.0}); watch.conclude({'a': 1.0})\n"
        "assert 'wandb' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], env=user_environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
