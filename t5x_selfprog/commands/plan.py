"""`selfprog plan`: a run on TPU slices that are not here."""

import argparse
from typing import Any

from t5x_selfprog.commands.command import LOOP, POSITIVE, Command, Option
from t5x_selfprog.flag_types import NOT_NEGATIVE


def body(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog.plan.command import command

    return command(args)


COMMAND = Command(
    "plan",
    "does a run fit a TPU slice, how long will it take, what will it cost?",
    "Compiles the train step, prefill and decoding of a run for slices that are not here, with the TPU compiler "
    "(pip install '.[plan]'; no TPU needed), and says what fits, estimated tokens a second, MFU, "
    "chip-hours, dollars, and the verifier's cores. Two to ten minutes a slice, then kept.",
    (
        "plan --gin_file=paper_gpt_neo_2p7b --slice=v5e_64",
        "plan --gin_file=paper_gpt_neo_125m --slice=all --save=plans.json",
        "plan --gin_file=paper_gpt_neo_125m --model=qwen2p5_coder_1p5b --slice=v5e_8,v6e_64",
        "plan --gin_file=paper_gpt_neo_2p7b --slice=v5e_64 --meshes    # which mesh trains fastest",
        "plan --saved=plan.json --against=runs/paper      # what was planned beside what was done",
        "plan --saved=plan.json --simulate --preemptions_per_hour=0.5 --host_cores=4 --fleet=8x30    # what if",
    ),
    body,
    run_dir="unused",
    configured_by=LOOP,
    options=(
        Option("--slice", "v4_8, v5e_64, ... (gin/slices), several with commas, or all", {"metavar": "S"}),
        Option("--model", "its shape: a folder, or a file of gin/models (Experiment.base)", {"metavar": "M"}),
        Option("--batch", "rows of a training step (finetune.run.batch_size)", POSITIVE),
        Option(
            "--largest_batch",
            "find the most rows that fit: one more compilation",
            {"action": "store_true"},
        ),
        Option(
            "--meshes",
            "compare meshes for training: all that are worth it, or DATAxFSDPxTENSOR, several with commas",
            {"nargs": "?", "const": "all", "metavar": "M"},
        ),
        Option("--price", "dollars for a chip-hour (list price)", {"type": NOT_NEGATIVE, "metavar": "USD"}),
        Option(
            "--simulate",
            "the run as events: waiting for verdicts, preemptions, stragglers",
            {"action": "store_true"},
        ),
        Option(
            "--preemptions_per_hour",
            "of the whole slice, to simulate (%(default)s)",
            {"type": NOT_NEGATIVE, "default": 0.0, "metavar": "R"},
        ),
        Option(
            "--fleet",
            "verifiers beside the run, to simulate: machines x cores, as 8x30 (scripts/tpu/fleet)",
            {"metavar": "NxC", "default": ""},
        ),
        Option("--pilot", "a finished run whose yields to assume", {"metavar": "RUN"}),
        Option("--save", "write the plan here, as JSON", {"metavar": "F"}),
        Option(
            "--host_cores",
            "of a host's cores, those that judge, to simulate a shortage (all)",
            POSITIVE,
        ),
        Option("--saved", "a plan of one slice, to be compared, or simulated anew", {"metavar": "F"}),
        Option("--against", "the run to compare it with", {"metavar": "RUN"}),
    ),
)
