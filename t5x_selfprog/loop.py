"""The loop: for each iteration, every stage that is not complete yet; then the control arms and the table.

Every stage decides from its own directory whether anything is left to do, so the loop keeps no state: the same command,
killed anywhere, resumes where it stopped.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any, Literal

import gin
import t5x_selfprog.configurables  # noqa: F401 (declares the dataclasses to gin)
from t5x_selfprog import amounts, banner, hosts, named_data, provenance
from t5x_selfprog.bounds import Whole
from t5x_selfprog.budget import Budget, Spending
from t5x_selfprog.evaluation import clean, held_out
from t5x_selfprog.evaluation.compare import ALL
from t5x_selfprog.evaluation.table import groups_shown, markdown_table, rows, table
from t5x_selfprog.outlook import Outlook
from t5x_selfprog.puzzles import difficulty
from t5x_selfprog.puzzles.prompts import puzzle_of_pair
from t5x_selfprog.run_content import require_same_content
from t5x_selfprog.run_dir import SAID, SUMMARY
from t5x_selfprog.run_layout import RunDir
from t5x_selfprog.schedule import Schedule
from t5x_selfprog.stages import (
    best_control,
    build_dataset,
    evaluate,
    evaluate_suite,  # noqa: F401 (declares itself to gin, for `selfprog evaluate --suite`)
    filter_puzzles,
    finetune,
    grpo,  # noqa: F401 (declares itself to gin, for `loop.learn.update = @grpo.run`)
    hindsight,
    judge_solutions,
    sample_puzzles,
    sample_solutions,
    selfplay,  # noqa: F401 (likewise, for `@selfplay.run`)
)
from t5x_selfprog.stages.context import Context, Experiment
from t5x_selfprog.stages.judging import overlapped
from t5x_selfprog.stages.screening import Screening
from t5x_selfprog.stages.times import timed
from t5x_selfprog.telemetry import goodput, recorder
from verifier.errors import UserError
from verifier.storage import files


@gin.configurable(module="loop")
def run(
    run_dir: str,
    iterations: Whole = 2,
    controls: tuple[str, ...] = ("unverified", "human", "seeds_only"),
    measured: Literal["each", "last"] = "each",
    budget: Budget = Budget(),
    schedule: Schedule = Schedule(),
) -> dict[str, Any]:
    """Base evaluation, `iterations` rounds of self-play, the control arms, the enumerator, table and report.

    Args:
      measured: which iterations' models are evaluated: "each", or only the "last", which costs less and looks at the
        held-out problems once.
      budget: wall time after which no iteration begins; `iterations` is then an upper limit.
      schedule: ends the run if iterations yield nothing or too little; the sampling stages use it too.

    Returns:
      The content of summary.json: the evaluations without their problems, and each iteration's funnel.
    """
    if measured not in ("each", "last"):
        raise UserError(f"loop.run.measured={measured!r}: choose 'each' or 'last'.")
    experiment = Experiment()
    require_same_content(
        RunDir(run_dir), experiment.base, experiment.problems, named_data.besides_base_and_problems()
    )
    finished = _finished(RunDir(run_dir))
    if finished is not None:
        return finished
    ahead, lines = banner.outlook(RunDir(run_dir), experiment)
    _say("\n".join(lines))
    if hosts.is_first():
        provenance.note(run_dir)
    with recorder.observed(run_dir, experiment.watchdog, experiment.profile, wandb=experiment.wandb) as watch:
        context = Context(RunDir(run_dir), experiment)
        context.compile_ahead = True
        summary = _run(context, ahead, iterations, controls, measured, budget, schedule)
        spent = watch.flush()
    if hosts.is_first():
        print(f"\n{goodput.sentence(spent)}")
    return summary


def _finished(run: RunDir) -> dict[str, Any] | None:
    """The summary of a finished run, whose last words are printed again; None if it has not ended. Collective."""
    said = files.join(run.root, SAID)
    if not hosts.agree(files.exists(said) and files.exists(files.join(run.root, SUMMARY))):
        return None
    if hosts.is_first():
        print(files.read_bytes(said).decode(), end="")
        _say(f"\nFinished before: nothing was done now. Report: {run.report}")
        return files.read_json(files.join(run.root, SUMMARY))
    return {}


def _run(
    context: Context,
    ahead: Outlook,
    iterations: int,
    controls: tuple[str, ...],
    measured: str,
    budget: Budget,
    schedule: Schedule,
) -> dict[str, Any]:
    run, experiment = context.run, context.experiment
    spending = Spending(budget, run.root)
    with _stage(run, ahead, "base: evaluation"), spending.on("evaluation"):
        base = evaluate.run(context, evaluate.Subject(experiment.base, run.base_eval, "base"))
        if budget.seconds:  # the next evaluations are expected to take as long, their verdicts included
            base.result()
    arms = _Arms(base)
    enumerator = evaluate.run_enumerator(context, run.enumerator_eval)
    ends = 1 + sum(map(best_control.as_many_arms, controls))
    left = functools.partial(_left, context, schedule, measured)
    made = 0
    while made < iterations and spending.may_begin(made, ends, left(made)):
        if not _iterate(context, ahead, spending, left, made, ends):
            break
        if measured == "each" and not run.learnt_nothing(made):
            arms.add(_measure(context, ahead, made))
        made += 1
        why = schedule.why_end(run, made)
        if why is not None and made < iterations:
            spending.end(made, why)
    if made < iterations:
        _say(f"The run ends after {made} iterations: {spending.why_ended()}.")
    last = run.newest_learnt(made)
    if last is not None:
        if measured == "last":
            arms.add(_measure(context, ahead, last))
        trained = _done(run.stage(last, "checkpoints"))
        for arm in controls:
            with _stage(run, ahead, f"{arm}: training and evaluation"):
                try:
                    arms.add(control(context, arm, last + 1, trained))
                except finetune.NothingToLearn as error:
                    _say(f"The arm {arm} has no model: {_why(error)}.")
    elif iterations:
        _say(
            "No attempt of any iteration was accepted, so no arm was trained: sample more puzzles or attempts "
            "(sample_puzzles.run.prompts, sample_solutions.run.attempts), or start from a stronger base model."
        )
    with ahead.stage("table and report"):
        return _conclude(context, [*arms.results(), enumerator.result()], made)


def _iterate(
    context: Context,
    ahead: Outlook,
    spending: Spending,
    left: Callable[..., dict[str, float]],
    number: int,
    ends: int,
) -> bool:
    """Stages 1 to 6; False if the budget has no room for the rest of them, and the iteration does not count."""
    run = context.run
    spent = spending.on("puzzles", left(number)["puzzles"])
    with _stage(run, ahead, f"iteration {number}: puzzles"), spent:
        write_puzzles(context, number)
    if not spending.may_go_on(number, ends, left(number, "solutions")):
        return False
    spent = spending.on("solutions", left(number)["solutions"])
    with _stage(run, ahead, f"iteration {number}: solutions and verdicts"), spent:
        solve(context, number)
    if not spending.may_go_on(number, ends, left(number, "pairs")):
        return False
    with _stage(run, ahead, f"iteration {number}: training"):
        with spending.on("pairs", left(number)["pairs"]):
            pair(context, number)
        with spending.on("training", left(number)["training"]):
            learn(context, number)
    return True


def _left(
    context: Context, schedule: Schedule, measured: str, number: int, first: str = "puzzles"
) -> dict[str, float]:
    """The parts of an iteration from `first` on, and the work of each."""
    work = amounts.work(context.run, schedule, number, context.experiment.start)
    parts = {part: work[part] for part in amounts.PARTS[amounts.PARTS.index(first) :]}
    return parts | ({"evaluation": 1.0} if measured == "each" else {})


class _Arms:
    """The evaluations of a run. The newest one's verdicts may arrive while the next arm is trained and sampled."""

    def __init__(self, base: evaluate.Measurement):
        self._measured = [base]

    def add(self, measured: evaluate.Measurement) -> None:
        self.results()  # waits for earlier ones: more than two at a time would only share the cores
        self._measured.append(measured)

    def results(self) -> list[dict[str, Any]]:
        """The results of all evaluations so far. Collective."""
        return [
            measured.result(self._measured[0] if i else None) for i, measured in enumerate(self._measured)
        ]


