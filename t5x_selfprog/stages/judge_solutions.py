"""Stage 4: sandboxed interpreters judge every attempt.

Reads:    3_solutions, as its shards appear.
Writes:   RUN/iter_NNN/4_verdicts: every attempt with its outcome, none left out.
Restart:  the shard.
Left out: choosing among what was accepted (stage 5).
"""

from collections.abc import Callable

import gin
from t5x_selfprog.stages.attempts import judge_attempts
from t5x_selfprog.stages.context import Context
from verifier import Limits


@gin.configurable(module="judge_solutions")
def run(
    context: Context,
    iteration: int,
    limits: Limits = Limits(cpu_s=1.0),
    generality_trials: int = 4,
    writer_alive: Callable[[], bool] = lambda: True,
) -> None:
    """Judges until the last shard of attempts is done; gives up when `writer_alive` says no more will come."""
    judge_attempts(
        context,
        context.run.stage(iteration, "solutions"),
        context.run.stage(iteration, "verdicts"),
        limits=limits,
        generality_trials=generality_trials,
        writer_alive=writer_alive,
    )
