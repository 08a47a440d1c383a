"""The command line gives help, dispatches, and turns user errors into one message and status 2."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import gin
from t5x_selfprog import main as main_module
from t5x_selfprog.commands.command import Command, Option
from t5x_selfprog.main import main, resolve

STAGES = """
import dataclasses
import gin
from verifier.errors import UserError

@gin.configurable
@dataclasses.dataclass(frozen=True)
class SamplerConfig:
    temperature: float = 0.9
    top_k: int = 0
    def __post_init__(self):
        if self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}")

@gin.configurable(module="toy_loop")
def run(run_dir, puzzles=gin.REQUIRED, iterations=2, sampler=None, name="x"):
    sampler = sampler() if sampler else SamplerConfig()
    if name == "user":
        raise UserError("the folder data/p3 is missing")
    if name == "bug":
        raise KeyError("a bug")
    if name == "stop":
        raise KeyboardInterrupt
    return {"iterations": iterations, "puzzles": puzzles, "temperature": sampler.temperature}

def stage(args):
    return {"run_dir": args.run_dir, "iteration": args.iteration, "source": run(args.run_dir)["puzzles"]}
"""

GOOD = """\
# a comment
toy_loop.run.puzzles = "seeds"
toy_loop.run.iterations = 3
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """`toy("stage", flag, ...)` runs main on two commands of a made-up module, in an empty folder."""
    (tmp_path / "toy_stages.py").write_text(STAGES)
    (tmp_path / "toy.gin").write_text(GOOD)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SELFPROG_DEBUG", raising=False)
    commands = (
        Command(
            "run",
            "h",
            "a",
            (),
            lambda args: resolve("toy_stages:run")(run_dir=args.run_dir),
            configured_by="toy_stages",
            options=(Option("--dry_run", "make nothing", {"action": "store_true"}),),
        ),
        Command(
            "stage",
            "h",
            "a",
            (),
            lambda args: resolve("toy_stages:stage")(args),
            configured_by="toy_stages",
            options=(Option("--iteration", "which", {"type": int}),),
        ),
    )
    monkeypatch.setattr(main_module, "COMMANDS", commands)
    registry = gin.config._REGISTRY.copy()
    yield lambda *arguments: main(arguments)
    gin.clear_config()
    gin.config._REGISTRY = registry
    sys.modules.pop("toy_stages", None)


def _failing(toy: Callable[..., int], capsys: pytest.CaptureFixture, *arguments: str) -> str:
    assert toy(*arguments) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err and captured.err.startswith("selfprog: error: ")
    assert captured.out == ""
    return captured.err


def test_run_is_configured_by_file_and_flags_in_this_order(toy, capsys) -> None:
    assert toy("run", "--gin_file=toy", "--gin.toy_loop.run.iterations=7", "--run_dir=R", "--json") == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last == {"iterations": 7, "puzzles": "seeds", "temperature": 0.9}
    assert Path("R/fingerprint.json").is_file()


def test_a_stage_uses_the_configuration_the_run_saved(toy, capsys) -> None:
    assert toy("run", "--gin_file=toy.gin", "--run_dir=R") == 0
    assert toy("stage", "--run_dir=R", "--iteration=1", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"run_dir": "R", "iteration": 1, "source": "seeds"}


def test_a_run_directory_of_another_configuration_is_refused(toy, capsys) -> None:
    assert toy("run", "--gin_file=toy.gin", "--run_dir=R") == 0
    Path("R/iter_000").mkdir()
    message = _failing(
        toy, capsys, "run", "--gin_file=toy.gin", "--gin.toy_loop.run.puzzles='p3'", "--run_dir=R"
    )
    assert "toy_loop.run.puzzles: there 'seeds', now 'p3'" in message