def _say(text: str) -> None:
    if hosts.is_first():
        print(text, file=sys.stderr)


@contextlib.contextmanager
def _stage(run: RunDir, ahead: Outlook, name: str) -> Iterator[None]:
    with ahead.stage(name), timed(run, name):
        yield


def _measure(context: Context, ahead: Outlook, iteration: int) -> evaluate.Measurement:
    with _stage(context.run, ahead, f"iteration {iteration}: evaluation"):
        return measure(context, iteration)


def write_puzzles(context: Context, iteration: int) -> None:
    """Runs stages 1 and 2 side by side."""
    watch, run = recorder.current(), context.run
    puzzles, screening = run.stage(iteration, "puzzles"), Screening(context, iteration)

    def sample() -> None:
        with watch.stage(puzzles):
            sample_puzzles.run(context, iteration)

    screened = overlapped(sample, screening.ahead, puzzles, part="screen")
    with watch.stage(run.stage(iteration, "kept")), watch.part("screen"):
        screened()
        filter_puzzles.run(context, iteration, screening)


def solve(context: Context, iteration: int) -> dict[str, Any]:
    """Runs stages 3 and 4 side by side; returns the iteration's funnel."""
    overlapped(
        lambda: sample_solutions.run(context, iteration),
        lambda alive: judge_solutions.run(context, iteration, writer_alive=alive),
        context.run.stage(iteration, "solutions"),
    )()
    judge_solutions.finish(context, iteration)
    found = difficulty.difficulties(context.verdicts(iteration))
    context.solved[iteration] = _with_solution(found)
    if hosts.is_first():
        difficulty.write(files.join(context.run.iteration(iteration), "difficulty.jsonl"), found)
    return filter_puzzles.write_funnel(context, iteration, solved=_solved(context, iteration))


