"""Reads how a run's iterations learnt from verdicts, where they did (`loop.learn.update`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from t5x_selfprog.evaluation.rollout_accounts import BatchAccount, accounts
from t5x_selfprog.puzzles.proposing import ProposerReward
from t5x_selfprog.run_layout import RunDir, iteration_name
from verifier.errors import UserError
from verifier.storage import files
from verifier.storage.records import RecordError
from verifier.storage.tfrecord import CorruptRecordError


@dataclass(frozen=True)
class Learnt:
    """One iteration's training on verdicts.

    Attributes:
      batches: those that are finished.
      reward: of the proposer; None for GRPO, and until self-play's iteration is over.
      steps: logged training steps.
    """

    iteration: int
    batches: Sequence[BatchAccount]
    reward: ProposerReward | None = None
    steps: Sequence[Mapping[str, float]] = field(default_factory=list)


def read(
    run: RunDir,
    iterations: Sequence[int],
    training: Mapping[str, Sequence[Mapping[str, float]]],
    missing: list[str],
) -> list[Learnt]:
    """Iterations with batches, as far as they got; `missing` gets what is damaged.

    training: logged steps by the folder that a training writes, relative to the run.
    """
    found = []
    for number in iterations:
        output = run.stage(number, "checkpoints")
        batches: list[BatchAccount] = []
        try:
            for batch in accounts(output):
                batches.append(batch)
        except (CorruptRecordError, RecordError, UserError) as error:
            missing.append(f"iteration {number}: the attempts it learnt from are damaged: {error}")
        if batches:
            place = f"{iteration_name(number)}/{output.rstrip('/').rpartition('/')[2]}"
            steps = training.get(place) or training.get(f"{place}/adapters", [])
            found.append(Learnt(number, batches, _reward(output), steps))
    return found


def _reward(output: str) -> ProposerReward | None:
    try:
        said = files.read_json(files.join(output, "done.json")).get("reward")
    except (FileNotFoundError, ValueError):
        return None
    return ProposerReward(**said) if said else None
