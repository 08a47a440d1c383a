"""Learning from verdicts in a plan: what a batch attempts, the rows of a step, what is held meanwhile, and the time.

Settings are those that the stage will get. How long attempts are and how many proposals are attempted no setting says:
`workload.Yields` does. Every group is taken to have something to teach; those that have not make a step's rows fewer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from t5x_selfprog.gin_values import handed
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.partitioning import Partitioner
from t5x_selfprog.plan import workload
from t5x_selfprog.plan.lowering import Learner
from t5x_selfprog.plan.workload import Workload, Yields
from t5x_selfprog.preflight import check_learner
from t5x_selfprog.puzzles.prompts import SolvePrompt
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.stages.policy_room import Held
from t5x_selfprog.stages.policy_settings import PolicyTraining

SCREENING_S = 0.02  # CPU seconds of a proposal's screening, as the outlook of a run has it
BASE_TOO = 4 / 3  # of a step's time, where the base reads the attempts as well
STAGE = "6 policy gradient"  # in a plan's hours
ATTEMPTS, PROPOSALS = "attempt ", "proposal "  # begin the names of programs and rates


@dataclasses.dataclass(frozen=True)
class Policy:
    """One iteration's learning from verdicts.

    Attributes:
      stage: "grpo.run" or "selfplay.run".
      attempting, prompt: how tasks are attempted.
      proposing: how puzzles are proposed; None where they are not. prompt_tokens: of a prompt for them.
      tasks: attempted in a batch, `training.attempts` times each; in self-play with the valid and new proposals.
      prompts: for puzzles in a batch, completed as often.
      batches: of an iteration.
      base_apart: whether the base is loaded beside, for the divergence from it.
    """

    stage: str
    training: PolicyTraining
    attempting: SamplingConfig
    prompt: SolvePrompt
    tasks: float
    batches: int
    proposing: SamplingConfig | None = None
    prompt_tokens: int = 0
    prompts: int = 0
    base_apart: bool = False

    @classmethod
    def configured(cls, config: ModelConfig, work: Workload, yields: Yields) -> Policy | None:
        """As gin is configured now; None where pairs are learnt. Raises UserError for what the stage refuses."""
        stage = check_learner()
        if not stage:
            return None
        attempting, training = handed(stage, "attempting"), handed(stage, "training").within(config)
        # Later iterations begin from other weights than the base's.
        apart = work.iterations > 1 and workload.bound("Experiment.start", "base") == "previous"
        common: dict[str, Any] = {
            "stage": stage,
            "training": training,
            "attempting": attempting.sampling.fitted(training.attempts),
            "prompt": attempting.prompt,
            "base_apart": apart and bool(training.objective.kl),
        }
        if stage == "grpo.run":
            puzzles, each = handed(stage, "puzzles"), handed(stage, "each")
            batches = training.batches
            if each is not None:
                left = each * work.puzzles_kept - work.solution_attempts
                batches = max(1, int(left / (puzzles * training.attempts)))
            return cls(tasks=puzzles, batches=batches, **common)
        mix, proposing = handed(stage, "mix"), handed(stage, "proposing")
        offered = mix.prompts * training.attempts
        return cls(
            tasks=mix.puzzles + mix.deductions + mix.abductions + yields.kept * offered,
            batches=training.batches,
            proposing=proposing.sampling.fitted(training.attempts) if mix.prompts else None,
            prompt_tokens=proposing.prompt_tokens,
            prompts=mix.prompts,
            **common,
        )

    @property
    def learner(self) -> Learner:
        training = self.training
        steps = self.batches * training.updates
        return Learner(training.loop, training.lora, training.objective, steps)

    @property
    def attempts(self) -> float:
        """At tasks, in a batch."""
        return self.tasks * self.training.attempts

    @property
    def proposals(self) -> int:
        """In a batch."""
        return self.prompts * self.training.attempts

    def rows(self, prefix_tokens: int, yields: Yields, ways: int) -> tuple[int, int]:
        """Rows of a step, where attempts are as long as `yields` says, and where all are as long as they may be.

        ways: in which the mesh splits rows.
        """
        new, longest = yields.solution_tokens, self.attempting.max_new_tokens
        usual = self._rows(
            prefix_tokens + yields.puzzle_tokens + new, self.prompt_tokens + yields.puzzle_tokens, ways
        )
        most = prefix_tokens + self.attempting.prompt_buckets[-1] + longest
        written = 0 if self.proposing is None else self.proposing.max_new_tokens
        return usual, self._rows(most, self.prompt_tokens + written, ways)

    def _rows(self, attempt: float, proposal: float, ways: int) -> int:
        """Of attempts and proposals of so many tokens each, prompts included; a power of two times `ways`."""
        length = self.training.length
        packed = self.attempts / max(1, length // max(1, attempt))
        packed += self.proposals / max(1, length // max(1, proposal))
        rows = ways
        while rows < packed / self.training.updates:
            rows *= 2
        return rows

    def summary(self, rows: int, most: int) -> dict[str, Any]:
        """What a plan says of it."""
        return {
            "stage": self.stage,
            "batches": self.batches,
            "updates": self.training.updates,
            "attempts": self.attempts,
            "proposals": self.proposals,
            "rows": rows,
            "rows_at_most": most,
            "objective": dataclasses.asdict(self.training.objective),
        }

    def held_bytes(self, partitioner: Partitioner, config: ModelConfig, step_bytes: float) -> float:
        """The most that a device holds, of a step that needs `step_bytes` and, without caches, of sampling."""
        beside = self.beside(config, partitioner)
        return max(beside["train"] + step_bytes, beside["sampling"])

    def beside(self, config: ModelConfig, partitioner: Partitioner) -> dict[str, int]:
        """Bytes that a device holds beside each program's own arguments, temporaries and results."""
        held = Held.of(config, self.training, partitioner, self.base_apart)

        def size(parts: list[Any]) -> int:
            return sum(part.num_bytes for part in parts)

        whole = self.training.lora is None
        adapted = held.stays[1:]  # the adapters' base is an argument of the programs below
        return {
            "sampling": size(held.while_sampling()),
            # The weights that are cut for decoding: the newest, or the merged ones.
            "cut": size(held.stays + held.newest[whole:]),
            "train": size(held.stays if whole else adapted),
            "merge": size([*adapted, held.newest[1]]),
            "base": size([*held.stays[1:], *held.newest]),
        }


