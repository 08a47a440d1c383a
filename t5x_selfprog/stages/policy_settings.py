"""What gin binds for the stages that learn from verdicts: how they solve, propose, mix batches and train.

`require_learnable` and `require_playable` refuse what cannot work, before anything is loaded.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

from t5x_selfprog.bounds import Bound, Count, Whole
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.puzzles.behaviour import BehaviourCheck
from t5x_selfprog.puzzles.prompts import SolvePrompt
from t5x_selfprog.puzzles.proposing import ProposerReward
from t5x_selfprog.puzzles.rules import PuzzleRules
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.training.lora import Lora
from t5x_selfprog.training.policy_gradient import PolicyGradient
from t5x_selfprog.training.train_loop import LoopConfig
from verifier import Limits
from verifier.errors import UserError

Group = Annotated[int, Bound(least=2)]  # attempts whose rewards are compared
OWN_DISTRIBUTION = SamplingConfig(temperature=1.0)


@dataclasses.dataclass(frozen=True)
class Attempting:
    """How puzzles are attempted and judged; in self-play also how programs are reasoned about."""

    sampling: SamplingConfig = OWN_DISTRIBUTION
    prompt: SolvePrompt = SolvePrompt()
    limits: Limits = Limits(cpu_s=1.0)


@dataclasses.dataclass(frozen=True)
class Proposing:
    """How puzzles are proposed, screened and rewarded.

    Attributes:
      prompt_tokens: the most tokens of prompts for puzzles, which show train problems.
      rules, limits, behaviour: as in stage 2; puzzles that behave like a held-out problem are not attempted.
    """

    sampling: SamplingConfig = OWN_DISTRIBUTION
    prompt_tokens: Count = 384
    rules: PuzzleRules = PuzzleRules()
    limits: Limits = Limits(cpu_s=0.5)
    behaviour: BehaviourCheck | None = BehaviourCheck()
    reward: ProposerReward = ProposerReward()


@dataclasses.dataclass(frozen=True)
class PolicyTraining:
    """How much is sampled, and how it is learnt.

    Attributes:
      batches: how often new attempts are made, by the newest weights.
      attempts: at each puzzle, prompt or task of a batch.
      updates: steps per batch, each on a different part of its attempts. 1 is on-policy throughout.
      length: tokens of a row; prompt and attempt must fit.
      lora: trains adapters instead of all weights, and merges them wherever the model samples.
    """

    objective: PolicyGradient = PolicyGradient()
    loop: LoopConfig = LoopConfig()
    lora: Lora | None = None
    batches: Count = 20
    attempts: Group = 8
    updates: Count = 1
    length: Count = 1024

    @property
    def steps(self) -> int:
        return self.batches * self.updates

    def within(self, model: ModelConfig) -> PolicyTraining:
        """The same with rows that a model's context admits."""
        return dataclasses.replace(self, length=min(self.length, model.context_length))


@dataclasses.dataclass(frozen=True)
class Mix:
    """What a batch of self-play consists of; everything is attempted in groups of the same size.

    Attributes:
      prompts: prompts for puzzles, each completed as often as a puzzle is attempted.
      puzzles: stage 2's puzzles that stage 4 found learnable, attempted beside all valid and new proposals.
      deductions: programs whose output on an input is asked for.
      abductions: programs for whose output an input is asked for.
    """

    prompts: Whole = 4
    puzzles: Whole = 4
    deductions: Whole = 4
    abductions: Whole = 4

    def __post_init__(self) -> None:
        if not any(dataclasses.astuple(self)):
            raise UserError(
                "Mix: prompts, puzzles, deductions and abductions are all 0, so nothing is attempted."
            )


def require_learnable(attempting: Attempting, training: PolicyTraining) -> None:
    """Raises UserError for settings that no policy gradient can work with, before any work begins."""
    require_own_distribution(attempting.sampling, "Attempting.sampling")
    require_full_limits(attempting.limits)
    require_float_base(training.lora)


def require_playable(
    attempting: Attempting, proposing: Proposing, training: PolicyTraining, mix: Mix
) -> None:
    """As `require_learnable`, for self-play."""
    require_learnable(attempting, training)
    require_own_distribution(proposing.sampling, "Proposing.sampling")
    if mix.prompts and proposing.prompt_tokens + proposing.sampling.max_new_tokens > training.length:
        raise UserError(
            f"PolicyTraining.length={training.length}: a prompt for puzzles "
            f"(Proposing.prompt_tokens={proposing.prompt_tokens}) and its answer "
            f"({proposing.sampling.max_new_tokens}, SamplingConfig.max_new_tokens) do not fit a row. Raise the first "
            "or lower one of the others."
        )


def require_own_distribution(sampling: SamplingConfig, parameter: str) -> None:
    """Raises UserError if sampling is not from the model's own distribution, whose gradient is taken."""
    for name, own in (("temperature", 1.0), ("top_k", 0), ("top_p", 1.0)):
        if getattr(sampling, name) != own:
            raise UserError(
                f"{parameter}: SamplingConfig.{name}={getattr(sampling, name)}: must be {own}, since the "
                "gradient is of the model's own distribution."
            )


def require_full_limits(limits: Limits) -> None:
    """Raises UserError if an attempt may be cut short because others solved its puzzle."""
    if limits.tiers is not None:
        raise UserError(
            f"Attempting.limits: Limits.tiers={limits.tiers}: must be None, since attempts that are right but slow "
            "would be punished wherever another solved their puzzle. Give it limits of its own: Attempting.limits = "
            "@policy/Limits()."
        )


def require_float_base(lora: Lora | None) -> None:
    """Raises UserError if adapters would be trained on a base other than the one that samples."""
    if lora is not None and lora.base_dtype != "float32":
        raise UserError(
            f"PolicyTraining.lora: Lora.base_dtype={lora.base_dtype!r}: must be 'float32' here. Attempts are sampled "
            "by the base as it is, with the adapters merged; ratios to those of a rounded base would not begin at 1."
        )
