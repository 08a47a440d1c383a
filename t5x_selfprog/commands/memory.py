"""`selfprog memory`: does a base remember the test puzzles?"""

import argparse
from functools import partial
from typing import Any

from t5x_selfprog.commands.command import POSITIVE, Command, Option
from verifier.errors import UserError
from verifier.storage import files


def body(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog.evaluation.memorisation import examine
    from t5x_selfprog.model import store
    from t5x_selfprog.puzzles.p3 import in_split, load_problems
    from t5x_selfprog.stages.likelihoods import Kept, log_likelihoods

    if args.problems == "seeds":
        raise UserError("--problems=seeds: our seeds are the controls; name other problems, such as data/p3")
    if args.output:
        files.require_place(args.output, "--output", "memory.json")
    test = [problem.source for problem in in_split(load_problems(args.problems), args.split)]
    control = [problem.source for problem in load_problems("seeds") if problem.split != "train"]
    kept = Kept(args.output, store.stored_identity(args.model)) if args.output else None
    model = store.load(args.model)
    try:
        memory = examine(test, control, partial(log_likelihoods, model, kept=kept), count=args.twins)
    except ValueError as error:
        raise UserError(f"--problems={args.problems}: {error}") from error
    if kept:
        kept.write(twins=args.twins, memory=memory.as_dict())
    excess = memory.excess
    print(
        f"{args.model}: prefers {memory.tested} {args.split} puzzles to their twins by {memory.preference:.2f} nats, "
        f"{memory.controls} puzzles it cannot have seen by {memory.control_preference:.2f}; excess "
        f"{excess.estimate:+.2f} [{excess.low:+.2f}, {excess.high:+.2f}]: {memory.claim}"
    )
    return memory.as_dict()


COMMAND = Command(
    "memory",
    "does a base model remember the test puzzles?",
    "Compares the likelihood of test puzzles with that of renamed twins, and the difference with that on our own "
    "seeds, which no published model has seen. The shipped base takes a minute on two CPU cores, larger ones longer: "
    "with --output the same command resumes where it was interrupted.",
    (
        "memory --model=base --problems=data/p3",
        "memory --model=models/smollm2-135m-instruct --problems=data/p3 --twins=2 --output=memory.json",
    ),
    body,
    run_dir="unused",
    configured_by="",
    options=(
        Option(
            "--model",
            "a model's folder, or the name of a shipped model (%(default)s)",
            {"default": "base"},
        ),
        Option("--problems", "a folder in P3's format", {"required": True, "metavar": "DIR"}),
        Option("--split", "split of the problems (%(default)s)", {"default": "test"}),
        Option("--twins", "twins per puzzle (%(default)s)", {**POSITIVE, "default": 4}),
        Option(
            "--output",
            "a JSON file for the likelihood of each text, and the result; what it has is not computed again",
            {"metavar": "FILE", "default": ""},
        ),
    ),
)
