"""`selfprog merge`: PEFT's adapters added to a model's weights."""

import argparse
import os
from typing import Any

from t5x_selfprog.commands.command import DTYPE, MODEL, NEW_MODEL, Command, Option
from verifier.storage import files


def body(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog import newest_model
    from t5x_selfprog.model.merge import merge

    model, adapters, output = (os.path.expanduser(path) for path in (args.model, args.adapters, args.output))
    for path in (model, adapters, output):
        files.require_local(path, path, "`gcloud storage cp -r` copies it from or to a bucket")
    done = merge(newest_model.folder(model), adapters, output, args.dtype)
    said = ", ".join(f"{name} {rank}" for name, rank in done["ranks"].items())
    print(f"{done['model']}: {done['base']} and adapters of rank {said}; identity {done['identity']}")
    return done


COMMAND = Command(
    "merge",
    "add PEFT's adapters (LoRA) to the weights of a model",
    "Reads adapter_model.safetensors and adapter_config.json, and writes a new model; what does not fit the base "
    "is refused by name. What fine-tuning with finetune.run.lora learnt is in 6_checkpoints/adapter and loads in "
    "peft; 6_checkpoints itself is merged with its base already.",
    ("merge --model=models/qwen_0p5b --adapters=downloads/adapters --output=models/qwen_0p5b_tuned",),
    body,
    run_dir="unused",
    configured_by="",
    options=(
        MODEL,
        Option("--adapters", "a folder that peft saved", {"required": True, "metavar": "DIR"}),
        NEW_MODEL,
        DTYPE,
    ),
)
