"""What a proposed puzzle is worth: whether it is valid, whether it is new, and whether its solve rate is near a target.

Targets: Absolute Zero's 1 - rate, and 0 where no attempt or every attempt was accepted (Zhao et al. 2025,
arXiv:2505.03335); R-Zero's 1 - 2 |rate - 1/2| (Huang et al. 2025, arXiv:2508.05004).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from t5x_selfprog.bounds import NotNegative
from verifier.errors import UserError

Target = Literal["absolute_zero", "r_zero"]
PARTS = ("valid", "novel", "rate")


@dataclass(frozen=True)
class Proposed:
    """What became of one proposal.

    Attributes:
      valid: a puzzle by the rules, of the kind that trivial answers do not solve, and like no held-out problem.
      novelty: 1 for the first puzzle of its shape, 1/2 for the second, ...; 0 for one that exists already.
      accepted, tried: attempts at it; none unless it is valid and new.
    """

    valid: bool = False
    novelty: float = 0.0
    accepted: int = 0
    tried: int = 0


@dataclass(frozen=True)
class ProposerReward:
    """The weights of a proposal's reward.

    Attributes:
      target: of the solve rate, "absolute_zero" or "r_zero".
      valid, novel, rate: what each part counts.
    """

    target: Target = "absolute_zero"
    valid: NotNegative = 0.2
    novel: NotNegative = 0.2
    rate: NotNegative = 1.0

    def __post_init__(self) -> None:
        if self.target not in get_args(Target):
            raise UserError(
                f"ProposerReward.target={self.target!r}: choose {', '.join(map(repr, get_args(Target)))}."
            )
        for name in PARTS:
            if getattr(self, name) < 0:
                raise UserError(f"ProposerReward.{name}={getattr(self, name)}: must not be negative.")
        if not any(getattr(self, name) for name in PARTS):
            raise UserError("ProposerReward: valid, novel and rate are all 0, so nothing would be rewarded.")

    def parts(self, proposed: Proposed) -> dict[str, float]:
        """What each part adds to the reward."""
        return {
            "valid": self.valid * proposed.valid,
            "novel": self.novel * proposed.novelty,
            "rate": self.rate * self._near(proposed),
        }

    def of(self, proposed: Proposed) -> float:
        return sum(self.parts(proposed).values())

    def shares(self, proposals: Iterable[Proposed]) -> dict[str, float]:
        """Each part's share of everything that was rewarded; zeros where nothing was."""
        totals = dict.fromkeys(PARTS, 0.0)
        for proposed in proposals:
            for name, value in self.parts(proposed).items():
                totals[name] += value
        whole = sum(totals.values())
        return {name: round(value / whole, 6) if whole else 0.0 for name, value in totals.items()}

    def _near(self, proposed: Proposed) -> float:
        if not 0 < proposed.accepted < proposed.tried:
            return 0.0  # by both targets
        rate = proposed.accepted / proposed.tried
        return 1 - rate if self.target == "absolute_zero" else 1 - 2 * abs(rate - 0.5)
