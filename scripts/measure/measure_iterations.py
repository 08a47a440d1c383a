#!/usr/bin/env python
"""What two iterations of a loop bring under several settings, from the same first verdicts; prints one JSON object.

  scripts/measure/measure_iterations.py --run_dir=runs/claim_smollm2 --gin_file=claim_smollm2_135m \\
      --model=models/NAME --work=iterations --variant pairs Selection.lists=0 --variant lists Selection.lists=0.5

A card samples and judges more in a minute than CPUs in an hour, so a run's first iteration, up to its verdicts and
hindsight, is taken as it is, and every variant learns from it. Those named by --again then write, solve and learn a
second iteration. The base and each model are measured on the dev split of our own puzzles, asked alike, so a variant
may change what is learnt and written but not how solutions are asked for. Killed anywhere, the same command continues.
With the defaults, a model of 135M takes two cores a quarter of an hour a variant, and half an hour more with --again.
"""

import argparse
import json
import os
import sys
from collections import Counter
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
if Path(sys.prefix).resolve() != (REPOSITORY / ".venv").resolve() and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), "-W", "ignore", __file__, *sys.argv[1:]])
sys.path.insert(0, str(REPOSITORY))

from measure_drift import copy, is_not_judged, of_a_judged_run, selfprog  # beside this script

import t5x_selfprog.loop  # noqa: F401 (declares the stages to gin)
from t5x_selfprog.run_layout import RunDir
from verifier.errors import UserError
from verifier.storage import files

# For CPUs: small grids, float32, a batch of two rows, and no more positions than our own puzzles need.
SMALL = (
    "LoopConfig.dtype='float32'", "finetune.run.batch_size=2",
    "solutions/SamplingConfig.prompt_buckets=(160,320)", "evaluation/SamplingConfig.prompt_buckets=(160,320)",
    "evaluation/SamplingConfig.max_new_tokens=56",
    *(
        f"{stage}/SamplingConfig.{name}={value!r}"
        for stage, rows in (("puzzles", 16), ("solutions", 4), ("evaluation", 4))
        for name, value in (
            ("weights_dtype", "float32"), ("cache_dtype", "float32"), ("rows_per_prompt", rows),
            ("prompts_in_flight", 128 // rows), ("tail_prompts", 0), ("prompts_per_load", 1 if rows == 16 else 8),
        )
    ),
)  # fmt: skip


def main() -> int:
    parser = of_a_judged_run(__doc__)
    parser.add_argument(
        "--variant", action="append", nargs="+", required=True, metavar=("NAME", "BINDING"),
        help="a name, and what it sets",
    )  # fmt: skip
    parser.add_argument(
        "--again",
        action="append",
        default=[],
        metavar="NAME",
        help="a variant that goes on to a second iteration",
    )
    parser.add_argument(
        "--prompts", type=int, default=48, help="of the second iteration, 16 puzzles each (%(default)s)"
    )
    parser.add_argument("--attempts", type=int, default=8, help="at each puzzle kept (%(default)s)")
    parser.add_argument("--measured", type=int, default=8, help="attempts at each dev problem (%(default)s)")
    options = parser.parse_args()
    if is_not_judged(options.run_dir):
        return UserError.EXIT_CODE
    evaluations = {"base": evaluated(options, "base", options.model)}
    found: dict[str, list[object]] = {name: [] for name, *_ in options.variant}
    for iteration in range(2):
        for name, *bindings in options.variant:
            if not iteration or name in options.again:
                found[name].append(looped(options, name, bindings, iteration, evaluations))
    print(json.dumps({"variants": found, "evaluations": evaluations}, indent=1))
    return 0


def looped(
    options: argparse.Namespace,
    name: str,
    bindings: list[str],
    iteration: int,
    evaluations: dict[str, object],
) -> dict[str, object]:
    """One iteration of a variant, whose model is measured: its funnel, outcomes, and what was learnt."""
    run = RunDir(f"{options.work}/{name}")
    settings = [
        *SMALL, *bindings, f"Experiment.base={options.model!r}", f"Experiment.shards={options.shards}",
        f"finetune.run.steps={options.steps}", f"sample_puzzles.run.prompts={options.prompts}",
        "sample_puzzles.run.attempts=16", "Schedule.prompts=1.0", f"sample_solutions.run.attempts={options.attempts}",
    ]  # fmt: skip
    if not files.exists(run.root):
        copy(RunDir(options.run_dir), run.root, options.gin_file, settings, evaluated=False)
    for command in ("generate", "solve", "verify") * iteration + ("finetune",):
        selfprog(options.gin_file, command, run.root, settings, f"--iteration={iteration}")
    model = run.stage(iteration, "checkpoints")
    evaluations[f"{name} {iteration}"] = evaluated(options, f"{name}_{iteration}", model)
    funnel = files.read_json(run.funnel(iteration))
    done = files.read_json(files.join(model, "done.json"))
    return {
        "stages": {stage["name"]: stage["count"] for stage in funnel["stages"]},
        "rejections": funnel["rejections"],
        "outcomes": dict(Counter(verdict["outcome"] for verdict in run.read(iteration, "verdicts"))),
        "learnt": {part: done[part] for part in ("step", "batch_rows", "pairs", "tokens")},
    }


def evaluated(options: argparse.Namespace, name: str, model: str) -> object:
    """The evaluation of a model on the dev split, in a run directory of its own."""
    folder = files.join(options.work, "dev", name)
    settings = [
        *SMALL, "Experiment.problems='seeds'", "Experiment.eval_split='dev'", f"Experiment.base={options.model!r}",
        "Experiment.max_eval_problems=None", f"evaluate.run.attempts={options.measured}",
    ]  # fmt: skip
    selfprog(options.gin_file, "evaluate", folder, settings, f"--model={model}")
    (found,) = Path(folder).glob("models/*/7_eval/evaluation.json")
    return files.read_json(str(found))


if __name__ == "__main__":
    sys.exit(main())
