"""Whether a run directory belongs to a configuration, and what must be equal for that.

This module does not depend on gin: a configuration is a mapping from binding to printable value. `run_layout` says
where things are in the directory.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from t5x_selfprog.run_layout import BASE, CONFIG, FINGERPRINT, RunDir, iteration_name, read_saved
from verifier.errors import UserError
from verifier.storage import files

# Parameters, macros and whole configurables that may change when a run continues, because no result of a stage depends
# on them except for rounding: how the work is distributed (grids of rows, meshes), what is shown and kept, and paths.
# Everything else is part of the run's identity, including the number of iterations, because control arms train as long
# as the last one.
FREE = (
    "accumulate",
    "attention",
    "Budget",
    "budget",
    "checkpoint_every",
    "checkpoint_every_s",
    "chunk_steps",
    "eval_every",
    "evaluate_suite",
    "idle_share",
    "judges",
    "keep",
    "log_every",
    "loss_chunk",
    "MeshConfig",
    "profile",
    "prompts_in_flight",
    "prompts_per_load",
    "remat",
    "rows_in_flight",
    "rows_per_prompt",
    "run_dir",
    "stop_after_s",
    "stuck_after_s",
    "tail_prompts",
    "unroll",
    "Wandb",
    "watchdog",
    "workers",
)

SUMMARY, SAID = "summary.json", "summary.txt"  # of a finished run: for programs, and as printed
CONTENT = "content.json"  # digests of the data that the configuration names (run_content.py)
BASE_WEIGHTS = "base weights"  # the entry of the base's weights in it
_BASE = "Experiment.base"  # a path; its content is compared instead if the run recorded it
# Measurements of a run do not count as its results, nor does what is noted before there are any.
_MEASURED = (
    "begun_from.json", "events", "goodput.json", "held_out", "metrics.jsonl", "profile", "provenance.json", "times",
    "took.json",
)  # fmt: skip
_STUCK = "stuck-"  # prefix of the watchdogs' reports, one per host


class ConfigMismatch(UserError):
    """A run directory that belongs to another configuration."""


def open_run(root: files.Path, bindings: Mapping[str, str], config_text: str = "") -> RunDir:
    """The run directory at `root`, created, or continued if it belongs to the same configuration.

    A directory that holds no result yet accepts any configuration. The base may have moved if the run recorded its
    weights, which `run_content.require_same_content` must then compare.

    Args:
      bindings: 'scope/configurable.param' to its printable value; those in FREE do not count.
      config_text: saved as config.gin, from which single stages can be run later.

    Raises ConfigMismatch with both values of each binding that differs.
    """
    run = RunDir(files.join(root))
    wanted = {"format": 1, "fingerprint": fingerprint(bindings), "bindings": counted(bindings)}
    files.makedirs(run.root)
    # Exclusive, so that one of two hosts with different settings is refused.
    files.create_exclusive(files.join(run.root, FINGERPRINT), _json(wanted))
    if has_made(run):
        require_same(run, bindings)
    elif saved_bindings(run) != counted(bindings):
        # A run that stopped at a bad value before producing anything must not bind its successor to that value.
        files.write_atomic(files.join(run.root, FINGERPRINT), _json(wanted))
    if config_text:
        files.write_atomic(run.config, config_text)
    return run


def require_same(run: RunDir, bindings: Mapping[str, str]) -> None:
    """Raises ConfigMismatch, as `open_run` does, if a run that has results has other bindings. Writes nothing."""
    there, now = saved_bindings(run), counted(bindings)
    if there != now and (_without_base(there) != _without_base(now) or not noted_base(run)):
        raise ConfigMismatch(_difference(run.root, there, now))


def noted_base(run: RunDir) -> str:
    """Identity of the base's weights as recorded at the start of the run or by its evaluation; "" before that."""
    for path, name in (
        (files.join(run.root, CONTENT), BASE_WEIGHTS),
        (files.join(run.base_eval, "evaluation.json"), "checkpoint"),
    ):
        try:
            if found := files.read_json(path).get(name):
                return str(found)
        except FileNotFoundError:
            continue
    return ""