def batch_seconds(policy: Policy, plan: Mapping[str, Any], yields: Yields, cores: int) -> dict[str, float]:
    """Seconds of a batch of one iteration by what is done: one after the other, since a step waits for its verdicts.

    cores: that judge.
    """
    rates, chips = plan["rates"], plan["chips"]
    sampling = policy.attempts * yields.solution_tokens / (rates[f"{ATTEMPTS}decode"][0] * chips)
    sampling += policy.tasks / rates[f"{ATTEMPTS}prompts_per_s"]
    if policy.proposing is not None:
        sampling += policy.proposals * yields.puzzle_tokens / (rates[f"{PROPOSALS}decode"][0] * chips)
        sampling += policy.prompts / rates[f"{PROPOSALS}prompts_per_s"]
    step_s = plan["batch_size"] * plan["length"] / (rates["train"][0] * chips)
    return {
        "sampling": sampling,
        "verdicts": core_seconds(policy, yields) / cores,
        "steps": policy.training.updates * step_s * (BASE_TOO if policy.training.objective.kl else 1.0),
    }


def core_seconds(policy: Policy, yields: Yields) -> float:
    """CPU seconds that judging and screening a batch takes."""
    judged = policy.attempts * yields.distinct * yields.verdict_s()
    return judged + policy.proposals * SCREENING_S


def describe(plan: Mapping[str, Any]) -> str:
    """A line for people."""
    found = plan["policy"]
    offered = f" and {found['proposals']:,} proposals" if found["proposals"] else ""
    took = "".join(f", {name} {seconds:,.1f} s" for name, seconds in found.get("batch_s", {}).items())
    return (
        f"  policy   {found['stage']}: {found['batches']:,} batches of about {found['attempts']:,.0f} attempts{offered}"
        f"; {found['rows']:,} rows of {plan['length']:,} a step, at most {found['rows_at_most']:,}{took}"
    )
