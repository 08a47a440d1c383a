"""`selfprog evaluate`: stage 7, or a published suite."""

import argparse
from typing import Any

from t5x_selfprog.commands.command import ITERATION, POSITIVE, Command, Option
from t5x_selfprog.commands.opened import opened
from verifier.errors import UserError


def check(args: argparse.Namespace) -> None:
    """Checks what is asked for before the run's folder is made. Raises UserError."""
    from t5x_selfprog.preflight import check_run
    from t5x_selfprog.stages.transfer import check_suite

    if args.suite:
        check_suite(args)
    else:
        _refuse_options_of_suites(args)
    check_run(args)


def _refuse_options_of_suites(args: argparse.Namespace) -> None:
    for name in ("attempts", "temperature", "chat"):
        if getattr(args, name) is not None:
            raise UserError(
                f"--{name}={getattr(args, name)} goes with --suite; of a run's own evaluation it is part of its "
                "configuration (evaluate.run.attempts, evaluation/SamplingConfig.temperature, SolvePrompt.chat)."
            )


def body(args: argparse.Namespace) -> dict[str, Any]:
    import gin
    from t5x_selfprog import loop
    from t5x_selfprog.evaluation import held_out
    from t5x_selfprog.evaluation.compare import ALL
    from t5x_selfprog.evaluation.table import groups_shown, table
    from t5x_selfprog.stages import evaluate

    if args.suite:
        from t5x_selfprog.stages import transfer

        with opened(args, "checkpoints", "done.json") as (context, _):
            return transfer.measure(context, args)
    with opened(args, "eval", "evaluation.json") as (context, iteration):
        run, base_model = context.run, context.experiment.base
        if args.model:
            context.require_room(args.model, sampling=gin.get_configurable("evaluation/SamplingConfig")())
            name = evaluate.name_of(args.model)  # reads the weights
            subject = evaluate.Subject(args.model, run.other_eval(name), name)
            found = [evaluate.run(context, subject).result()]
        else:
            base = evaluate.run(context, evaluate.Subject(base_model, run.base_eval, "base"))
            found = [base.result(), loop.measure(context, iteration).result(base)]
    for group in groups_shown(found):
        print(table(found, group, held_out.notes(run.root) if group == ALL else ()))
    return {"evaluations": [{k: v for k, v in e.items() if k != "problems"} for e in found]}


COMMAND = Command(
    "evaluate",
    "stage 7: Pass@k on held-out puzzles, with intervals",
    "Reads RUN/iter_NNN/6_checkpoints, writes 7_eval/evaluation.json and prints the table. With --suite, programs "
    "are judged by unit tests that others measure by, to RUN/suites: the base's and the newest model's.",
    (
        "evaluate --run_dir=runs/quickstart",
        "evaluate --run_dir=runs/quickstart --json | tail -1",
        "evaluate --run_dir=runs/claim --suite=mbpp_plus            # greedy, with samples.jsonl for evalplus",
        "evaluate --run_dir=runs/claim --suite=tasks.jsonl --attempts=20 --temperature=0.8",
        "evaluate --run_dir=runs/claim --suite=humaneval_plus --chat=begun",
    ),
    body,
    check="t5x_selfprog.commands.evaluate:check",
    options=(
        ITERATION,
        Option(
            "--model",
            "measure this model instead: a folder, or the name of a shipped model",
            {"metavar": "M"},
        ),
        Option(
            "--suite",
            "humaneval_plus, mbpp_plus, or a file of their form: JSON lines, see `python -m verifier tests --help`",
            {"metavar": "S"},
        ),
        Option("--attempts", "with --suite: at each task (1)", POSITIVE),
        Option(
            "--temperature",
            "with --suite: 0 takes the likeliest tokens (0 for one attempt, else 0.8)",
            {"type": float, "metavar": "T"},
        ),
        Option(
            "--chat",
            "with --suite: ask in the model's chat template, with the answer's code begun for it, or free to answer",
            {"choices": ("begun", "free")},
        ),
    ),
)
