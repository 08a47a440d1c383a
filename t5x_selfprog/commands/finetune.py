"""`selfprog finetune`: stages 5 and 6."""

import argparse
from typing import Any

from t5x_selfprog.commands.command import CHECK_RUN, ITERATION, Command
from t5x_selfprog.commands.opened import opened


def body(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog import loop

    with opened(args, "checkpoints", "done.json") as (context, iteration):
        loop.pair(context, iteration)
        return {"iteration": iteration, **loop.learn(context, iteration)}


COMMAND = Command(
    "finetune",
    "stages 5 and 6: build the dataset and fine-tune on it",
    "Reads the verdicts of all iterations so far, writes RUN/iter_NNN/5_dataset and 6_checkpoints.",
    ("finetune --run_dir=runs/quickstart",),
    body,
    check=CHECK_RUN,
    options=(ITERATION,),
)
