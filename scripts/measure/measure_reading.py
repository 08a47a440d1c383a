#!/usr/bin/env python3
"""CPU seconds for reading a set of puzzles and indexing its held-out problems, as every start does: one JSON line.

  scripts/measure/measure_reading.py --problems=../shared/data/p3 --how=now

`--how` is only written down, to tell trees of the source apart.
"""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from t5x_selfprog.puzzles.contamination import Protected
from t5x_selfprog.puzzles.p3 import load_problems


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", default="seeds", help="a folder in P3's format (%(default)s)")
    parser.add_argument("--how", default="now")
    args = parser.parse_args()
    began = time.process_time()
    problems = load_problems(args.problems)
    read = time.process_time()
    held_out = Protected([problem for problem in problems if problem.split != "train"])
    held_out.match("def f(x: int):\n    return x == 1")  # makes the levels that wait for a question
    indexed = time.process_time()
    train = Protected([problem for problem in problems if problem.split == "train"])
    train.match("def f(x: int):\n    return x == 1", upto="abstract")
    end = time.process_time()
    print(
        json.dumps(
            {
                "how": args.how,
                "instances": sum(len(problem.instances) for problem in problems),
                "read_cpu_s": round(read - began, 2),
                "index_held_out_cpu_s": round(indexed - read, 2),
                "index_train_cpu_s": round(end - indexed, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
