"""The README is short and leads everywhere: no dead link, no orphaned page, no command that does not exist."""

from __future__ import annotations

import json
import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from t5x_selfprog import gin_files, main

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\((?!https?://)([^)#]+)")


def commands(page: Path) -> list[str]:
    """`selfprog ...` lines of its blocks, without comments and without incomplete commands (with an ellipsis)."""
    found = re.findall(r"(?m)^selfprog (.*)$", page.read_text())
    lines = [line.partition("  #")[0].strip() for line in found]
    return [line for line in lines if "..." not in line and "|" not in line.split()[0]]


LINKED = [*PAGES, *(ROOT / path for path in ("CONTRIBUTING.md", "verifier/README.md"))]
LINKED += sorted(ROOT.glob("results/*/README.md"))


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target


def test_where_things_are_is_where_they_are() -> None:
    """Every file and folder that CONTRIBUTING's table names, and every test or script that its rest names."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = text.partition("## Where things are")[2].partition("##")[0]
    rooms = [
        ROOT / room for room in ("", "t5x_selfprog", "t5x_selfprog/stages", "gin", "scripts", "verifier")
    ]
    named = set(re.findall(r"`([\w*/.]+(?:/|\.py))`", table)) - {"__init__.py"}
    assert len(named) > 40
    for path in sorted(named):
        assert any([*room.glob(path)] for room in rooms), path
    for path in re.findall(r"\b(?:tests|scripts|t5x_selfprog)/[\w/.]+\w", text):
        assert (ROOT / path).exists(), path


def test_the_readme_is_read_in_one_sitting_and_leads_to_every_page() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 150
    assert {page.name for page in PAGES[1:]} == set(re.findall(r"docs/([\w-]+\.md)", text))


@pytest.mark.parametrize(
    ("page", "line"),
    [(page, line) for page in PAGES for line in commands(page)],
    ids=lambda part: str(part)[-70:],
)
def test_every_command_is_one(page: Path, line: str) -> None:
    words = re.sub(r"\s\((and|or|with|without|what).*\)$", "", line)
    command, parsed = main.parse(shlex.split(words.partition(" && ")[0]))
    for name in parsed.gin_file:
        gin_files.find(name)
    assert command.name == words.split()[0]


RUNS = re.compile(r"run --gin_file=(quickstart|imported)\b(?!.*--hosts)")


@pytest.mark.parametrize(
    "line",
    sorted({line for page in PAGES for line in commands(page) if RUNS.match(line)}),
    ids=lambda line: line[-70:],
)
def test_what_a_page_says_to_run_would_run(line: str, tmp_path: Path, monkeypatch, capsys) -> None:
    """Checked completely, as `--dry_run` does: settings, arms, model, devices."""
    monkeypatch.setattr("importlib.util.find_spec", _with_wandb)
    monkeypatch.chdir(tmp_path)
    words = [
        word for word in shlex.split(line) if not word.startswith(("--run_dir=", "--gin.Experiment.base="))
    ]
    words = [word for word in words if word not in ("--quiet", "--gin_file=slices/gpu", "--dry_run")]
    base = ["--gin.Experiment.base='base'"] if "imported" in line else []
    assert main.main([*words, *base, "--run_dir=R", "--dry_run"]) == 0, capsys.readouterr().err
    assert "Nothing was made" in capsys.readouterr().out and not (tmp_path / "R").exists()


def _with_wandb(name: str, *more: str) -> object:
    return object() if name == "wandb" else find_spec(name, *more)


def test_the_verifiers_command_of_the_readme_judges(tmp_path: Path, monkeypatch) -> None:
    from verifier.cli import main as verifier

    line = re.search(r"`python -m verifier (judge .*?)`", README.read_text())
    assert line is not None
    monkeypatch.chdir(tmp_path)
    task = {
        "puzzle": "def f(x: int, a=3):\n    return x + a == 10",
        "solution": "def g(a=3):\n    return 10 - a",
    }
    (tmp_path / "attempts.jsonl").write_text(json.dumps(task) + "\n")
    verifier(shlex.split(line[1]))
    assert json.loads((tmp_path / "verdicts.jsonl").read_text())["outcome"] == "accepted"


def test_a_new_set_of_puzzles_is_what_the_readme_says(tmp_path: Path, monkeypatch) -> None:
    """Runs the two commands of its line, one after the other."""
    line = next(line for line in README.read_text().splitlines() if "my own puzzles" in line)
    monkeypatch.chdir(tmp_path)
    found = re.findall(r"`selfprog (p3 [^`]*)`", line)
    assert len(found) == 2
    for command in found:
        assert main.main(shlex.split(command)) == 0


def test_the_first_commands_are_there() -> None:
    block = re.search(r"## Begin.*?```\n(.*?)```", README.read_text(), re.DOTALL)
    assert block is not None
    for line in block[1].splitlines():
        word = line.split()[0]
        assert word in ("source", "selfprog") or (ROOT / word).exists(), line
