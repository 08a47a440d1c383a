"""How much work the parts of an iteration are, as far as is known before they run; a time budget expects from it.

What is not known yet is expected as in the iteration before, in proportion to what is sampled: as large a share of the
puzzles is kept, and as large a share of the attempts becomes documents to train on.
"""

from typing import Literal

from t5x_selfprog.run_layout import RunDir
from t5x_selfprog.schedule import Schedule
from verifier.storage import files

PARTS = ("puzzles", "solutions", "pairs", "training")  # in their order


def work(
    run: RunDir, schedule: Schedule, iteration: int, start: Literal["base", "previous"] = "base"
) -> dict[str, float]:
    """The work of each part, in units of its own: prompts, attempts, attempts to make pairs of, documents.

    start: Experiment.start; from the base, a model learns the documents of all iterations so far.
    """
    attempts = _attempts(run, schedule, iteration)
    new: float | None = _rows(run, iteration, "dataset")
    if new is None:
        before = _attempts(run, schedule, iteration - 1) if iteration else 0.0
        new = (_rows(run, iteration - 1, "dataset") or 0) * attempts / before if before else 0.0
    earlier = [_rows(run, number, "dataset") or 0 for number in range(iteration) if start == "base"]
    prompts, _ = schedule.factors(run, iteration)
    amounts = (prompts, attempts, attempts, sum(earlier) + new)
    return dict(zip(PARTS, amounts, strict=True))


def _attempts(run: RunDir, schedule: Schedule, iteration: int) -> float:
    prompts, attempts = schedule.factors(run, iteration)
    kept: float | None = _rows(run, iteration, "kept")
    if kept is None:
        before, _ = schedule.factors(run, iteration - 1) if iteration else (prompts, attempts)
        kept = (_rows(run, iteration - 1, "kept") or 0) * prompts / before if iteration else 0.0
    return kept * attempts


def _rows(run: RunDir, iteration: int, stage: str) -> int | None:
    """The records of a finished stage; None if it is not finished."""
    try:
        return int(files.read_json(files.join(run.stage(iteration, stage), "manifest.json"))["rows"])
    except FileNotFoundError:
        return None
