"""`selfprog evaluate --suite=...`: which models are measured on a suite, and how the result is reported."""

from __future__ import annotations

import argparse
from typing import Any

import gin
from t5x_selfprog import newest_model
from t5x_selfprog.evaluation.compare import ALL
from t5x_selfprog.evaluation.suite_notes import base_tests_notes, overlap_note, too_long_notes
from t5x_selfprog.evaluation.suite_sources import find_suite
from t5x_selfprog.evaluation.suite_tasks import read_suite
from t5x_selfprog.evaluation.table import P3_PARTS, table
from t5x_selfprog.model import store
from t5x_selfprog.run_layout import iteration_name
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.stages import evaluate_suite
from t5x_selfprog.stages.context import Context
from t5x_selfprog.stages.evaluate import Subject, name_of
from t5x_selfprog.stages.evaluate_suite import Asked
from verifier.storage import files
from verifier.storage.shards import is_finished

FOLDER = "suites"  # RUN/suites/<suite>/<settings>/<arm>/evaluation.json
SAMPLED_AT = 0.8  # temperature for several attempts; a single one takes the likeliest tokens


def check_suite(args: argparse.Namespace) -> None:
    """Reads the suite to `args.tasks`. Raises UserError if it is missing or incomplete, or cannot be asked so."""
    evaluate_suite.require_chance(*_sampled(args))
    args.tasks = read_suite(*find_suite(args.suite))


def _sampled(args: argparse.Namespace) -> tuple[int, float]:
    """Attempts at each task, and their temperature."""
    attempts = 1 if args.attempts is None else args.attempts
    return (
        attempts,
        args.temperature if args.temperature is not None else 0.0 if attempts == 1 else SAMPLED_AT,
    )


def measure(context: Context, args: argparse.Namespace) -> dict[str, Any]:
    """Measures the base and the newest model (or `--iteration`'s), or `--model` alone. Prints the table.

    `args` are those that `check_suite` has checked.
    """
    attempts, temperature = _sampled(args)
    suite, name = args.tasks, args.tasks.name
    run, folder = context.run, f"t{temperature:g}_n{attempts}" + (f"_chat_{args.chat}" if args.chat else "")
    grid = gin.get_configurable("evaluation/SamplingConfig")()

    subjects = [
        Subject(model, files.join(run.root, FOLDER, name, folder, place), arm, iteration)
        for model, place, arm, iteration in _models(context, args, grid)
    ]
    for subject in subjects:  # a pack has attempts, and leaves out weights
        if not is_finished(files.join(subject.output, "attempts")):
            store.require_weights(subject.model)
    found: list[dict[str, Any]] = []
    for subject in subjects:
        how = Asked(attempts, temperature, grid, args.chat or "")
        found.append(evaluate_suite.run(context, suite, subject, how, found[0] if found else None))
    held = context.eval_problems
    shared = sum(problem.group == P3_PARTS[0] for problem in held)
    notes = [*base_tests_notes(found), *too_long_notes(found, len(suite.tasks))]
    print(table(found, ALL, [*notes, *overlap_note(name, shared, len(held))]))
    return {"evaluations": [{k: v for k, v in e.items() if k != "problems"} for e in found]}


def _models(
    context: Context, args: argparse.Namespace, grid: SamplingConfig
) -> list[tuple[str, str, str, int | None]]:
    """The models to be measured: each with its folder's name, its arm and its iteration. The base is the first."""
    if args.model:
        context.require_room(args.model, sampling=grid)
        name = name_of(args.model)  # reads the weights
        return [(args.model, name, name, None)]
    found: list[tuple[str, str, str, int | None]] = [(context.experiment.base, "base", "base", None)]
    iteration = args.iteration if args.iteration is not None else newest_model.of_run(context.run)
    if iteration is not None:
        checkpoints = context.run.stage(iteration, "checkpoints")
        found.append((checkpoints, iteration_name(iteration), "verified", iteration))
    return found
