"""Digests of the data that a run's configuration names: a changed puzzles.json, base or tokenizer is another run.

`run_dir` compares configurations, which name a base and a set of problems by path. This module records the content of
those paths at the start of the run, in RUN/content.json, so that finished stages are not attributed to other data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from t5x_selfprog.model import store
from t5x_selfprog.run_dir import CONTENT, ConfigMismatch, RunDir, has_made
from verifier import files
from verifier.errors import UserError

_PROBLEM_FILES = ("puzzles.json", "split.json")


def content(base: str, problems: str) -> dict[str, str]:
    """A digest for each file that exists; a missing file has none, and whoever needs it reports that."""
    found = {name: _digest(files.join(problems, name)) for name in _PROBLEM_FILES}
    try:
        folder = store.resolve(base)
        if not files.is_remote(folder):  # remotely, this would fetch all weights
            found["base weights"] = store.stored_identity(folder)
    except (UserError, OSError, KeyError):
        return {name: digest for name, digest in found.items() if digest}
    found["base model.json"] = _digest(files.join(folder, "model.json"))
    for name in store.TOKENIZER_FILES:
        found[f"base {name}"] = _digest(files.join(folder, name))
    return {name: digest for name, digest in found.items() if digest}


def require_same_content(run: RunDir, base: str, problems: str) -> None:
    """Records the data that the run starts with; raises ConfigMismatch if it has changed since."""
    now = content(base, problems)
    path = files.join(run.root, CONTENT)
    text = json.dumps(now, indent=1, sort_keys=True).encode() + b"\n"
    files.makedirs(run.root)
    if files.create_exclusive(path, text):
        return
    there = files.read_json(path)
    changed = _changed(there, now)
    if changed and not has_made(run):  # nothing was made from it yet
        files.write_atomic(path, text)
    elif changed:
        lines = [f"  {name}: there {there[name]}, now {now[name]}" for name in changed]
        raise ConfigMismatch(
            f"{run.root} was begun with other data (Experiment.base={base!r}, Experiment.problems={problems!r}):\n"
            + "\n".join(lines)
            + "\nPut back what was there, or give another --run_dir: what is finished here is not of this data."
        )


def is_of_the_same_content(run: RunDir, base: str, problems: str) -> bool:
    """Whether another run started with the data that is there now; True if it did not record it."""
    path = files.join(run.root, CONTENT)
    return not files.exists(path) or not _changed(files.read_json(path), content(base, problems))


def _changed(there: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return sorted(name for name in there.keys() & now.keys() if there[name] != now[name])


def _digest(path: str) -> str:
    """16 hex digits, or "" if there is no such file."""
    try:
        return hashlib.sha256(files.read_bytes(path)).hexdigest()[:16]
    except (FileNotFoundError, NotADirectoryError):
        return ""
