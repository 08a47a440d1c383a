"""What a run is about to do: its stages, their estimated time and disk. And how far it has come.

The first figures are guesses from sizes and from what machines of this kind achieve (`flops_per_s`); every stage that
ends corrects those of its kind, and of kinds not seen yet. They are only shown to people and decide nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Iterator, Mapping

from t5x_selfprog import machine

# With these, the quickstart's stages on two cores of an EPYC (times in results/quickstart) are within a factor of two.
_CORE_FLOPS = 2e10
_DECODING_SHARE, _TRAINING_SHARE = 0.05, 0.3  # of a device's peak
_UNKNOWN_DEVICE = 5e13  # FLOP/s of an accelerator that nobody measured
_VERDICT_S, _SCREENING_S = 0.0015, 0.02  # on one core
_STAGE_S, _COMPILE_S = 5.0, 15.0
_LENGTH = 0.5  # mean share of an attempt's token limit that it uses
_RECORD_BYTES = 800  # for an attempt and its verdict
_TOKEN_BYTES = 8  # of a rollout's record: a token and its log-probability
YIELD = 0.2  # share of written puzzles that are attempted


@dataclasses.dataclass(frozen=True)
class Rollouts:
    """What one training samples where a policy gradient of verdicts replaces fine-tuning.

    Attributes:
      attempts, attempt_tokens: how many are judged, and the most tokens of each.
      proposals, proposal_tokens: likewise for puzzles that are screened.
    """

    attempts: float
    attempt_tokens: int
    proposals: float = 0.0
    proposal_tokens: int = 0

    def tokens(self) -> float:
        """Tokens sampled, and learnt after their prompts."""
        return _LENGTH * (self.attempts * self.attempt_tokens + self.proposals * self.proposal_tokens)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The sizes of a run that determine how long it takes.

    Attributes:
      parameters: weights of the model.
      cores: cores that judge.
      flops_per_s: rates of decoding and of training, on all devices together.
      puzzles: puzzles written per iteration.
      attempts: attempts at each kept puzzle.
      evaluated: attempts in one evaluation.
      puzzle_tokens, solution_tokens, evaluation_tokens: the most tokens of each of those.
      trained_tokens: tokens of one training, over all passes.
      rollouts: what one training samples; None if it learns pairs.
    """

    parameters: int
    cores: int
    flops_per_s: tuple[float, float]
    puzzles: int
    attempts: int
    evaluated: int
    puzzle_tokens: int
    solution_tokens: int
    evaluation_tokens: int
    trained_tokens: float
    rollouts: Rollouts | None = None

    def guess(self, stage: str) -> float:
        """Estimated seconds of a stage, by its name in `stages`."""
        kinds = {
            "evaluation": self._sampling(self.evaluated, self.evaluation_tokens)
            + self._judging(self.evaluated),
            "puzzles": self._sampling(self.puzzles, self.puzzle_tokens)
            + self.puzzles * _SCREENING_S / self.cores,
            "solutions and verdicts": self._sampling(self._solutions, self.solution_tokens)
            + self._judging(self._solutions),
            "training": 6 * self.parameters * self.trained_tokens / self.flops_per_s[1]
            + _COMPILE_S
            + self._rollouts(),
        }
        kinds["training and evaluation"] = kinds["training"] + kinds["evaluation"]
        return _STAGE_S + kinds.get(kind(stage), 0.0)

    @property
    def _solutions(self) -> float:
        return self.puzzles * YIELD * self.attempts

    def _sampling(self, attempts: float, tokens: int) -> float:
        return attempts * tokens * _LENGTH * 2 * self.parameters / self.flops_per_s[0]

    def _rollouts(self) -> float:
        if self.rollouts is None:
            return 0.0
        made = self.rollouts
        sampling = self._sampling(made.attempts, made.attempt_tokens)
        sampling += self._sampling(made.proposals, made.proposal_tokens)
        return sampling + self._judging(made.attempts) + made.proposals * _SCREENING_S / self.cores

    def _judging(self, attempts: float) -> float:
        return attempts * _VERDICT_S / self.cores

    def disk_bytes(self, names: list[str]) -> float:
        """Disk space of a run with these stages: float32 weights, optimizer state during training, and records."""
        models = sum(kind(name).startswith("training") for name in names)
        evaluations = sum(kind(name).endswith("evaluation") for name in names)
        iterations = sum(kind(name) == "puzzles" for name in names)
        records = evaluations * self.evaluated + iterations * (self.puzzles + self._solutions)
        in_training = 0.0
        if self.rollouts is not None:
            learnt = self.rollouts.attempts + self.rollouts.proposals
            in_training = iterations * (learnt * _RECORD_BYTES + self.rollouts.tokens() * _TOKEN_BYTES)
        return 4.0 * self.parameters * (models + 2 * bool(models)) + records * _RECORD_BYTES + in_training


