"""`selfprog export-data`: a run's verified pairs as JSON lines and Parquet, with a dataset card.

Each pair carries its provenance: which weights wrote the puzzle and the solution, how many attempts the puzzle took,
which puzzles were in its prompt. The folder loads with `datasets`, pandas, pyarrow or plain `json`; the card states how
and from which configuration it was made, and what was excluded.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from t5x_selfprog.data.sources import run_datasets, split_pair
from t5x_selfprog.run_layout import RunDir
from verifier.errors import UserError
from verifier.storage import files
from verifier.storage.shards import Ledger, MissingStage

Row = dict[str, Any]

FIELDS: dict[str, str] = {
    "puzzle_id": "hash of the normalised puzzle",
    "puzzle": "source of `f`",
    "solution": "source of `g`; `f(g()) is True` was observed",
    "text": "both as the model is trained on them",
    "answer_type": "annotation of the puzzle's first argument",
    "iteration": "round of self-play that made it",
    "weight": "loss weight of its tokens",
    "attempts": "solutions judged for the puzzle",
    "accepted": "of these, how many passed",
    "generality": "share of resampled arguments on which the solution passes too, absent if not measured",
    "puzzle_checkpoint": "identity of the weights that wrote the puzzle",
    "solution_checkpoint": "identity of the weights that wrote the solution",
    "prompt_puzzle_ids": "train problems that stood in the puzzle's prompt",
}


def export(run_dir: str, output: str, formats: Sequence[str] = ("jsonl", "parquet")) -> dict[str, Any]:
    """Writes the folder; returns counts. The same run gives the same bytes of JSON lines and card.

    Raises UserError if the run has no finished dataset, or pyarrow is missing for Parquet.
    """
    found = list(rows(run_dir))
    if not found:
        raise UserError(
            f"{run_dir}: no pairs to export: no iteration has a finished 5_dataset with pairs in it"
        )
    if "jsonl" in formats:
        with files.open_atomic(files.join(output, "train.jsonl")) as file:
            for row in found:
                file.write(json.dumps(row).encode() + b"\n")  # ASCII, so that lone surrogates survive
    replaced = _write_parquet(files.join(output, "train.parquet"), found) if "parquet" in formats else 0
    card = _card(run_dir, found, formats, replaced)
    files.write_atomic(files.join(output, "README.md"), card)
    return {"output": output, "pairs": len(found), "puzzles": len({row["puzzle_id"] for row in found})}


def rows(run_dir: str) -> Iterator[Row]:
    """Every verified pair of a run's finished iterations with its provenance, in order."""
    run = RunDir(run_dir)
    for iteration, dataset in run_datasets(run_dir).items():
        kept = {record["puzzle_id"]: record for record in _records(run, iteration, "kept")}
        judged, accepted = Counter[str](), Counter[str]()
        solved_by: dict[tuple[str, str], dict[str, Any]] = {}
        for verdict in _records(run, iteration, "verdicts"):
            count = verdict["count"] or 1
            if verdict["outcome"] == "infrastructure":
                continue
            judged[verdict["puzzle_id"]] += count
            if verdict["outcome"] == "accepted":
                accepted[verdict["puzzle_id"]] += count
                solved_by.setdefault((verdict["puzzle_id"], verdict["solution"].strip("\n")), verdict)
        for pair in dataset:
            parts = split_pair(pair["text"])
            if parts is None:
                continue
            puzzle, solution = parts
            identity = pair["puzzle_id"]
            about, verdict = kept.get(identity, {}), solved_by.get((identity, solution), {})
            yield {
                "puzzle_id": identity,
                "puzzle": puzzle,
                "solution": solution,
                "text": pair["text"],
                "answer_type": about.get("answer_type"),
                "iteration": iteration,
                "weight": pair["weight"],
                "attempts": judged[identity],
                "accepted": accepted[identity],
                "generality": verdict.get("generality"),
                "puzzle_checkpoint": about.get("checkpoint"),
                "solution_checkpoint": verdict.get("checkpoint"),
                "prompt_puzzle_ids": about.get("prompt_puzzle_ids") or [],
            }


