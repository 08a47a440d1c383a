#!/usr/bin/env python3
"""How best to ask a published model, on dev problems: one thing changed at a time, a table at the end.

  scripts/measure/compare_asking.py --model=models/smollm2-135m-instruct --output=runs/asking   all of WAYS, on dev
  scripts/measure/compare_asking.py --model=models/NAME --output=runs/asking --only=centre,chat --problems_left=40
  scripts/measure/compare_asking.py --output=runs/asking --table   what is there, nothing is run

Every way is `selfprog evaluate` in a run directory of its own: killed anywhere, the same command continues. All ways
sample with the same keys, so differences are paired by problem. Prints one JSON object, and writes OUTPUT/table.md.
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
sys.path.insert(0, str(REPOSITORY))

P3 = f"SolvePrompt.tutorial={os.environ.get('SELFPROG_P3_DIR', 'data/p3')!r}"
ALONE, OURS, SAMPLED = (
    "SolvePrompt.tutorial='none'",
    "SolvePrompt.tutorial='seeds'",
    "evaluation/SamplingConfig",
)
# The centre: P3's five solved examples, the answer's type in the header, T = 0.8, plain text. Each other way says what
# it changes.
WAYS: dict[str, tuple[str, ...]] = {
    "centre": (P3,),
    "untyped": (P3, "SolvePrompt.typed=False"),
    "text_none": (ALONE,),
    "chat_none": (ALONE, "SolvePrompt.chat='begun'"),
    "no_start": (P3, f"{SAMPLED}.document_start=False"),  # prompts without an <|endoftext|> before them
    "seeds": (OURS,),
    "chat_p3": (P3, "SolvePrompt.chat='begun'"),
    "chat_free": (ALONE, "SolvePrompt.chat='free'", f"{SAMPLED}.max_new_tokens=120"),
    "t06": (P3, f"{SAMPLED}.temperature=0.6"),
    "t10": (P3, f"{SAMPLED}.temperature=1.0"),
    "topk50": (P3, f"{SAMPLED}.top_k=50"),
    "topp95": (P3, f"{SAMPLED}.top_p=0.95"),
}
COMMON = (
    "Experiment.eval_split='dev'", "Experiment.shards=8", f"{SAMPLED}.max_new_tokens=56",
    f"{SAMPLED}.prompt_buckets=(160,320)", f"{SAMPLED}.prompts_in_flight=24",
)  # fmt: skip


def measure(way: str, options: argparse.Namespace) -> None:
    """Starts or continues one evaluation, to its end."""
    bindings = [
        *COMMON,
        *WAYS[way],
        f"Experiment.base={options.model!r}",
        f"evaluate.run.attempts={options.attempts}",
    ]
    bindings += [
        f"Experiment.max_eval_problems={options.problems_left}",
        f"Experiment.problems={options.problems!r}",
    ]
    command = [
        sys.executable,
        "-m",
        "t5x_selfprog.main",
        "evaluate",
        "--gin_file=quickstart_model",
        "--quiet",
    ]
    command += [f"--model={options.model}", f"--run_dir={options.output / way}"]
    flags = [f"--gin.{binding}" for binding in bindings]
    subprocess.run([*command, *flags], cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)


def found(output: Path, way: str) -> dict | None:
    files = list((output / way).glob("models/*/7_eval/evaluation.json"))
    return json.loads(files[0].read_text()) if files else None


def rows(output: Path) -> list[dict]:
    """The result of each way that was measured, and its difference from the centre in percentage points."""
    from t5x_selfprog.evaluation.compare import compare, estimate

    centre, made = found(output, "centre"), []
    for way in WAYS:
        evaluation = found(output, way)
        if evaluation is None:
            continue
        problems, attempts = evaluation["problems"], sum(p["n"] for p in evaluation["problems"])
        first = estimate([evaluation], 1)
        assert first is not None
        row = {
            "way": way,
            "attempts": attempts,
            "accepted": sum(p["c"] for p in problems),
            "solved": f"{sum(p['c'] > 0 for p in problems)}/{len(problems)}",
            "Pass@1": [round(100 * x, 1) for x in (first.estimate, first.low, first.high)],
            "wrong type": evaluation["outcomes"].get("wrong_type", 0),
            "checkpoint": evaluation["checkpoint"],
        }
        if centre is not None and way != "centre":
            against = compare([evaluation], [centre], 1)
            assert against is not None
            row["difference"] = [
                round(100 * getattr(against.difference, x), 1) for x in ("estimate", "low", "high")
            ]
            row["p"] = round(against.p_value, 3)
        made.append(row)
    return made


def table(made: list[dict]) -> str:
    lines = [
        "| way | attempts | accepted | solved | Pass@1, % | against the centre, points | p, uncorrected |"
    ]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for row in made:
        difference = "{:+.1f} [{:+.1f}, {:+.1f}]".format(*row["difference"]) if "difference" in row else ""
        first = "{:.1f} [{:.1f}, {:.1f}]".format(*row["Pass@1"])
        said = (
            row["way"],
            row["attempts"],
            row["accepted"],
            row["solved"],
            first,
            difference,
            row.get("p", ""),
        )
        lines.append("| " + " | ".join(map(str, said)) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="a model directory (`selfprog import`)")
    parser.add_argument(
        "--output", required=True, type=Path, help="folder for the run directories; made if missing"
    )
    parser.add_argument("--problems", default="seeds", help="whose dev split (%(default)s)")
    parser.add_argument(
        "--problems_left", type=int, default=76, help="so many of it, by a hash (%(default)s)"
    )
    parser.add_argument("--attempts", type=int, default=4, help="at each problem (%(default)s)")
    parser.add_argument("--only", default=",".join(WAYS), help="ways, with commas (all of them)")
    parser.add_argument("--table", action="store_true", help="run nothing, tell what is there")
    options = parser.parse_args()
    options.output = options.output.absolute()
    ways = options.only.split(",")
    if unknown := [way for way in ways if way not in WAYS]:
        parser.error(f"--only: no way {unknown[0]!r}; there are {', '.join(WAYS)}")
    if not options.table and not options.model:
        parser.error("--model is needed, but for --table")
    for way in () if options.table else ways:
        if found(options.output, way) is None:
            measure(way, options)
    made = rows(options.output)
    if made:
        (options.output / "table.md").write_text(table(made))
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(json.dumps({"common": COMMON, "ways": WAYS, "machine": machine, "found": made}))


if __name__ == "__main__":
    main()
