"""Every path of a run, the checkpoint each stage starts from, and whether a directory belongs to a configuration.

    RUN/config.gin  fingerprint.json  report/index.html
    RUN/metrics.jsonl  goodput.json  events/  profile/      measured (telemetry/): no stage reads it
    RUN/base/7_eval                                         the base model, measured once
    RUN/iter_000/{1_puzzles,2_kept,2_rejected,3_solutions,4_verdicts,4_hindsight,5_dataset,6_checkpoints,7_eval}
    RUN/iter_000/funnel.json                                how many puzzles survived each filter
    RUN/suites/<suite>/<settings>/<arm>                     transfer, asked for by hand
    RUN/controls/<arm>/{5_dataset,6_checkpoints,7_eval}     what the loop is compared with

This module does not depend on gin: a configuration is a mapping from binding to printable value.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from verifier import files
from verifier.errors import UserError
from verifier.shards import Ledger

# The folder that each stage writes, and the command that runs it.
STAGES = {
    "puzzles": ("1_puzzles", "generate"),
    "kept": ("2_kept", "generate"),
    "rejected": ("2_rejected", "generate"),
    "solutions": ("3_solutions", "solve"),
    "verdicts": ("4_verdicts", "verify"),
    "hindsight": ("4_hindsight", "finetune"),
    "dataset": ("5_dataset", "finetune"),
    "checkpoints": ("6_checkpoints", "finetune"),
    "eval": ("7_eval", "evaluate"),
}

# Parameters, macros and whole configurables that may change when a run continues, because no result of a stage depends
# on them, rounding aside: how the work is distributed (grids of rows, meshes), what is shown and kept, and paths.
# Everything else is part of the run's identity, the number of iterations included, since control arms train as long as
# the last one.
FREE = (
    "accumulate",
    "attention",
    "Budget",
    "budget",
    "checkpoint_every",
    "checkpoint_every_s",
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
    "unroll",
    "Wandb",
    "watchdog",
    "workers",
)

_CONFIG, _FINGERPRINT = "config.gin", "fingerprint.json"
SUMMARY, SAID = "summary.json", "summary.txt"  # of a finished run: for programs, and as it was printed
CONTENT = "content.json"  # digests of the data that the configuration names (run_content.py)
BASE_WEIGHTS = "base weights"  # the entry of the base's weights in it
_BASE = "Experiment.base"  # a path; its content is compared instead where the run recorded it
# Measurements of a run do not count as its results, nor does what is noted before there are any.
_MEASURED = (
    "begun_from.json", "events", "goodput.json", "held_out", "metrics.jsonl", "profile", "provenance.json", "times",
    "took.json",
)  # fmt: skip
_STUCK = "stuck-"  # prefix of the watchdogs' reports, one per host


class ConfigMismatch(UserError):
    """A run directory that belongs to another configuration."""


@dataclass(frozen=True)
class RunDir:
    """The paths under one root, local or with a scheme (`gs://`). Creates nothing by itself."""

    root: str

    def iteration(self, iteration: int) -> str:
        return files.join(self.root, f"iter_{iteration:03d}")

    def stage(self, iteration: int, name: str) -> str:
        """RUN/iter_000/1_puzzles for (0, "puzzles")."""
        return files.join(self.iteration(iteration), _folder(name))

    def control(self, arm: str, name: str) -> str:
        """RUN/controls/<arm>/5_dataset for ("human", "dataset")."""
        return files.join(self.root, "controls", arm, _folder(name))

    @property
    def base_eval(self) -> str:
        return files.join(self.root, "base", _folder("eval"))

    def funnel(self, iteration: int) -> str:
        return files.join(self.iteration(iteration), "funnel.json")

    @property
    def events(self) -> str:
        return files.join(self.root, "events")

    @property
    def report(self) -> str:
        return files.join(self.root, "report", "index.html")

    @property
    def config(self) -> str:
        return files.join(self.root, _CONFIG)

    # The checkpoint each stage starts from.

    def sampled_from(self, iteration: int, base: str) -> str:
        """The checkpoint that writes the puzzles and the solutions of an iteration: the newest before it."""
        newest = self.newest_learnt(iteration)
        return base if newest is None else self.stage(newest, "checkpoints")

    def newest_learnt(self, iterations: int) -> int | None:
        """The last of the first `iterations` that trained a model; None if none did."""
        return next((i for i in reversed(range(iterations)) if not self.learnt_nothing(i)), None)

    def learnt_nothing(self, iteration: int) -> bool:
        """Whether an iteration ended without a single pair: it then has no checkpoint."""
        try:
            manifest = files.read_json(files.join(self.stage(iteration, "dataset"), "manifest.json"))
        except FileNotFoundError:
            return False
        return manifest["rows"] == 0

    def trained_from(self, iteration: int, base: str, start: Literal["base", "previous"]) -> str:
        """The checkpoint fine-tuning starts from: the base each time (the paper's way), or the newest."""
        return base if start == "base" else self.sampled_from(iteration, base)

    def datasets(self, iteration: int) -> list[str]:
        """The datasets that an iteration is fine-tuned on: all so far, its own last."""
        return [self.stage(earlier, "dataset") for earlier in range(iteration + 1)]

    # Reading what another stage wrote.

    def read(self, iteration: int, name: str) -> Ledger:
        """The ledger of a stage. Raises MissingStage, naming its path and the command that runs it."""
        return Ledger.open(self.stage(iteration, name), made_by=self.made_by(name))

    def made_by(self, name: str) -> str:
        """The command line that runs a stage."""
        _folder(name)
        return f"selfprog {STAGES[name][1]} --run_dir={self.root}"

    # The configuration it belongs to.

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its configuration. Raises UserError if `open_run` has not created the directory."""
        saved = _read_saved(self)
        if saved is None:
            raise UserError(f"{self.root} is not a run directory: {_FINGERPRINT} is missing")
        return str(saved["fingerprint"])


def open_run(root: files.Path, bindings: Mapping[str, str], config_text: str = "") -> RunDir:
    """The run directory at `root`, created, or continued if it belongs to the same configuration.

    A directory that holds no result yet accepts any configuration.
    The base may lie elsewhere than it did if the run recorded its weights, which
    `run_content.require_same_content` then has to compare.

    Args:
      bindings: 'scope/configurable.param' to its printable value; those in FREE do not count.
      config_text: saved as config.gin, from which single stages can be run later.

    Raises ConfigMismatch with both values of each binding that differs.
    """
    run = RunDir(files.join(root))
    wanted = {"format": 1, "fingerprint": fingerprint(bindings), "bindings": counted(bindings)}
    files.makedirs(run.root)
    # Exclusive, so that of two hosts with different settings one is refused.
    files.create_exclusive(files.join(run.root, _FINGERPRINT), _json(wanted))
    saved = _read_saved(run)
    if saved is not None and saved["bindings"] != counted(bindings):
        same = _without_base(saved["bindings"]) == _without_base(counted(bindings))
        if not has_made(run):
            # A run that stopped at a bad value before producing anything must not bind its successor to that value.
            files.write_atomic(files.join(run.root, _FINGERPRINT), _json(wanted))
        elif not (same and noted_base(run)):
            raise ConfigMismatch(_difference(run.root, saved["bindings"], counted(bindings)))
    if config_text:
        files.write_atomic(run.config, config_text)
    return run


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
    saved = _read_saved(run) or {"bindings": {}}
    found = [value for name, value in saved["bindings"].items() if _is_base(name)]
    return str(ast.literal_eval(found[0])) if found else None


def _is_base(binding: str) -> bool:
    return binding.removeprefix("t5x_selfprog.") == _BASE


def _without_base(bindings: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in bindings.items() if not _is_base(name)}


def counted(bindings: Mapping[str, str]) -> dict[str, str]:
    """The bindings that are part of a run's identity."""
    return {name: value for name, value in sorted(bindings.items()) if not is_free(name)}


def saved_bindings(run: RunDir) -> dict[str, str]:
    """What the directory was made under, as far as it counts; {} where it says nothing."""
    return (_read_saved(run) or {}).get("bindings", {})


def is_finished(root: files.Path, bindings: Mapping[str, str]) -> bool:
    """Whether a run under these bindings has come to its end."""
    run = RunDir(files.join(root))
    return files.exists(files.join(run.root, SAID)) and saved_bindings(run) == counted(bindings)


def rebind(run: RunDir, bindings: Mapping[str, str]) -> None:
    """Other settings for a run that keeps its fingerprint, under which its ledgers were written."""
    saved = _read_saved(run) or {}
    files.write_atomic(files.join(run.root, _FINGERPRINT), _json(saved | {"bindings": counted(bindings)}))


def is_run(root: files.Path) -> bool:
    """Whether a run was begun in this folder."""
    names = files.listdir(root) if files.is_folder(root) else []
    return any(name in (_CONFIG, _FINGERPRINT, "base", "iter_000") for name in names)


def has_made(run: RunDir) -> bool:
    """Whether the directory holds any result of a stage."""
    made = set(files.listdir(run.root)) - {_CONFIG, _FINGERPRINT, CONTENT, *_MEASURED}
    return any(not name.startswith((_STUCK, ".")) for name in made)


def fingerprint(bindings: Mapping[str, str]) -> str:
    """16 hex digits that change with any binding that can change a result."""
    pairs = sorted(counted(bindings).items())
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:16]


def is_free(binding: str) -> bool:
    """Whether a binding may change while a run continues: `a/loop.run.workers`, the macro `WORKERS`."""
    parts = binding.rpartition("/")[2].lower().split(".")
    return any(name.lower() in parts for name in FREE)


def differences(there: Mapping[str, Any], now: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """A line for each of these names whose value is not what it was, as every refused change is shown."""
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
        f"{files.join(root, _CONFIG)} (used where no --gin_file is given). While a run continues there may be more "
        "loop.run.iterations, loop.run.controls, evaluate.run.attempts and sample_solutions.run.attempts, and these "
        "may change: " + ", ".join(FREE) + "."
    )


def _folder(name: str) -> str:
    if name not in STAGES:
        raise ValueError(f"no stage writes {name!r}; there are {', '.join(STAGES)}")
    return STAGES[name][0]


def _read_saved(run: RunDir) -> dict[str, dict[str, str]] | None:
    path = files.join(run.root, _FINGERPRINT)
    try:
        return json.loads(files.read_bytes(path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); restore it, or give another --run_dir") from error


def _json(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=1) + "\n").encode()
