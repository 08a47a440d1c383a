"""`selfprog export-data` writes every pair once, with its provenance, readable by other libraries."""

import json

import pyarrow.parquet
import pytest

from t5x_selfprog.main import main
from tests.data.pairs_run import ODD, make_pairs_run


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    root = tmp_path_factory.mktemp("export")
    run = make_pairs_run(root / "run")
    assert main(["export-data", f"--run_dir={run}", f"--output={root / 'out'}"]) == 0
    return root


def test_every_pair_with_its_provenance(exported):
    rows = [json.loads(line) for line in (exported / "out" / "train.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * (6 + 9)  # lists of puzzles are not pairs
    row = rows[0]
    assert row["text"].startswith(row["puzzle"]) and row["solution"] in row["text"]
    assert (row["attempts"], row["accepted"], row["generality"]) == (3, 2, 0.5)
    assert (row["puzzle_checkpoint"], row["solution_checkpoint"]) == ("writer", "solver")
    assert row["prompt_puzzle_ids"] == ["aa", "bb"]
    assert any(ODD in row["text"] for row in rows)


def test_parquet_holds_the_same(exported):
    rows = [json.loads(line) for line in (exported / "out" / "train.jsonl").read_text().splitlines()]
    table = pyarrow.parquet.read_table(exported / "out" / "train.parquet").to_pylist()
    assert [row["puzzle_id"] for row in table] == [row["puzzle_id"] for row in rows]
    differing = [new["text"] for new, old in zip(table, rows, strict=True) if new["text"] != old["text"]]
    assert len(differing) == 2 and all("\ufffd" in text for text in differing)
    assert "2 texts held characters" in (exported / "out" / "README.md").read_text()


def test_the_card_says_what_it_is(exported):
    card = (exported / "out" / "README.md").read_text()
    head = card.split("---")[1]
    assert "path: train.parquet" in head and "30 pairs of 15 puzzles" in card
    assert "Experiment.seed = 0" in card and "run them in a sandbox only" in card


def test_the_same_run_gives_the_same_files(exported, tmp_path):
    assert (
        main(["export-data", f"--run_dir={exported / 'run'}", f"--output={tmp_path}", "--formats=jsonl"]) == 0
    )
    assert (tmp_path / "train.jsonl").read_bytes() == (exported / "out" / "train.jsonl").read_bytes()
    assert not (tmp_path / "train.parquet").exists()


def test_what_cannot_be_exported_is_named(tmp_path, capsys):
    assert main(["export-data", f"--run_dir={tmp_path}"]) == 2
    assert "no pairs to export" in capsys.readouterr().err
    assert main(["export-data", f"--run_dir={tmp_path}", "--formats=csv"]) == 2
    assert "jsonl, parquet" in capsys.readouterr().err
