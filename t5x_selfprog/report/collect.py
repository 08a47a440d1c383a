"""Reads what a run directory holds, finished or not, into one plain structure; writes nothing."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from t5x_selfprog import provenance
from t5x_selfprog.evaluation import held_out
from t5x_selfprog.puzzles.behaviour import is_telling
from t5x_selfprog.puzzles.p3 import load_problems
from t5x_selfprog.report import learnt, tried
from t5x_selfprog.run_layout import RunDir, iteration_name
from t5x_selfprog.telemetry import goodput
from verifier.errors import UserError
from verifier.storage import files
from verifier.storage.records import RecordError
from verifier.storage.shards import Ledger, MissingStage, is_finished
from verifier.storage.tfrecord import CorruptRecordError

SOLUTIONS_SHOWN = 3  # per puzzle


@dataclass
class SolvedPuzzle:
    """A puzzle with at least one accepted solution, and how hard it was."""

    puzzle_id: str
    source: str
    iteration: int
    tried: int = 0
    accepted: int = 0
    answer_type: str = ""
    checkpoint: str = ""
    prompt_puzzle_ids: tuple[str, ...] = ()
    origin: str = ""
    solutions: list[tuple[str, str | None, float | None]] = field(default_factory=list)
    """The shortest different ones: source, answer, share of resampled arguments on which it holds too."""
    solvers: set[str] = field(default_factory=set)
    """Identities of the weights that wrote accepted solutions."""


@dataclass
class Iteration:
    """One round of self-play. None and empty values stand for what does not exist yet."""

    number: int
    funnel: dict[str, Any] | None = None
    outcomes: Counter[str] = field(default_factory=Counter)
    attempts_of: list[tuple[int, int]] = field(default_factory=list)
    """(accepted, tried) of each puzzle."""
    solved: list[SolvedPuzzle] = field(default_factory=list)
    kept: list[dict[str, Any]] = field(default_factory=list)
    """Records of the puzzles that passed the filter."""
    behaviours: dict[str, str] = field(default_factory=dict)
    """Telling behaviours by puzzle id."""
    training: dict[str, Any] | None = None
    """What done.json says of the fine-tuning: step, identity, start, pairs, tokens."""


@dataclass(frozen=True)
class SourceProblem:
    """A train problem shown in prompts."""

    puzzle_id: str
    name: str
    source: str


@dataclass
class Run:
    """Everything the report shows."""

    root: str
    evaluations: list[dict[str, Any]]
    iterations: list[Iteration]
    missing: list[str]
    config: str
    looks: list[str] = field(default_factory=list)
    """How often each split was evaluated, in words."""
    times: list[dict[str, Any]] = field(default_factory=list)
    """Stretches of work: stage, seconds, devices."""
    train: dict[str, SourceProblem] = field(default_factory=dict)
    """The run's train problems by puzzle id, where they can be read."""
    clean: dict[str, Any] | None = None
    goodput: dict[str, Any] | None = None
    """Where the wall time went, as goodput.json has it."""
    arms: list[tried.Arm] = field(default_factory=list)
    """The evaluations with their attempts."""
    sources: dict[str, str] = field(default_factory=dict)
    """Held-out problems by puzzle id, as far as attempts were kept."""
    training: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    """Logged steps of each fine-tuning, by its folder in the run."""
    learnt: list[learnt.Learnt] = field(default_factory=list)
    """Iterations that learnt from verdicts."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """By what the run was made, as provenance.json has it."""


def collect(root: str) -> Run:
    """Reads RUN; `missing` lists what is absent, unfinished or damaged."""
    run = RunDir(root)
    missing: list[str] = []
    iterations = [_iteration(run, number, missing) for number in run.iterations()]
    if not iterations:
        missing.append(f"no iteration has begun: {run.iteration(0)} does not exist")
    evaluations, arms, sources = [], [], dict[str, str]()
    for path, what in _evaluation_paths(run, len(iterations)):
        evaluation = _read_json(path, missing)
        if evaluation is not None:
            evaluations.append(evaluation)
            arms.append(tried.Arm(evaluation, tried.read(run, path.rpartition("/")[0], missing, sources)))
        elif not files.exists(path):
            missing.append(f"{what} is not evaluated yet ({_relative(root, path)})")
    training = _training(root)
    config = files.read_bytes(run.config).decode("utf-8", "replace") if files.exists(run.config) else ""
    return Run(
        root,
        evaluations,
        iterations,
        missing,
        config,
        held_out.notes(root),
        [
            _read_json(files.join(root, "times", name), missing) or {}
            for name in files.listdir(files.join(root, "times"))
        ],
        _train_problems(config, missing),
        _read_json(files.join(root, "clean.json"), missing),
        _read_json(files.join(root, goodput.NAME), missing),
        arms,
        sources,
        training,
        learnt.read(run, [iteration.number for iteration in iterations], training, missing),
        _read_json(files.join(root, provenance.NAME), missing) or {},
    )


def _train_problems(config: str, missing: list[str]) -> dict[str, SourceProblem]:
    """The train problems that the configuration names; without them, lineage ends in their ids."""
    named = re.search(r"""^Experiment\.problems\s*=\s*(['"])(.+?)\1""", config, re.MULTILINE)
    if named is None:
        return {}
    try:
        problems = load_problems(named[2])
    except UserError as error:
        missing.append(f"the train problems cannot be shown: {error}")
        return {}
    return {
        problem.puzzle_id: SourceProblem(problem.puzzle_id, problem.name, problem.source)
        for problem in problems
        if problem.split == "train"
    }


def _training(root: str) -> dict[str, list[dict[str, float]]]:
    """Steps by stage; a step logged twice, by two processes of the run, counts as logged last."""
    path = files.join(root, "metrics.jsonl")
    if not files.exists(path):
        return {}
    found: dict[str, dict[int, dict[str, float]]] = {}
    for line in files.read_bytes(path).decode("utf-8", "replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # cut off by a kill
            continue
        if isinstance(entry, dict) and entry.get("kind") == "train" and "loss" in entry and "step" in entry:
            where = entry.get("stage", "")
            if entry.get("iteration") is not None:
                where = f"{iteration_name(entry['iteration'])}/{where}"
            found.setdefault(where, {})[entry["step"]] = entry
    return {stage: [steps[step] for step in sorted(steps)] for stage, steps in found.items()}


def evaluations_of(run: RunDir, missing: list[str]) -> list[dict[str, Any]]:
    """The evaluations that exist; `missing` gets those that cannot be read."""
    paths = _evaluation_paths(run, len(run.iterations()))
    found = [_read_json(path, missing) for path, _ in paths if files.exists(path)]
    return [evaluation for evaluation in found if evaluation is not None]


def _evaluation_paths(run: RunDir, iterations: int) -> Iterator[tuple[str, str]]:
    yield files.join(run.base_eval, "evaluation.json"), "the base"
    for number in range(iterations):
        path = files.join(run.stage(number, "eval"), "evaluation.json")
        # `loop.run.measured='last'` skips the earlier ones.
        if number == iterations - 1 or files.exists(path):
            yield path, f"iteration {number}"
    arms = run.controls()
    for arm in arms:
        path = files.join(run.control(arm, "eval"), "evaluation.json")
        # `human_best` trains `human` too, which need not be evaluated.
        if f"{arm}_best" not in arms or files.exists(path):
            yield path, f"the arm {arm!r}"
    yield files.join(run.enumerator_eval, "evaluation.json"), "the enumerator"


def _iteration(run: RunDir, number: int, missing: list[str]) -> Iteration:
    iteration = Iteration(number)
    if files.exists(run.funnel(number)):
        iteration.funnel = _read_json(run.funnel(number), missing)
    else:
        missing.append(f"iteration {number} has no funnel yet ({_relative(run.root, run.funnel(number))})")
    iteration.kept = list(_records(run, number, "kept", missing))
    puzzles = {record["puzzle_id"]: record for record in iteration.kept}
    screened = run.stage(number, "screened")
    if is_finished(screened):
        told = {row["puzzle_id"]: row["behaviour"] for row in Ledger.open(screened)}
        iteration.behaviours = {i: told[i] for i in puzzles if is_telling(told.get(i))}
    done = _read_json(files.join(run.stage(number, "checkpoints"), "done.json"), missing)
    iteration.training = done if done and done["step"] else None  # 0 steps where there was nothing to learn
    tally: dict[str, SolvedPuzzle] = {}
    for verdict in _records(run, number, "verdicts", missing):
        count = verdict.get("count") or 1
        iteration.outcomes[verdict["outcome"]] += count
        puzzle_id = verdict["puzzle_id"]
        if puzzle_id not in tally:
            tally[puzzle_id] = _puzzle(puzzle_id, verdict, puzzles.get(puzzle_id, {}), number)
        if verdict["outcome"] != "infrastructure":
            tally[puzzle_id].tried += count
        if verdict["outcome"] == "accepted":
            tally[puzzle_id].accepted += count
            tally[puzzle_id].solvers.add(verdict.get("checkpoint") or "")
            _keep_short(tally[puzzle_id].solutions, verdict)
    iteration.attempts_of = [(puzzle.accepted, puzzle.tried) for puzzle in tally.values()]
    iteration.solved = [puzzle for puzzle in tally.values() if puzzle.accepted]
    return iteration


def _puzzle(puzzle_id: str, verdict: dict[str, Any], record: dict[str, Any], iteration: int) -> SolvedPuzzle:
    return SolvedPuzzle(
        puzzle_id,
        verdict["puzzle"],
        iteration,
        answer_type=record.get("answer_type") or "",
        checkpoint=record.get("checkpoint") or "",
        origin=record.get("origin") or "",
        prompt_puzzle_ids=tuple(record.get("prompt_puzzle_ids") or ()),
    )


def _keep_short(solutions: list[tuple[str, str | None, float | None]], verdict: dict[str, Any]) -> None:
    found = (verdict["solution"], verdict.get("answer"), verdict.get("generality"))
    if found[0] not in (solution for solution, _, _ in solutions):
        solutions.append(found)
        solutions.sort(key=lambda item: (len(item[0]), item[0]))
        del solutions[SOLUTIONS_SHOWN:]


def _records(run: RunDir, number: int, stage: str, missing: list[str]) -> Iterator[dict[str, Any]]:
    """The records of the committed shards; a stage in progress is read as far as it got."""
    try:
        ledger = run.read(number, stage)
        pending = len(ledger.pending())
        if pending:
            missing.append(
                f"iteration {number}: {pending} of {ledger.shard_count} shards of {stage} are not there yet"
            )
        for shard in ledger.committed():
            yield from ledger.read(shard)
    except MissingStage:
        missing.append(f"iteration {number} has no {stage} yet")
    except (CorruptRecordError, RecordError) as error:
        missing.append(f"iteration {number}: {stage} is damaged, read up to there: {error}")


def _read_json(path: str, missing: list[str]) -> dict[str, Any] | None:
    try:
        return json.loads(files.read_bytes(path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        missing.append(f"{path} is not JSON: {error}")
        return None


def _relative(root: str, path: str) -> str:
    return path.removeprefix(root).lstrip("/")