def test_a_dry_run_is_refused_where_the_run_would_be_and_writes_nothing(toy, capsys) -> None:
    assert toy("run", "--gin_file=toy.gin", "--run_dir=R") == 0
    Path("R/iter_000").mkdir()
    before = {path: path.read_bytes() for path in Path("R").rglob("*") if path.is_file()}
    capsys.readouterr()
    other = ("run", "--gin_file=toy.gin", "--gin.toy_loop.run.puzzles='p3'", "--dry_run")
    assert "there 'seeds', now 'p3'" in _failing(toy, capsys, *other, "--run_dir=R")
    assert toy("run", "--gin_file=toy.gin", "--run_dir=R", "--dry_run") == 0
    assert toy(*other, "--run_dir=S") == 0 and not Path("S").exists()
    assert {path: path.read_bytes() for path in Path("R").rglob("*") if path.is_file()} == before


def test_without_any_configuration_the_flag_is_named(toy, capsys) -> None:
    assert "--gin_file" in _failing(toy, capsys, "run", "--run_dir=R")
    assert not Path("R").exists()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "toy_lop.run.iterations = 3",
            ["'toy_lop.run'", "Did you mean 'toy_loop.run'?", "toy.gin", "line 4"],
        ),
        ("SamplerConfg.top_k = 3", ["Did you mean 'SamplerConfig'?", "toy.gin", "line 4"]),
        ("SamplerConfig.topk = 3", ["'topk'", "Did you mean 'top_k'?", "toy.gin", "line 4"]),
        ("toy_loop.run.sampler = @SamplerConfg", ["Did you mean 'SamplerConfig'?", "toy.gin", "line 4"]),
        ("toy_loop.run.name = verified", ["'verified' is no value", "quotes", "toy.gin, line 4"]),
        ("toy_loop.run.name = = 3", ["toy.gin, line 4", "toy_loop.run.name = = 3"]),
        ("toy_loop.run.name 3", ["toy.gin, line 4"]),
        ("toy_loop.run.name = (3,\n\n", ["toy.gin, line 4", "not closed"]),
        ("toy_loop.run.name = '''x\n\n", ["toy.gin, line 4", "not closed"]),
        ("toy_loop.run:\n    name = 'x'\n  top = 3\n", ["toy.gin, line 6"]),
        ("include 'models/tinny.gin'", ["models/tinny.gin", "toy.gin", "line 4"]),
        ("import no_such_module", ["no_such_module", "toy.gin", "line 4"]),
        ("toy_loop.run.name = %ARM", ["%ARM", "no value", "--gin.ARM=...", "toy.gin, line 4"]),
        (
            "ARM = %gin.REQUIRED",
            ["ARM must be given a value", "--gin.ARM=...", "toy.gin, line 4: ARM = %gin.REQ"],
        ),
    ],
)
def test_a_mistake_in_a_gin_file_is_one_message_with_its_place(
    toy, capsys, line: str, expected: list
) -> None:
    Path("toy.gin").write_text(GOOD + line + "\n")
    message = _failing(toy, capsys, "run", "--gin_file=toy.gin", "--run_dir=R")
    for part in expected:
        assert part in message
    assert not Path("R").exists()


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("toy_loop.run.iteration=3", ["--gin.toy_loop.run.iteration=3", "Did you mean 'iterations'?"]),
        ("toy_loop.run.name=human", ["--gin.toy_loop.run.name=human", "'human' is no value", "quotes"]),
        ("toy_loop.run.name=[1,", ["--gin.toy_loop.run.name=[1,", "not closed"]),
        ("samplerconfig.top_k=1", ["Did you mean 'SamplerConfig'?"]),
        ("zzz.run=1", ["There are: "]),
    ],
)
def test_a_mistake_in_a_flag_names_the_flag(toy, capsys, flag: str, expected: list) -> None:
    message = _failing(toy, capsys, "run", "--gin_file=toy.gin", "--run_dir=R", f"--gin.{flag}")
    for part in expected:
        assert part in message


