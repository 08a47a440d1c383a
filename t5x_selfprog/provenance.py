"""RUN/provenance.json: which commands, code, packages and devices made a run, one entry per process.

It is a measurement, like times: no stage reads it, and runs are not compared by it.
"""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from t5x_selfprog import versions
from verifier.storage import files

NAME = "provenance.json"
_MOST = 100  # entries kept: the first and the latest ones


def note(root: str) -> None:
    """Adds an entry for this process."""
    path = files.join(root, NAME)
    lives = files.read_json(path)["lives"] if files.exists(path) else []
    lives = [*lives[:1], *lives[1:][-(_MOST - 2) :], life()]
    files.write_json(path, {"lives": lives})


def life() -> dict[str, Any]:
    import jax  # not needed by those that only read the file

    device = jax.devices()[0]
    return {
        "begun": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["selfprog", *sys.argv[1:]]),
        "commit": _commit(),
        "versions": versions.versions(),
        "devices": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
        "hosts": jax.process_count(),
        "host": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def _commit() -> str:
    """The commit of a checkout, with a plus if files differ from it; "" for an installed package."""
    folder = Path(__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return ""
    try:
        commit, changed = (
            _git(folder, "rev-parse", "HEAD"),
            _git(folder, "status", "--porcelain", "--untracked-files=no"),
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit[:12] + ("+" if changed else "")


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()