def _solved(context: Context, iteration: int) -> set[str]:
    """The ids of puzzles with an accepted solution; reads the many verdicts only once."""
    if iteration not in context.solved:
        found = difficulty.difficulties(context.verdicts(iteration))
        context.solved[iteration] = _with_solution(found)
    return context.solved[iteration]


def _with_solution(found: list[difficulty.Difficulty]) -> set[str]:
    return {one.puzzle_id for one in found if one.accepted}


def pair(context: Context, iteration: int) -> None:
    """Runs hindsight on wrong answers, if configured, and stage 5."""
    hindsight.run(context, iteration)
    build_dataset.run(context, iteration)
    solved = _solved(context, iteration)
    context.forget_verdicts()  # training needs the memory
    pairs = sum(puzzle_of_pair(pair["text"]) is not None for pair in context.run.read(iteration, "dataset"))
    filter_puzzles.write_funnel(context, iteration, solved=solved, kept=pairs)


@gin.configurable(module="loop")
def learn(
    context: Context, iteration: int, update: Callable[..., dict[str, Any] | None] | None = None
) -> dict[str, Any]:
    """Runs stage 6.

    update: replaces fine-tuning by learning from attempts instead of pairs; it returns None if there is nothing to
      attempt.
    """
    run, experiment = context.run, context.experiment
    if update is None and run.learnt_nothing(iteration):
        return _skip(context, iteration, "none of the attempts was accepted")
    datasets = run.datasets(iteration) if experiment.start == "base" else [run.stage(iteration, "dataset")]
    start, output = (
        run.trained_from(iteration, experiment.base, experiment.start),
        run.stage(iteration, "checkpoints"),
    )
    try:
        if update is None:
            return finetune.run(context, datasets, start, output, label=f"{iteration}.6 fine-tune")
        learnt = update(context, iteration, start, output)
    except finetune.NothingToLearn as error:
        return _skip(context, iteration, _why(error))
    return _skip(context, iteration, "no puzzle was kept") if learnt is None else learnt


def _why(error: finetune.NothingToLearn) -> str:
    """Its one line, without the calls that gin appends to it on its way up."""
    return str(error).partition("\n")[0]


