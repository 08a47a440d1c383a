"""Puzzles of one's own: three fields are enough, every fault is told at once, and the verifier says what is solved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from t5x_selfprog.main import main
from t5x_selfprog.puzzles.p3 import load_problems
from verifier.errors import UserError

SAT = "def sat(x: int, a=3, word='ab'):\n    return x + a == 10 and bool(word)"


def made(folder: Path, entries: list[object], split: dict[str, list[str]], lines: bool = False) -> Path:
    folder.mkdir()
    if lines:
        (folder / "puzzles.jsonl").write_text("\n".join(map(json.dumps, entries)) + "\n\n")
    else:
        (folder / "puzzles.json").write_text(json.dumps(entries))
    (folder / "split.json").write_text(json.dumps(split))
    return folder


@pytest.mark.parametrize("lines", [False, True])
def test_name_puzzle_and_solutions_are_enough(tmp_path: Path, lines: bool) -> None:
    entries = [{"name": "Add:0", "sat": SAT, "sol_bodies": ["    return 10 - a"]}]
    (problem,) = load_problems(made(tmp_path / "mine", entries, {"train": ["Add"]}, lines))
    assert problem.answer_type == "int" and problem.split == "train"
    assert problem.solutions == ("def g(a=3, word='ab'):\n    return 10 - a",)
    assert (problem.statement, problem.module, problem.group) == ("", "own", "own")


def test_a_puzzle_without_solutions_is_one_too(tmp_path: Path) -> None:
    (problem,) = load_problems(made(tmp_path / "mine", [{"name": "Add:0", "sat": SAT}], {"test": ["Add"]}))
    assert problem.solutions == ()


def test_every_fault_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    entries = [
        {"name": "A:0", "sat": "def sat(x, a=3):\n    return x == a"},
        {"name": "B:0", "sat": SAT, "sol_bodies": ["    return ("]},
        {"name": "C:0", "sat": "@staticmethod\ndef sat(x: int):\n    return x == 7"},
        {"name": "D", "sat": SAT},
        7,
        {"name": "E:0", "sat": SAT},
    ]
    folder = made(tmp_path / "mine", entries, {"train": ["E", "A"]})
    with pytest.raises(UserError) as caught:
        load_problems(folder)
    told = str(caught.value).splitlines()
    assert len(told) == 5 and all(f"{folder}/puzzles.json: entry {i}" in line for i, line in enumerate(told))
    for word, line in zip(
        ("type annotation", "sol_bodies[0]", "decorator", "Problem:0", "object"), told, strict=True
    ):
        assert word in line


def test_hundreds_of_faults_are_counted(tmp_path: Path) -> None:
    folder = made(tmp_path / "mine", [{"name": f"P{i}:0", "sat": "?"} for i in range(300)], {})
    with pytest.raises(UserError, match=r"\.\.\. and 280 more$"):
        load_problems(folder)


def test_a_line_that_is_no_json_is_named_by_its_number(tmp_path: Path) -> None:
    folder = made(tmp_path / "mine", [{"name": "Add:0", "sat": SAT}], {}, lines=True)
    with (folder / "puzzles.jsonl").open("a") as file:
        file.write("{nonsense\n")
    with pytest.raises(UserError, match=r"puzzles\.jsonl: line 3: not JSON"):
        load_problems(folder)


def test_a_set_that_changed_on_disk_is_read_again(tmp_path: Path) -> None:
    folder = made(tmp_path / "mine", [{"name": "Add:0", "sat": SAT}], {"train": ["Add"]})
    assert len(load_problems(folder)) == 1
    more = [{"name": name, "sat": SAT} for name in ("Add:0", "Other:0")]
    (folder / "puzzles.json").write_text(json.dumps(more))
    found = load_problems(folder)
    assert len(found) == 2
    found.clear()  # what one caller does with its list is no other's business
    assert len(load_problems(folder)) == 2


def test_solutions_that_the_verifier_refuses_are_listed(tmp_path: Path, capsys) -> None:
    bodies = [
        "    return 10 - a",
        "    return 0",
        "    return 'text'",
        "    import os\n    return os.getpid()",
    ]
    folder = made(
        tmp_path / "mine", [{"name": "Add:0", "sat": SAT, "sol_bodies": bodies}], {"train": ["Add"]}
    )
    assert main(["p3", f"--source={folder}", "--json"]) == 0
    said = capsys.readouterr()
    figures = json.loads(said.out.splitlines()[-1])
    assert figures["solutions"] == 4 and [found["name"] for found in figures["refused"]] == ["Add:0"] * 3
    assert "3 of 4 reference solutions are not accepted" in said.err
    assert "wrong" in said.err and "wrong_type" in said.err and "return 0" in said.err


def test_the_template_is_a_set_that_passes(tmp_path: Path, capsys) -> None:
    folder = tmp_path / "new" / "set"
    assert main(["p3", f"--new={folder}"]) == 0
    assert f"selfprog p3 --source={folder}" in capsys.readouterr().out
    assert main(["p3", f"--source={folder}", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["problems"] == 6 and figures["refused"] == [] and figures["solutions"] == 6
    assert set(figures["splits"]) == {"train", "dev", "test"}


def test_the_template_overwrites_nothing(tmp_path: Path, capsys) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for place in (tmp_path, tmp_path / "mine.txt"):
        assert main(["p3", f"--new={place}"]) == 2
        assert f"--new={place}: is there already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
