"""`selfprog models`: published models that have a short name."""

import argparse
from typing import Any

from t5x_selfprog.commands.command import Command


def body(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog.model.known import KNOWN

    heads = ("name", "family", "weights", "context", "licence", "GiB to sample", "to train", "from")
    line = "{:<28} {:<9} {:>14} {:>8}  {:<13} {:>13} {:>9}  {}".format
    print(line(*heads))
    for model in KNOWN:
        said = model.as_dict()
        sizes = (f"{model.weights:,}", f"{model.context:,}", model.licence)
        print(
            line(model.name, model.family, *sizes, said["sampling_gib"], said["training_gib"], said["from"])
        )
    print(
        "GiB count weights only. Other models of these families: owner/model[@revision], a folder or a file."
    )
    return {"models": [model.as_dict() for model in KNOWN]}


COMMAND = Command(
    "models",
    "list published models that have a short name",
    "Lists what `import --model=NAME` fetches: family, weights, context, licence, publisher, and the memory that "
    "weights take.",
    ("models", "models --json | tail -1"),
    body,
    run_dir="unused",
    configured_by="",
)
