"""`selfprog verify`: stage 4."""

import argparse
from typing import Any

from t5x_selfprog.commands.command import CHECK_RUN, ITERATION, Command
from t5x_selfprog.commands.opened import opened


def body(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog.stages import judge_solutions
    from t5x_selfprog.telemetry import recorder
    from t5x_selfprog.telemetry.watchdog import MAIN
    from verifier.verdict import histogram

    with opened(args, "verdicts") as (context, iteration):
        with recorder.current().track(MAIN, waits=True):  # the watchdog follows the judge's verdicts instead
            judge_solutions.run(context, iteration)
        judge_solutions.finish(context, iteration)
    outcomes = histogram(record["outcome"] for record in context.run.read(iteration, "verdicts"))
    for outcome, count in outcomes.items():
        print(f"  {outcome:<24} {count:>9,}")
    return {"iteration": iteration, "outcomes": outcomes}


COMMAND = Command(
    "verify",
    "stage 4: judge the solutions in sandboxed interpreters",
    "Reads RUN/iter_NNN/3_solutions, writes 4_verdicts; it may follow `solve` while that still runs. "
    "For files of your own use `python -m verifier judge`.",
    ("verify --run_dir=runs/quickstart",),
    body,
    check=CHECK_RUN,
    options=(ITERATION,),
)
