"""The package `datasets` itself: it loads what we export, and we load what it writes.

It is not among what the tests install by themselves (pip install datasets; CI does).
"""

import json
import os

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here is on the Hub; do not wait for it
datasets = pytest.importorskip(
    "datasets", reason="the package datasets is not installed: pip install datasets"
)

from t5x_selfprog.main import main  # noqa: E402
from t5x_selfprog.puzzles.p3 import SEEDS_FOLDER, load_problems  # noqa: E402
from tests.data.pairs_run import make_pairs_run  # noqa: E402
from verifier.cli import main as verifier_main  # noqa: E402


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    root = tmp_path_factory.mktemp("export")
    run = make_pairs_run(root / "run")
    assert main(["export-data", f"--run_dir={run}", f"--output={root / 'out'}"]) == 0
    return root / "out"


@pytest.fixture(scope="module")
def loaded(exported, tmp_path_factory):
    return datasets.load_dataset(
        str(exported), split="train", cache_dir=str(tmp_path_factory.mktemp("cache"))
    )


def test_an_exported_folder_is_a_dataset(exported, loaded):
    """As its card says, by the path of the Parquet file; values and types are those of the JSON lines."""
    rows = [json.loads(line) for line in (exported / "train.jsonl").read_text().splitlines()]
    assert loaded.num_rows == len(rows) and set(loaded.column_names) == set(rows[0])
    plain = [row for row in rows if "\\ud800" not in json.dumps(row)]
    assert len(plain) > 20 and all(row in loaded.to_list() for row in plain)


def test_what_it_writes_the_verifier_judges(loaded, tmp_path):
    wanted = loaded.select_columns(["puzzle", "solution"]).filter(lambda row: row["puzzle"].isascii())
    wanted.to_json(str(tmp_path / "attempts.jsonl"))
    asked = [
        "judge",
        "--input",
        str(tmp_path / "attempts.jsonl"),
        "--output",
        str(tmp_path / "verdicts.jsonl"),
    ]
    verifier_main([*asked, "--workers", "1"])
    verdicts = [json.loads(line) for line in (tmp_path / "verdicts.jsonl").read_text().splitlines()]
    assert len(verdicts) == wanted.num_rows > 20 and {row["outcome"] for row in verdicts} == {"accepted"}


def test_puzzles_that_it_writes_are_a_set(tmp_path):
    entries = json.loads((SEEDS_FOLDER / "puzzles.json").read_text())
    datasets.Dataset.from_list(entries).to_json(str(tmp_path / "puzzles.jsonl"))
    (tmp_path / "split.json").write_bytes((SEEDS_FOLDER / "split.json").read_bytes())
    assert load_problems(tmp_path) == load_problems("seeds")
