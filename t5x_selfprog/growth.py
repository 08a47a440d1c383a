"""A run that grows: more iterations, more arms, more attempts, in the same directory.

Finished work stays. What the longer run makes anew is moved to RUN/earlier: with more iterations, the control arms
(they train as long as the last iteration, on as many puzzles); with more attempts at held-out problems, the
evaluations; with more attempts at its own puzzles, everything learnt from them (existing attempts count as the first
ones, stages/earlier_attempts.py); with any of these, the table. The ledgers keep the fingerprint under which the run
was begun; its current settings are in fingerprint.json.

    RUN/earlier/part_000/     `unpack --go_on` makes it too
    RUN/grown.json            the changes, in order
"""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping, Sequence

from t5x_selfprog import run_dir
from t5x_selfprog.evaluation import held_out
from t5x_selfprog.run_layout import CONTROLS, RunDir, iteration_name, stage_folder
from verifier.storage import files

EARLIER, HISTORY = "earlier", "grown.json"
ITERATIONS, ARMS, ATTEMPTS = "loop.run.iterations", "loop.run.controls", "evaluate.run.attempts"
SOLUTIONS = "sample_solutions.run.attempts"
_AFTER_PUZZLES = (
    *map(stage_folder, ("solutions", "verdicts", "hindsight", "dataset", "checkpoints", "eval")),
    "difficulty.jsonl",
    "funnel.json",
)
_WHAT = {
    ITERATIONS: "iterations",
    ATTEMPTS: "attempts at each held-out problem",
    SOLUTIONS: "attempts at each puzzle",
}
# What the end of a run writes, and the end of a longer one writes anew.
TABLE = ("summary.json", "summary.txt", "table.md", "operative_config.gin", "clean.json", "ended.json")


def grow(root: str, bindings: Mapping[str, str]) -> list[str]:
    """Prepares a run to continue under bindings that only ask for more; returns what is more, in words.

    Does nothing if they equal the run's, or differ in anything else, which `open_run` refuses. Only host 0 may call it.
    """
    run = RunDir(root)
    if files.is_remote(root) or not run_dir.has_made(run):
        return []
    before = run_dir.saved_bindings(run)
    counted = run_dir.counted(bindings)
    changed = sorted(n for n in before.keys() | counted.keys() if before.get(n) != counted.get(n))
    asked = [_more(name, before.get(name), counted.get(name)) for name in changed]
    if not changed or not all(asked):
        return []
    if SOLUTIONS in changed:
        _set_apart_looks(root, f"{before.get(SOLUTIONS)} attempts at each puzzle")
        set_aside(root, [*_learnt(root), CONTROLS, "suites"])
    if ITERATIONS in changed:
        set_aside(root, [CONTROLS])
    if ATTEMPTS in changed:
        set_aside(root, _evaluations(root))
    set_aside(root, TABLE)
    history = files.read_json(files.join(root, HISTORY)) if files.exists(files.join(root, HISTORY)) else []
    history.append({name: [before.get(name), counted.get(name)] for name in changed})
    files.write_json(files.join(root, HISTORY), history)
    run_dir.rebind(run, bindings)
    return [word for word in asked if word]


def set_aside(root: str, names: Sequence[str]) -> None:
    """Moves files and folders of a run to a new folder under `earlier`."""
    there = [name for name in names if files.exists(files.join(root, name))]
    if not there:
        return
    number = len(files.listdir(files.join(root, EARLIER)))
    aside = os.path.join(root, EARLIER, f"part_{number:03d}")
    for name in there:
        target = os.path.join(aside, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.rename(os.path.join(root, name), target)


def _learnt(root: str) -> list[str]:
    """What depends on the attempts at puzzles: all of the first iteration but its puzzles, and the later iterations."""
    later = [iteration_name(number) for number in RunDir(root).iterations() if number]
    return [*(f"{iteration_name(0)}/{name}" for name in _AFTER_PUZZLES), *later]


def _set_apart_looks(root: str, by: str) -> None:
    """Marks the old models' looks at held-out problems, so that new models of the same names count as other looks."""
    for entry in held_out.read(root):
        if entry.get("iteration") is not None and "by" not in entry:
            held_out.replace(root, entry, entry | {"by": by, "config": f"{entry['config']} {by}"})


def _evaluations(root: str) -> list[str]:
    """Folders of the run's own evaluations, which depend on the experiment's number of attempts."""
    return [os.path.relpath(path, root) for path in RunDir(root).model_evals()]


def _more(name: str, before: str | None, now: str | None) -> str:
    """`4 iterations instead of 2`; "" if the change is not growth."""
    if before is None or now is None or name not in (ARMS, *_WHAT):
        return ""
    old, new = ast.literal_eval(before), ast.literal_eval(now)
    if name == ARMS:
        added = [arm for arm in new if arm not in old]
        return f"arms {', '.join(added)}" if added and set(old) <= set(new) else ""
    return f"{new} {_WHAT[name]} instead of {old}" if new > old else ""
