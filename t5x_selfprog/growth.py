"""A run that grows: more iterations, more arms, more attempts, in the same directory.

It may also end earlier than it was to: with fewer iterations if none beyond them has begun, and without an arm that was
not evaluated yet. Finished work stays. What is made anew is moved to RUN/earlier: with more or fewer iterations, the
control arms (they train as long as the last iteration, on as many puzzles); with more attempts at held-out problems,
the evaluations; with more attempts at its own puzzles, everything learnt from them (existing attempts count as the
first ones, stages/earlier_attempts.py); with any of these, the table. The ledgers keep the fingerprint under which the
run was begun; its current settings are in fingerprint.json.

    RUN/earlier/part_000/     `unpack --go_on` makes it too
    RUN/grown.json            the changes, in order
"""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping, Sequence

from t5x_selfprog import run_dir
from t5x_selfprog.evaluation import held_out
from t5x_selfprog.run_layout import CONTROLS, ENDED, RunDir, iteration_name, stage_folder
from verifier.errors import UserError
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
TABLE = ("summary.json", "summary.txt", "table.md", "operative_config.gin", "clean.json", ENDED)


def grow(root: str, bindings: Mapping[str, str]) -> list[str]:
    """Prepares a run to continue under bindings that only ask for more, or for an earlier end.

    Does nothing if they equal the run's, or differ in anything else, which `open_run` refuses. Only host 0 may call it.

    Returns what is more or less, in words; [] if nothing was done.
    """
    run, changed = RunDir(root), _wishes(root, bindings)
    if not changed:
        return []
    before, counted = run_dir.saved_bindings(run), run_dir.counted(bindings)
    if SOLUTIONS in changed:
        _set_apart_looks(root, f"{before.get(SOLUTIONS)} attempts at each puzzle")
        set_aside(root, [*_learnt(root), CONTROLS, "suites"])
    if ITERATIONS in changed:
        set_aside(root, [CONTROLS])
    if ATTEMPTS in changed:
        set_aside(root, _evaluations(root))
    if ARMS in changed:
        now = ast.literal_eval(counted[ARMS])
        gone = [arm for arm in ast.literal_eval(before[ARMS]) if arm not in now]
        set_aside(root, [f"{CONTROLS}/{arm}" for arm in gone])
    set_aside(root, TABLE)
    history = files.read_json(files.join(root, HISTORY)) if files.exists(files.join(root, HISTORY)) else []
    history.append({name: [before.get(name), counted.get(name)] for name in changed})
    files.write_json(files.join(root, HISTORY), history)
    run_dir.rebind(run, bindings)
    return list(changed.values())


def wishes(root: str, bindings: Mapping[str, str]) -> list[str]:
    """What `grow` would do, in words; [] if it would do nothing. Writes nothing."""
    return list(_wishes(root, bindings).values())


def require_possible(root: str, bindings: Mapping[str, str]) -> None:
    """Raises UserError where more attempts at held-out problems are wished of models whose weights are gone.

    Base and arms are measured anew as well, so that hours would pass before the first of them is missed.
    """
    changed = _wishes(root, bindings)
    if ATTEMPTS not in changed:
        return
    from t5x_selfprog.model import store

    run = RunDir(root)
    places = [] if SOLUTIONS in changed else [run.iteration(number) for number in run.iterations()]
    if not {SOLUTIONS, ITERATIONS} & changed.keys():
        places += [files.join(root, CONTROLS, arm) for arm in run.controls()]
    gone = []
    for place in places:
        folder = files.join(place, stage_folder("checkpoints"))
        measured = files.exists(files.join(place, stage_folder("eval"), "evaluation.json"))
        if measured and files.exists(files.join(folder, "done.json")):
            try:
                store.require_weights(folder)
            except UserError:
                gone.append(folder)
    if gone:
        before = run_dir.saved_bindings(run).get(ATTEMPTS)
        raise UserError(
            f"{ATTEMPTS}: {changed[ATTEMPTS]} means that every model is measured anew, and the weights of "
            f"{len(gone)} are not there: {', '.join(gone)}. `selfprog pack` leaves them behind. Do this where the run "
            f"was packed, which has them, or leave {ATTEMPTS} at {before}."
        )


def _wishes(root: str, bindings: Mapping[str, str]) -> dict[str, str]:
    """The bindings that differ, each with its wish in words; {} if none does, or one that is no wish.

    The path of a base does not count if its weights are noted: `run_content` compares those.
    """
    run = RunDir(root)
    if files.is_remote(root) or not run_dir.has_made(run):
        return {}
    before, now = run_dir.saved_bindings(run), run_dir.counted(bindings)
    changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    counting = [name for name in changed if not (run_dir.is_base(name) and run_dir.noted_base(run))]
    found = {name: _wish(run, name, before.get(name), now.get(name)) for name in counting}
    return found if all(found.values()) else {}


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


def _wish(run: RunDir, name: str, before: str | None, now: str | None) -> str:
    """`4 iterations instead of 2`; "" if the change is neither growth nor an earlier end."""
    if before is None or now is None or name not in (ARMS, *_WHAT):
        return ""
    old, new = ast.literal_eval(before), ast.literal_eval(now)
    if name == ARMS:
        return _other_arms(run, old, new)
    fewer = name == ITERATIONS and len(run.iterations()) <= new
    return f"{new} {_WHAT[name]} instead of {old}" if new > old or fewer else ""


def _other_arms(run: RunDir, old: Sequence[str], new: Sequence[str]) -> str:
    """`arms human, unverified left out`; "" if an arm that was evaluated would go."""
    added = [arm for arm in new if arm not in old]
    gone = [arm for arm in old if arm not in new]
    if any(files.exists(run.control(arm, "eval")) for arm in gone):
        return ""
    words = [f"arms {', '.join(added)}"] * bool(added) + [f"{', '.join(gone)} left out"] * bool(gone)
    return ", ".join(words)