def flops_per_s(platform: str, device_kind: str, devices: int) -> tuple[float, float]:
    """Guessed rates of decoding and of training that a run achieves on all devices."""
    if platform == "cpu":
        all_cores = _CORE_FLOPS * (os.cpu_count() or 1)
        return all_cores, all_cores
    peak = machine.peak(device_kind)
    best = (peak.flops_per_s if peak else _UNKNOWN_DEVICE) * devices
    return best * _DECODING_SHARE, best * _TRAINING_SHARE


def kind(stage: str) -> str:
    """`training` for `iteration 3: training`."""
    return stage.partition(": ")[2] or stage


def stages(iterations: int, controls: tuple[str, ...], measured: str) -> list[str]:
    """The names of a run's stages in order, if every iteration yields pairs."""
    names = ["base: evaluation"]
    for iteration in range(iterations):
        steps = ["puzzles", "solutions and verdicts", "training", "evaluation"]
        if measured == "last" and iteration < iterations - 1:
            steps.pop()
        names += [f"iteration {iteration}: {step}" for step in steps]
    names += [f"{arm}: training and evaluation" for arm in controls] if iterations else []
    return [*names, "table and report"]


class Outlook:
    """How far a run has come, reported on standard error as each stage begins.

    Attributes:
      names: the names of all stages, in order.
    """

    def __init__(self, names: list[str], guesses: Mapping[str, float], *, quiet: bool = False) -> None:
        self.names, self._guesses, self._quiet = list(names), dict(guesses), quiet
        self._seen: dict[str, tuple[float, float]] = {}  # by kind: seconds taken, seconds guessed
        self._done: set[str] = set()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """The block is the stage of this name. A stage that was already finished says nothing about the others."""
        self._say(name)
        started = time.monotonic()
        yield
        self._done.add(name)
        took = time.monotonic() - started
        if took > 1.0:
            seconds, guessed = self._seen.get(kind(name), (0.0, 0.0))
            self._seen[kind(name)] = seconds + took, guessed + self._guesses.get(name, _STAGE_S)

    def left_s(self) -> float:
        """Estimated seconds of the stages that are not done."""
        overall = _ratio(list(self._seen.values()))
        waiting = [name for name in self.names if name not in self._done]
        return sum(
            self._guesses.get(name, _STAGE_S)
            * _ratio([self._seen[kind(name)]] if kind(name) in self._seen else [], overall)
            for name in waiting
        )

    def _say(self, name: str) -> None:
        if self._quiet:
            return
        number = self.names.index(name) + 1 if name in self.names else len(self._done) + 1
        print(
            f"stage {number} of {len(self.names)}, {name}: about {duration(self.left_s())} left",
            file=sys.stderr,
        )


def _ratio(seen: list[tuple[float, float]], otherwise: float = 1.0) -> float:
    guessed = sum(guess for _, guess in seen)
    return sum(took for took, _ in seen) / guessed if guessed else otherwise


def duration(seconds: float) -> str:
    """`40 seconds`, `12 minutes`, `3 hours`, `2 days`: as precise as a guess can be."""
    for unit, length, enough in (("second", 1, 90), ("minute", 60, 90), ("hour", 3600, 36)):
        count = max(1, round(seconds / length))
        if count <= enough:
            return f"{count} {unit}{'s' if count != 1 else ''}"
    return f"{round(seconds / 86400)} days"
