"""`selfprog pack`: a run in one small file."""

import argparse
from typing import Any

from t5x_selfprog.commands.command import POSITIVE, Command, Option
from verifier.errors import UserError
from verifier.storage import files


def body(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog.moving.pack import pack

    if args.piece_mb is not None and args.piece_mb < 1:
        raise UserError(f"--piece_mb={args.piece_mb}: pieces have at least 1 MB.")
    written = pack(args.run_dir, args.output, args.piece_mb)
    size = sum(files.size(path) for path in written)
    print(f"{args.run_dir} in {size / 1e6:.1f} MB: {', '.join(written)}")
    print(f"To go on elsewhere: selfprog unpack {' '.join(written)} --run_dir=DIR")
    return {"files": written, "bytes": size}


COMMAND = Command(
    "pack",
    "pack what a run needs to continue elsewhere into one small file",
    "Packs records, verdicts, pairs and evaluations of a finished or unfinished run. Leaves out weights that "
    "training can recreate from the pairs (Experiment.start = 'base'), and attempts that their verdicts repeat.",
    (
        "pack --run_dir=runs/claim --output=claim.pack",
        "pack --run_dir=runs/claim --output=claim.pack --piece_mb=15     # claim.pack.00, claim.pack.01, ...",
    ),
    body,
    run_dir="reads",
    configured_by="",
    options=(
        Option("--output", "the file to write", {"required": True, "metavar": "FILE"}),
        Option("--piece_mb", "cut it into pieces of so many MB", POSITIVE),
    ),
    local=True,
)
