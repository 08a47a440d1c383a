#!/usr/bin/env python3
"""The claim's figures from its raw evaluations: a table for each model, and ratios of Pass@k with 95% intervals.

  scripts/make/claim_table.py                  every folder of results/claim, into its table.md and report.html
  scripts/make/claim_table.py --k 1 10 100

Beside them is the enumerator as judged in results/gpu, on the same 228 problems.
"""

import argparse
import dataclasses
import gzip
import json
import os
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
if Path(sys.prefix) != REPOSITORY / ".venv" and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), __file__, *sys.argv[1:]])
sys.path.insert(0, str(REPOSITORY))

from t5x_selfprog.evaluation.compare import compare
from t5x_selfprog.evaluation.contrasts import p_text
from t5x_selfprog.evaluation.table import groups_shown, markdown_grid, markdown_table
from t5x_selfprog.report.build import page
from t5x_selfprog.report.collect import collect
from verifier.storage import files

ARMS = ("base", "verified", "unverified", "human_best", "no_hindsight")
ENUMERATOR = REPOSITORY / "results/gpu/p3/runs/seed-0/enumerator/7_eval/evaluation.json"


def write_page(folder: Path) -> None:
    """The report of a run from what is kept of it here: evaluations, yield, training, time; no problem's text."""
    kept = {
        "base/evaluation.json": "base/7_eval/evaluation.json",
        "verified/evaluation.json": "iter_000/7_eval/evaluation.json",
        "unverified/evaluation.json": "controls/unverified/7_eval/evaluation.json",
        "funnel.json": "iter_000/funnel.json",
        "goodput.json": "goodput.json",
    }
    with tempfile.TemporaryDirectory() as root:
        for name, place in kept.items():
            files.write_atomic(f"{root}/{place}", (folder / name).read_bytes())
        files.write_atomic(f"{root}/enumerator/7_eval/evaluation.json", ENUMERATOR.read_bytes())
        files.write_atomic(
            f"{root}/metrics.jsonl", gzip.decompress((folder / "metrics.jsonl.gz").read_bytes())
        )
        run = dataclasses.replace(collect(root), root=str(folder.relative_to(REPOSITORY)), missing=[])
    (folder / "report.html").write_text(page(run))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--k", type=int, nargs="+", default=[1, 10, 100])
    ks = parser.parse_args().k
    for folder in sorted(
        path.parent.parent for path in (REPOSITORY / "results/claim").glob("*/base/evaluation.json")
    ):
        paths = [folder / arm / "evaluation.json" for arm in ARMS] + [ENUMERATOR]
        found = {path.parent.name: json.loads(path.read_text()) for path in paths if path.exists()}
        enumerator = json.loads(ENUMERATOR.read_text())
        evaluations = [found[arm] for arm in ARMS if arm in found] + [enumerator]
        write_page(folder)
        parts = [markdown_table(evaluations, group) for group in groups_shown(evaluations)]
        rows = [["verified against", "k", "difference, points", "ratio of Pass@k", "p, uncorrected"]]
        for other in (*(arm for arm in ARMS if arm in found and arm != "verified"), "enumerator"):
            for k in ks:
                result = compare([found["verified"]], [found.get(other, enumerator)], k)
                assert result is not None  # both have enough attempts
                d, r = result.difference, result.ratio
                rows.append(
                    [
                        other,
                        str(k),
                        f"{100 * d.estimate:+.2f} [{100 * d.low:+.2f}, {100 * d.high:+.2f}]",
                        f"{r.estimate:.2f} [{r.low:.2f}, {r.high:.2f}]",
                        p_text(result.p_value),
                    ]
                )
        parts.append(markdown_grid(rows))
        files.write_atomic(folder / "table.md", "\n".join(parts) + "\n")
        print(f"{folder.relative_to(REPOSITORY)}/table.md\n{parts[-1]}")


if __name__ == "__main__":
    main()
