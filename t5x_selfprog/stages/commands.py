"""What each subcommand of `selfprog` does once gin is parsed: a few lines from arguments to stage functions."""

import argparse
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from t5x_selfprog import bench_table, run_dir
from verifier import files
from verifier.errors import UserError


def generate(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog import loop
    from t5x_selfprog.stages import filter_puzzles

    with _open(args, "kept") as (context, iteration):
        loop.write_puzzles(context, iteration)
        funnel = filter_puzzles.write_funnel(context, iteration)
    print(filter_puzzles.format_funnel(funnel))
    return {"iteration": iteration, "funnel": funnel}


def solve(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog.stages import sample_solutions

    with _open(args, "solutions") as (context, iteration):
        sample_solutions.run(context, iteration)
    return {"iteration": iteration, **context.run.read(iteration, "solutions").manifest()["counters"]}


def verify(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog.stages import judge_solutions
    from t5x_selfprog.telemetry import recorder
    from t5x_selfprog.telemetry.watchdog import MAIN
    from verifier.verdict import histogram

    with _open(args, "verdicts") as (context, iteration):
        with recorder.current().track(MAIN, waits=True):  # its verdicts are the judge's signs of life
            judge_solutions.run(context, iteration)
        judge_solutions.finish(context, iteration)
    outcomes = histogram(record["outcome"] for record in context.run.read(iteration, "verdicts"))
    for outcome, count in outcomes.items():
        print(f"  {outcome:<24} {count:>9,}")
    return {"iteration": iteration, "outcomes": outcomes}


def finetune(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog import loop

    with _open(args, "checkpoints", "done.json") as (context, iteration):
        return {"iteration": iteration, **loop.learn(context, iteration)}


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog import loop
    from t5x_selfprog.evaluation import held_out
    from t5x_selfprog.evaluation.compare import ALL
    from t5x_selfprog.evaluation.table import groups_shown, table
    from t5x_selfprog.stages import evaluate

    if args.suite:
        from t5x_selfprog.stages import transfer

        with _open(args, "checkpoints", "done.json") as (context, _):
            return transfer.measure(context, args)
    for name in ("attempts", "temperature"):
        if getattr(args, name) is not None:
            raise UserError(
                f"--{name}={getattr(args, name)} goes with --suite; of a run's own evaluation it is part of its "
                "configuration (evaluate.run.attempts, evaluation/SamplingConfig.temperature)."
            )
    with _open(args, "eval", "evaluation.json") as (context, iteration):
        run, base_model = context.run, context.experiment.base
        if args.model:
            name = args.model.rstrip("/").rpartition("/")[2]
            output = files.join(run.root, "models", name, "7_eval")
            found = [evaluate.run(context, args.model, output, "model", None).result()]
        else:
            base = evaluate.run(context, base_model, run.base_eval, "base", None)
            found = [base.result(), loop.measure(context, iteration).result(base)]
    for group in groups_shown(found):
        print(table(found, group, held_out.notes(run.root) if group == ALL else ()))
    return {"evaluations": [{k: v for k, v in e.items() if k != "problems"} for e in found]}


def pretrain(args: argparse.Namespace) -> dict[str, Any] | None:
    from t5x_selfprog.stages import pretrain

    return pretrain.run(run_dir=args.run_dir)


def p3(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog.puzzles import p3

    return p3.command(args)


def report(args: argparse.Namespace) -> dict[str, Any]:
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


def bench(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog.sampling.bench import command as sample
    from t5x_selfprog.sampling.check_row_attention import command as rows
    from t5x_selfprog.stages.bench_loop import command as loop
    from t5x_selfprog.training.bench import command as train
    from t5x_selfprog.training.check_attention import command as attention

    jobs: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "sample": sample,
        "train": train,
        "attention": attention,
        "loop": loop,
        "rows": rows,
    }
    result = jobs[args.job](args)
    if not args.json:
        print("\n".join(bench_table.lines(result)))
    return result


@contextlib.contextmanager
def _open(args: argparse.Namespace, stage: str, marker: str = "manifest.json") -> Iterator[tuple[Any, int]]:
    """The context of a run, and the iteration asked for: by default the first without this stage's marker."""
    import t5x_selfprog.configurables  # noqa: F401 (declares the dataclasses to gin)
    from t5x_selfprog import named_data
    from t5x_selfprog.run_content import require_same_content
    from t5x_selfprog.stages.context import Context, Experiment
    from t5x_selfprog.telemetry.recorder import observed

    run = run_dir.RunDir(args.run_dir)
    iteration = args.iteration
    if iteration is None:
        iteration = 0
        while files.exists(files.join(run.stage(iteration, stage), marker)):
            iteration += 1
    experiment = Experiment()
    with observed(run.root, experiment.watchdog, experiment.profile, keep_goodput=False):
        others = named_data.besides_base_and_problems()
        require_same_content(run, experiment.base, experiment.problems, others)
        yield Context(run, experiment), iteration
