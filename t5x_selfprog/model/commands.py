"""`selfprog import` and `selfprog export`."""

import argparse
import os
from typing import Any

from verifier import files
from verifier.errors import UserError


def import_model(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog.model import hf_import, hub

    sources, output = [os.path.expanduser(model) for model in args.model], os.path.expanduser(args.output)
    _require_local(*sources, output)
    if len(sources) > 1 or os.path.isfile(sources[0]) or sources[0].endswith(".gguf"):
        done = hf_import.import_gguf(sources, output, args.dtype, args.sha256)
        for file in done["origin"]["files"]:
            print(f"{file['name']}: {file['bytes']:,} bytes, sha256 {file['sha256']}")
    elif args.sha256:
        raise UserError(f"--sha256={args.sha256} is of a GGUF file; --model={sources[0]} is none")
    else:
        done = hf_import.import_model(hub.local_folder(sources[0]), output, args.dtype)
    for note in done["notes"]:
        print(note)
    print(
        f"{done['model']}: {done['family']}, {done['parameters']:,} weights, {done['bytes']:,} bytes, "
        f"identity {done['identity']}"
    )
    return done


def export_model(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog.model import hf_export

    model, output = os.path.expanduser(args.model), os.path.expanduser(args.output)
    _require_local(model, output)
    done = hf_export.export_model(model, output, args.dtype)
    print(
        f"{done['output']}: {done['family']}, {done['parameters']:,} weights, {done['bytes']:,} bytes in "
        f"{len(done['files'])} file{'s' if len(done['files']) > 1 else ''}"
    )
    return done


def _require_local(*paths: str) -> None:
    for path in paths:
        files.require_local(path, path, "`gcloud storage cp -r` copies it from or to a bucket")
