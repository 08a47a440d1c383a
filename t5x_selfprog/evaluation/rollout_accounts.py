"""What the batches of a policy gradient and of self-play yielded, counted from disk, whether training has ended or not.

OUTPUT/rollouts/NNNN                                 attempts of a batch at puzzles (grpo)
OUTPUT/rollouts/NNNN/{proposals,screened,attempts}   of a batch of self-play
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from t5x_selfprog.puzzles.proposing import Proposed, ProposerReward
from verifier.outcomes import ACCEPTED
from verifier.storage import files
from verifier.storage.shards import Ledger, is_finished
from verifier.verdict import judged_by_puzzle

ROLLOUTS = "rollouts"
TASKS = ("proposal", "puzzle", "deduction", "abduction")
KNOWN = "duplicate"  # the reason for which a valid puzzle is not new
Record = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class TaskCount:
    """Attempts of one kind. Groups whose attempts were all right or all wrong (`alike`) teach nothing."""

    groups: int = 0
    alike: int = 0
    attempts: int = 0
    accepted: int = 0
    tokens: int = 0

    def __add__(self, other: TaskCount) -> TaskCount:
        return TaskCount(
            *(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True))
        )


@dataclasses.dataclass(frozen=True)
class BatchAccount:
    """One batch.

    Attributes:
      tasks: by kind of TASKS; attempts at proposals ("proposal") and at puzzles of stage 2 ("puzzle") apart.
      reasons: proposals by the reason for which screening refused them, "" for those that were attempted.
      proposed: what became of the proposals, except valid and new ones that fitted no row.
    """

    number: int
    tasks: Mapping[str, TaskCount]
    reasons: Mapping[str, int] = dataclasses.field(default_factory=dict)
    proposed: Sequence[Proposed] = ()

    @property
    def whole(self) -> TaskCount:
        return sum(self.tasks.values(), TaskCount())

    def rewards(self, reward: ProposerReward | None) -> dict[str, float]:
        """The sum of rewards by kind: 1 for each right attempt; "proposer" for proposals if their reward is known."""
        found = {task: float(count.accepted) for task, count in self.tasks.items()}
        if self.reasons and reward is not None:
            found["proposer"] = sum(map(reward.of, self.proposed))
        return found


def batch_folder(output: str, number: int) -> str:
    """Where the attempts of a batch lie."""
    return files.join(output, ROLLOUTS, f"{number:04d}")


def accounts(output: str) -> Iterator[BatchAccount]:
    """The finished batches of a training, in their order."""
    folder = files.join(output, ROLLOUTS)
    for name in sorted(files.listdir(folder) if files.is_folder(folder) else []):
        if not name.isdigit():
            continue
        path = files.join(folder, name)
        inner = files.join(path, "attempts")
        if is_finished(inner) or is_finished(path):
            yield account(output, int(name))


def account(output: str, number: int) -> BatchAccount:
    """One finished batch. Raises MissingStage or LedgerIncomplete if it is not."""
    folder = batch_folder(output, number)
    if not files.is_folder(files.join(folder, "attempts")):
        return BatchAccount(number, _counted(Ledger.open(folder)))
    attempts = list(Ledger.open(files.join(folder, "attempts")))
    if not files.is_folder(files.join(folder, "proposals")):
        return BatchAccount(number, _counted(attempts))
    proposals, screened = (list(Ledger.open(files.join(folder, name))) for name in ("proposals", "screened"))
    reasons = Counter(shown["reason"] for shown in screened)
    outcomes = [proposed for _, proposed in proposal_outcomes(proposals, screened, attempts)]
    return BatchAccount(number, _counted(attempts), reasons, outcomes)


def proposal_outcomes(
    proposals: Sequence[Record], screened: Sequence[Record], attempted: Iterable[Record]
) -> Iterator[tuple[Record, Proposed]]:
    """Proposals with their outcomes, except valid and new ones that could not be attempted."""
    tried = judged_by_puzzle(attempted)
    for proposal, shown in zip(proposals, screened, strict=True):
        if shown["reason"]:
            yield proposal, Proposed(valid=shown["reason"] == KNOWN)
        elif judged := tried.get(shown["puzzle_id"]):
            accepted = sum(record["outcome"] == ACCEPTED for record in judged)
            yield proposal, Proposed(True, shown["novelty"], accepted, len(judged))


def _counted(attempts: Iterable[Record]) -> dict[str, TaskCount]:
    found: dict[str, TaskCount] = {}
    for judged in judged_by_puzzle(attempts).values():
        right = sum(record["outcome"] == ACCEPTED for record in judged)
        task = judged[0].get("task") or "puzzle"
        tokens = sum(record.get("n_tokens") or 0 for record in judged)
        made = TaskCount(1, int(right in (0, len(judged))), len(judged), right, tokens)
        found[task] = found.get(task, TaskCount()) + made
    return found