def _skip(context: Context, iteration: int, why: str) -> dict[str, Any]:
    """Ends an iteration that trains nothing: the next one samples more, from the same model."""
    output = context.run.stage(iteration, "checkpoints")
    done = {
        "step": 0,
        "pairs": 0,
        "tokens": 0,
        "start": context.run.sampled_from(iteration, context.experiment.base),
    }
    if hosts.is_first():
        files.write_json(files.join(output, "done.json"), done)
    hosts.barrier(f"{output} finished")
    _say(f"Iteration {iteration}: {why}, so there is nothing to learn from.")
    return done


def measure(context: Context, iteration: int) -> evaluate.Measurement:
    """Stage 7."""
    run = context.run
    model, output = run.stage(iteration, "checkpoints"), run.stage(iteration, "eval")
    return evaluate.run(context, evaluate.Subject(model, output, "verified", iteration))


def control(context: Context, arm: str, iterations: int, trained: dict[str, Any]) -> evaluate.Measurement:
    """Trains and evaluates one control arm from the same base, with the steps and batch size of `trained`.

    `trained` is the content of the verified arm's done.json. An arm whose name ends in `_best` trains for the number of
    steps that does best on the dev split.

    Raises NothingToLearn where the arm's pairs fit no row.
    """
    run = context.run
    plain = arm.removesuffix(best_control.BEST)
    build_dataset.run_control(context, plain, iterations)
    context.forget_verdicts()
    if arm != plain:
        return best_control.run(context, plain, iterations, trained)
    output = run.control(arm, "checkpoints")
    finetune.run(
        context, [run.control(arm, "dataset")], context.experiment.base, output,
        finetune.as_long_as(trained), label=f"{arm} fine-tune",
    )  # fmt: skip
    return evaluate.run(context, evaluate.Subject(output, run.control(arm, "eval"), arm, iterations - 1))


def _conclude(context: Context, evaluations: list[dict[str, Any]], iterations: int) -> dict[str, Any]:
    if not hosts.is_first():
        return {}
    from t5x_selfprog.report.build import build_report

    run = context.run
    funnels = [files.read_json(run.funnel(iteration)) for iteration in range(iterations)]
    said = [
        f"\nIteration {iteration}: the yield\n{filter_puzzles.format_funnel(funnel)}"
        for iteration, funnel in enumerate(funnels)
    ]
    cleanliness = clean.write(run.root, context.eval_problems)
    notes = [*held_out.notes(run.root), clean.note(cleanliness, evaluations)]
    shown = [(group, notes if group == ALL else ()) for group in groups_shown(evaluations)]
    said += ["\n" + table(evaluations, group, about) for group, about in shown]
    print("\n".join(said))
    recorder.current().conclude(_figures(evaluations))
    recorder.current().flush()  # because the report shows where the time went
    report = build_report(run.root)
    print(f"\nReport: {report}", file=sys.stderr)
    summary = {
        "evaluations": [{k: v for k, v in e.items() if k != "problems"} for e in evaluations],
        "funnels": funnels,
        "held_out": held_out.read(run.root),
        "clean": cleanliness,
        "report": report,
    }
    files.write_json(files.join(run.root, SUMMARY), summary)
    markdown = "\n".join(markdown_table(evaluations, group, about) for group, about in shown)
    files.write_atomic(files.join(run.root, "table.md"), markdown + "\n")
    files.write_atomic(files.join(run.root, "operative_config.gin"), gin.operative_config_str())
    # The last file: once it exists, the run is finished.
    files.write_atomic(files.join(run.root, SAID), "\n".join(said) + "\n")
    return summary


def _figures(evaluations: list[dict[str, Any]]) -> dict[str, float]:
    """Pass@k of every model by name: `verified 0/pass@10`."""
    return {
        f"{row.label}/pass@{k}": interval.estimate
        for row in rows(evaluations)
        for k, interval in row.estimates.items()
    }


def _done(checkpoints: str) -> dict[str, Any]:
    return files.read_json(files.join(checkpoints, "done.json"))
