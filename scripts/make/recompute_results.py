#!/usr/bin/env python3
"""Rewrites the tables and pages of committed results from their evaluation.json files, with today's statistics.

    .venv/bin/python scripts/make/recompute_results.py [results/quick_study ...]

Reads:    raw.tar.xz: evaluation.json of every arm of a run, or of every run of a study; the sizes in STUDY/table.csv.
Writes:   table.md, and for a study table.csv, fits.json and report.html; then every table in a README or in docs/ that
          stands under <!-- results/NAME/table.md, table N --> (tests/test_figures.py checks them).
Left out: everything that was sampled or judged; the looks at held-out splits, which study.json and held_out/ keep.
"""

from __future__ import annotations

import argparse
import csv
import glob
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_PYTHON = os.path.join(ROOT, ".venv", "bin", "python")
if sys.prefix != os.path.join(ROOT, ".venv") and os.path.exists(_PYTHON):
    os.execv(_PYTHON, [_PYTHON, __file__, *sys.argv[1:]])
sys.path.insert(0, ROOT)

import pack_results

from t5x_selfprog.evaluation import clean, held_out
from t5x_selfprog.evaluation.compare import ALL, Evaluation
from t5x_selfprog.evaluation.table import groups_shown, markdown_table
from t5x_selfprog.study import results
from t5x_selfprog.study.page import page
from verifier.storage import files
from verifier.storage.shards import atomic_write

RUNS = ("results/quickstart", "results/p3_base")
STUDIES = ("results/quick_study", "results/quick_p3", "results/gpu/p3", "results/curriculum")
Sizes = dict[str, dict[tuple[str, int | None], dict[str, float]]]


def unpack(folder: str, to: str) -> None:
    for path, data in pack_results.read(Path(folder, pack_results.NAME)).items():
        files.write_atomic(os.path.join(to, path), data)


def run_table(raw: str) -> str:
    paths = glob.glob(os.path.join(raw, "*", "evaluation.json"))
    evaluations = [_read(path) for path in sorted(paths)]
    notes = [*held_out.notes(raw), clean.note(_read(os.path.join(raw, "clean.json")), evaluations)]
    shown = [(group, notes if group == ALL else ()) for group in groups_shown(evaluations)]
    return "\n".join(markdown_table(evaluations, group, about) for group, about in shown) + "\n"


def study_of(folder: str, raw: str) -> results.Study:
    found: dict[tuple[tuple[str, str], ...], list[tuple[str, list[Evaluation]]]] = {}
    lines = _lines(folder)
    for name in _in_order(os.listdir(os.path.join(raw, "runs")), lines):
        levels = tuple(
            (axis, label)
            for axis, label in (word.split("-", 1) for word in name.split("_"))
            if axis != "seed"
        )
        found.setdefault(levels, []).append((name, results.read_evaluations(os.path.join(raw, "runs", name))))
    looks = _read(os.path.join(folder, "study.json"))["held_out"]
    return results.assemble(found, _sizes(lines), [], "", looks)


def _lines(folder: str) -> list[dict[str, str]]:
    with open(os.path.join(folder, "table.csv")) as file:
        return list(csv.DictReader(file))


def _in_order(names: list[str], lines: list[dict[str, str]]) -> list[str]:
    """Runs in the order of the table."""
    order = list(dict.fromkeys(name for line in lines for name in line["runs"].split()))
    return sorted((name for name in names if name in order), key=order.index)


def _sizes(lines: list[dict[str, str]]) -> Sizes:
    """Pairs and FLOPs of an arm, already averaged over the runs of its line."""
    sizes: Sizes = {}
    for line in lines:
        if line["pairs"]:
            key = (line["arm"], int(line["iteration"]) if line["iteration"] else None)
            of_line = {size: float(line[size]) for size in results.SIZES}
            for name in line["runs"].split():
                sizes.setdefault(name, {})[key] = of_line
    return sizes


def _read(path: str) -> Any:
    with open(path) as file:
        return json.load(file)


def fill(readme: str) -> None:
    """Puts the tables of table.md files between their marks."""

    def table(found: re.Match[str]) -> str:
        with open(os.path.join(ROOT, found["path"])) as file:
            blocks = re.findall(r"(?m)(?:^\|.*\n)+", file.read())
        return f"{found['mark']}\n{blocks[int(found['number']) - 1]}<!-- end -->"

    marks = r"(?s)(?P<mark><!-- (?P<path>\S+/table\.md), table (?P<number>\d+) -->)\n.*?<!-- end -->"
    with open(readme) as file:
        text = file.read()
    atomic_write(readme, re.sub(marks, table, text))


def rewrite(folder: str, raw: str) -> None:
    """The tables and the page of the run or study in `folder`, whose raw files are unpacked at `raw`."""
    if not os.path.isdir(os.path.join(raw, "runs")):
        atomic_write(os.path.join(folder, "table.md"), run_table(raw))
        return
    study = study_of(folder, raw)
    results.write_tables(folder, study)
    if os.path.exists(os.path.join(folder, "report.html")):
        atomic_write(os.path.join(folder, "report.html"), page(folder, study))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", default=[*RUNS, *STUDIES])
    for folder in parser.parse_args().folders:
        with tempfile.TemporaryDirectory() as raw:
            unpack(folder, raw)
            rewrite(folder, raw)
        print(f"{folder}: written", flush=True)
    pages = [*glob.glob("docs/*.md", root_dir=ROOT), *glob.glob("results/*/README.md", root_dir=ROOT)]
    for readme in ("README.md", *sorted(pages)):
        fill(os.path.join(ROOT, readme))


if __name__ == "__main__":
    main()
