"""Puzzles of one's own: a template to begin with, and what the verifier says of reference solutions."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from t5x_selfprog.puzzles.p3 import LINES_FILE, SPLIT_FILE, Problem
from verifier import Limits, Pool
from verifier.errors import UserError
from verifier.storage import files

_SHOWN = 20  # refused solutions
# One per line: a name, the puzzle as `sat` (its first argument, with its type, is the answer), solutions' bodies.
_TEMPLATE = (
    ("Add:0", "def sat(x: int, a=3):\n    return x + a == 10", "    return 10 - a"),
    ("Reverse:0", 'def sat(s: str, word="abc"):\n    return s[::-1] == word', "    return word[::-1]"),
    (
        "Between:0",
        "def sat(x: float, low=1.5, high=2.5):\n    return low < x < high",
        "    return (low + high) / 2",
    ),
    (
        "Sorted:0",
        "def sat(items: List[int], given=[3, 1, 2]):\n    return items == sorted(given)",
        "    return sorted(given)",
    ),
    (
        "Counts:0",
        'def sat(n: int, text="banana", letter="a"):\n    return n == text.count(letter)',
        "    return text.count(letter)",
    ),
    (
        "Pairs:0",
        "def sat(pairs: List[List[int]], n=3):\n    return pairs == [[i, i * i] for i in range(n)]",
        "    return [[i, i * i] for i in range(n)]",
    ),
)
_SPLIT = {"train": ["Add", "Reverse", "Between"], "dev": ["Sorted"], "test": ["Counts", "Pairs"]}


def begin(folder: str) -> dict[str, Any]:
    """Writes a template of a set into a new folder; returns the paths.

    Raises UserError if the folder has content.
    """
    if os.path.isfile(folder) or files.listdir(folder):
        raise UserError(
            f"--new={folder}: is there already; give a folder that is not, the template is for a new set"
        )
    lines = [{"name": name, "sat": sat, "sol_bodies": [body]} for name, sat, body in _TEMPLATE]
    puzzles, split = files.join(folder, LINES_FILE), files.join(folder, SPLIT_FILE)
    files.write_atomic(puzzles, "".join(json.dumps(line) + "\n" for line in lines))
    files.write_atomic(split, json.dumps(_SPLIT, indent=1) + "\n")
    print(
        f"{puzzles}: {len(lines)} puzzles, one a line; put yours in their place.\n"
        f"{split}: which of them are for learning (train), for choices (dev), for the final figure (test).\n"
        f"Check them with: selfprog p3 --source={folder}\n"
        f"Use them with:   --gin.Experiment.problems=\"'{folder}'\""
    )
    return {"puzzles": puzzles, "split": split}


def judged(problems: Sequence[Problem]) -> dict[str, Any]:
    """Runs all reference solutions in the verifier; prints and returns those that it does not accept."""
    items = [
        {"puzzle": source, "solution": solution, "id": f"{problem.name}:{index}"}
        for problem in problems
        for index, source in enumerate(problem.instances)
        for solution in problem.instance_solutions[index]
    ]
    with Pool(limits=Limits(cpu_s=1.0)) as pool:
        verdicts = list(pool.judge(items))
    refused = [
        {
            "name": item["id"],
            "outcome": verdict.outcome,
            "detail": verdict.detail,
            "solution": item["solution"],
        }
        for item, verdict in zip(items, verdicts, strict=True)
        if not verdict.accepted
    ]
    if refused:
        print(
            f"{len(refused)} of {len(items)} reference solutions are not accepted by the verifier:",
            file=sys.stderr,
        )
    for found in refused[:_SHOWN]:
        first = found["solution"].partition("\n")[2].strip().partition("\n")[0]
        print(f"  {found['name']}: {found['outcome']} ({found['detail']}): {first[:60]}", file=sys.stderr)
    if len(refused) > _SHOWN:
        print(f"  ... and {len(refused) - _SHOWN} more; --json has them all", file=sys.stderr)
    return {"solutions": len(items), "refused": refused}
