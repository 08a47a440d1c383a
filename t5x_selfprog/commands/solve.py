"""`selfprog solve`: stage 3."""

import argparse
from typing import Any

from t5x_selfprog.commands.command import CHECK_RUN, ITERATION, Command
from t5x_selfprog.commands.opened import opened


def body(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog.stages import sample_solutions

    with opened(args, "solutions") as (context, iteration):
        sample_solutions.run(context, iteration)
    return {"iteration": iteration, **context.run.read(iteration, "solutions").manifest()["counters"]}


COMMAND = Command(
    "solve",
    "stage 3: sample solutions for the puzzles that were kept",
    "Reads RUN/iter_NNN/2_kept, writes 3_solutions.",
    ("solve --run_dir=runs/quickstart",),
    body,
    check=CHECK_RUN,
    options=(ITERATION,),
)
