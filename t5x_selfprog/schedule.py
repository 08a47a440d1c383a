"""How much each iteration samples, and when another iteration is pointless.

Self-play feeds on its yield: a model trained on a hundred correct pairs writes more of them per attempt, so early
iterations may be short and later ones longer. Everything here is a function of the run directory, so that stages run by
hand and resumed runs sample as much as an uninterrupted run.
"""

import dataclasses
import math

from t5x_selfprog.run_layout import RunDir
from verifier.errors import UserError
from verifier.storage import files


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Factors on sample_puzzles.run.prompts and sample_solutions.run.attempts, and rules that end a run.

    Attributes:
      prompts, attempts: factor from one iteration to the next; 1 samples equally much in each.
      after_nothing: factor on both after an iteration without a single pair.
      most: the limit of each factor in any one iteration.
      nothing_in_a_row: the run ends after this many iterations in a row without a pair.
      least_gain: the run ends after an iteration whose new pairs are less than this share of all so far; 0 means never.
    """

    prompts: float = 1.0
    attempts: float = 1.0
    after_nothing: float = 2.0
    most: float = 16.0
    nothing_in_a_row: int = 2
    least_gain: float = 0.0

    def __post_init__(self) -> None:
        for name in ("prompts", "attempts"):
            if not getattr(self, name) > 0:
                raise UserError(f"Schedule.{name}={getattr(self, name)}: must be above 0; 1 changes nothing.")
        for name in ("after_nothing", "most", "nothing_in_a_row"):
            if not getattr(self, name) >= 1:
                raise UserError(f"Schedule.{name}={getattr(self, name)}: must be at least 1.")
        if not 0 <= self.least_gain < 1:
            raise UserError(
                f"Schedule.least_gain={self.least_gain}: must be a share from 0 up to, but not, 1."
            )

    def prompts_of(self, run: RunDir, iteration: int, prompts: int) -> int:
        """How many prompts an iteration draws, if the first draws `prompts`."""
        return _scaled(prompts, self._factor(run, iteration, self.prompts))

    def attempts_of(self, run: RunDir, iteration: int, attempts: int) -> int:
        """How many attempts a puzzle gets, if it gets `attempts` in the first iteration."""
        return _scaled(attempts, self._factor(run, iteration, self.attempts))

    def factors(self, run: RunDir, iteration: int) -> tuple[float, float]:
        """How many times as many prompts, and attempts at each puzzle, as the first iteration this one has."""
        return self._factor(run, iteration, self.prompts), self._factor(run, iteration, self.attempts)

    def _factor(self, run: RunDir, iteration: int, factor: float) -> float:
        return min(self.most, factor**iteration * self.after_nothing ** _nothing_before(run, iteration))

    def why_end(self, run: RunDir, made: int) -> str | None:
        """Why the run ends after `made` iterations; None if it continues."""
        empty = _nothing_before(run, made)
        if empty >= self.nothing_in_a_row:
            return f"{empty} iterations in a row brought no pair"
        new = [_rows(run, iteration) for iteration in range(made)]
        if self.least_gain and made > 1 and new[-1] < self.least_gain * math.fsum(new):
            return (
                f"iteration {made - 1} brought {new[-1]:g} of {math.fsum(new):g} pairs, less than "
                f"Schedule.least_gain={self.least_gain:g} of them"
            )
        return None


def _scaled(number: int, factor: float) -> int:
    return max(1, round(number * factor))


def _rows(run: RunDir, iteration: int) -> int:
    return int(files.read_json(files.join(run.stage(iteration, "dataset"), "manifest.json"))["rows"])


def _nothing_before(run: RunDir, iteration: int) -> int:
    """The number of consecutive iterations without a pair just before this one."""
    empty = 0
    while empty < iteration and run.learnt_nothing(iteration - 1 - empty):
        empty += 1
    return empty
