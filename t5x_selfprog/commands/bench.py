"""`selfprog bench`: times the sampler, the trainer or the loop."""

import argparse
from collections.abc import Callable
from typing import Any

from t5x_selfprog import bench_table
from t5x_selfprog.commands.command import POSITIVE, Command, Option

_FLOATS = ("float32", "bfloat16")
_OPTIONS = (
    Option("job", "what to measure", {"choices": ("sample", "train", "attention", "rows", "loop")}),
    Option(
        "--size",
        "shape, with random weights: tiny, 11m, 125m, 0p5b, 1p3b, 2p7b, or a file of gin/models (%(default)s)",
        {"default": "125m"},
    ),
    Option(
        "--model",
        "use this model's shape instead: a folder, or the name of a shipped model",
        {"metavar": "M"},
    ),
    Option("--dtype", "float32 or bfloat16 (%(default)s)", {"choices": _FLOATS, "default": "float32"}),
    Option(
        "--batch",
        "rows decoded together (all attempts; loop: the run's setting), or rows per step (4)",
        POSITIVE,
    ),
    Option("--prompt", "sample: tokens per prompt (%(default)s)", {**POSITIVE, "default": 512}),
    Option("--new", "sample: tokens per attempt (%(default)s)", {**POSITIVE, "default": 64}),
    Option("--attempts", "sample: attempts at each prompt (%(default)s)", {**POSITIVE, "default": 64}),
    Option(
        "--prompts",
        "sample, loop: number of distinct prompts (%(default)s; loop: the run's setting)",
        {**POSITIVE, "default": 1},
    ),
    Option(
        "--prompts_in_flight",
        "sample: prompts decoded together, with batch / N rows each, as the stages do (%(default)s)",
        {**POSITIVE, "default": 1},
    ),
    Option(
        "--config",
        "loop: a file of gin/runs, or a path that ends in .gin; one iteration of it is run (%(default)s)",
        {"default": "quickstart"},
    ),
    Option(
        "--weights_dtype", "sample: type of weights, also int8 (as --dtype)", {"choices": (*_FLOATS, "int8")}
    ),
    Option(
        "--cache_dtype",
        "sample: type of keys and values, also int8 (as --dtype)",
        {"choices": (*_FLOATS, "int8")},
    ),
    Option(
        "--row_attention",
        "sample: attention of a decoding step, plain or triton (%(default)s)",
        {"default": "plain"},
    ),
    Option(
        "--chunk_steps",
        "sample: decoding steps between checks by the host (%(default)s)",
        {**POSITIVE, "default": 16},
    ),
    Option(
        "--repeat",
        "sample: timed runs, of which the median is reported (%(default)s)",
        {**POSITIVE, "default": 1},
    ),
    Option(
        "--profile",
        "run once more under JAX's profiler; the trace goes here, a table of operations into the result",
        {"metavar": "DIR", "default": ""},
    ),
    Option("--seq", "train: tokens per row (%(default)s)", {**POSITIVE, "default": 512}),
    Option("--steps", "train: timed steps (%(default)s)", {**POSITIVE, "default": 4}),
    Option(
        "--unroll",
        "train: layers a step of the loop over depth, -1 for all (%(default)s)",
        {"type": int, "metavar": "N", "default": -1},
    ),
    Option("--remat", "train: none, dots or full (%(default)s)", {"default": "none"}),
    Option("--attention", "train, attention: plain, splash or cudnn (%(default)s)", {"default": "plain"}),
    Option(
        "--loss_chunk",
        "train: positions whose logits exist at a time (%(default)s)",
        {**POSITIVE, "default": 512},
    ),
)


def body(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog.sampling.bench import command as sample
    from t5x_selfprog.sampling.check_row_attention import command as rows
    from t5x_selfprog.stages.bench_loop import command as loop
    from t5x_selfprog.training.bench import command as train
    from t5x_selfprog.training.check_attention import command as attention

    jobs: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "sample": sample,
        "train": train,
        "attention": attention,
        "loop": loop,
        "rows": rows,
    }
    result = jobs[args.job](args)
    if not args.json:
        print("\n".join(bench_table.lines(result)))
    return result


COMMAND = Command(
    "bench",
    "measure the sampler, the trainer or the whole loop on this machine, or check an attention kernel",
    "Prints tokens per second, their cost, and shares of the roofline where the device is known. "
    "`python -m verifier doctor` checks the verifier.",
    (
        "bench sample --size=125m --prompt=512 --new=64 --attempts=64 --dtype=float32",
        "bench train --size=125m --seq=512 --batch=4 --steps=4 --json | tail -1",
        "bench attention --attention=plain --dtype=bfloat16",
        "bench loop --config=quickstart               # verified pairs per minute, and where the time went",
    ),
    body,
    run_dir="unused",
    configured_by="",
    options=_OPTIONS,
)
