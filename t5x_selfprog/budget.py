"""A run within a budget of wall time: as many iterations as fit, with time reserved for the end of the run.

Before an iteration begins, time is reserved for the end: evaluating the last model, and training and evaluating each
control arm. The decision to end depends on the clock, so it is written to RUN/ended.json, and a run that is killed
afterwards keeps to it.
"""

import contextlib
import dataclasses
import time
from collections.abc import Iterator
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
      margin: time allowed for the next iteration and the end, as a multiple of what the last iteration and the base's
        evaluation took, because iterations grow with their yield and an end that is cut off is worthless.
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
    def on(self, part: str) -> Iterator[None]:
        """Times the block as `part`; the latest time of a part is the estimate for its next one.

        Time spent compiling does not count, because the next one finds its programs compiled.
        """
        clock = recorder.current().clock
        started, compiled = time.monotonic(), clock.seconds("compile")
        yield
        took = time.monotonic() - started - (clock.seconds("compile") - compiled)
        if took > 0.5:  # skipping a finished part says nothing about the next one
            self._took[part] = took
            if hosts.is_first():
                files.write_json(self._took_path, self._took)

    def may_begin(self, iteration: int, arms: int) -> bool:
        """Whether to run `iteration`: False if the run has ended or only the time for its end is left. Collective.

        Args:
          arms: how many models are trained and evaluated after the last iteration.

        Raises:
          UserError: the budget is spent before the first iteration; the message says how much a run takes.
        """
        ended = hosts.agree(_read(self._path))
        if ended is not None:
            return iteration < ended["iterations"]
        if not self._budget.seconds:
            return True
        spent, margin = time.monotonic() - self._started, self._budget.margin
        end = margin * arms * (self._took.get("evaluation", 0.0) + self._took.get("training", 0.0))
        following = margin * self._took.get("iteration", 0.0)
        going, needed = hosts.agree(
            (spent + following + end <= self._budget.seconds, spent + following + end)
        )
        if going:
            return True
        if iteration == 0:
            raise UserError(
                f"Budget.seconds={self._budget.seconds:g} leave no room for an iteration: the base's evaluation "
                f"took {spent:.0f} s and {arms} more at the end take about {end:.0f} s. Give at least "
                f"{2 * needed:.0f} s, or lower evaluate.run.attempts. The same command then goes on."
            )
        self.end(iteration, f"another iteration would have ended after {needed:.0f} s")
        return False

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