def test_a_missing_gin_file_names_the_nearest(toy, capsys, monkeypatch, tmp_path: Path) -> None:
    from t5x_selfprog import gin_files

    (tmp_path / "gin" / "runs").mkdir(parents=True)
    (tmp_path / "gin" / "runs" / "quickstart.gin").write_text(GOOD)
    monkeypatch.setattr(gin_files, "GIN_FOLDER", tmp_path / "gin")
    for name in ("quikstart", "runs/quikstart.gin"):
        message = _failing(toy, capsys, "run", f"--gin_file={name}", "--run_dir=R")
        assert name in message and "did you mean runs/quickstart.gin?" in message
    for name in ("quickstart", "runs/quickstart", "runs/quickstart.gin"):
        assert toy("run", f"--gin_file={name}", "--run_dir=R") == 0


def test_a_required_value_nobody_gave_is_named(toy, capsys) -> None:
    Path("toy.gin").write_text("toy_loop.run.iterations = 1\n")
    message = _failing(toy, capsys, "run", "--gin_file=toy.gin", "--run_dir=R")
    assert "run.puzzles must be given a value" in message and "run.puzzles=..." in message


def test_a_value_a_dataclass_refuses_is_shown_with_its_line(toy, capsys) -> None:
    Path("toy.gin").write_text(
        GOOD + "toy_loop.run.sampler = @SamplerConfig\nSamplerConfig.temperature = -1\n"
    )
    message = _failing(toy, capsys, "run", "--gin_file=toy.gin", "--run_dir=R")
    assert "temperature must be above 0, got -1" in message
    assert "toy.gin, line 5: SamplerConfig.temperature = -1" in message


def test_a_user_error_is_its_message_alone(toy, capsys) -> None:
    flags = ("run", "--gin_file=toy.gin", "--run_dir=R", "--gin.toy_loop.run.name='user'")
    assert _failing(toy, capsys, *flags) == "selfprog: error: the folder data/p3 is missing\n"


def test_a_bug_keeps_its_traceback(toy) -> None:
    with pytest.raises(KeyError, match="a bug"):
        toy("run", "--gin_file=toy.gin", "--run_dir=R", "--gin.toy_loop.run.name='bug'")


def test_debug_shows_the_traceback_of_a_user_error(toy, monkeypatch) -> None:
    monkeypatch.setenv("SELFPROG_DEBUG", "1")
    with pytest.raises(Exception, match="data/p3"):
        toy("run", "--gin_file=toy.gin", "--run_dir=R", "--gin.toy_loop.run.name='user'")


def test_an_interrupt_says_how_to_resume(toy, capsys) -> None:
    flags = ("run", "--gin_file=toy.gin", "--run_dir=R", "--gin.toy_loop.run.name='stop'")
    assert toy(*flags) == 130
    message = capsys.readouterr().err
    assert "resume with the same command" in message
    assert (
        "selfprog run --gin_file=toy.gin --run_dir=R '--gin.toy_loop.run.name='\"'\"'stop'\"'\"''" in message
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "SUBCOMMAND"),
        (("runn", "--run_dir=R"), "'runn'"),
        (("run",), "--run_dir=DIR is needed"),
        (("run", "--run_dir=R", "--gin.x"), "--gin.NAME=VALUE"),
        (("run", "--run_dir=R", "--gin.=3"), "--gin.NAME=VALUE"),
        (("run", "--run_dir=R", "--ginfile=x"), "--ginfile=x"),
        (("run", "--run_dir=R", "--run=R"), "--run=R"),
        (("stage", "--run_dir=R", "--iteration=one"), "'one'"),
    ],
)
def test_a_mistake_on_the_command_line_is_status_2_and_named(toy, capsys, arguments, expected) -> None:
    with pytest.raises(SystemExit) as caught:
        toy(*arguments)
    assert caught.value.code == 2
    assert expected in capsys.readouterr().err


def test_the_installed_door_exits_with_the_status_of_main(tmp_path: Path, user_environment: dict) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "t5x_selfprog.main", "p3", "--source=x", "--gin.a=1"],
        env=user_environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "--gin.a=1" in done.stderr, textwrap.shorten(done.stderr, 500)