def begun_with_base(run: RunDir) -> str | None:
    """Experiment.base at the start of the run; None if its configuration does not bind it."""
    saved = read_saved(run) or {"bindings": {}}
    found = [value for name, value in saved["bindings"].items() if is_base(name)]
    return str(ast.literal_eval(found[0])) if found else None


def is_base(binding: str) -> bool:
    """Whether a binding names the base model."""
    return binding.removeprefix("t5x_selfprog.") == _BASE


def _without_base(bindings: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in bindings.items() if not is_base(name)}


def counted(bindings: Mapping[str, str]) -> dict[str, str]:
    """The bindings that are part of a run's identity."""
    return {name: value for name, value in sorted(bindings.items()) if not is_free(name)}


def saved_bindings(run: RunDir) -> dict[str, str]:
    """The counted bindings under which the directory was made; {} if it recorded none.

    A run from before one of FREE was free recorded that binding too; it does not count any more.
    """
    return counted((read_saved(run) or {}).get("bindings", {}))


def is_finished(root: files.Path, bindings: Mapping[str, str]) -> bool:
    """Whether a run under these bindings has finished."""
    run = RunDir(files.join(root))
    return files.exists(files.join(run.root, SAID)) and saved_bindings(run) == counted(bindings)


def rebind(run: RunDir, bindings: Mapping[str, str]) -> None:
    """Gives a run other settings but keeps its fingerprint, under which its ledgers were written, and its base's path.

    The weights at another path are compared with the noted ones each time (`run_content`).
    """
    saved = read_saved(run) or {}
    base = {name: value for name, value in saved.get("bindings", {}).items() if is_base(name)}
    now = _without_base(counted(bindings)) | base if noted_base(run) else counted(bindings)
    files.write_atomic(files.join(run.root, FINGERPRINT), _json(saved | {"bindings": now}))


def is_run(root: files.Path) -> bool:
    """Whether a run has begun in this folder."""
    names = files.listdir(root) if files.is_folder(root) else []
    return any(name in (CONFIG, FINGERPRINT, BASE, iteration_name(0)) for name in names)


def has_made(run: RunDir) -> bool:
    """Whether the directory holds any result of a stage."""
    made = set(files.listdir(run.root)) - {CONFIG, FINGERPRINT, CONTENT, *_MEASURED}
    return any(not name.startswith((_STUCK, ".")) for name in made)


def fingerprint(bindings: Mapping[str, str]) -> str:
    """16 hex digits that change with any binding that can change a result."""
    pairs = sorted(counted(bindings).items())
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:16]


def is_free(binding: str) -> bool:
    """Whether a binding may change while a run continues: `a/Experiment.workers`, the macro `WORKERS`."""
    parts = binding.rpartition("/")[2].lower().split(".")
    return any(name.lower() in parts for name in FREE)


def differences(there: Mapping[str, Any], now: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """A line for each of these names whose value has changed; every refused change is shown in this form."""
    unset = "not set"
    return [
        f"  {name}: there {there.get(name, unset)}, now {now.get(name, unset)}"
        for name in sorted(names)
        if there.get(name, unset) != now.get(name, unset)
    ]


def _difference(root: str, saved: Mapping[str, str], now: Mapping[str, str]) -> str:
    return (
        f"{root} belongs to a run with another configuration:\n"
        + "\n".join(differences(saved, now, saved.keys() | now.keys()))
        + f"\nGive another --run_dir (with --from={root} it shares what is equal), or the settings in "
        f"{files.join(root, CONFIG)} (used where no --gin_file is given). While a run continues there may be more "
        "loop.run.iterations, loop.run.controls, evaluate.run.attempts and sample_solutions.run.attempts, fewer "
        "iterations and arms where none that goes has begun, and these may change: " + ", ".join(FREE) + "."
    )


def _json(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=1) + "\n").encode()
