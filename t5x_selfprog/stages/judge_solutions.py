"""Stage 4: sandboxed interpreters judge every attempt.

Reads:    3_solutions, as its shards appear.
Writes:   RUN/iter_NNN/4_verdicts: every attempt with its outcome, none left out.
Restart:  the shard.
Left out: choosing among accepted solutions (stage 5).
"""

from collections.abc import Callable

import gin
from t5x_selfprog.bounds import Seed, Whole
from t5x_selfprog.stages.context import Context
from t5x_selfprog.stages.judging import finish_verdicts, judge_attempts
from verifier import Limits
from verifier.fleet.terms import Terms


@gin.configurable(module="judge_solutions")
def run(
    context: Context,
    iteration: int,
    limits: Limits = Limits(cpu_s=1.0),
    generality_trials: Whole = 4,
    certify_seed: Seed | None = None,
    writer_alive: Callable[[], bool] = lambda: True,
) -> None:
    """Judges until the last shard of attempts is done; gives up when `writer_alive` says that no more will come.

    With a `certify_seed`, accepted solutions run again in other processes under that hash seed; one that fails then is
    `unstable`: it depends on the order of a set, or worse.
    """
    judge_attempts(
        context,
        context.run.stage(iteration, "solutions"),
        context.run.stage(iteration, "verdicts"),
        terms=Terms(limits, generality_trials, certify_seed),
        writer_alive=writer_alive,
    )


def finish(context: Context, iteration: int) -> None:
    """Completes the stage, after `run` on every host. Collective."""
    finish_verdicts(context, context.run.stage(iteration, "verdicts"))
