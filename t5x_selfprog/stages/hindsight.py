"""Between stages 4 and 5: wrong answers become right answers to other puzzles.

Reads:    4_verdicts of this iteration; 2_kept and 4_hindsight of all iterations so far; train and held-out problems.
Writes:   RUN/iter_NNN/4_hindsight: verdicts of the new pairs, all of them accepted; the rest is only counted.
Restart:  the whole stage, a pass that takes seconds per thousand wrong verdicts.
Left out: weights (Selection.hindsight) and sampling.

The verifier judges a new pair like any attempt, and its puzzle must pass everything stage 2 checks: the rules, trivial
answers, similarity in text and behaviour to held-out and train problems and to puzzles known before.
"""

import ast
import contextlib
import dataclasses
from collections import Counter
from typing import Any

import gin
from t5x_selfprog import hosts
from t5x_selfprog.puzzles.behaviour import BehaviourCheck, behaviours
from t5x_selfprog.puzzles.hindsight import NO_ANSWER, Retarget, retarget
from t5x_selfprog.puzzles.rules import Kept, PuzzleFilter, PuzzleRules, check
from t5x_selfprog.puzzles.source import SourceError, lenient_python, puzzle_id
from t5x_selfprog.stages.context import Context
from t5x_selfprog.stages.filter_puzzles import SameBehaviour
from t5x_selfprog.stages.probes import read_probes
from verifier import Limits, Pool, Verdict
from verifier.errors import UserError
from verifier.storage.records import VERDICT
from verifier.storage.shards import Ledger, is_finished

Record = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Hindsight:
    """How many wrong answers are used, and how.

    Attributes:
      answers: wrong answers used per puzzle, those of the shortest solutions.
      max_chars: the longest value that is put into a puzzle.
    """

    answers: int = 8
    max_chars: int = 60

    def __post_init__(self) -> None:
        for name in ("answers", "max_chars"):
            if getattr(self, name) < 1:
                raise UserError(f"Hindsight.{name}={getattr(self, name)}: must be at least 1.")


@dataclasses.dataclass(frozen=True)
class _Pair:
    """A puzzle whose target is a wrong solution's answer, and that solution with the header it asks for."""

    puzzle: str
    solution: str
    verdict: Record  # on the wrong attempt

    @property
    def item(self) -> dict[str, str]:
        return {"puzzle": self.puzzle, "solution": self.solution}


@hosts.first_alone("wrong answers looked at again")
@gin.configurable(module="hindsight")
def run(
    context: Context,
    iteration: int,
    aims: Hindsight | None = None,
    rules: PuzzleRules = PuzzleRules(),
    limits: Limits = Limits(cpu_s=0.5),
    behaviour: BehaviourCheck | None = BehaviourCheck(),
) -> None:
    """Does nothing without `aims`. `rules`, `limits` and `behaviour` are those of stage 2."""
    if aims is None:
        return
    ledger = context.ledger(context.run.stage(iteration, "hindsight"), "hindsight", VERDICT)
    if ledger.is_complete():
        return
    count: Counter[str] = Counter()
    with context.pool(limits) as pool:
        wrong = _wrong(context, iteration, aims, count)
        pairs = _retargeted(pool, wrong, aims, count)
        pairs = [pair for pair in pairs if isinstance(check(pair.puzzle, rules), Kept)]
        count["well_formed"] = len(pairs)
        verdicts = list(pool.judge([pair.item for pair in pairs]))
        accepted = [
            (pair, verdict) for pair, verdict in zip(pairs, verdicts, strict=True) if verdict.accepted
        ]
        count["accepted"] = len(accepted)
        puzzles = dict.fromkeys(pair.puzzle for pair, _ in accepted)
        kept = _as_stage_2(context, iteration, pool, list(puzzles), rules, behaviour)
    records = [_record(pair, verdict, kept[pair.puzzle]) for pair, verdict in accepted if pair.puzzle in kept]
    count["kept"] = len(records)
    for shard in ledger.pending():
        ledger.commit(shard, context.shard_of(records, shard))
    ledger.finish(**count)


def of_iteration(context: Context, iteration: int) -> Ledger | None:
    """What this stage wrote; None if it did not run."""
    path = context.run.stage(iteration, "hindsight")
    return Ledger.open(path) if is_finished(path) else None


