"""Every gin file in the repository parses against the existing configurables; unknown names are refused."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

import gin
from t5x_selfprog import gin_files, gin_reach, gin_values, main
from t5x_selfprog.commands import COMMANDS
from t5x_selfprog.preflight import check_arms
from verifier.errors import UserError

FILES = sorted(gin_files.GIN_FOLDER.rglob("*.gin"))
_STAND_IN = {"Experiment.base": "'base'"}
DECLARING = ("t5x_selfprog.loop", "t5x_selfprog.pretraining.pretrain", "t5x_selfprog.study.launch")


@pytest.fixture(autouse=True)
def _configurables():
    for module in DECLARING:
        import_module(module)
    yield
    gin.clear_config()


def _required(path: Path) -> list[str]:
    """Macros and parameters that a file leaves to the command line; any value will do for parsing."""
    return re.findall(r"^([\w./]+)\s*=\s*%gin\.REQUIRED", path.read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(gin_files.GIN_FOLDER)))
def test_it_parses(path: Path) -> None:
    gin_files.load([str(path)], [f"{name}=1" for name in _required(path)])
    assert gin_files.bindings()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(gin_files.GIN_FOLDER)))
def test_what_it_binds_fits_what_parameters_are_declared_as(path: Path) -> None:
    paths = gin_files.load([str(path)], [f"{name}={_STAND_IN.get(name, 1)}" for name in _required(path)])
    gin_values.require_fitting(paths)
    if path.parent.name == "runs" and "pretrain" not in path.name:
        gin_values.require_buildable(paths)
        check_arms(gin_values.handed("loop.run", "controls"), sources_there=False)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(gin_files.GIN_FOLDER)))
def test_what_a_run_saves_parses_to_the_same_bindings(path: Path, tmp_path: Path) -> None:
    gin_files.load([str(path)], [f"{name}=1" for name in _required(path)])
    before = gin_files.bindings()
    saved = tmp_path / "config.gin"
    saved.write_text(gin_files.config_text())
    gin_files.load([str(saved)], [], saved=str(saved))
    assert gin_files.bindings() == before


def test_the_gin_folder_does_not_hide_the_package() -> None:
    assert not (gin_files.GIN_FOLDER / "__init__.py").exists()
    assert hasattr(gin, "configurable")


def test_every_run_opens_with_its_command() -> None:
    for path in (gin_files.GIN_FOLDER / "runs").glob("*.gin"):
        head = path.read_text().split("\n\n")[0]
        assert head.startswith("#") and "selfprog " in head, f"{path}: says neither command, cost nor result"


def _examples() -> list[str]:
    """Every example in the help texts and the README that binds something on the command line."""
    shown = [example for command in COMMANDS for example in command.examples]
    root = gin_files.GIN_FOLDER.parent
    for page in (root / "README.md", *sorted((root / "docs").glob("*.md"))):
        shown += re.findall(r"^selfprog (run .*)$", page.read_text(), flags=re.MULTILINE)
    return [
        example
        for example in shown
        if "--gin_file" in example and "--gin." in example and "NAME=" not in example
    ]


@pytest.mark.parametrize("example", _examples())
def test_examples_shown_to_users_parse(example: str) -> None:
    words = shlex.split(example.partition("  #")[0])
    files = [word.removeprefix("--gin_file=") for word in words if word.startswith("--gin_file=")]
    bindings = [word.removeprefix("--gin.") for word in words if word.startswith("--gin.")]
    gin_files.load(files, bindings)


# Bindings that nothing can reach.

RUNS = sorted((gin_files.GIN_FOLDER / "runs").glob("*.gin"))
SLICES = sorted((gin_files.GIN_FOLDER / "slices").glob("*.gin"))


@pytest.mark.parametrize(
    ("flag", "why", "works"),
    [
        ("puzles/SamplingConfig.top_k=5", "in the scope 'puzles'", "puzzles/SamplingConfig.top_k"),
        ("filter/SamplingConfig.top_k=5", "in the scope 'filter'", "puzzles/SamplingConfig.top_k"),
        ("SamplingConfig.top_k=5", "a value of its own", "evaluation/SamplingConfig.top_k"),
        ("t5x_selfprog.SamplingConfig.top_k=5", "a value of its own", "solutions/SamplingConfig.top_k"),
        ("first/finetune.run.steps=3", "in the scope 'first'", "finetune.run.steps"),
        ("STEPS=3", "no value names the macro %STEPS", ""),
        (
            "Allocation.needed=3",
            "nothing asks for Allocation",
            "sample_solutions.run.allocation = @Allocation()",
        ),
        ("judge/Tiers.first_s=0.1", "nothing asks for Tiers", "Limits.tiers = @Tiers()"),
    ],
)
def test_a_flag_that_nothing_can_reach_is_refused_with_what_works(flag: str, why: str, works: str) -> None:
    with pytest.raises(UserError) as refused:
        gin_files.load(["quickstart"], [flag])
    said = str(refused.value)
    assert f"--gin.{flag}: " in said and why in said and works in said


@pytest.mark.parametrize(
    "flags",
    [
        ["puzzles/SamplingConfig.top_k=5"],
        ["sample_solutions.run.allocation=@Allocation()", "Allocation.needed=3"],
        ["judge/Limits.tiers=@Tiers()", "judge/Tiers.first_s=0.1"],  # made inside that scope
        ["judge/Limits.tiers=@Tiers()", "Tiers.first_s=0.1"],
        [
            "SamplingConfig.idle_share=0.5",
            "puzzles/SamplingConfig.idle_share=0.25",
        ],  # two scopes are left
        ["STEPS=3", "finetune.run.steps=%STEPS"],
        [
            "MORE=(%FEW, 8)",
            "FEW=4",
            "puzzles/SamplingConfig.prompt_buckets=%MORE",
        ],  # through a tuple in a macro
    ],
)
def test_what_a_scope_a_macro_or_a_reference_reaches_is_taken(flags: list[str]) -> None:
    gin_files.load(["quickstart"], flags)


def test_a_reference_is_followed_only_where_its_own_binding_counts() -> None:
    """What only an overridden value refers to is not asked for."""
    flags = [
        "finetune.run.loop=@lost/LoopConfig()",
        "finetune.run.loop=@LoopConfig()",
        "lost/LoopConfig.remat='full'",
    ]
    with pytest.raises(UserError, match="'lost'"):
        gin_files.load(["quickstart"], flags)


def test_a_file_is_refused_with_its_line_and_a_macro_with_the_one_that_is_named(tmp_path: Path) -> None:
    mine = tmp_path / "mine.gin"
    mine.write_text(
        "include 'runs/quickstart.gin'\n\nSTEPZ = 3\nSTEPS = 4\nfinetune.run.steps = %STEPS\n"
        "evaluate/SamplingConfig.temperature = 0.5\n"
    )
    with pytest.raises(UserError) as refused:
        gin_files.load([str(mine)], [])
    said = str(refused.value)
    assert f"{mine}, line 3: STEPZ = 3" in said and "did you mean STEPS?" in said
    assert f"{mine}, line 6" in said and "did you mean evaluation/SamplingConfig.temperature?" in said
    mine.write_text("include 'runs/quickstart.gin'\nSamplingConfig:\n  top_k = 5\n")  # gin's other spelling
    with pytest.raises(UserError, match=r"bind evaluation/SamplingConfig\.top_k"):
        gin_files.load([str(mine)], [])
    mine.write_text("include 'runs/quickstart.gin'\nSTEPZ = 3\nSTEPS = 4\nfinetune.run.steps = %STEPS\n")
    # A file that a run saved before this rule is still accepted; a flag beside it is checked all the same.
    gin_files.load([str(mine)], [], saved=str(mine))
    with pytest.raises(UserError, match="%STEPX; did you mean STEPS"):
        gin_files.load([str(mine)], ["STEPX=2"], saved=str(mine))


def test_the_command_line_refuses_it_before_it_makes_anything(tmp_path: Path, capsys) -> None:
    root = tmp_path / "run"
    words = ["run", "--gin_file=quickstart", f"--run_dir={root}", "--gin.SamplingConfig.temperature=1.0"]
    assert main.main(words) == 2
    said = capsys.readouterr().err
    assert "puzzles/SamplingConfig.temperature" in said and not root.exists()


@pytest.mark.parametrize("piece", SLICES, ids=lambda path: path.stem)
def test_a_slice_goes_with_every_run_and_says_nothing_that_no_run_asks_for(piece: Path) -> None:
    dead: set[str] | None = None
    for run in RUNS:
        gin_files.load([str(run), str(piece)], [f"{name}=1" for name in _required(run)])
        names = {one.name for one in gin_reach.unreachable(gin.config._CONFIG)}
        dead = names if dead is None else dead & names
    assert not dead


def test_a_slice_stands_between_what_a_file_includes_and_what_it_says(tmp_path: Path) -> None:
    mine = tmp_path / "mine.gin"
    mine.write_text(
        "include 'runs/quickstart.gin'  # binds evaluation's and solutions' grids\n"
        "solutions/SamplingConfig.prompts_in_flight = 7\n"
    )
    for names in ([str(mine), "slices/v5e_8"], ["slices/v5e_8", str(mine)]):
        gin_files.load(names, ["puzzles/SamplingConfig.prompts_in_flight=9"])
        bound = gin_files.bindings()
        assert bound["solutions/SamplingConfig.prompts_in_flight"] == "7"  # mine
        assert bound["puzzles/SamplingConfig.prompts_in_flight"] == "9"  # the command line's
        assert bound["evaluation/SamplingConfig.prompts_in_flight"] == "32"  # the slice's
        assert bound["evaluation/SamplingConfig.rows_per_prompt"] == "16"
        assert bound["Experiment.max_eval_problems"] == "60"  # no slice binds it
