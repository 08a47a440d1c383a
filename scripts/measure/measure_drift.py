#!/usr/bin/env python
"""What a model writes after it has learnt a run's first pairs, with and without `-> bool`; prints one JSON object.

  scripts/measure/measure_drift.py --run_dir=runs/claim_smollm2 --gin_file=claim_smollm2_135m --model=models/NAME \\
      --work=drift > drift.json

In --work, two copies of the run's first iteration, up to its verdicts and hindsight, learn the same pairs for --steps
steps, once with `SolvePrompt.returns` and once without; then each writes puzzles for a second iteration and filters
them. Killed anywhere, the same command continues. On CPUs it takes some 20 CPU minutes for a model of 135M.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
if Path(sys.prefix).resolve() != (REPOSITORY / ".venv").resolve() and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), "-W", "ignore", __file__, *sys.argv[1:]])
sys.path.insert(0, str(REPOSITORY))

from count_never_true import said  # beside this script

import t5x_selfprog.loop  # noqa: F401 (declares the stages to gin)
from t5x_selfprog import gin_files, run_dir
from t5x_selfprog.run_layout import RunDir
from verifier.errors import UserError
from verifier.storage import files
from verifier.storage.shards import is_finished

LEARNT_FROM = ("puzzles", "kept", "rejected", "screened", "solutions", "verdicts", "hindsight")
NOTED = ("fingerprint.json", "content.json", "probes.json")


def main() -> int:
    parser = of_a_judged_run(__doc__)
    parser.add_argument("--prompts", type=int, default=16, help="with 16 attempts each (%(default)s)")
    parser.add_argument("bindings", nargs="*", help="further flags of selfprog, after --")
    options = parser.parse_args()
    if is_not_judged(options.run_dir):
        return UserError.EXIT_CODE
    found = {}
    for name, returns in (("types alone", False), ("puzzles say bool", True)):
        found[name] = measured(options, f"{options.work}/returns_{returns}", flags(options, returns))
    print(json.dumps(found, indent=1))
    return 0


def of_a_judged_run(description: str) -> argparse.ArgumentParser:
    """The arguments of scripts that go on from a run's first iteration."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run_dir", required=True, help="a run whose first iteration was judged")
    parser.add_argument("--gin_file", required=True, help="its configuration")
    parser.add_argument("--model", required=True, help="its base")
    parser.add_argument("--work", required=True, help="a folder for the runs that go on from it")
    parser.add_argument("--shards", type=int, default=4, help="Experiment.shards of the run (%(default)s)")
    parser.add_argument("--steps", type=int, default=40, help="of each training (%(default)s)")
    return parser


def is_not_judged(root: str) -> bool:
    """Whether the first iteration of a run lacks its verdicts, which is said."""
    if is_finished(RunDir(root).stage(0, "verdicts")):
        return False
    script = Path(sys.argv[0]).stem
    print(f"{script}: error: the first iteration of {root} was not judged", file=sys.stderr)
    return True


def selfprog(gin_file: str, command: str, root: str, bindings: list[str], flag: str) -> None:
    """Runs a subcommand of this repository's selfprog; what it prints goes to stderr."""
    subprocess.run(
        [
            sys.executable, "-m", "t5x_selfprog.main", command, flag, f"--run_dir={root}", f"--gin_file={gin_file}",
            *(f"--gin.{binding}" for binding in bindings),
        ],
        check=True, stdout=sys.stderr, env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip


def flags(options: argparse.Namespace, returns: bool) -> list[str]:
    """Bindings: small grids, float32 and few steps, for CPUs."""
    sampling = "puzzles/SamplingConfig"
    return [
        f"Experiment.base={options.model!r}", f"Experiment.shards={options.shards}", "LoopConfig.dtype='float32'",
        f"SolvePrompt.returns={returns}", f"sample_puzzles.run.returns={returns}",
        f"finetune.run.steps={options.steps}", "finetune.run.batch_size=2",
        f"sample_puzzles.run.prompts={options.prompts}", "sample_puzzles.run.attempts=16", "Schedule.prompts=1.0",
        f"{sampling}.weights_dtype='float32'", f"{sampling}.cache_dtype='float32'",
        f"{sampling}.prompts_in_flight=8", f"{sampling}.rows_per_prompt=16", f"{sampling}.tail_prompts=0",
        f"{sampling}.prompts_per_load=1", *(binding.removeprefix("--gin.") for binding in options.bindings),
    ]  # fmt: skip


def measured(options: argparse.Namespace, root: str, bindings: list[str]) -> dict[str, object]:
    """The funnel of the second iteration, and what its puzzles say to return."""
    if not files.exists(root):
        copy(RunDir(options.run_dir), root, options.gin_file, bindings)
    for command, iteration in (("finetune", 0), ("generate", 1)):
        selfprog(options.gin_file, command, root, bindings, f"--iteration={iteration}")
    run = RunDir(root)
    funnel = files.read_json(run.funnel(1))
    return {
        "stages": {stage["name"]: stage["count"] for stage in funnel["stages"]},
        "rejections": funnel["rejections"],
        "say": dict(Counter(said(record["source"]) for record in run.read(1, "puzzles"))),
    }


def copy(run: RunDir, root: str, gin_file: str, bindings: list[str], evaluated: bool = True) -> None:
    """A copy of the first iteration under other settings, which its stages up to hindsight do not depend on.

    evaluated: whether the base's evaluation comes too; without it, settings of evaluations may differ as well.
    """
    partial = f"{root}.part"
    shutil.rmtree(partial, ignore_errors=True)
    for name in LEARNT_FROM:
        if files.exists(run.stage(0, name)):
            shutil.copytree(run.stage(0, name), RunDir(partial).stage(0, name))
    if evaluated:
        shutil.copytree(run.base_eval, RunDir(partial).base_eval)
    for name in NOTED:
        if files.exists(files.join(run.root, name)):  # an unpacked run has yet to note its content
            shutil.copy(files.join(run.root, name), partial)
    gin_files.load([gin_file], bindings, "")
    run_dir.rebind(RunDir(partial), gin_files.bindings())
    os.rename(partial, root)


if __name__ == "__main__":
    sys.exit(main())
