"""`selfprog export`: a model in the Hugging Face format."""

import argparse
import os
from typing import Any

from t5x_selfprog.commands.command import DTYPE, MODEL, NEW_MODEL, PUSH, Command, require_local
from verifier.storage import files


def body(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog import model_card, newest_model, push

    model, output = os.path.expanduser(args.model), os.path.expanduser(args.output)
    require_local(model, output)
    if args.push:
        push.require_allowed(args.push)
    from t5x_selfprog.model import hf_export

    model = newest_model.folder(model)
    done = hf_export.export_model(model, output, args.dtype)
    if args.push or model_card.run_of(model):
        files.write_atomic(files.join(output, "README.md"), model_card.card(model, done))
    print(
        f"{done['output']}: {done['family']}, {done['parameters']:,} weights, {done['bytes']:,} bytes in "
        f"{len(done['files'])} file{'s' if len(done['files']) > 1 else ''}"
    )
    if args.push:
        done["pushed"] = push.push(output, args.push, "model", f"Export of {os.path.basename(output)}")
        print(f"Pushed: {done['pushed']}")
    return done


COMMAND = Command(
    "export",
    "write a model in the Hugging Face format",
    "Writes config.json, the tokenizer and safetensors that `transformers` and vLLM load as they are; of a run's "
    "model, a card (README.md) too.",
    (
        "export --model=base --output=exported/base                     # the shipped model",
        "export --model=runs/quickstart --output=exported/tuned --dtype=bfloat16          # its newest model",
        "export --model=runs/quickstart --output=exported/tuned --push=me/tuned          # to the Hub, with a card",
        "export --model=runs/quickstart/iter_000/6_checkpoints --output=exported/first",
    ),
    body,
    run_dir="unused",
    configured_by="",
    options=(
        MODEL,
        NEW_MODEL,
        DTYPE,
        PUSH,
    ),
)
