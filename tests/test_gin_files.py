"""Every gin file in the repository parses against the existing configurables; unknown names are refused."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

import gin
from t5x_selfprog import gin_files
from t5x_selfprog.subcommands import COMMANDS

FILES = sorted(gin_files.GIN_FOLDER.rglob("*.gin"))
DECLARING = ("t5x_selfprog.loop", "t5x_selfprog.stages.pretrain", "t5x_selfprog.study.launch")


@pytest.fixture(autouse=True)
def _configurables():
    for module in DECLARING:
        import_module(module)
    yield
    gin.clear_config()


def _required(path: Path) -> list[str]:
    """Macros and parameters a file leaves to the command line; any value does for parsing."""
    return re.findall(r"^([\w./]+)\s*=\s*%gin\.REQUIRED", path.read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(gin_files.GIN_FOLDER)))
def test_it_parses(path: Path) -> None:
    gin_files.load([str(path)], [f"{name}=1" for name in _required(path)])
    assert gin_files.bindings()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(gin_files.GIN_FOLDER)))
def test_what_a_run_saves_parses_to_the_same_bindings(path: Path, tmp_path: Path) -> None:
    gin_files.load([str(path)], [f"{name}=1" for name in _required(path)])
    before = gin_files.bindings()
    saved = tmp_path / "config.gin"
    saved.write_text(gin_files.config_text())
    gin_files.load([str(saved)], [])
    assert gin_files.bindings() == before


def test_the_gin_folder_does_not_hide_the_package() -> None:
    assert not (gin_files.GIN_FOLDER / "__init__.py").exists()
    assert hasattr(gin, "configurable")


def test_every_run_opens_with_its_command() -> None:
    for path in (gin_files.GIN_FOLDER / "runs").glob("*.gin"):
        head = path.read_text().split("\n\n")[0]
        assert head.startswith("#") and "selfprog " in head, f"{path}: says neither command, cost nor result"


def _examples() -> list[str]:
    """Every example of the help texts and the README that binds something on the command line."""
    shown = [example for command in COMMANDS for example in command.examples]
    readme = (gin_files.GIN_FOLDER.parent / "README.md").read_text()
    shown += re.findall(r"^selfprog (run .*)$", readme, flags=re.MULTILINE)
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
