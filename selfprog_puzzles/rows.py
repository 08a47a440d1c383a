"""The puzzles of an environment: a set in P3's format, our own seeds, or what a run's iterations kept."""

from collections.abc import Iterator
from dataclasses import dataclass

from t5x_selfprog.puzzles.p3 import SPLITS, in_split, load_problems
from t5x_selfprog.run_dir import is_run
from t5x_selfprog.run_layout import RunDir
from verifier.errors import UserError
from verifier.outcomes import ACCEPTED
from verifier.storage import files

SOLVED = ("any", "some", "mixed")


@dataclass(frozen=True)
class Row:
    """One puzzle. `name` is its problem's, or says where a run wrote it; `solution` is known to be right, or ""."""

    puzzle_id: str
    source: str
    name: str
    solution: str = ""


def read_rows(puzzles: str, split: str = "train", solved: str = "any") -> list[Row]:
    """The puzzles that a configuration names, each once, in their order.

    Args:
      puzzles: "seeds", a folder in P3's format, or a run's directory.
      split: of a set: train, dev or test.
      solved: of a run: "any" puzzle, those with "some" accepted attempt, or "mixed": those with accepted and rejected
        attempts, from which a comparison within a group learns.

    Raises UserError naming what is wrong.
    """
    if split not in SPLITS:
        raise UserError(f"split={split!r}: choose {', '.join(SPLITS)}")
    if solved not in SOLVED:
        raise UserError(f"solved={solved!r}: choose {', '.join(SOLVED)}")
    if puzzles != "seeds" and not files.is_folder(puzzles):
        raise UserError(
            f"puzzles={puzzles!r}: no such folder; give 'seeds', a folder in P3's format, or a run"
        )
    if puzzles != "seeds" and is_run(puzzles):
        found = list(_of_run(RunDir(puzzles), solved))
        if not found:
            lacks = "kept no puzzle yet" if solved == "any" else f"has no puzzle for solved={solved!r} yet"
            raise UserError(f"puzzles={puzzles!r}: this run {lacks}")
        return found
    if solved != "any":
        raise UserError(
            f"solved={solved!r} asks what a run's attempts came to, and {puzzles!r} is a set of puzzles"
        )
    problems = in_split(load_problems(puzzles), split)
    return [
        Row(
            problem.puzzle_id, problem.source, problem.name, problem.solutions[0] if problem.solutions else ""
        )
        for problem in problems
    ]


def _of_run(run: RunDir, solved: str) -> Iterator[Row]:
    seen: set[str] = set()
    iteration = 0
    while files.is_folder(run.stage(iteration, "kept")):
        right, wrong = _attempted(run, iteration)
        for record in run.read(iteration, "kept"):
            name = record["puzzle_id"]
            if (
                name in seen
                or (solved != "any" and name not in right)
                or (solved == "mixed" and name not in wrong)
            ):
                continue
            seen.add(name)
            yield Row(name, record["source"], f"iteration {iteration}: {name}", right.get(name, ""))
        iteration += 1


def _attempted(run: RunDir, iteration: int) -> tuple[dict[str, str], set[str]]:
    """An accepted solution of every solved puzzle, and which puzzles had attempts that were not accepted."""
    right: dict[str, str] = {}
    wrong: set[str] = set()
    if not files.is_folder(run.stage(iteration, "verdicts")):
        return right, wrong
    for verdict in run.read(iteration, "verdicts"):
        if verdict["outcome"] == ACCEPTED:
            right.setdefault(verdict["puzzle_id"], verdict["solution"])
        elif verdict["outcome"] != "infrastructure":
            wrong.add(verdict["puzzle_id"])
    return right, wrong
