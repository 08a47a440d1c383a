"""What two runs have in common is computed once: finished stages are taken over from another run.

`selfprog study` shares among its runs; `selfprog run --from=RUN` takes from one.

A part of a run (`PARTS`) depends on only some of the configuration. Two runs that agree on everything except what is
listed as irrelevant to the part would write it byte for byte alike, so its files are linked (or copied, across file
systems), and only the fingerprint in the ledgers' heads is the new run's own. The list names what a part does NOT
depend on: a forgotten parameter costs a computation, not a result.

Links are safe because files of a finished stage are only ever replaced, never written to. RUN/taken_over.json records
what was taken. Works on local folders.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from t5x_selfprog.run_content import is_of_the_same_content
from t5x_selfprog.run_dir import is_free
from t5x_selfprog.run_layout import (
    BASE,
    CONTROLS,
    ENUMERATOR,
    ITERATIONS,
    STAGES,
    RunDir,
    iteration_name,
    stage_folder,
)
from verifier.storage.shards import atomic_write

_HEADS = ("ledger.json", "manifest.json")
_TRAINING = (
    "loop.run.", "build_dataset.", "Selection.", "control_dataset.", "finetune.", "LoopConfig.", "OptimizerConfig.",
    "best_control.", "Experiment.start", "loop.learn.", "Lora.", "grpo.", "grpo/", "PolicyGradient.",
    "selfplay.", "selfplay/", "proposing/", "ProposerReward.", "Mix.", "Attempting.", "Proposing.", "PolicyTraining.",
)  # fmt: skip
_EVALUATION = (
    "evaluate.", "evaluation/", "enumerate.", "Experiment.eval_split", "Experiment.max_eval_problems",
)  # fmt: skip
_PLAY = (
    "sample_puzzles.", "puzzles/", "filter_puzzles.", "filter/", "PuzzleRules.", "BehaviourCheck.",
    "sample_solutions.", "solutions/", "judge_solutions.", "judge/", "Experiment.writer",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """Some of a run's files. `marks` exist once it is finished; `blind_to` are prefixes of irrelevant binding names."""

    name: str
    paths: tuple[str, ...]
    marks: tuple[str, ...]
    blind_to: tuple[str, ...]

    def key(self, bindings: Mapping[str, str]) -> str:
        """Equal for configurations that write this part identically."""
        counted = sorted(
            (name, value)
            for name, value in bindings.items()
            if not is_free(name) and not name.startswith(self.blind_to)
        )
        return hashlib.sha256(json.dumps([self.name, counted]).encode()).hexdigest()[:16]


# More iterations, and arms beside them, do not change a run's iterations.
_MORE = ("loop.run.iterations", "loop.run.controls", "control_dataset.run_control.sources", "best_control.")
_INSIDE = RunDir("")  # paths relative to a run
_PUZZLES = tuple(_INSIDE.stage(0, name) for name in ("puzzles", "screened", "kept", "rejected"))
_ROUND = (
    *(name for name, _ in STAGES.values() if name != stage_folder("eval")),
    "funnel.json",
    "difficulty.jsonl",
)
_ARMS = ("loop.run.controls",)
_STAGING = ".taking_over"

# The widest first: what it covers need not be looked for again.
PARTS = (
    Part(
        "everything",
        (BASE, ENUMERATOR, "probes.json", ITERATIONS, CONTROLS),
        ("summary.json",),
        ("loop.run.controls", "control_dataset.run_control.sources"),
    ),
    Part(
        "first puzzles",
        ("probes.json", *_PUZZLES),
        tuple(f"{_INSIDE.stage(0, name)}/manifest.json" for name in ("kept", "rejected")),
        _TRAINING + _EVALUATION + ("sample_solutions.", "solutions/", "judge_solutions.", "judge/"),
    ),
    Part(
        "first solutions",
        (_INSIDE.stage(0, "solutions"), _INSIDE.stage(0, "verdicts")),
        (f"{_INSIDE.stage(0, 'verdicts')}/manifest.json",),
        _TRAINING + _EVALUATION,
    ),
    Part(
        "base evaluation",
        (BASE, ENUMERATOR),
        (f"{_INSIDE.base_eval}/evaluation.json", f"{_INSIDE.enumerator_eval}/evaluation.json"),
        _TRAINING + _PLAY,
    ),
)  # fmt: skip


