"""`selfprog report`: the page of a run, of two, or of a folder of them."""

import argparse
from typing import Any

from t5x_selfprog import run_dir
from t5x_selfprog.commands.command import Command, Option
from verifier.errors import UserError
from verifier.storage import files


def body(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog.report.build import build_report

    if not files.is_folder(args.run_dir):
        raise UserError(f"{args.run_dir}: no such run directory; make one with `selfprog run`.")
    if not run_dir.is_run(args.run_dir):
        from t5x_selfprog.report.overview import build_overview, runs_in

        if not runs_in(args.run_dir):
            raise UserError(
                f"{args.run_dir} is not a run directory, nor one of runs: it holds nothing that a run makes."
            )
        if args.against:
            raise UserError(
                f"--against={args.against}: {args.run_dir} is a folder of runs; name one of them."
            )
        path = build_overview(args.run_dir)
        print(path)
        return {"overview": path}
    path = build_report(args.run_dir)
    print(path)
    if not args.against:
        return {"report": path}
    from t5x_selfprog.report.versus import build_versus

    if not files.is_folder(args.against):
        raise UserError(f"--against={args.against}: no such run directory.")
    beside = build_versus(args.run_dir, args.against)
    print(beside)
    return {"report": path, "against": beside}


COMMAND = Command(
    "report",
    "write RUN/report/index.html from what a run measured so far",
    "Reads evaluation.json and funnel.json of every iteration; changes nothing else. Of a folder of runs it writes "
    "DIR/index.html, a line for each of them.",
    (
        "report --run_dir=runs/quickstart",
        "report --run_dir=runs                 # all that are in it, beside one another",
        "report --run_dir=runs/hot --against=runs/quickstart",
    ),
    body,
    run_dir="reads",
    configured_by="",
    options=(Option("--against", "also a page with this run beside it", {"metavar": "DIR", "default": ""}),),
)