def _records(run: RunDir, iteration: int, stage: str) -> Iterator[dict[str, Any]]:
    """A stage's records; none if a copy of the run was made without the stage's folder."""
    try:
        yield from Ledger.open(run.stage(iteration, stage))
    except MissingStage:
        return


def _write_parquet(path: str, found: Sequence[Row]) -> int:
    """Writes the rows; returns how many texts held characters that UTF-8 cannot encode (replaced by U+FFFD)."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError(
            "--formats=parquet needs pyarrow: pip install '.[data]', or --formats=jsonl"
        ) from error
    texts = {name: pa.string() for name in FIELDS}
    other = {
        "iteration": pa.int64(), "weight": pa.float32(), "attempts": pa.int64(), "accepted": pa.int64(),
        "generality": pa.float32(), "prompt_puzzle_ids": pa.list_(pa.string()),
    }  # fmt: skip
    schema = pa.schema([(name, kind) for name, kind in (texts | other).items()])
    replaced = 0
    clean = []
    for row in found:
        made = {name: _utf8(value) if isinstance(value, str) else value for name, value in row.items()}
        replaced += made["text"] != row["text"]
        clean.append(made)
    with files.open_atomic(path) as file:
        pq.write_table(pa.Table.from_pylist(clean, schema), file, compression="zstd")
    return replaced


def _utf8(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _card(run_dir: str, found: Sequence[Row], formats: Sequence[str], replaced: int) -> bytes:
    """A dataset card: front matter for `datasets`, then answers to a careful user's questions."""
    run = RunDir(run_dir)
    by_iteration = Counter(row["iteration"] for row in found)
    types = Counter(row["answer_type"] or "unknown" for row in found)
    data_file = "train.parquet" if "parquet" in formats else "train.jsonl"
    counts = "\n".join(f"| {number} | {pairs:,} |" for number, pairs in sorted(by_iteration.items()))
    fields = "\n".join(f"| `{name}` | {what} |" for name, what in FIELDS.items())
    common = ", ".join(f"{name} {number:,}" for name, number in types.most_common(8))
    refused = "\n".join(_refused(run, number) for number in sorted(by_iteration))
    note = (
        f"\n{replaced} texts held characters that UTF-8 cannot; in Parquet they are U+FFFD.\n"
        if replaced
        else ""
    )
    config = (
        files.read_bytes(run.config).decode("utf-8", "replace") if files.exists(run.config) else "(not saved)"
    )
    fence = "`" * 4
    return f"""---
configs:
- config_name: default
  data_files:
  - split: train
    path: {data_file}
task_categories: [text-generation]
tags: [code, synthetic, program-synthesis]
---

# Programming puzzles and solutions that a model wrote and an interpreter checked

{len(found):,} pairs of {len({row["puzzle_id"] for row in found}):,} puzzles. A language model wrote both; for each,
`f(g()) is True` was observed in a sandbox with limits on CPU, memory and output. Answer types: {common}.

| iteration | pairs |
|---|---|
{counts}

## Loading

```python
import datasets
pairs = datasets.load_dataset("parquet", data_files="train.parquet", split="train")
```
```python
import pyarrow.parquet
pairs = pyarrow.parquet.read_table("train.parquet").to_pylist()
```
```python
import json
pairs = [json.loads(line) for line in open("train.jsonl")]
```

## Fields

| field | what it is |
|---|---|
{fields}
{note}
## What was kept out

Puzzles refused by the filter, by iteration ("contaminated": too like a train or held-out problem):

{refused}

## Before use

The programs are a model's: run them in a sandbox only. That a solution passes says nothing of the puzzle's worth;
many are near copies of each other. Train and held-out problems of the run were compared with by the configuration
below and no others: check against your own test set before you train on this.

## How it was made

{fence}
{config.strip()}
{fence}
""".encode()


def _refused(run: RunDir, iteration: int) -> str:
    path = run.funnel(iteration)
    if not files.exists(path):
        return f"- iteration {iteration}: not recorded"
    reasons = json.loads(files.read_bytes(path))["rejections"]
    return f"- iteration {iteration}: " + (
        ", ".join(f"{name} {n:,}" for name, n in reasons.items()) or "none"
    )
