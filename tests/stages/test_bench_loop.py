"""`bench loop`: gin accepts the run that it starts, and its figures are those of the run's files."""

import json
from pathlib import Path

import pytest

import gin
import t5x_selfprog.loop  # noqa: F401 (declares the stages to gin)
from t5x_selfprog.commands import COMMANDS
from t5x_selfprog.main import main
from t5x_selfprog.stages import bench_loop
from t5x_selfprog.telemetry import goodput
from tests.report.synthetic_run import make_run
from verifier.errors import UserError


@pytest.fixture(autouse=True)
def no_configuration():
    yield
    gin.clear_config()


def test_figures_are_those_of_the_runs_files(tmp_path):
    root = make_run(tmp_path / "run", iterations=1)
    fields = ("stage", "attempts", "new_tokens", "seconds", "prefill_s", "decode_s", "row_occupancy")
    rows = [
        ("3_solutions", 30, 90, 2.0, 0.25, 1.0, 0.9),  # three quarters of a second went to compilation
        ("3_solutions", 10, 10, 0.5, 0.0, 0.5, 0.1),
        ("1_puzzles", 5, 0, 0.1, 0.05, 0.0, 0.0),
    ]
    lines = [{"kind": "sample"} | dict(zip(fields, row, strict=True)) for row in rows]
    lines.append({"kind": "judge", "stage": "4_verdicts", "attempts": 999})
    (root / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = bench_loop.measured(str(root))
    spent = goodput.read(str(root)).figures()
    assert found["seconds"] == spent["wall_s"] == 100.0 and found["goodput"] == spent["goodput"]
    assert found["attempts"] == 45 and found["attempts_per_s"] == 0.45
    assert found["sampling"]["3_solutions"]["row_occupancy"] == pytest.approx(100 / 200)
    assert found["sampling"]["all"]["new_tokens_per_s"] == pytest.approx(100 / 2.6)
    assert found["sampling"]["3_solutions"]["device_tokens_per_s"] == pytest.approx(100 / 1.75)
    assert found["sampling"]["1_puzzles"]["device_tokens_per_s"] == 0.0
    assert found["pairs_per_minute"] == pytest.approx(0.6 * found["funnel"]["kept"]) and found["pairs"] > 0
    assert sum(found["parts"].values()) == pytest.approx(1.0)


def test_its_run_is_the_named_one_with_one_iteration_and_no_controls(tmp_path):
    command = next(command for command in COMMANDS if command.name == "bench")
    assert "loop" in next(option for option in command.options if option.flag == "job").arguments["choices"]
    args = type("Args", (), {"config": "quickstart", "model": "", "prompts": 5, "batch": 64})
    (tmp_path / "loop.gin").write_text(bench_loop.configuration(args))
    gin.add_config_file_search_path("gin")
    gin.parse_config_file(str(tmp_path / "loop.gin"))
    assert gin.query_parameter("loop.run.iterations") == 1 and gin.query_parameter("loop.run.controls") == ()
    assert gin.query_parameter("sample_puzzles.run.prompts") == 5
    assert gin.query_parameter("solutions/SamplingConfig.rows_in_flight") == 64


def test_a_configuration_of_ones_own_is_measured_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.gin").write_text("include 'runs/quickstart.gin'\nevaluate.run.attempts = 3\n")
    args = type("Args", (), {"config": "mine.gin", "model": "tiny", "prompts": 1, "batch": None})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "loop.gin").write_text(bench_loop.configuration(args))
    gin.add_config_file_search_path(str(Path(__file__).parents[2] / "gin"))
    gin.parse_config_file(str(tmp_path / "elsewhere" / "loop.gin"))
    assert gin.query_parameter("evaluate.run.attempts") == 3
    assert gin.query_parameter("Experiment.base") == "tiny"


def test_a_run_that_fails_is_said_with_its_last_words(capsys):
    assert main(["bench", "loop", "--config=nowhere"]) == UserError.EXIT_CODE
    assert "ended with status 2" in capsys.readouterr().err
