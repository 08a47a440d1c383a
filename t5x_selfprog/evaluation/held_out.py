"""How often the held-out problems were looked at, and by which configuration.

Every evaluation writes a file to RUN/held_out before its first attempt is sampled, so that a look that was killed half
way counts too; the run's table and report show the count. The name is a hash of what was asked, so the same evaluation,
resumed or repeated, is one look. The enumerator is not recorded: it has no model and no settings that could be chosen
by looking.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from verifier.storage import files
from verifier.storage.shards import atomic_write

FOLDER = "held_out"
CHOICES = "dev"  # the split meant for looking


def record(run_root: str, entry: Mapping[str, Any]) -> None:
    """Notes one evaluation: "split", "arm", "iteration", "output", "config" and whatever else identifies it."""
    path, text = _file(run_root, entry)
    if not files.exists(path):
        files.makedirs(files.join(run_root, FOLDER))
        atomic_write(path, text)


def replace(run_root: str, entry: Mapping[str, Any], by: Mapping[str, Any]) -> None:
    """Replaces a noted look by a fuller entry, so that a later look like the first counts again."""
    record(run_root, by)
    path, _ = _file(run_root, entry)
    if files.exists(path):
        files.remove(path)


def _file(run_root: str, entry: Mapping[str, Any]) -> tuple[str, str]:
    from t5x_selfprog.puzzles.source import short_hash

    text = json.dumps(dict(entry), sort_keys=True, indent=1) + "\n"
    return files.join(run_root, FOLDER, f"{short_hash(text)}.json"), text


def read(run_root: str) -> list[dict[str, Any]]:
    """The looks so far, in an order independent of when they were made."""
    folder = files.join(run_root, FOLDER)
    names = [name for name in files.listdir(folder) if name.endswith(".json")]
    entries = [files.read_json(files.join(folder, name)) for name in names]
    return sorted(entries, key=lambda entry: json.dumps(entry, sort_keys=True))


def notes(run_root: str) -> list[str]:
    """One sentence per split, for the table: how many evaluations, of what, by how many configurations."""
    return [_sentence(split, looks) for split, looks in sorted(by_split(run_root).items())]


def by_split(run_root: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in read(run_root):
        found.setdefault(entry["split"], []).append(entry)
    return found


def _sentence(split: str, looks: list[dict[str, Any]]) -> str:
    arms = Counter(look["arm"] for look in looks)
    said = ", ".join(f"{arm} {count}" for arm, count in sorted(arms.items()))
    configs = len({look["config"] for look in looks})
    what = "for choices" if split == CHOICES else "held out"
    times = "once" if len(looks) == 1 else f"{len(looks)} times"
    by = "one configuration" if configs == 1 else f"{configs} configurations"
    return f"Split {split} ({what}) was evaluated {times} in this run, by {by}: {said}."
