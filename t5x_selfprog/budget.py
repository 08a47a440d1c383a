"""A run within a budget of wall time: as many iterations as fit, with time reserved for the end of the run.

Before an iteration begins, time is reserved for the end: evaluating the last model, and training and evaluating each
control arm. The next time of a part is expected in proportion to its work (amounts.py): where iterations double, so do
their seconds, and a model that has learnt to write puzzles keeps several times as many. How many it keeps is known only
once they are screened, so an iteration that has begun is given up if the rest of it does not fit: a run whose end is
cut off has measured nothing. The decision to end depends on the clock, so it is written to RUN/ended.json, and a run
that is killed afterwards keeps to it.
"""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping
from typing import Any

from t5x_selfprog import hosts
from t5x_selfprog.run_layout import ENDED
from t5x_selfprog.telemetry import recorder
from verifier.errors import UserError
from verifier.storage import files

TOOK = "took.json"  # measured seconds of the run's parts, for a process that finds them done


@dataclasses.dataclass(frozen=True)
class Budget:
    """Wall time for one process, counted from the start of the loop.

    Attributes:
      seconds: for everything this process does in the run; 0 means no limit.
      margin: time allowed for the next iteration and the end, as a multiple of what is expected of them from the last
        iteration and the base's evaluation, because an end that is cut off is worthless.
    """

    seconds: float = 0.0
    margin: float = 1.3

    def __post_init__(self):
        if self.seconds < 0:
            raise UserError(f"Budget.seconds={self.seconds}: give seconds of wall time, or 0 for no limit.")
        if self.margin < 1:
            raise UserError(f"Budget.margin={self.margin}: must be at least 1.")


class Spending:
    """How long parts of a run took, and whether there is time for more."""

    def __init__(self, budget: Budget, run_root: str):
        self._budget, self._path = budget, files.join(run_root, ENDED)
        self._started = time.monotonic()
        self._took_path = files.join(run_root, TOOK)
        self._took: dict[str, float] = _read(self._took_path) or {}

    @contextlib.contextmanager
    def on(self, part: str, work: float = 1.0) -> Iterator[None]:
        """Times the block as `part`; the latest time of a part, and its work, are the estimate for its next one.

        Time spent compiling does not count, because the next one finds its programs compiled.
        """
        clock = recorder.current().clock
        started, compiled = time.monotonic(), clock.seconds("compile")
        yield
        took = time.monotonic() - started - (clock.seconds("compile") - compiled)
        if took > 0.5:  # skipping a finished part says nothing about the next one
            self._took |= {part: took, f"{part}: work": work}
            if hosts.is_first():
                files.write_json(self._took_path, self._took)

    def expected(self, part: str, work: float | None = None) -> float:
        """Seconds that `part` takes with so much work (None: as much as last time), 0 if it was never timed.

        Less work counts as much as last time's, since loading a model takes as long.
        """
        known = self._took.get(f"{part}: work", 0.0)
        more = max(1.0, work / known) if work is not None and known else 1.0
        return more * self._took.get(part, 0.0)

    def may_begin(self, iteration: int, arms: int, parts: Mapping[str, float]) -> bool:
        """Whether to run `iteration`: False if the run has ended or only the time for its end is left. Collective.

        Args:
          arms: how many models are trained and evaluated after the last iteration.
          parts: of the iteration, and the work of each.

        Raises:
          UserError: the budget is spent before the first iteration; the message says how much a run takes.
        """
        ended = hosts.agree(_read(self._path))
        if ended is not None:
            return iteration < ended["iterations"]
        going, needed = self._fits(arms, parts)
        if iteration == 0 and not going:
            end = self._budget.margin * arms * (self.expected("evaluation") + self.expected("training"))
            raise UserError(
                f"Budget.seconds={self._budget.seconds:g} leave no room for an iteration: the base's evaluation "
                f"took {needed - end:.0f} s and {arms} more at the end take about {end:.0f} s. Give at least "
                f"{2 * needed:.0f} s, or lower evaluate.run.attempts. The same command then goes on."
            )
        if not going:
            self.end(iteration, f"another iteration would have ended after {needed:.0f} s")
        return going

    def may_go_on(self, iteration: int, arms: int, parts: Mapping[str, float]) -> bool:
        """Whether the rest of an iteration that has begun fits before the end of the run. Collective.

        The first iteration is always completed: without it there is nothing to measure.

        Args:
          parts: those that are left, and the work of each.
        """
        going, needed = self._fits(arms, parts)
        if iteration and not going and hosts.agree(_read(self._path)) is None:
            self.end(iteration, f"the iteration begun would have ended after {needed:.0f} s")
            return False
        return True

    def _fits(self, arms: int, parts: Mapping[str, float]) -> tuple[bool, float]:
        """Whether these parts and the end fit in the budget, and when all would be over. Collective."""
        left = sum(self.expected(part, work) for part, work in parts.items())
        arm = self.expected("evaluation") + self.expected("training", parts.get("training"))
        needed = time.monotonic() - self._started + self._budget.margin * (left + arms * arm)
        return hosts.agree((not self._budget.seconds or needed <= self._budget.seconds, needed))

    def why_ended(self) -> str | None:
        """Why the run ends before its last iteration; None if nothing has decided so."""
        ended = _read(self._path)
        return None if ended is None else ended["why"]

    def end(self, iterations: int, why: str) -> None:
        """Records that the run ends after this many iterations."""
        if hosts.is_first():
            files.write_json(self._path, {"iterations": iterations, "why": why})
        hosts.barrier(f"{self._path} written")


def _read(path: str) -> dict[str, Any] | None:
    try:
        return files.read_json(path)
    except FileNotFoundError:
        return None
