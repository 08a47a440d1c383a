#!/usr/bin/env python3
"""Which filters, weights and datasets pay off: the same small loop with one switch changed, measured on the dev split.

  scripts/measure/compare_switches.py --output runs/switches               all of SWITCHES, seed 0: about 5 minutes each
  scripts/measure/compare_switches.py --output runs/switches --iterations 1   3 minutes each (not writer_base, archive)
  scripts/measure/compare_switches.py --output runs/switches --seeds 2 --only lists,equal

Iterations (two) from the shipped base on our own seeds, no control arms, 151 dev problems: never the test split, so
that it may be run as often as one likes. Every run is a run directory and resumes; prints one JSON object.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
if Path(sys.prefix) != REPOSITORY / ".venv" and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), __file__, *sys.argv[1:]])

COMMON = (
    "loop.run.controls=()",
    "Experiment.eval_split='dev'",
    "Experiment.max_eval_problems=None",
    "evaluate.run.attempts=50",
)
# Each differs from the quickstart in what its name says, and in nothing else.
SWITCHES: dict[str, tuple[str, ...]] = {
    "quickstart": (),
    "any_shape": ("PuzzleRules.max_per_shape=None",),  # only equal syntax trees are duplicates
    "lenient": ("PuzzleRules.skip=('chained_comparison', 'undefined_names', 'arguments_unused')",),
    "equal": ("Selection.easy_weight=1.0",),  # puzzles that every attempt solves count as much as the others
    "general": ("Selection.prefer='general'",),
    "lists": ("Selection.lists=0.5",),
    "writer_base": ("Experiment.writer='base'",),
    "one_solution": ("Selection.max_solutions=1",),
    "more_epochs": ("finetune.run.epochs=8",),
    # Curriculum, beyond the paper: as many attempts, solutions a puzzle and epochs as the quickstart.
    "learnable": (
        "Selection.learnability=1.0",
        "Selection.easy_weight=1.0",
    ),  # by 4 p (1 - p), and nothing else
    "diverse": ("Selection.prefer='diverse'",),
    "archive": ("sample_puzzles.run.archive=@Archive()",),  # takes effect from the second iteration on
}


def measure(name: str, seed: int, output: Path, iterations: int) -> dict:
    """Starts or continues one run, to its end; returns what its iterations yielded and measured."""
    run_dir = output / f"{name}_{seed}"
    bindings = [*COMMON, *SWITCHES[name], f"Experiment.seed={seed}", f"loop.run.iterations={iterations}"]
    command = [
        sys.executable,
        "-m",
        "t5x_selfprog.main",
        "run",
        "--gin_file=quickstart",
        f"--run_dir={run_dir}",
    ]
    subprocess.run(
        [*command, "--quiet", *(f"--gin.{binding}" for binding in bindings)],
        cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    summary = json.loads((run_dir / "summary.json").read_text())
    return {
        "switch": name,
        "seed": seed,
        "bindings": SWITCHES[name],
        "funnels": [{s["name"]: s["count"] for s in funnel["stages"]} for funnel in summary["funnels"]],
        "pass_at_k": {
            f"{e['arm']} {e['iteration']}": e["pass_at_k"]["all"]
            for e in summary["evaluations"]
            if e["arm"] != "enumerator"
        },
        "versus_base": [e["versus_base"] for e in summary["evaluations"] if e.get("versus_base")],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", required=True, type=Path, help="folder for the runs; made if missing")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--only", default=",".join(SWITCHES), help="switches, with commas (all of them)")
    options = parser.parse_args()
    names = options.only.split(",")
    unknown = [name for name in names if name not in SWITCHES]
    if unknown:
        parser.error(f"--only: no switch {unknown[0]!r}; there are {', '.join(SWITCHES)}")
    found = []
    for seed in range(options.seeds):
        for name in names:
            found.append(measure(name, seed, options.output, options.iterations))
            print(name, seed, json.dumps(found[-1]["funnels"]), file=sys.stderr)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(json.dumps({"common": COMMON, "iterations": options.iterations, "machine": machine, "runs": found}))


if __name__ == "__main__":
    main()
