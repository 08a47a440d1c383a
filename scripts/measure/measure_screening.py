#!/usr/bin/env python
"""What each part of stage 2 costs, in CPU milliseconds a puzzle, on a run's sampled puzzles; prints one JSON object.

  scripts/measure/measure_screening.py --problems data/p3 --run runs/mine [--sample 300]

Rules are applied to every sampled puzzle, trivial answers tried on --sample of those that pass, and probes put to those
that pass that. Counts the CPU seconds of this process and of its workers, one at a time, including their start.
"""

import argparse
import json
import os
import random
import resource
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
if Path(sys.prefix).resolve() != (REPOSITORY / ".venv").resolve() and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), "-W", "ignore", __file__, *sys.argv[1:]])
sys.path.insert(0, str(REPOSITORY))

from t5x_selfprog.puzzles.behaviour import BehaviourCheck, behaviours, make_probes, of_problems
from t5x_selfprog.puzzles.p3 import load_problems
from t5x_selfprog.puzzles.rules import Kept, PuzzleFilter, PuzzleRules
from verifier import Limits, Pool
from verifier.storage.shards import Ledger


def cpu_s() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--sample", type=int, default=300)
    options = parser.parse_args()
    found: dict = {}
    last_s = 0.0

    def lap(name: str, count: int) -> None:
        nonlocal last_s
        found[name] = {"count": count, "cpu_ms_each": round((cpu_s() - last_s) / max(count, 1) * 1e3, 2)}
        print(name, found[name], file=sys.stderr, flush=True)
        last_s = cpu_s()

    problems = load_problems(options.problems)
    lap("start, problems loaded", len(problems))
    rules = PuzzleFilter(PuzzleRules(test_match="ngram"), problems=problems)
    lap("problems indexed", len(problems))
    sampled = [record["source"] for record in Ledger.open(f"{options.run}/iter_000/1_puzzles")]
    kept = [result for source in sampled if isinstance(result := rules.offer(source), Kept)]
    lap("rules", len(sampled))
    chosen = random.Random(0).sample(kept, min(options.sample, len(kept)))
    with Pool(1, Limits(cpu_s=0.5)) as pool:
        reports = list(pool.screen_puzzles(one.source for one in chosen))
    lap("trivial answers", len(chosen))
    check = BehaviourCheck()
    with Pool(1, Limits(cpu_s=1.0)) as pool:
        probes = make_probes(problems, pool, check.probes)
    lap("probes made", len(problems))
    with Pool(1, Limits(cpu_s=1.0)) as pool:
        list(of_problems(pool, problems, probes, check.cpu_s))
    lap("behaviour of problems", len(problems))
    passed = [(one.source, one.answer_type) for one, report in zip(chosen, reports, strict=True) if report.ok]
    with Pool(1, Limits(cpu_s=0.5)) as pool:
        behaviours(pool, passed, probes, check.cpu_s)
    lap("behaviour of puzzles", len(passed))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
