"""Stage 3: the model attempts every puzzle that was kept.

Reads:    2_kept, the newest checkpoint before this iteration.
Writes:   RUN/iter_NNN/3_solutions, one record per attempt.
Restart:  the shard; an attempt is a function of (seed, iteration, puzzle, sample index).
Left out: judging, which runs beside it (stage 4).
"""

import gin
from t5x_selfprog.bounds import Count
from t5x_selfprog.puzzles.prompts import SolvePrompt
from t5x_selfprog.sampling.sampler import SamplingConfig
from t5x_selfprog.schedule import Schedule
from t5x_selfprog.stages.attempts import Allocation, Solving, sample_attempts
from t5x_selfprog.stages.context import Context
from t5x_selfprog.stages.earlier_attempts import EarlierAttempts
from t5x_selfprog.telemetry import recorder


@gin.configurable(module="sample_solutions")
def run(
    context: Context,
    iteration: int,
    sampling: SamplingConfig = gin.REQUIRED,
    prompt: SolvePrompt = SolvePrompt(),
    attempts: Count = 100,
    allocation: Allocation | None = None,
    schedule: Schedule = Schedule(),
) -> None:
    """Samples `attempts` solutions per puzzle, or fewer if an allocation finds that a puzzle has enough.

    The `schedule` says how many are sampled after the first iteration.
    """
    kept = [(record["puzzle_id"], record["source"]) for record in context.run.read(iteration, "kept")]
    path = context.run.stage(iteration, "solutions")
    with recorder.current().stage(path):
        sample_attempts(
            context,
            kept,
            path,
            Solving(schedule.attempts_of(context.run, iteration, attempts), sampling, prompt, allocation),
            model=context.run.sampled_from(iteration, context.experiment.base),
            key=context.key(iteration, "solutions"),
            label=f"{iteration}.3",
            earlier=EarlierAttempts(context.run.root, path),
        )
