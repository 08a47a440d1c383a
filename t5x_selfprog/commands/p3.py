"""`selfprog p3`: puzzle sets, checked and counted."""

import argparse
from typing import Any

from t5x_selfprog.commands.command import Command, Option
from verifier.errors import UserError
from verifier.storage import files


def body(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog.puzzles import own
    from t5x_selfprog.puzzles.download import download
    from t5x_selfprog.puzzles.p3 import count_problems, describe, load_problems, write_records

    if args.new:
        return own.begin(args.new)
    if not args.source:
        raise UserError(
            "p3: give --source=DIR, a folder with puzzles, or --new=DIR, one to begin your own in"
        )
    if args.download:
        fetched = download(args.source)
        print(f"{args.source}: fetched {', '.join(fetched)}" if fetched else f"{args.source}: is up to date")
    problems = load_problems(args.source)
    figures = count_problems(problems)
    print(describe(figures))
    figures |= own.judged(problems)
    if args.output:
        for split, rows in write_records(problems, args.output).items():
            print(f"{files.join(args.output, split)}: {rows} puzzle records")
    return figures


COMMAND = Command(
    "p3",
    "read or fetch the Python Programming Puzzles and count them",
    "Checks puzzles.json and split.json in a folder, entry by entry, judges the reference solutions, and counts "
    "each split. An entry needs `name`, `sat` and `sol_bodies`; puzzles.jsonl has one a line.",
    (
        "p3 --new=my_puzzles",
        "p3 --source=my_puzzles",
        "p3 --source=data/p3 --download",
        "p3 --source=seeds",
    ),
    body,
    run_dir="unused",
    configured_by="",
    options=(
        Option(
            "--source",
            "has puzzles.json (or puzzles.jsonl) and split.json",
            {"metavar": "DIR", "default": ""},
        ),
        Option(
            "--new", "write a template of your own set there, and stop", {"metavar": "DIR", "default": ""}
        ),
        Option("--download", "fetch them into that folder first", {"action": "store_true"}),
        Option("--output", "write them as puzzle records, a folder for each split", {"metavar": "DIR"}),
    ),
)
