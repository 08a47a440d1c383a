"""`selfprog generate`: stages 1 and 2."""

import argparse
from typing import Any

from t5x_selfprog.commands.command import CHECK_RUN, ITERATION, Command
from t5x_selfprog.commands.opened import opened


def body(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog import loop
    from t5x_selfprog.stages import filter_puzzles

    with opened(args, "kept") as (context, iteration):
        loop.write_puzzles(context, iteration)
        funnel = filter_puzzles.write_funnel(context, iteration)
    print(filter_puzzles.format_funnel(funnel))
    return {"iteration": iteration, "funnel": funnel}


COMMAND = Command(
    "generate",
    "stages 1 and 2: sample puzzles from the model and filter them",
    "Writes RUN/iter_NNN/1_puzzles, and what the filter keeps to 2_kept.",
    ("generate --run_dir=runs/quickstart", "generate --run_dir=runs/quickstart --iteration=1"),
    body,
    check=CHECK_RUN,
    options=(ITERATION,),
)
