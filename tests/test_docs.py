"""The README is short and leads everywhere: no dead link, no page that nobody finds, no command that is none."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from t5x_selfprog import gin_files, main

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\((?!https?://)([^)#]+)")


def commands(page: Path) -> list[str]:
    """`selfprog ...` lines of its blocks, without comments; those with an ellipsis are no whole commands."""
    found = re.findall(r"(?m)^selfprog (.*)$", page.read_text())
    lines = [line.partition("  #")[0].strip() for line in found]
    return [line for line in lines if "..." not in line and "|" not in line.split()[0]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target


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


def test_the_first_commands_are_there() -> None:
    block = re.search(r"## Begin.*?```\n(.*?)```", README.read_text(), re.DOTALL)
    assert block is not None
    for line in block[1].splitlines():
        word = line.split()[0]
        assert word in ("source", "selfprog") or (ROOT / word).exists(), line
