"""`selfprog import` and `selfprog export`."""

import argparse
import os
from typing import Any

from verifier import files


def import_model(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog.model import hf_import, hub

    _require_local(args)
    folder = hub.local_folder(os.path.expanduser(args.model))
    done = hf_import.import_model(folder, os.path.expanduser(args.output), args.dtype)
    print(
        f"{done['model']}: {done['family']}, {done['parameters']:,} weights, {done['bytes']:,} bytes, "
        f"identity {done['identity']}"
    )
    return done


def export_model(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog.model import hf_export

    _require_local(args)
    model, output = os.path.expanduser(args.model), os.path.expanduser(args.output)
    done = hf_export.export_model(model, output, args.dtype)
    print(
        f"{done['output']}: {done['family']}, {done['parameters']:,} weights, {done['bytes']:,} bytes in "
        f"{len(done['files'])} file{'s' if len(done['files']) > 1 else ''}"
    )
    return done


def _require_local(args: argparse.Namespace) -> None:
    copy = "`gcloud storage cp -r` copies it from or to a bucket"
    files.require_local(args.model, f"--model={args.model}", copy)
    files.require_local(args.output, f"--output={args.output}", copy)
