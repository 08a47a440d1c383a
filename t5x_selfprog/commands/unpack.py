"""`selfprog unpack`: a packed run, restored."""

import argparse
from typing import Any

from t5x_selfprog.commands.command import Command, Option


def body(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog.moving.unpack import unpack

    index = unpack(args.files, args.run_dir, go_on=args.go_on, base=args.base)
    print(f"{args.run_dir}: {len(index['files'])} files, {len(index['rebuilt'])} made again from verdicts.")
    if index["base"] and not args.base:
        print(f"The base it goes on from has identity {index['base']} (--base=DIR compares one with it).")
    print(f"Go on with: selfprog run --run_dir={args.run_dir}")
    return {"run_dir": args.run_dir, "base": index["base"], "fingerprint": index["fingerprint"]}


COMMAND = Command(
    "unpack",
    "restore a packed run, ready to continue",
    "Checks the pack and restores it to DIR; `selfprog run --run_dir=DIR` continues it. On a machine of the same "
    "kind, the result has the same bytes as a run that never moved.",
    (
        "unpack claim.pack --run_dir=runs/claim",
        "unpack claim.pack.* --run_dir=runs/claim --go_on --base=models/smollm2",
    ),
    body,
    run_dir="reads",
    configured_by="",
    options=(
        Option("files", "the pack, or all its pieces", {"nargs": "+", "metavar": "FILE"}),
        Option(
            "--go_on",
            "set the end of the run aside (arms, table; kept under earlier/), so that iterations can be added",
            {"action": "store_true"},
        ),
        Option("--base", "check that this model is the one it was made from", {"metavar": "DIR"}),
    ),
    local=True,
)
