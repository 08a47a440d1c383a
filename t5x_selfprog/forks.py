"""`selfprog run --from=RUN`: a run that begins as another one under other settings, and links what is equal.

    CHILD/begun_from.json     the first run's path
    CHILD/taken_over.json     what came from it (study/sharing.py)
    CHILD/held_out/           looks at held-out problems, including the first run's, whose results were known

The first run is never written to. Once the child has begun, it no longer needs the first run: what it took is its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from t5x_selfprog.evaluation import held_out
from t5x_selfprog.run_dir import has_made, saved_bindings
from t5x_selfprog.run_layout import RunDir
from verifier.errors import UserError
from verifier.storage import files

NOTE = "begun_from.json"


def settings(begun_from: str, child: str, *, several: bool) -> str:
    """The gin file that configures a fork if no --gin_file is given.

    Once the child has made something, it is the child's own: the same command then continues, whatever became of the
    first run.

    Raises UserError if there is nothing to begin from, or the child was begun from another run.
    """
    remedy = "runs are shared between folders of one machine; `selfprog pack` moves one"
    for path in (begun_from, child):
        files.require_local(path, f"--from={begun_from} --run_dir={child}", remedy)
    if os.path.realpath(begun_from) == os.path.realpath(child):
        raise UserError(f"--from={begun_from}: is --run_dir itself; name another run, or leave --from out")
    if several:
        raise UserError(
            f"--from={begun_from}: is for one process; begin the run without --hosts, then go on with them"
        )
    noted = _noted(child)
    if noted and os.path.realpath(noted) != os.path.realpath(begun_from):
        raise UserError(
            f"--from={begun_from}: {child} was begun from {noted}; leave --from out to go on with it, or give another "
            "--run_dir"
        )
    if noted and has_made(RunDir(child)) and files.exists(RunDir(child).config):
        return RunDir(child).config
    try:
        _ = RunDir(begun_from).fingerprint  # there must be one
    except UserError as error:
        raise UserError(f"--from={begun_from}: {error}") from error
    if not files.exists(RunDir(begun_from).config):
        raise UserError(f"--from={begun_from}: has no config.gin; give --gin_file")
    return RunDir(begun_from).config


def share(run: RunDir, bindings: Mapping[str, str], begun_from: str) -> list[str]:
    """Takes over whatever the run would make exactly as the other one did; returns what, in words."""
    from t5x_selfprog.study.sharing import take_over

    if not os.path.isdir(begun_from):  # removed since; what came from it is here
        return []
    first = RunDir(begun_from)
    for look in held_out.read(first.root):
        held_out.record(run.root, look)
    taken = take_over(run, bindings, [(first, saved_bindings(first))])
    files.write_json(files.join(run.root, NOTE), {"run": os.path.realpath(begun_from)})
    return taken


def _noted(child: str) -> str:
    path = files.join(child, NOTE)
    return str(files.read_json(path)["run"]) if files.exists(path) else ""
