"""What arms tried on held-out problems: outcomes and a few attempts, by evaluation and problem."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from t5x_selfprog.run_layout import RunDir
from verifier.storage import files
from verifier.storage.records import RecordError
from verifier.storage.shards import Ledger, MissingStage
from verifier.storage.tfrecord import CorruptRecordError

# Attempts shown per problem: the shortest accepted ones, and one of each of the commonest other outcomes.
ACCEPTED_SHOWN, OTHERS_SHOWN = 2, 3


@dataclass
class Tried:
    """What one arm tried on one problem.

    Attributes:
      outcomes: number of attempts by outcome; `error:NameError` and `error:TypeError` count separately.
      accepted: (solution, answer), the shortest first.
      others: (outcome, solution, the verifier's detail), the commonest outcomes first.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    accepted: list[tuple[str, str]] = field(default_factory=list)
    others: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass
class Arm:
    """An evaluation with its attempts, as far as they exist."""

    evaluation: dict[str, Any]
    tried: dict[str, Tried]


def read(run: RunDir, folder: str, missing: list[str], sources: dict[str, str]) -> dict[str, Tried]:
    """By puzzle id; {} where no attempts were kept. Adds the puzzles' sources to `sources`."""
    path = files.join(folder, "verdicts")
    if not files.exists(files.join(path, "ledger.json")):
        return {}
    found: dict[str, Tried] = {}
    examples: dict[str, dict[str, tuple[str, str]]] = {}
    try:
        ledger = Ledger.open(path)
        for shard in ledger.committed():
            for verdict in ledger.read(shard):
                sources.setdefault(verdict["puzzle_id"], verdict["puzzle"])
                _count(found.setdefault(verdict["puzzle_id"], Tried()), verdict, examples)
    except MissingStage:
        return {}
    except (CorruptRecordError, RecordError) as error:
        missing.append(f"{path.removeprefix(run.root).lstrip('/')} is damaged, read up to there: {error}")
    for puzzle_id, tried in found.items():
        of_puzzle = examples.get(puzzle_id, {})
        common = [outcome for outcome, _ in tried.outcomes.most_common() if outcome in of_puzzle]
        tried.others = [(outcome, *of_puzzle[outcome]) for outcome in common[:OTHERS_SHOWN]]
    return found


def _count(tried: Tried, verdict: dict[str, Any], examples: dict[str, dict[str, tuple[str, str]]]) -> None:
    outcome, solution = verdict["outcome"], verdict["solution"]
    tried.outcomes[outcome] += verdict.get("count") or 1
    if outcome == "accepted":
        entry = (solution, verdict.get("answer") or "")
        if entry not in tried.accepted:
            tried.accepted.append(entry)
            tried.accepted.sort(key=lambda one: (len(one[0]), one))
            del tried.accepted[ACCEPTED_SHOWN:]
        return
    said = verdict.get("detail") or (f"answers {verdict['answer']}" if verdict.get("answer") else "")
    of_puzzle = examples.setdefault(verdict["puzzle_id"], {})
    # The shortest of each outcome, so that the page does not depend on the order of shards.
    if outcome not in of_puzzle or (len(solution), solution) < (
        len(of_puzzle[outcome][0]),
        of_puzzle[outcome][0],
    ):
        of_puzzle[outcome] = (solution, said)
