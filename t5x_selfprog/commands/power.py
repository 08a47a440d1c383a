"""`selfprog power`: how large an experiment must be."""

import argparse
import json
from dataclasses import asdict
from typing import Any

from t5x_selfprog.commands.command import POSITIVE, Command, Option
from t5x_selfprog.flag_types import GAIN, NOT_NEGATIVE, PORTION
from verifier.errors import UserError
from verifier.storage import files

_OPTIONS = (
    Option("--gain", "of Pass@k, as a share: 0.03 is three points", {"type": GAIN, "required": True}),
    Option("--k", "of the Pass@k compared (%(default)s)", {**POSITIVE, "default": 10}),
    Option("--problems", "held-out problems (%(default)s)", {**POSITIVE, "default": 228}),
    Option("--attempts", "a problem (%(default)s)", {**POSITIVE, "default": 100}),
    Option("--seeds", "training seeds (%(default)s)", {**POSITIVE, "default": 3}),
    Option("--arms", "compared with the base, for the correction (%(default)s)", {**POSITIVE, "default": 4}),
    Option("--base", "Pass@k of the base without a pilot (%(default)s)", {"type": PORTION, "default": 0.1}),
    Option(
        "--per_problem",
        "how unevenly an arm gains, in log odds (%(default)s)",
        {"type": NOT_NEGATIVE, "default": 2.0},
    ),
    Option(
        "--per_seed", "how much training seeds differ (%(default)s)", {"type": NOT_NEGATIVE, "default": 0.1}
    ),
    Option("--pilot", "evaluation.json of the base", {"metavar": "F", "default": ""}),
    Option("--find", "the smallest of these that gives 80%%", {"choices": ("problems", "attempts", "seeds")}),
    Option("--trials", "simulated experiments (%(default)s)", {**POSITIVE, "default": 200}),
)


def body(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog.evaluation.power import SIZES, Design, power, smallest

    pilot: list[dict[str, Any]] = []
    if args.pilot:
        try:
            pilot = json.loads(files.read_bytes(args.pilot))["problems"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"--pilot={args.pilot}: not an evaluation.json ({error!r})") from error
    if args.k > args.attempts:
        raise UserError(
            f"--attempts={args.attempts}: Pass@{args.k} needs at least {args.k}; raise it, or lower --k"
        )
    names = ("gain", "k", "problems", "attempts", "seeds", "base", "per_problem", "per_seed", "arms")
    try:
        design = Design(**{name: getattr(args, name) for name in names})
    except ValueError as error:
        raise UserError(str(error)) from error
    if not args.find:
        found = power(design, pilot=pilot, trials=args.trials)
        print(
            f"{design.problems} problems, {design.attempts} attempts, {design.seeds} seeds: a gain of "
            f"{100 * design.gain:g} points in Pass@{design.k} is shown in {100 * found:.0f}% of experiments"
        )
        return {"power": found, "design": asdict(design)}
    sizes = [size for size in SIZES[args.find] if args.find != "attempts" or size >= design.k]
    size, by_size = smallest(design, args.find, sizes, pilot=pilot, trials=args.trials)
    for tried, found in by_size.items():
        print(f"  {tried:>6} {args.find}: {100 * found:3.0f}%")
    print(f"{size} {args.find} give 80%" if size else f"none of up to {sizes[-1]} {args.find} gives 80%")
    return {args.find: size, "power": {str(tried): found for tried, found in by_size.items()}}


COMMAND = Command(
    "power",
    "how many problems, attempts and seeds it takes to see a gain",
    "Simulates experiments of the given size and judges them as `evaluate` would; with --pilot, problems are as "
    "hard as a base evaluation found them.",
    (
        "power --gain=0.05 --k=10 --problems=228 --attempts=100 --seeds=3",
        "power --gain=0.05 --k=100 --pilot=runs/quickstart/base/7_eval/evaluation.json --find=seeds",
    ),
    body,
    run_dir="unused",
    configured_by="",
    options=_OPTIONS,
)
