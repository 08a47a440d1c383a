"""`selfprog export-data`: a run's verified pairs for other tools."""

import argparse
from typing import Any

from t5x_selfprog.commands.command import PUSH, Command, Option
from verifier.errors import UserError
from verifier.storage import files


def body(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog import push
    from t5x_selfprog.data.export import export

    formats = [name for name in args.formats.split(",") if name]
    unknown = [name for name in formats if name not in ("jsonl", "parquet")]
    if unknown or not formats:
        raise UserError(f"--formats={args.formats}: must be jsonl, parquet or both, separated by a comma")
    output = args.output or files.join(args.run_dir, "export")
    if args.push:
        files.require_local(output, f"--output={output}", "--push sends a folder of this machine: name one")
        push.require_allowed(args.push)
    summary = export(args.run_dir, output, formats)
    print(
        f"{summary['output']}: {summary['pairs']:,} pairs of {summary['puzzles']:,} puzzles ({', '.join(formats)})"
    )
    if args.push:
        what = f"{summary['pairs']:,} pairs of {summary['puzzles']:,} puzzles"
        summary["pushed"] = push.push(output, args.push, "dataset", what)
        print(f"Pushed: {summary['pushed']}")
    return summary


COMMAND = Command(
    "export-data",
    "a run's verified pairs as JSON lines and Parquet, with a card",
    "Reads 5_dataset, 4_verdicts and 2_kept of every finished iteration; writes train.jsonl, train.parquet and "
    "README.md. For seqio and TFDS see t5x_selfprog/data/tasks.py and tfds_builders.py.",
    (
        "export-data --run_dir=runs/quickstart --output=pairs",
        "export-data --run_dir=runs/quickstart --output=pairs --push=me/puzzles     # to the Hub, with its card",
    ),
    body,
    run_dir="reads",
    configured_by="",
    options=(
        Option("--output", "a folder (RUN/export)", {"metavar": "DIR"}),
        Option("--formats", "jsonl, parquet or both (%(default)s)", {"default": "jsonl,parquet"}),
        PUSH,
    ),
)
