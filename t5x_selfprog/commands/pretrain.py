"""`selfprog pretrain`: a small base model from Python source."""

import argparse
from typing import Any

from t5x_selfprog.commands.command import Command


def body(args: argparse.Namespace) -> dict[str, Any] | None:
    from t5x_selfprog.pretraining import pretrain

    return pretrain.run(run_dir=args.run_dir)


COMMAND = Command(
    "pretrain",
    "train a small base model and its tokenizer on Python source",
    "Needs a corpus folder; resumable. The base model in the package was made by this command.",
    ("pretrain --gin_file=pretrain_base --run_dir=runs/base",),
    body,
    check="t5x_selfprog.preflight:check_pretraining",
    configured_by="t5x_selfprog.pretraining.pretrain",
    local=True,
)
