#!/usr/bin/env python3
"""The claim's figures from its raw evaluations: a table for each model, and ratios of Pass@k with 95% intervals.

  scripts/make/claim_table.py                  every folder of results/claim, into its table.md and report.html
  scripts/make/claim_table.py --k 1 10 100

They are read from the folder's run.pack. Beside them is the enumerator as judged in results/gpu, on the same 228
problems.
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

import pack_results

from t5x_selfprog.evaluation.compare import compare
from t5x_selfprog.evaluation.contrasts import p_text
from t5x_selfprog.evaluation.table import groups_shown, markdown_grid, markdown_table
from t5x_selfprog.report.build import page
from t5x_selfprog.report.collect import collect
from verifier.storage import files

ARMS = {  # where an arm's evaluation lies in a run
    "base": "base/7_eval/evaluation.json",
    "verified": "iter_000/7_eval/evaluation.json",
    **{arm: f"controls/{arm}/7_eval/evaluation.json" for arm in ("unverified", "human_best", "no_hindsight")},
}
ENUMERATOR = "enumerator/7_eval/evaluation.json"


def write_page(folder: Path, evaluations: dict[str, bytes]) -> None:
    """The report of a run from what is kept of it here: evaluations, yield, training, time; no problem's text."""
    kept = {"funnel.json": "iter_000/funnel.json", "goodput.json": "goodput.json"}
    with tempfile.TemporaryDirectory() as root:
        for name, place in kept.items():
            files.write_atomic(f"{root}/{place}", (folder / name).read_bytes())
        for place, data in evaluations.items():
            files.write_atomic(f"{root}/{place}", data)
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
    of_gpu = pack_results.read(REPOSITORY / "results/gpu/p3" / pack_results.NAME, f"seed-0/{ENUMERATOR}")
    (guesses,) = of_gpu.values()
    enumerator = json.loads(guesses)
    for folder in sorted(path.parent for path in (REPOSITORY / "results/claim").glob("*/run.pack")):
        packed = pack_results.read(folder / "run.pack", "evaluation.json")
        raw = {place: packed[place] for place in ARMS.values() if place in packed}
        found = {arm: json.loads(raw[place]) for arm, place in ARMS.items() if place in raw}
        evaluations = [*found.values(), enumerator]
        write_page(folder, raw | {ENUMERATOR: guesses})
        parts = [markdown_table(evaluations, group) for group in groups_shown(evaluations)]
        rows = [["verified against", "k", "difference, points", "ratio of Pass@k", "p, uncorrected"]]
        for other in (*(arm for arm in found if arm != "verified"), "enumerator"):
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
