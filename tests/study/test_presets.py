"""The paper's presets and the studies are valid: every variant in a header and every run of a grid parses."""

import re
import shlex

import pytest

from t5x_selfprog import gin_files
from t5x_selfprog.study import launch

PAPER = gin_files.GIN_FOLDER / "runs" / "paper_gpt_neo_125m.gin"
VARIANTS = re.findall(r"^#   \S.*?(--gin\..*)$", PAPER.read_text(), flags=re.MULTILINE)
STUDIES = sorted((gin_files.GIN_FOLDER / "studies").glob("*.gin"))


def test_the_paper_is_there_with_its_variants():
    assert len(VARIANTS) >= 6 and any("docstrings" in line for line in VARIANTS)
    sizes = {path.stem for path in PAPER.parent.glob("paper_gpt_neo_*.gin")}
    assert sizes == {"paper_gpt_neo_125m", "paper_gpt_neo_1p3b", "paper_gpt_neo_2p7b"}


@pytest.mark.parametrize("line", VARIANTS)
def test_every_variant_is_one_line_away(line):
    launch.Configured(str(PAPER), [])
    before = gin_files.bindings()
    flags = [word.removeprefix("--gin.") for word in shlex.split(line)]
    after = launch.Configured(str(PAPER), flags).bindings
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {flag.partition("=")[0] for flag in flags}


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_run_of_every_study_parses(path, tmp_path, monkeypatch):
    """With a stand-in for `selfprog run` that only fails: nothing is trained, every configuration is resolved."""
    asked = []
    monkeypatch.setattr(launch.results, "write", lambda *_: {})

    def refuse(cell, gin_file, root, configured):
        asked.append(dict(configured[cell.name].bindings))
        return True

    monkeypatch.setattr(launch, "_run", refuse)
    gin_files.load([str(path)], [])
    launch.run(study_dir=str(tmp_path))
    assert len(asked) >= 3
    assert len({repr(sorted(bindings.items())) for bindings in asked}) == len(asked)


def test_every_study_opens_with_its_command():
    for path in STUDIES:
        head = path.read_text().split("\n\n")[0]
        assert head.startswith("#") and "selfprog study" in path.read_text() and "Result:" in path.read_text()
