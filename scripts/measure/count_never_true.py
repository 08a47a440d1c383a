#!/usr/bin/env python
"""How many of a run's kept puzzles could never return True, and what became of them; prints one JSON object.

  scripts/measure/count_never_true.py --run_dir=runs/claim > never_true.json

For a run that kept them (`PuzzleRules.skip = ('never_true',)`, or one from before that rule). Reads 1_puzzles,
2_kept, 4_verdicts and, where there is one, 4_hindsight of each iteration that was judged, and changes nothing.
"""

import argparse
import json
import os
import sys
from collections import Counter
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
if Path(sys.prefix).resolve() != (REPOSITORY / ".venv").resolve() and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), "-W", "ignore", __file__, *sys.argv[1:]])
sys.path.insert(0, str(REPOSITORY))

from t5x_selfprog.puzzles.rules import PuzzleRules, Rejected, check
from t5x_selfprog.puzzles.source import drop_return_annotation, returning_bool
from t5x_selfprog.run_layout import RunDir
from verifier.errors import UserError
from verifier.storage.shards import is_finished


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run_dir", required=True, help="a run with judged iterations")
    run = RunDir(parser.parse_args().run_dir)
    judged = [number for number in run.iterations() if is_finished(run.stage(number, "verdicts"))]
    if not judged:
        print(f"count_never_true: error: {run.root} has no iteration that was judged", file=sys.stderr)
        return UserError.EXIT_CODE
    print(json.dumps({f"iteration {number}": counted(run, number) for number in judged}, indent=1))
    return 0


def counted(run: RunDir, number: int) -> dict[str, object]:
    """Puzzles, attempts and pairs of an iteration; of each, how many belong to puzzles that are never true."""
    kept = {record["puzzle_id"]: record["source"] for record in run.read(number, "kept")}
    never = {name for name, source in kept.items() if is_never_true(source)}
    outcomes, of_never, solved = Counter[str](), Counter[str](), set()
    for verdict in run.read(number, "verdicts"):
        outcomes[verdict["outcome"]] += verdict["count"] or 1
        if verdict["puzzle_id"] in never:
            of_never[verdict["outcome"]] += verdict["count"] or 1
        if verdict["outcome"] == "accepted":
            solved.add(verdict["puzzle_id"])
    found: dict[str, object] = {
        "sampled, by what they say to return": dict(
            Counter(said(p["source"]) for p in run.read(number, "puzzles"))
        ),
        "kept": [len(kept), len(never)],
        "solved": [len(solved), len(solved & never)],
        "attempts": [outcomes.total(), of_never.total()],
        "outcomes": dict(outcomes.most_common()),
    }
    if is_finished(run.stage(number, "hindsight")):
        begun = [verdict["detail"].removeprefix("from ") for verdict in run.read(number, "hindsight")]
        found["hindsight pairs"] = [len(begun), sum(name in never for name in begun)]
    return found


def said(source: str) -> str:
    """What a puzzle's signature says of its value: nothing, bool, or something else."""
    if drop_return_annotation(source) == source:
        return "nothing"
    return "bool" if returning_bool(source) == source else "something else"


def is_never_true(source: str) -> bool:
    result = check(source, PuzzleRules(max_chars=None, test_match=None, train_match=None))
    return isinstance(result, Rejected) and result.reason == "never_true"


if __name__ == "__main__":
    sys.exit(main())
