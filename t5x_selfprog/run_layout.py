"""Where everything is in a run directory, and the checkpoint that each stage starts from.

    RUN/config.gin  fingerprint.json  report/index.html
    RUN/metrics.jsonl  goodput.json  events/  profile/      measured (telemetry/): no stage reads it
    RUN/base/7_eval                                         the base model, measured once
    RUN/enumerator/7_eval                                   guesses without a model
    RUN/iter_000/{1_puzzles,2_screened,2_kept,2_rejected,3_solutions,4_verdicts,4_hindsight,5_dataset,6_checkpoints,7_eval}
    RUN/iter_000/funnel.json                                how many puzzles survived each filter
    RUN/models/<name>/7_eval                                a model from elsewhere, evaluated by hand
    RUN/suites/<suite>/<settings>/<arm>                     transfer, evaluated by hand
    RUN/controls/<arm>/{5_dataset,6_checkpoints,7_eval}     the control arms

No other module spells these names (tests/test_run_layout.py).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

from verifier.errors import UserError
from verifier.storage import files
from verifier.storage.shards import Ledger

CONFIG, FINGERPRINT = "config.gin", "fingerprint.json"
BASE, ENUMERATOR, CONTROLS = "base", "enumerator", "controls"
ITERATIONS = "iter_*"  # matches their folders
IN_USE = ".in_use-"  # prefix: who is at which work there now (in_use.py)
ENDED = "ended.json"  # after how many iterations the run ends, and why, once that is decided

# The folder that each stage writes, and the command that runs it.
STAGES = {
    "puzzles": ("1_puzzles", "generate"),
    "kept": ("2_kept", "generate"),
    "rejected": ("2_rejected", "generate"),
    "screened": ("2_screened", "generate"),
    "solutions": ("3_solutions", "solve"),
    "verdicts": ("4_verdicts", "verify"),
    "hindsight": ("4_hindsight", "finetune"),
    "dataset": ("5_dataset", "finetune"),
    "checkpoints": ("6_checkpoints", "finetune"),
    "eval": ("7_eval", "evaluate"),
}
WORKS = tuple(dict.fromkeys(command for _, command in STAGES.values()))  # of a run, by subcommand


def stage_folder(name: str) -> str:
    """`1_puzzles` for "puzzles"."""
    if name not in STAGES:
        raise ValueError(f"no stage writes {name!r}; there are {', '.join(STAGES)}")
    return STAGES[name][0]


def iteration_name(number: int) -> str:
    return f"iter_{number:03d}"


def iteration_number(name: str) -> int | None:
    """The inverse of `iteration_name`; None for any other name."""
    match = re.fullmatch(r"iter_(\d+)", name)
    return int(match[1]) if match else None


@dataclass(frozen=True)
class RunDir:
    """The paths under one root: local, with a scheme (`gs://`), or "" for paths relative to a run. Creates nothing."""

    root: str

    def iteration(self, iteration: int) -> str:
        return files.join(self.root, iteration_name(iteration))

    def iterations(self) -> list[int]:
        """The numbers of the iterations that have a folder, in order."""
        found = (iteration_number(name) for name in files.listdir(self.root))
        return sorted(number for number in found if number is not None)

    def stage(self, iteration: int, name: str) -> str:
        """RUN/iter_000/1_puzzles for (0, "puzzles")."""
        return files.join(self.iteration(iteration), stage_folder(name))

    def control(self, arm: str, name: str) -> str:
        """RUN/controls/<arm>/5_dataset for ("human", "dataset")."""
        return files.join(self.root, CONTROLS, arm, stage_folder(name))

    def controls(self) -> list[str]:
        """The control arms that have a folder, by name."""
        return files.listdir(files.join(self.root, CONTROLS))

    @property
    def base_eval(self) -> str:
        return files.join(self.root, BASE, stage_folder("eval"))

    @property
    def enumerator_eval(self) -> str:
        return files.join(self.root, ENUMERATOR, stage_folder("eval"))

    def other_eval(self, name: str) -> str:
        """RUN/models/<name>/7_eval, for a model that the run did not train."""
        return files.join(self.root, "models", name, stage_folder("eval"))

    def model_evals(self) -> list[str]:
        """The evaluations of the base, the iterations and the control arms, finished or not."""
        rounds = [self.stage(number, "eval") for number in self.iterations()]
        return [self.base_eval, *rounds, *(self.control(arm, "eval") for arm in self.controls())]

    def funnel(self, iteration: int) -> str:
        return files.join(self.iteration(iteration), "funnel.json")

    @property
    def report(self) -> str:
        return files.join(self.root, "report", "index.html")

    @property
    def config(self) -> str:
        return files.join(self.root, CONFIG)

    # The checkpoint that each stage starts from.

    def sampled_from(self, iteration: int, base: str) -> str:
        """The checkpoint that writes an iteration's puzzles and solutions: the newest before it."""
        newest = self.newest_learnt(iteration)
        return base if newest is None else self.stage(newest, "checkpoints")

    def newest_learnt(self, iterations: int) -> int | None:
        """The last of the first `iterations` that trained a model; None if none did."""
        return next((i for i in reversed(range(iterations)) if not self.learnt_nothing(i)), None)

    def learnt_nothing(self, iteration: int) -> bool:
        """Whether an iteration has no checkpoint: its training ended without a step, or has no pair to begin with.

        A policy gradient learns from attempts, so it may have made steps without a pair; and pairs that all exceed a
        row teach nothing.
        """
        try:
            manifest = files.read_json(files.join(self.stage(iteration, "dataset"), "manifest.json"))
        except FileNotFoundError:
            return False
        steps = self._steps(iteration)
        return manifest["rows"] == 0 if steps is None else steps == 0

    def _steps(self, iteration: int) -> int | None:
        """Steps of an iteration's finished training; None if there is none."""
        try:
            return int(files.read_json(files.join(self.stage(iteration, "checkpoints"), "done.json"))["step"])
        except FileNotFoundError:
            return None

    def trained_from(self, iteration: int, base: str, start: Literal["base", "previous"]) -> str:
        """The checkpoint that fine-tuning starts from: always the base (the paper's way), or the newest."""
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
        stage_folder(name)
        return f"selfprog {STAGES[name][1]} --run_dir={self.root}"

    # The run's configuration.

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its configuration. Raises UserError if `open_run` has not created the directory."""
        saved = read_saved(self)
        if saved is None:
            raise UserError(f"{self.root} is not a run directory: {FINGERPRINT} is missing")
        return str(saved["fingerprint"])


def read_saved(run: RunDir) -> dict[str, dict[str, str]] | None:
    """The content of fingerprint.json; None if it does not exist yet."""
    path = files.join(run.root, FINGERPRINT)
    try:
        return json.loads(files.read_bytes(path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); restore it, or give another --run_dir") from error
