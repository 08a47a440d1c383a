"""The notebook for one accelerator: its commands exist, and its cells run in order, here with our tiny model."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from t5x_selfprog import gin_files, main
from tests.test_loop import SMALL_DEVICE_WORK, few_problems

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "docs" / "one_accelerator.ipynb"
CONFIG = """
include 'runs/quickstart.gin'
Experiment.problems = {problems!r}
Experiment.eval_split = 'dev'
Experiment.workers = 1
loop.run.iterations = 1
loop.run.controls = ('unverified',)
sample_puzzles.run.prompts = 6
sample_puzzles.run.attempts = 32
sample_solutions.run.attempts = 8
evaluate.run.attempts = 4
finetune.run.epochs = 1
"""


def cells() -> list[dict[str, Any]]:
    return json.loads(NOTEBOOK.read_text())["cells"]


def code() -> list[tuple[str, bool]]:
    """The source of each code cell, and whether it defines the parameters."""
    return [
        ("".join(cell["source"]), "parameters" in cell["metadata"].get("tags", ()))
        for cell in cells()
        if cell["cell_type"] == "code"
    ]


def test_its_cells_are_python_and_it_was_saved_without_outputs() -> None:
    for source, _ in code():
        compile(source, "cell", "exec")
    assert all(
        not cell["outputs"] and cell["execution_count"] is None for cell in cells() if "outputs" in cell
    )
    assert [is_parameters for _, is_parameters in code()].count(True) == 1
    assert len({cell["id"] for cell in cells()}) == len(cells())


def test_its_commands_are_commands_and_its_settings_exist() -> None:
    """Each call of `selfprog` in code or text cells, with the notebook's own parameters."""
    names: dict[str, Any] = {"base": "--gin.Experiment.base='base'"}
    asked: list[list[str]] = []

    def take(*arguments: str) -> None:
        asked.append(list(arguments))

    names["selfprog"] = take
    for source, is_parameters in code():
        if is_parameters:
            exec(source, names)
        else:
            for call in re.findall(r"^ *(selfprog\(.*\))$", source, re.MULTILINE):
                exec(call, names)
    for cell in cells():
        for call in re.findall(r"`(selfprog\(.*?\))`", "".join(cell["source"])):
            exec(call, names)
    assert [arguments[0] for arguments in asked] == [
        "doctor",
        "import",
        "run",
        "export-data",
        "run",
        "export",
    ]
    for arguments in asked:
        command, parsed = main.parse(arguments)
        assert command.name == arguments[0]
        for name in parsed.gin_file:
            gin_files.find(name)


@pytest.mark.slow  # a whole run, and five more commands, twice
def test_its_cells_run_in_order(tmp_path: Path, quick_environment: dict[str, str], monkeypatch) -> None:
    """From a folder in place of a published model to the table, the pairs and the page; then all of it again."""
    published = tmp_path / "published"
    assert main.main(["export", "--model=base", f"--output={published}"]) == 0
    # The installed package is not set up again, and nothing is written to this checkout.
    checkout = tmp_path / "checkout"
    (checkout / "scripts").mkdir(parents=True)
    shutil.copy(shutil.which("true") or "/bin/true", checkout / "scripts" / "setup")
    settings = tmp_path / "small.gin"
    settings.write_text(CONFIG.format(problems=str(few_problems(tmp_path / "problems"))) + SMALL_DEVICE_WORK)
    given = {
        "MODEL": str(published),
        "EXTRAS": "",
        "SETTINGS": [f"--gin_file={settings}"],
    }
    for name in os.environ.keys() - quick_environment.keys():  # JAX as users have it
        monkeypatch.delenv(name)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", quick_environment["JAX_COMPILATION_CACHE_DIR"])
    monkeypatch.setenv("SELFPROG_VENV", str(Path(sys.prefix)))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("SELFPROG_EXTRAS", "")
    monkeypatch.setenv("SELFPROG_LEAN", "")
    monkeypatch.chdir(checkout)
    names: dict[str, Any] = {}
    for _ in range(2):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            for source, is_parameters in code():
                try:
                    exec(source, names)
                except RuntimeError as error:
                    pytest.fail(f"{error}\n{said.getvalue()[-4000:]}")
                if is_parameters:
                    names |= given
    told = said.getvalue()
    assert "| verified 0 |" in told and "attempts\ndef f(" in told and "Finished before" in told
    assert (checkout / "runs" / "notebook" / "report" / "index.html").exists()
    assert names["pairs"] and all(pair["accepted"] for pair in names["pairs"])
