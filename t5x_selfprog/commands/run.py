"""`selfprog run`: the whole loop."""

import argparse
from typing import Any

from t5x_selfprog.commands.command import CHECK_RUN, Command, Option


def body(args: argparse.Namespace) -> dict[str, Any] | None:
    from t5x_selfprog import banner, loop

    if args.dry_run:
        return banner.dry_run(args.run_dir)
    return loop.run(run_dir=args.run_dir)


COMMAND = Command(
    "run",
    "the whole loop: every iteration, every stage, then the report",
    "Runs every stage of each iteration that is not complete yet: sample puzzles, filter them, sample solutions, "
    "judge them, build the dataset, fine-tune, evaluate. Interrupted or killed, the same command resumes "
    "where it stopped.",
    (
        "run --gin_file=quickstart --run_dir=runs/quickstart",
        "run --gin_file=quickstart --run_dir=runs/hot --gin.puzzles/SamplingConfig.temperature=1.1",
        "run --run_dir=runs/quickstart                # again, with the configuration saved there",
        "run --run_dir=runs/quickstart --gin_file=quickstart --gin.loop.run.iterations=4      # it grows",
        "run --from=runs/quickstart --run_dir=runs/short --gin.finetune.run.epochs=1        # shares what is equal",
        "run --gin_file=quickstart --run_dir=runs/quickstart --dry_run      # everything checked, nothing made",
    ),
    body,
    check=CHECK_RUN,
    options=(
        Option(
            "--from",
            "begin as a fork of this run: its configuration unless --gin_file says another, and what is equal is "
            "not made again",
            {"metavar": "RUN", "dest": "begun_from"},
        ),
        Option(
            "--dry_run",
            "check everything and say what would be done, make nothing",
            {"action": "store_true"},
        ),
    ),
)