def take_over(
    run: RunDir, bindings: Mapping[str, str], others: Sequence[tuple[RunDir, Mapping[str, str]]]
) -> list[str]:
    """Links finished parts of `others` (run, bindings) that `run` would compute identically; returns what, from whom.

    Parts that `run` has already begun are not taken over.
    """
    shutil.rmtree(os.path.join(run.root, _STAGING), ignore_errors=True)  # left by a killed process
    givers = [
        (other, its_bindings)
        for other, its_bindings in others
        if other.root != run.root and is_of_the_same_content(other, *_data_of(bindings))
    ]
    taken = []

    def take(part: Part, giver: tuple[RunDir, Mapping[str, str]]) -> bool:
        other, its_bindings = giver
        if any(True for _ in _matching(run.root, part.paths)) or part.key(bindings) != part.key(its_bindings):
            return False
        if not all(os.path.exists(os.path.join(other.root, mark)) for mark in part.marks):
            return False
        _link(other.root, run.root, list(_matching(other.root, part.paths)), run.fingerprint)
        taken.append(f"{part.name} from {os.path.basename(other.root)}")
        return True

    everything, *parts = PARTS
    if not any(take(everything, giver) for giver in givers):
        any(_take_rounds(bindings, giver, take) for giver in givers)
    for part in parts:
        any(take(part, giver) for giver in givers)
    if taken:
        path = os.path.join(run.root, "taken_over.json")
        before = json.load(open(path)) if os.path.exists(path) else []  # noqa: SIM115
        atomic_write(path, json.dumps(before + taken, indent=1) + "\n")
    return taken


def _take_rounds(
    bindings: Mapping[str, str],
    giver: tuple[RunDir, Mapping[str, str]],
    take: Callable[[Part, tuple[RunDir, Mapping[str, str]]], bool],
) -> bool:
    """Takes whole iterations of one run, in order, then the arms trained beside them.

    An evaluation is taken only with its model: one trained on another machine would differ in its last bits.
    """
    wanted = int(ast.literal_eval(bindings.get("loop.run.iterations", "2")))
    for number in range(wanted):
        place = iteration_name(number)
        if not take(_trained(f"iteration {number}", place, _ROUND, _MORE), giver):
            return number > 0
        take(_measured(f"iteration {number}'s evaluation", place, _MORE), giver)
    for arm in ast.literal_eval(bindings.get("loop.run.controls", "()")):
        place = f"{CONTROLS}/{arm}"
        if arm.endswith("_best"):  # it chose its steps by evaluations and names the other run's checkpoints
            continue
        trained = (stage_folder("dataset"), stage_folder("checkpoints"))
        if take(_trained(f"arm {arm}", place, trained, _ARMS), giver):
            take(_measured(f"arm {arm}'s evaluation", place, _ARMS), giver)
    return True


def _trained(name: str, place: str, made: Sequence[str], blind_to: tuple[str, ...]) -> Part:
    paths = tuple(f"{place}/{stage}" for stage in made)
    return Part(name, paths, (f"{place}/{stage_folder('checkpoints')}/done.json",), blind_to + _EVALUATION)


def _measured(name: str, place: str, blind_to: tuple[str, ...]) -> Part:
    evaluation = f"{place}/{stage_folder('eval')}"
    return Part(name, (evaluation,), (f"{evaluation}/evaluation.json",), blind_to)


def _data_of(bindings: Mapping[str, str]) -> tuple[str, str]:
    """The base and the problems that a configuration names; the defaults are Experiment's."""
    return (
        ast.literal_eval(bindings.get("Experiment.base", "'base'")),
        ast.literal_eval(bindings.get("Experiment.problems", "'seeds'")),
    )


def _matching(root: str, paths: Sequence[str]) -> Iterator[str]:
    """Existing paths; a trailing star matches any names at the root."""
    for path in paths:
        if path.endswith("*"):
            names = os.listdir(root) if os.path.isdir(root) else []
            yield from sorted(name for name in names if name.startswith(path[:-1]))
        elif os.path.exists(os.path.join(root, path)):
            yield path


def _link(source: str, target: str, paths: Sequence[str], fingerprint: str) -> None:
    """Links files and folders of one run into another; a kill half way leaves a folder that nobody reads."""
    staging = os.path.join(target, _STAGING)
    for path in paths:
        there, staged = os.path.join(source, path), os.path.join(staging, path)
        os.makedirs(os.path.dirname(staged), exist_ok=True)
        if os.path.isfile(there):
            shutil.copyfile(there, staged)
        else:
            shutil.copytree(there, staged, copy_function=_link_file)
            for folder, _, names in os.walk(staged):
                for name in set(names) & set(_HEADS):
                    _refingerprint(os.path.join(folder, name), fingerprint)
    for path in paths:
        os.makedirs(os.path.dirname(os.path.join(target, path)), exist_ok=True)
        os.replace(os.path.join(staging, path), os.path.join(target, path))
    shutil.rmtree(staging)


def _link_file(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # across file systems, or without hard links
        shutil.copy2(source, target)


def _refingerprint(path: str, fingerprint: str) -> None:
    with open(path) as file:
        head = json.load(file)
    if "fingerprint" in head:
        # A new file: the old one is a link to the other run's.
        atomic_write(path, json.dumps(head | {"fingerprint": fingerprint}, sort_keys=True, indent=1) + "\n")
