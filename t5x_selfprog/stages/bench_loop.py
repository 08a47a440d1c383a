"""`selfprog bench loop`: one iteration of the whole loop, as a user runs it, and what each second yielded.

Runs base evaluation, puzzles, screening, solutions, verdicts, training and evaluation in a separate process and a
folder that is removed. `pairs_per_minute` counts all wall time, including compilation: run it twice for the rate with a
warm compilation cache.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from t5x_selfprog.run_layout import RunDir
from t5x_selfprog.telemetry import goodput
from t5x_selfprog.telemetry.sinks import read_lines
from verifier.errors import UserError
from verifier.storage import files

ERROR_LINES = 5


def configuration(args: argparse.Namespace) -> str:
    """The gin file of the measured run."""
    is_path = args.config.endswith(".gin")
    included = str(Path(args.config).resolve()) if is_path else f"runs/{args.config}.gin"
    lines = [
        f"include {included!r}",
        f"Experiment.base = {args.model or 'base'!r}",
        "loop.run.iterations = 1",
        "loop.run.controls = ()",
    ]
    if args.prompts > 1:
        lines.append(f"sample_puzzles.run.prompts = {args.prompts}")
    if args.batch:
        scopes = ("puzzles", "solutions", "evaluation")
        lines += [f"{scope}/SamplingConfig.rows_in_flight = {args.batch}" for scope in scopes]
    return "\n".join(lines) + "\n"


def measured(run_dir: str) -> dict[str, Any]:
    """The figures of a finished run of one iteration.

    "sampling" covers sampling alone, by stage and in all: new_tokens_per_s counts all its time, compilation included,
    device_tokens_per_s only that of prefill and decoding. Rates outside it are per second, or minute, of the whole wall
    time; attempts are those of all stages.
    """
    spent = files.read_json(files.join(run_dir, goodput.NAME))
    stages: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for line in read_lines(files.join(run_dir, "metrics.jsonl")):
        if line["kind"] != "sample":
            continue
        for of in (stages[line["stage"]], stages["all"]):
            of["attempts"] += line["attempts"]
            of["new_tokens"] += line["new_tokens"]
            of["seconds"] += line["seconds"]
            of["device_s"] += line["prefill_s"] + line["decode_s"]
            of["row_steps"] += line["new_tokens"] / line["row_occupancy"] if line["row_occupancy"] else 0.0
    run = RunDir(run_dir)
    funnel = {step["name"]: step["count"] for step in files.read_json(run.funnel(0))["stages"]}
    wall_s, pairs = spent["wall_s"], funnel.get("kept", 0)
    return {
        "seconds": wall_s,
        "attempts": int(stages["all"]["attempts"]),
        "attempts_per_s": stages["all"]["attempts"] / wall_s,
        "pairs": pairs,
        "pairs_per_minute": 60 * pairs / wall_s,
        "goodput": spent["goodput"],
        "parts": {part: seconds / wall_s for part, seconds in spent["parts"].items() if seconds},
        "sampling": {
            name: {
                "attempts": int(of["attempts"]),
                "new_tokens_per_s": of["new_tokens"] / max(of["seconds"], 1e-9),
                "device_tokens_per_s": of["new_tokens"] / max(of["device_s"], 1e-9),
                "row_occupancy": of["new_tokens"] / max(of["row_steps"], 1.0),
            }
            for name, of in stages.items()
        },
        "funnel": funnel,
    }


def command(args: argparse.Namespace) -> dict[str, Any]:
    """Runs and measures the loop. Raises UserError with the end of the run's stderr if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        config, run_dir = Path(folder) / "loop.gin", str(Path(folder) / "run")
        config.write_text(configuration(args))
        done = subprocess.run(
            [
                sys.executable, "-m", "t5x_selfprog.main", "run", f"--gin_file={config}", f"--run_dir={run_dir}",
                "--quiet",
            ],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            last = "\n  ".join(done.stderr.strip().splitlines()[-ERROR_LINES:])
            raise UserError(f"the run that was to be measured ended with status {done.returncode}:\n  {last}")
        result = {"job": "loop", "config": args.config, "model": args.model or "base", **measured(run_dir)}
    return result
