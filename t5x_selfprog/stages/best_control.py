"""The strongest form of a control arm: how long it trains is chosen on the dev split, never on the held-out one.

Trained as long as the verified arm, a model memorises the few human pairs, and any other arm looks good in comparison.
So the arm is also trained for fractions of those steps, each candidate is measured on dev problems, and the best one
counts.

Reads:    RUN/controls/ARM/5_dataset, the base model, dev problems.
Writes:   RUN/controls/ARM_best/: candidates with their dev evaluations, choice.json, 7_eval.
Restart:  as its stages do.
Left out: every other choice (learning rate, batch size): they are the verified arm's.
"""

from typing import Any

import gin
from t5x_selfprog import hosts
from t5x_selfprog.bounds import Count, Positive
from t5x_selfprog.puzzles.p3 import Problem, in_split, load_problems
from t5x_selfprog.stages import evaluate, finetune
from t5x_selfprog.stages.context import Context
from verifier.errors import UserError
from verifier.storage import files

BEST = "_best"  # the suffix of such an arm's name


def as_many_arms(arm: str) -> int:
    """As how many arms this one counts in the time kept for the end: candidates are trained and measured, too."""
    return 2 if arm.endswith(BEST) else 1


@gin.configurable(module="best_control")
def run(
    context: Context,
    arm: str,
    iterations: int,
    trained: dict[str, Any],
    fractions: tuple[Positive, ...] = (0.05, 0.2, 1.0),
    attempts: Count = 20,
    k: Count = 10,
) -> evaluate.Measurement:
    """Trains `arm` for each fraction of the steps of `trained`, keeps the best by dev Pass@k, and evaluates that one.

    The dev problems are the run's own dev split, or our seeds' if its problems have none (P3).

    Raises UserError if `attempts` are too few for Pass@k.
    """
    if attempts < k:
        raise UserError(
            f"best_control.run.attempts={attempts}: Pass@{k} needs at least {k}; raise it or lower best_control.run.k."
        )
    output = context.run.control(f"{arm}_best", "eval")
    root = output.rpartition("/")[0]
    problems = dev_problems(context)
    found, steps = [], trained["step"]
    for fraction in fractions:
        count = max(1, round(fraction * steps))
        checkpoints = (
            context.run.control(arm, "checkpoints") if count == steps else files.join(root, f"steps_{count}")
        )
        finetune.run(
            context, [context.run.control(arm, "dataset")], context.experiment.base, checkpoints,
            finetune.as_long_as(trained, count), label=f"{arm} {count} steps",
        )  # fmt: skip
        evaluation = evaluate.run(
            context, evaluate.Subject(checkpoints, files.join(root, f"dev_{count}"), f"{arm} {count} steps"),
            attempts=attempts, problems=problems, split="dev",
        ).result()  # fmt: skip
        found.append(
            {"steps": count, "checkpoints": checkpoints, "dev": evaluation["pass_at_k"]["all"][str(k)]}
        )
    best = max(found, key=lambda item: item["dev"]["estimate"])
    if hosts.is_first():
        files.write_json(files.join(root, "choice.json"), {"k": k, "tried": found})
    return evaluate.run(context, evaluate.Subject(best["checkpoints"], output, f"{arm}_best", iterations - 1))


def dev_problems(context: Context) -> list[Problem]:
    """The run's dev split, or our seeds'."""
    if any(problem.split == "dev" for problem in context.problems):
        return in_split(context.problems, "dev")
    return in_split(load_problems("seeds"), "dev")
