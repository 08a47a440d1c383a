"""From judged attempts to the rows that a policy gradient's step takes."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from t5x_selfprog.training.batches import index_in_segment, pack_best_fit
from t5x_selfprog.training.policy_gradient import PolicyGradient, Rollouts
from verifier.outcomes import ACCEPTED
from verifier.verdict import judged_by_puzzle


@dataclasses.dataclass(frozen=True)
class Rollout:
    """One attempt with its advantage.

    Attributes:
      prompt: tokens that it follows, the start of the document included; tokens: those chosen.
      logprobs: the sampler's, of each token chosen.
    """

    prompt: np.ndarray
    tokens: np.ndarray
    logprobs: np.ndarray
    advantage: float

    @property
    def size(self) -> int:
        """Positions it takes in a row."""
        return len(self.prompt) + len(self.tokens) - 1


@dataclasses.dataclass(frozen=True)
class Groups:
    """What the attempts at several puzzles come to.

    Attributes:
      rollouts: attempts of the groups with anything to learn from.
      alike: groups whose attempts all had the same reward, and are left out.
      judged, accepted: attempts.
    """

    rollouts: tuple[Rollout, ...]
    groups: int
    alike: int
    judged: int
    accepted: int


def group(
    objective: PolicyGradient, prompts: Mapping[str, Sequence[int]], records: Sequence[Mapping[str, Any]]
) -> Groups:
    """Attempts by puzzle, with their advantages; those that could not be judged are in no group.

    prompts: tokens by puzzle_id.
    """
    by_puzzle = judged_by_puzzle(records)
    return rewarded(
        objective,
        {
            name: (prompts[name], [(attempt, float(attempt["outcome"] == ACCEPTED)) for attempt in attempts])
            for name, attempts in by_puzzle.items()
        },
    )


Rewarded = tuple[
    Sequence[int], Sequence[tuple[Mapping[str, Any], float]]
]  # a prompt's tokens; attempts and rewards


def rewarded(objective: PolicyGradient, by_name: Mapping[str, Rewarded]) -> Groups:
    """Groups of attempts with any rewards; `accepted` counts those of 1."""
    rollouts: list[Rollout] = []
    alike = accepted = judged = 0
    for tokens, attempts in by_name.values():
        rewards = np.asarray([reward for _, reward in attempts])
        judged += len(rewards)
        accepted += int((rewards == 1.0).sum())
        advantages = objective.advantages(rewards)
        if advantages is None:
            alike += 1
            continue
        prompt = np.asarray(tokens, np.int32)
        rollouts += [
            Rollout(
                prompt,
                np.asarray(attempt["tokens"], np.int32),
                np.asarray(attempt["logprobs"], np.float32),
                float(each),
            )
            for (attempt, _), each in zip(attempts, advantages, strict=True)
        ]
    return Groups(tuple(rollouts), len(by_name), alike, judged, accepted)


def together(*groups: Groups) -> Groups:
    """Groups of several kinds as those of one batch."""
    counts = (
        sum(getattr(each, name) for each in groups) for name in ("groups", "alike", "judged", "accepted")
    )
    return Groups(tuple(rollout for each in groups for rollout in each.rollouts), *counts)


def shared_out(rollouts: Sequence[Rollout], parts: int, key: Sequence[int]) -> list[list[Rollout]]:
    """Nearly equal parts of the rollouts in an order that follows from the key alone."""
    order = np.random.default_rng(list(key)).permutation(len(rollouts))
    return [[rollouts[i] for i in order[part::parts]] for part in range(parts)]


def rows(
    objective: PolicyGradient, rollouts: Sequence[Rollout], length: int, longest: int, ways: int
) -> Rollouts:
    """Packed rows of so many tokens, as many as a power of two times `ways`, so that few shapes are compiled.

    Args:
      longest: the most tokens that an attempt may have, for `PolicyGradient.average` = "constant".

    Raises ValueError where an attempt with its prompt is longer than a row.
    """
    sizes = [rollout.size for rollout in rollouts]
    if max(sizes, default=0) > length:
        raise ValueError(
            f"an attempt of {max(sizes)} tokens, its prompt included, does not fit rows of {length}"
        )
    order = np.argsort([-size for size in sizes], kind="stable")
    packed = pack_best_fit([sizes[i] for i in order], length)
    count = ways
    while count < len(packed):
        count *= 2
    tokens, targets, segments = (np.zeros((count, length), np.int32) for _ in range(3))
    weights, counts, old, advantages = (np.zeros((count, length), np.float32) for _ in range(4))
    for r, row in enumerate(packed):
        at = 0
        for segment, place in enumerate(row, start=1):
            rollout = rollouts[order[place]]
            document = np.concatenate([rollout.prompt, rollout.tokens])
            end = at + rollout.size
            first = end - len(rollout.tokens)  # where the first token chosen is the target
            tokens[r, at:end], targets[r, at:end], segments[r, at:end] = document[:-1], document[1:], segment
            chosen = len(rollout.tokens)
            if objective.average == "token":
                weights[r, first:end] = counts[r, first:end] = 1.0
            else:
                weights[r, first:end] = 1.0 / (chosen if objective.average == "attempt" else longest)
                counts[r, first] = 1.0
            old[r, first:end], advantages[r, first:end] = rollout.logprobs, rollout.advantage
            at = end
    return Rollouts(
        tokens,
        targets,
        index_in_segment(segments),
        segments,
        weights,
        counts,
        old,
        advantages,
        np.zeros_like(old),
    )
