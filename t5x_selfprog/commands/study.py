"""`selfprog study`: a grid of runs."""

import argparse
from typing import Any

from t5x_selfprog.commands.command import Command, Option


def body(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog.study import launch

    return launch.show(args.run_dir) if args.list else launch.run(args.run_dir, only=args.cell)


COMMAND = Command(
    "study",
    "a grid of runs: tables, transfer matrix, scaling fits, a page",
    "Runs every combination of the axes in a study's gin file that is not finished yet, sharing what runs have "
    "in common, then writes DIR/table.csv, table.md, fits.json and report/index.html. The same command resumes.",
    (
        "study --gin_file=studies/quick --run_dir=studies/quick",
        "study --gin_file=studies/quick --run_dir=studies/quick --list  # a command for each machine",
    ),
    body,
    run_dir="reads",
    configured_by="t5x_selfprog.study.launch",
    local=True,
    options=(
        Option("--cell", "run only this one", {"metavar": "NAME", "default": ""}),
        Option("--list", "print the commands of single runs, run nothing", {"action": "store_true"}),
    ),
)
