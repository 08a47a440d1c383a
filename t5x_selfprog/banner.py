"""What `selfprog run` says before it begins: devices, model, problems, stages, estimated time and disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import jax

from t5x_selfprog.devices import unused_gpu
from t5x_selfprog.gin_values import handed, learner
from t5x_selfprog.model import network, store
from t5x_selfprog.outlook import YIELD, Outlook, Rollouts, Sizes, duration, flops_per_s, stages
from t5x_selfprog.puzzles.p3 import in_split, load_problems
from t5x_selfprog.run_layout import RunDir
from t5x_selfprog.stages.context import Experiment
from verifier.storage import files

_GB = 1e9
_PROMPT_TOKENS = 200  # of a prompt for a solution, its tutorial included


def outlook(run: RunDir, experiment: Experiment) -> tuple[Outlook, list[str]]:
    """The run's outlook, and the lines to show before it continues."""
    iterations, controls = handed("loop.run", "iterations"), tuple(handed("loop.run", "controls"))
    names = stages(iterations, controls, handed("loop.run", "measured"))
    config = store.read_config(store.resolve(experiment.base))
    problems = load_problems(experiment.problems, docstrings=experiment.docstrings)
    held_out = len(in_split(problems, experiment.eval_split))
    evaluated = min(held_out, experiment.max_eval_problems or held_out)
    device, count = jax.devices()[0], jax.device_count()
    sizes = _sizes(experiment, network.num_params(config), evaluated)
    guesses = {name: sizes.guess(name) for name in names}
    ahead = Outlook(names, guesses, quiet=bool(os.environ.get("SELFPROG_QUIET")))
    disk = sizes.disk_bytes(names)
    learnt = len(in_split(problems, "train"))
    model = (
        f"{experiment.base}, {_short(network.num_params(config))} weights, context {config.context_length}"
    )
    rounds = f"{iterations} iteration{'s' if iterations != 1 else ''}"
    lines = [
        f"{run.root}",
        f"  device    {count} x {device.device_kind} ({device.platform})",
        f"  model     {model}",
        f"  problems  {experiment.problems}: {learnt} to learn from; {evaluated} of {held_out} "
        f"in {experiment.eval_split} to be measured on, {handed('evaluate.run', 'attempts')} attempts each",
        f"  stages    {len(names)}: {rounds}, then {', '.join(controls) or 'no control arms'}",
        f"  estimate  {duration(ahead.left_s())} and {disk / _GB:.1f} GB of disk, roughly, for all of it",
    ]
    return ahead, lines + warnings(run.root, device.platform, disk)


def dry_run(run_dir: str) -> dict[str, Any]:
    """`selfprog run --dry_run`: after all checks, says what would be done."""
    ahead, lines = outlook(RunDir(run_dir), Experiment())
    print("\n".join(lines))
    print("Nothing was made: the same command without --dry_run does it.")
    return {"stages": ahead.names, "estimate_s": round(ahead.left_s())}


def warnings(root: str, platform: str, disk_bytes: float) -> list[str]:
    """What the user should know before hours have passed."""
    found = []
    passed_by = unused_gpu(platform)
    if passed_by:
        found.append(f"  ATTENTION {passed_by}")
    if not files.is_remote(root):
        place = next(folder for folder in (Path(root), *Path(root).absolute().parents) if folder.is_dir())
        free = shutil.disk_usage(place).free
        if free < disk_bytes:
            found.append(f"  ATTENTION only {free / _GB:.1f} GB are free where {root} is")
    return found


def _sizes(experiment: Experiment, parameters: int, evaluated: int) -> Sizes:
    device = jax.devices()[0]
    cores = experiment.workers or len(os.sched_getaffinity(0))
    length, rows = handed("finetune.run", "length"), handed("finetune.run", "batch_size")
    steps = handed("finetune.run", "steps")
    puzzles = handed("sample_puzzles.run", "prompts") * handed("sample_puzzles.run", "attempts")
    pairs = puzzles * 0.1 * 150  # in tokens, if a tenth of the puzzles yield a pair
    rollouts, prompt_tokens = _rollouts(puzzles)
    trained = steps * rows * length if steps else pairs * handed("finetune.run", "epochs")
    return Sizes(
        parameters=parameters,
        cores=cores,
        flops_per_s=flops_per_s(device.platform, device.device_kind, jax.device_count()),
        puzzles=puzzles,
        attempts=handed("sample_solutions.run", "attempts"),
        evaluated=evaluated * handed("evaluate.run", "attempts"),
        puzzle_tokens=handed("sample_puzzles.run", "sampling").max_new_tokens,
        solution_tokens=handed("sample_solutions.run", "sampling").max_new_tokens,
        evaluation_tokens=handed("evaluate.run", "sampling").max_new_tokens,
        trained_tokens=trained if rollouts is None else rollouts.tokens() + prompt_tokens,
        rollouts=rollouts,
    )


def _rollouts(puzzles: float) -> tuple[Rollouts | None, float]:
    """What one training samples, and the tokens of all prompts in its rows; None where it learns pairs.

    puzzles: written in an iteration.
    """
    stage = learner()
    if not stage:
        return None, 0.0
    attempting, training = handed(stage, "attempting"), handed(stage, "training")
    tokens, batches, attempts = attempting.sampling.max_new_tokens, training.batches, training.attempts
    if stage == "grpo.run":
        each = handed(stage, "each")
        made = batches * handed(stage, "puzzles") * attempts
        if each is not None:
            made = max(0, each - handed("sample_solutions.run", "attempts")) * puzzles * YIELD
        return Rollouts(made, tokens), made * _PROMPT_TOKENS
    mix, proposing = handed(stage, "mix"), handed(stage, "proposing")
    proposals = batches * mix.prompts * attempts
    asked = batches * (mix.puzzles + mix.deductions + mix.abductions) + proposals * YIELD
    prompts = asked * attempts * _PROMPT_TOKENS + proposals * proposing.prompt_tokens
    made = Rollouts(asked * attempts, tokens, proposals, proposing.sampling.max_new_tokens)
    return made, prompts


def _short(count: int) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return str(count)
