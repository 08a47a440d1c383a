"""Digests of the data that a run's configuration names, so that a run never continues on other data.

`run_dir` compares configurations, which name a base and a set of problems by path. This module records the content of
those paths at the start of the run, in RUN/content.json: a changed puzzles.json, base, tokenizer, tutorial or file of
external pairs makes another run. A run whose base lies elsewhere now, for example after `unpack` on another machine,
continues if the weights are the same.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping

from t5x_selfprog.model import store
from t5x_selfprog.run_dir import (
    BASE_WEIGHTS,
    CONTENT,
    ConfigMismatch,
    begun_with_base,
    differences,
    has_made,
    noted_base,
)
from t5x_selfprog.run_layout import RunDir
from verifier.errors import UserError
from verifier.storage import files

_PROBLEM_FILES = ("puzzles.json", "puzzles.jsonl", "split.json")


def content(base: str, problems: str, others: Mapping[str, str] = {}) -> dict[str, str]:
    """A digest for each file that exists; a missing file has none, and whoever needs it reports that.

    `others` are further paths by the parameter that names them: problems in P3's format, pairs in a file, or a run.
    """
    found = {name: _digest(files.join(problems, name)) for name in _PROBLEM_FILES}
    found |= {name: _digest_of_any(path) for name, path in others.items() if not files.is_remote(path)}
    try:
        folder = store.resolve(base)
        if not files.is_remote(folder):  # remotely, this would fetch all weights
            found[BASE_WEIGHTS] = store.stored_identity(folder)
    except (UserError, OSError, KeyError):
        return {name: digest for name, digest in found.items() if digest}
    found["base model.json"] = _digest(files.join(folder, "model.json"))
    for name in store.TOKENIZER_FILES:
        found[f"base {name}"] = _digest(files.join(folder, name))
    return {name: digest for name, digest in found.items() if digest}


def require_same_content(run: RunDir, base: str, problems: str, others: Mapping[str, str] = {}) -> None:
    """Records the data that the run starts with; raises ConfigMismatch if it has changed since."""
    now = content(base, problems, others)
    path = files.join(run.root, CONTENT)
    text = json.dumps(now, indent=1, sort_keys=True).encode() + b"\n"
    files.makedirs(run.root)
    _require_its_base_if_moved(run, base, now)
    if files.create_exclusive(path, text):
        return
    changed = _changed(files.read_json(path), now)
    if changed and not has_made(run):  # nothing was made from it yet
        files.write_atomic(path, text)
    elif changed:
        raise ConfigMismatch(
            f"{run.root} was begun with other data (Experiment.base={base!r}, Experiment.problems={problems!r}):\n"
            + "\n".join(changed)
            + "\nPut back what was there, or give another --run_dir: what is finished here is not of this data."
        )


def _require_its_base_if_moved(run: RunDir, base: str, now: Mapping[str, str]) -> None:
    """Requires the same weights of a base in another place; a missing or remote base cannot be compared."""
    begun, noted = begun_with_base(run), noted_base(run)
    if begun in (None, base) or not has_made(run) or not noted or now.get(BASE_WEIGHTS) == noted:
        return
    found = now.get(BASE_WEIGHTS, "nothing that could be compared")
    raise ConfigMismatch(
        f"{run.root} was begun with Experiment.base={begun!r}, whose weights are {noted}; "
        f"at {base!r} there is {found}.\n"
        "Give the folder of that base, on this machine's disk, or another --run_dir."
    )


def is_of_the_same_content(run: RunDir, base: str, problems: str) -> bool:
    """Whether a run started with the data as it is now; True if the run did not record it."""
    path = files.join(run.root, CONTENT)
    return not files.exists(path) or not _changed(files.read_json(path), content(base, problems))


def _changed(there: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """A line for each file whose two digests are known and differ."""
    return differences(there, now, there.keys() & now.keys())


def _digest_of_any(path: str) -> str:
    """The digest of a file, or of the files that describe a folder of problems, of pair records or of a run."""
    run = RunDir(path)
    datasets = itertools.takewhile(files.exists, (run.stage(i, "dataset") for i in itertools.count()))
    heads = [*(files.join(path, name) for name in _PROBLEM_FILES), files.join(path, "ledger.json")]
    heads += [files.join(dataset, "manifest.json") for dataset in datasets]
    found = "".join(filter(None, map(_digest, heads)))
    return _digest(path) or (hashlib.sha256(found.encode()).hexdigest()[:16] if found else "")


def _digest(path: str) -> str:
    """16 hex digits, or "" if there is no such file."""
    try:
        return hashlib.sha256(files.read_bytes(path)).hexdigest()[:16]
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ""
