#!/usr/bin/env python
"""What repair and hindsight would have added to an iteration that ran without them; prints one JSON object.

  scripts/measure/measure_yield.py --run_dir=runs/p3 --problems=data/p3 --iteration=0

Reads the run's 1_puzzles and 4_verdicts and changes nothing in it: stage 2 runs on them in a temporary folder, as it is
and with `repair`, then hindsight on the verdicts. Nothing is sampled, so it cannot say which repaired puzzles would be
solved.
"""

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
if Path(sys.prefix).resolve() != (REPOSITORY / ".venv").resolve() and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), "-W", "ignore", __file__, *sys.argv[1:]])
sys.path.insert(0, str(REPOSITORY))

from t5x_selfprog.puzzles.rules import PuzzleRules
from t5x_selfprog.run_dir import open_run
from t5x_selfprog.run_layout import RunDir
from t5x_selfprog.stages import filter_puzzles, hindsight
from t5x_selfprog.stages.context import Context, Experiment
from t5x_selfprog.stages.hindsight import Hindsight
from t5x_selfprog.stages.screening import Screening, Settings
from verifier import Limits
from verifier.errors import UserError

RULES, LIMITS = PuzzleRules(test_match="ngram"), Limits(cpu_s=0.5)  # those of gin/stages/defaults.gin


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run_dir", required=True, help="a run with that iteration's puzzles and verdicts")
    parser.add_argument("--problems", default="seeds", help="what Experiment.problems was (%(default)s)")
    parser.add_argument("--iteration", type=int, default=0)
    parser.add_argument("--workers", type=int, help="verifier processes (one a core)")
    arguments = parser.parse_args()
    run = RunDir(arguments.run_dir)
    found = {}
    with contextlib.redirect_stdout(sys.stderr):
        for repair in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    found["repaired" if repair else "as it was"] = measured(run, folder, arguments, repair)
                except UserError as error:
                    print(f"measure_yield: {error}", file=sys.stderr)
                    return 2
    print(json.dumps(found))
    return 0


def measured(run: RunDir, folder: str, arguments: argparse.Namespace, repair: bool) -> dict:
    """The funnel of stage 2 with hindsight's, the CPU seconds of both, and a few pairs that hindsight made."""
    shards = run.read(arguments.iteration, "puzzles").manifest()["shard_count"]
    copy = open_run(folder, {})
    for stage in ("puzzles", "verdicts"):
        run.read(arguments.iteration, stage).manifest()
        shutil.copytree(run.stage(arguments.iteration, stage), copy.stage(0, stage))
    context = Context(copy, Experiment(problems=arguments.problems, shards=shards, workers=arguments.workers))
    began = time.process_time()
    settings = Settings(rules=RULES, limits=LIMITS, repair=repair)
    filter_puzzles.run(context, 0, Screening(context, 0, settings))
    filtered = time.process_time()
    hindsight.run(context, 0, Hindsight(), rules=RULES, limits=LIMITS)
    host_s = {"filter": round(filtered - began, 1), "hindsight": round(time.process_time() - filtered, 1)}
    funnel = filter_puzzles.write_funnel(context, 0)
    print(filter_puzzles.format_funnel(funnel))
    pairs = [{name: record[name] for name in ("puzzle", "solution")} for record in copy.read(0, "hindsight")]
    return short_funnel(funnel) | {"host_cpu_s": host_s, "pairs": pairs[:: max(1, len(pairs) // 12)]}


def short_funnel(funnel: dict) -> dict:
    return {"stages": {s["name"]: s["count"] for s in funnel["stages"]}} | {
        name: funnel[name] for name in ("rejections", "repaired", "hindsight") if name in funnel
    }


if __name__ == "__main__":
    sys.exit(main())