def _wrong(
    context: Context, iteration: int, aims: Hindsight, count: Counter[str]
) -> list[tuple[Record, Retarget]]:
    """Wrong attempts at puzzles whose target can be changed: one per answer, the shortest first."""
    by_puzzle: dict[str, list[Record]] = {}
    for verdict in context.verdicts(iteration):
        # If f raised on this answer, it would raise again with any other target.
        if verdict["outcome"] == "wrong" and not verdict["detail"].startswith("f raised"):
            count["wrong"] += 1
            if verdict["answer"] is not None and _value(verdict["answer"]) is not None:
                by_puzzle.setdefault(verdict["puzzle"], []).append(verdict)
    found = []
    for puzzle, verdicts in by_puzzle.items():
        apart = retarget(puzzle)
        if apart is not None:
            verdicts.sort(key=lambda verdict: (len(verdict["solution"]), verdict["solution"]))
            one_each = {verdict["answer"]: verdict for verdict in reversed(verdicts)}
            chosen = [verdict for verdict in verdicts if one_each[verdict["answer"]] is verdict]
            found += [(verdict, apart) for verdict in chosen[: aims.answers]]
    count["aimed"] = len(found)
    return found


def _retargeted(
    pool: Pool, wrong: list[tuple[Record, Retarget]], aims: Hindsight, count: Counter[str]
) -> list[_Pair]:
    asked, probes = [], []
    for verdict, apart in wrong:
        with contextlib.suppress(SourceError):
            probes.append({"puzzle": NO_ANSWER, "solution": apart.probe(verdict["answer"])})
            asked.append((verdict, apart))
    pairs = []
    for (verdict, apart), shown in zip(asked, pool.judge(probes), strict=True):
        values = _value(shown.answer) if shown.answer is not None else None
        if values is None or type(values[0]) is not list:  # f raised, or returned before its end
            continue
        puzzle = apart.towards(values[0], aims.max_chars)
        solution = None if puzzle is None else apart.solution(verdict["solution"], puzzle)
        if puzzle is not None and solution is not None:
            pairs.append(_Pair(puzzle, solution, verdict))
    count["retargeted"] = len(pairs)
    return pairs


def _value(literal: str) -> tuple[Any] | None:
    """The value of a literal, in a tuple because it may be None itself; None for text that was cut off."""
    try:
        with lenient_python():
            return (ast.literal_eval(literal),)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def _as_stage_2(
    context: Context,
    iteration: int,
    pool: Pool,
    puzzles: list[str],
    rules: PuzzleRules,
    behaviour: BehaviourCheck | None,
) -> dict[str, Kept]:
    """The puzzles that stage 2 would keep, given all that it and this stage kept before."""
    reports = list(pool.screen_puzzles(puzzles))
    passed = [puzzle for puzzle, report in zip(puzzles, reports, strict=True) if report.ok]
    types = {puzzle: report.answer_type for puzzle, report in zip(puzzles, reports, strict=True)}
    shown: dict[str, str | None] = dict.fromkeys(passed)
    if behaviour is not None and passed:
        asked = [(puzzle, types[puzzle]) for puzzle in passed]
        found = behaviours(pool, asked, read_probes(context), behaviour.cpu_s)
        shown = dict(zip(passed, found, strict=True))
    known = [record["source"] for i in range(iteration + 1) for record in context.run.read(i, "kept")]
    for earlier in range(iteration):
        known += dict.fromkeys(record["puzzle"] for record in of_iteration(context, earlier) or ())
    rule = PuzzleFilter(rules, problems=context.problems, known=known)
    same = SameBehaviour(context, iteration + 1, behaviour)
    kept = {}
    for puzzle in passed:
        result = rule.offer(puzzle)
        if isinstance(result, Kept):
            record = {"puzzle_id": result.puzzle_id, "answer_type": types[puzzle]}
            if same.fault(record, {"behaviour": shown[puzzle]}) is None:
                kept[puzzle] = result
    return kept


def _record(pair: _Pair, verdict: Verdict, kept: Kept) -> Record:
    blank: Record = dict.fromkeys(VERDICT)
    attempt = {name: value for name, value in pair.verdict.items() if name in VERDICT}
    found = verdict.as_record(blank | attempt | pair.item | {"puzzle_id": kept.puzzle_id})
    return found | {"detail": f"from {puzzle_id(pair.verdict['puzzle'])}", "generality": None, "count": 1}
