"""`selfprog report` of a folder of runs: a line for each, links that lead somewhere, nothing of one in another's."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from t5x_selfprog.main import main
from t5x_selfprog.report.build import build_report
from tests.report.synthetic_run import make_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A finished run with its page, one that was killed before its second iteration, one that has only begun."""
    root = tmp_path_factory.mktemp("many") / "runs"
    make_run(root / "whole", puzzles=6)
    (root / "whole" / "summary.json").write_text("{}")
    build_report(str(root / "whole"))
    make_run(root / "a <b>&", puzzles=6, iterations=1)
    (root / "begun").mkdir()
    (root / "begun" / "config.gin").write_text("# nothing yet\n")
    (root / "notes").mkdir()
    return root


def rows(page: str) -> dict[str, str]:
    found = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', page)
    return {re.sub("<.*?>", "", head): re.sub("<.*?>", "|", rest) for head, rest in found}


def test_every_run_has_its_line(folder: Path, capsys) -> None:
    assert main(["report", f"--run_dir={folder}", "--json"]) == 0
    path = json.loads(capsys.readouterr().out.splitlines()[-1])["overview"]
    assert path == str(folder / "index.html")
    page = Path(path).read_text()
    found = rows(page)
    assert sorted(found) == ["a &lt;b&gt;&amp;", "begun", "whole"]
    assert "|finished|" in found["whole"] and "120 problems x 100" in found["whole"]
    assert "iteration 1" in found["whole"].lower() and "not finished" in found["a &lt;b&gt;&amp;"]
    assert "Nothing is measured yet." in found["begun"]
    assert "3 runs, 1 finished" in page
    links = re.findall(r'href="([^"#]+/[^"]*)"', page)
    assert links == ["whole/report/index.html"] and all((folder / link).is_file() for link in links)


def test_it_is_written_anew_and_the_runs_are_left_alone(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "runs"
    shutil.copytree(folder, copy)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file() and path.parent != copy}
    assert main(["report", f"--run_dir={copy}"]) == 0
    shutil.rmtree(copy / "begun")
    assert main(["report", f"--run_dir={copy}"]) == 0
    assert "begun" not in rows((copy / "index.html").read_text())
    kept = {path: content for path, content in before.items() if "begun" not in path.parts}
    assert kept == {path: path.read_bytes() for path in kept}


def test_a_damaged_evaluation_is_said_and_the_others_are_shown(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "runs"
    shutil.copytree(folder, copy)
    (copy / "whole" / "base" / "7_eval" / "evaluation.json").write_text("{")
    assert main(["report", f"--run_dir={copy}"]) == 0
    page = (copy / "index.html").read_text()
    assert "Still missing" in page and len(rows(page)) == 3


def test_beside_another_run_one_must_be_named(folder: Path, capsys) -> None:
    assert main(["report", f"--run_dir={folder}", f"--against={folder / 'whole'}"]) == 2
    assert "is a folder of runs; name one of them" in capsys.readouterr().err
