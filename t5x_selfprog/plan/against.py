"""A saved plan beside what a run really did: `selfprog plan --saved=PLAN.json --against=RUN`.

Reads:    the plan, and RUN's goodput.json and metrics.jsonl (telemetry/), whose clocks are those of the run's host 0.
Writes:   nothing.
Left out: whether both have the same configuration; only the devices are compared.
"""

import statistics
from typing import Any

from t5x_selfprog.plan.slices import named
from t5x_selfprog.run_layout import stage_folder
from t5x_selfprog.telemetry import goodput
from t5x_selfprog.telemetry.sinks import read_lines
from verifier.errors import UserError
from verifier.storage import files

# By stage of the plan: the parts of a run's wall time that belong to it, by the ends of their names.
STAGES = {
    "1 sample puzzles": (": puzzles",),
    "3 sample solutions": (": solutions and verdicts",),
    "6 fine-tune and 7 evaluate": (": training", ": evaluation", ": training and evaluation"),
}
# By rate of the plan: kind and stage of the run's metrics lines, and the scalar.
RATES = {
    "train": ("train", stage_folder("checkpoints"), "tokens_per_s_per_chip"),
    "puzzle decode": ("sample", stage_folder("puzzles"), "new_tokens_per_s_per_chip"),
    "decode": ("sample", stage_folder("solutions"), "new_tokens_per_s_per_chip"),
}


def compare(saved: str, run_dir: str) -> dict[str, Any]:
    """Each figure as planned and as measured, and their ratio; rates are medians over the run's metrics lines.

    Raises UserError for a file that holds no plan of one slice, or a run without metrics.
    """
    plan, spent, lines = read_plan(saved), *_run(run_dir)
    rows: list[dict[str, Any]] = []

    def row(what: str, unit: str, planned: float, measured: float | None) -> None:
        ratio = None if measured is None or not planned else measured / planned
        rows.append({"what": what, "unit": unit, "planned": planned, "measured": measured, "ratio": ratio})

    row("devices", "", plan["chips"], spent["devices"])
    for name, (kind, stage, scalar) in RATES.items():
        found = [line[scalar] for line in lines if line["kind"] == kind and line["stage"] == stage]
        measured = statistics.median(found) if found else None
        row(name, "tokens/s/chip", plan["rates"][name][0], measured)  # planned: no overlap
    hours = dict(plan["run"]["slice_hours"])
    hours["6 fine-tune and 7 evaluate"] = sum(
        hours.pop(name) for name in list(hours) if name.startswith(("6", "7"))
    )
    for name, ends in STAGES.items():
        parts = [of for stage, of in spent["stages"].items() if stage.endswith(ends)]
        took = sum(sum(of.values()) for of in parts) / 3600
        row(name, "hours", hours[name], took if parts else None)
    row("goodput", "", plan.get("simulated", {}).get("goodput", 1.0), spent["goodput"])
    judged = [line for line in lines if line["kind"] == "judge"]
    verdicts = sum(line["verdicts"] for line in judged)
    row("verdicts", "", plan["run"]["verdicts"], verdicts or None)
    core_hours = sum(line["cpu_s"] for line in judged) / 3600
    row("verifier", "core-hours", plan["run"]["verifier_core_hours"], core_hours if judged else None)
    return {"plan": saved, "slice": plan["slice"], "run": run_dir, "rows": rows}


def describe(found: dict[str, Any]) -> str:
    """The comparison as a table for people."""
    chip = named(found["slice"]).chip.kind
    lines = [
        f"{found['plan']} ({found['slice']}, {chip}) against {found['run']}:",
        f"  {'':<28}{'planned':>14}{'measured':>14}{'ratio':>8}",
    ]
    for row in found["rows"]:
        what = f"{row['what']}, {row['unit']}" if row["unit"] else row["what"]
        measured = "-" if row["measured"] is None else f"{row['measured']:,.4g}"
        ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}"
        lines.append(f"  {what:<28}{row['planned']:>14,.4g}{measured:>14}{ratio:>8}")
    return "\n".join(lines)


def read_plan(path: str) -> dict[str, Any]:
    """The plan that --save wrote, for one slice that fits. Raises UserError for any other file."""
    try:
        plans = files.read_json(path)["plans"]
        (plan,) = [plan for plan in plans if "run" in plan]
        return plan
    except FileNotFoundError as error:
        raise UserError(
            f"--saved={path}: no such file; `selfprog plan --slice=... --save=F` makes one."
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"--saved={path}: not a plan of one slice that fits, as --save writes it.") from error


def _run(root: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    spent, lines = files.join(root, goodput.NAME), files.join(root, "metrics.jsonl")
    if not (files.exists(spent) and files.exists(lines)):
        raise UserError(
            f"--against={root}: no goodput.json and metrics.jsonl there; `selfprog run` writes them."
        )
    return files.read_json(spent), read_lines(lines)
