"""Problems in the file format of Python Programming Puzzles (P3): the real set, our seeds, or anybody's own.

A folder holds `puzzles.json`, a list of instances (`{"name": "Foo:0", "sat": "def sat(...)", "ans_type": ...,
"sol_header": ..., "sol_docstring": ..., "sol_bodies": [...], "module": ...}`), and `split.json`, which names the
problems of each split. P3 calls the puzzle `sat` and the solution `sol`; they become `f` and `g` as they are read.

The format is P3's, https://github.com/microsoft/PythonProgrammingPuzzles; Schuster et al. 2021,
arXiv:2106.05784.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from t5x_selfprog.puzzles.entries import Docstrings, Entry, read_entry
from t5x_selfprog.puzzles.source import SourceError, puzzle_id
from verifier.errors import UserError
from verifier.storage import files
from verifier.storage.records import PUZZLE
from verifier.storage.shards import Ledger

PUZZLES_FILE, LINES_FILE, SPLIT_FILE = "puzzles.json", "puzzles.jsonl", "split.json"
SPLITS = ("train", "dev", "test")
SEEDS_FOLDER = Path(__file__).parent / "seeds"

_HUMAN_EVAL = "human_eval"
_SHOWN = 20  # faults of a set


@dataclass(frozen=True)
class Problem:
    """One problem with all its instances, which differ only in the defaults of `f`.

    The paper, and therefore every stage, uses instance 0: `source` and `solutions`.

    Attributes:
      instances: the source of `f` for each instance.
      instance_solutions: for each instance, its reference solutions `g` (often none).
    """

    name: str
    answer_type: str
    instances: tuple[str, ...]
    instance_solutions: tuple[tuple[str, ...], ...]
    statement: str
    module: str
    split: str | None
    group: str

    @property
    def source(self) -> str:
        return self.instances[0]

    @property
    def solutions(self) -> tuple[str, ...]:
        return self.instance_solutions[0]

    @cached_property
    def puzzle_id(self) -> str:
        return puzzle_id(self.source)


def load_problems(source: str | Path, *, docstrings: Docstrings = "drop") -> list[Problem]:
    """All problems of a folder, or of our own set if `source` is "seeds", in the order of the file.

    `split` is None for problems that no split names. `group` is "human_eval" or "rest" if the set has problems derived
    from HumanEval, as P3 does, and otherwise the module's name.

    Args:
      docstrings: whether reference solutions keep the English statement that P3 puts at their head; it is in
        `Problem.statement` either way.

    Raises UserError naming the file, the entry and what is wrong with it.
    """
    folder = str(SEEDS_FOLDER if source == "seeds" else source)
    lines = files.join(folder, LINES_FILE)
    path = lines if files.exists(lines) and not files.exists(files.join(folder, PUZZLES_FILE)) else ""
    puzzles = _read(path or files.join(folder, PUZZLES_FILE), folder)
    return list(_parsed(folder, path, docstrings, puzzles, _read(files.join(folder, SPLIT_FILE), folder)))


# Parsing takes seconds, and stages, prompts and checks ask for the same set again and again.
@functools.lru_cache(maxsize=4)
def _parsed(
    folder: str, lines_path: str, docstrings: Docstrings, puzzles: bytes, split: bytes
) -> tuple[Problem, ...]:
    """The problems of what the files hold; `lines_path` is that of the puzzles if they are JSON lines."""
    puzzles_path, split_path = lines_path or files.join(folder, PUZZLES_FILE), files.join(folder, SPLIT_FILE)
    values = _json_lines(puzzles_path, puzzles) if lines_path else _json(puzzles_path, puzzles)
    split_of = _splits(split_path, _json(split_path, split))
    if not isinstance(values, list) or not values:
        raise UserError(f"{puzzles_path}: must be a list of puzzles with at least one in it")
    by_problem: dict[str, dict[int, Entry]] = defaultdict(dict)
    faults = []
    for number, value in enumerate(values):
        try:
            entry = read_entry(value, docstrings)
            if entry.index in by_problem[entry.problem]:
                raise SourceError("a second entry of this name")
        except SourceError as error:
            faults.append(f"{puzzles_path}: entry {number}{_name_of(value)}: {error}")
            continue
        by_problem[entry.problem][entry.index] = entry
    if not faults:  # or they would be missed for having been refused
        faults = [
            f"{split_path}: names the problem {name!r}, which {os.path.basename(puzzles_path)} does not have"
            for name in split_of
            if name not in by_problem
        ]
    if faults:
        more = f"\n... and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise UserError("\n".join(faults[:_SHOWN]) + more)
    modules = {_stem(entry.module) for entries in by_problem.values() for entry in entries.values()}
    problems = []
    for name, entries in by_problem.items():
        missing = sorted(set(range(len(entries))) - entries.keys())
        if missing:
            raise UserError(
                f"{puzzles_path}: problem {name!r} has {len(entries)} instances but no {name}:{missing[0]}"
            )
        problems.append(_problem([entries[i] for i in range(len(entries))], split_of.get(name), modules))
    return tuple(problems)


def in_split(problems: list[Problem], split: str) -> list[Problem]:
    """The problems of one split, in order. Raises UserError if it has none."""
    chosen = [problem for problem in problems if problem.split == split]
    if not chosen:
        present = sorted({problem.split for problem in problems if problem.split is not None})
        raise UserError(f"no problems in split {split!r}; the set has {', '.join(present) or 'no splits'}")
    return chosen


def tutorial_problems(problems: list[Problem]) -> list[Problem]:
    """The problems whose solutions a prompt may show: those named `Tutorial...`, in P3 as in our seeds."""
    return [problem for problem in problems if problem.name.startswith("Tutorial") and problem.solutions]


def _problem(entries: list[Entry], split: str | None, modules: set[str]) -> Problem:
    first = entries[0]
    group = _stem(first.module)
    if _HUMAN_EVAL in modules and group != _HUMAN_EVAL:
        group = "rest"
    return Problem(
        name=first.problem,
        answer_type=first.answer_type,
        instances=tuple(entry.source for entry in entries),
        instance_solutions=tuple(entry.solutions for entry in entries),
        statement=first.statement,
        module=first.module,
        split=split,
        group=group,
    )


def _stem(module: str) -> str:
    return module.removesuffix(".py")


def _splits(path: str, splits: Any) -> dict[str, str]:
    """Problem name to split name."""
    if not isinstance(splits, dict) or not splits.keys() <= set(SPLITS):
        raise UserError(f"{path}: must be an object with lists of problem names under {', '.join(SPLITS)}")
    split_of: dict[str, str] = {}
    for split, names in splits.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UserError(f"{path}: {split!r} must be a list of problem names")
        for name in names:
            if name in split_of:
                raise UserError(f"{path}: {name!r} stands in {split_of[name]!r} and again in {split!r}")
            split_of[name] = split
    return split_of


def _read(path: str, folder: str) -> bytes:
    try:
        return files.read_bytes(path)
    except FileNotFoundError as error:
        remedy = (
            f"`selfprog p3 --source={folder} --download` fetches P3 into it, `p3 --new=DIR` begins your own"
        )
        raise UserError(f"{path}: no such file; {remedy}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


def _json(path: str, data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}: line {error.lineno}, column {error.colno}: not JSON: {error.msg}"
        ) from error
    except (ValueError, RecursionError) as error:  # Not UTF-8, or nested too deeply.
        raise UserError(f"{path}: not JSON: {error}") from error


def _json_lines(path: str, data: bytes) -> list[Any]:
    values = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            try:
                values.append(json.loads(line.decode("utf-8")))
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}: line {number}: not JSON: {error}") from error
    return values


def _name_of(entry: Any) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    return f" ({name!r})" if isinstance(name, str) else ""


# The command.


def count_problems(problems: Sequence[Problem]) -> dict[str, Any]:
    """Problems by split and, within a split, by group; total instances and solved problems."""
    present = {problem.split or "unsplit" for problem in problems}
    splits = {
        split: Counter(problem.group for problem in problems if (problem.split or "unsplit") == split)
        for split in (*SPLITS, "unsplit")
        if split in present
    }
    return {
        "problems": len(problems),
        "instances": sum(len(problem.instances) for problem in problems),
        "with_solution": sum(bool(problem.solutions) for problem in problems),
        "splits": {split: groups.total() for split, groups in splits.items()},
        "groups": {split: dict(sorted(groups.items())) for split, groups in splits.items()},
    }


def describe(figures: Mapping[str, Any]) -> str:
    lines = [
        f"{figures['problems']} problems, {figures['instances']} instances, "
        f"{figures['with_solution']} problems with a reference solution"
    ]
    for split, count in figures["splits"].items():
        groups = ", ".join(f"{group} {n}" for group, n in figures["groups"][split].items())
        lines.append(f"  {split:<8}{count:>5}   ({groups})")
    return "\n".join(lines)


def write_records(problems: Sequence[Problem], folder: str) -> dict[str, int]:
    """Writes first instances as puzzle records, one stage directory per split; returns the rows of each.

    Raises LedgerMismatch (a UserError) if the directory holds the records of other problems.
    """
    rows = {}
    for split in SPLITS:
        chosen = [problem for problem in problems if problem.split == split]
        if not chosen:
            continue
        records = [
            {
                "puzzle_id": problem.puzzle_id,
                "source": problem.source,
                "answer_type": problem.answer_type,
                "origin": f"{problem.name}:0",
            }
            for problem in chosen
        ]
        content = hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()
        ledger = Ledger(
            files.join(folder, split), stage="p3", schema=PUZZLE, shard_count=1, seed=0, fingerprint=content
        )
        for shard in ledger.pending():
            ledger.commit(shard, records)
        ledger.finish()
        rows[split] = len(records)
    return rows
