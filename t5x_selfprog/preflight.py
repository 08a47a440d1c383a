"""Finds everything that can be known to be wrong with a run before anything is made.

gin_values checks types and bounds of single values. These checks need two of them, or the disk, or the devices: arms,
problems, base, mesh, batch, room in the model's context, what the hosts see. Nothing here computes or writes, except
for one small file if several hosts must see one folder.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import t5x_selfprog.configurables  # noqa: F401 (declares the dataclasses to gin)
from t5x_selfprog import gin_files, hosts, machine, run_dir
from t5x_selfprog.devices import require_devices
from t5x_selfprog.gin_values import handed, learner
from t5x_selfprog.model import network, store
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.packed_attention import require_whole_heads
from t5x_selfprog.nearest import nearest
from t5x_selfprog.partitioning import Partitioner
from t5x_selfprog.puzzles.asking import asking
from t5x_selfprog.puzzles.p3 import SPLITS, in_split, load_problems
from t5x_selfprog.puzzles.prompts import SolvePrompt, tutorial_blocks
from t5x_selfprog.sampling.blueprint import Room
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.stages.best_control import BEST
from t5x_selfprog.stages.build_dataset import ARMS
from t5x_selfprog.stages.context import Experiment
from t5x_selfprog.stages.policy_settings import require_learnable, require_playable
from t5x_selfprog.training.loop_config import LoopConfig
from t5x_selfprog.training.lora import Lora
from verifier.errors import UserError
from verifier.storage import files

# The stages whose sampling each command uses; other commands use all of them.
_SAMPLERS = {
    "generate": ("sample_puzzles.run",),
    "solve": ("sample_solutions.run",),
    "finetune": (),
    "evaluate": ("evaluate.run",),
}
_ALL_SAMPLERS = ("sample_puzzles.run", "sample_solutions.run", "evaluate.run")

_LEARNS = ("run", "finetune")
LEARNERS = ("grpo.run", "selfplay.run")


def check_run(args: argparse.Namespace) -> None:
    """Checks `selfprog run` and its stages, once gin is parsed. Raises UserError before anything is written."""
    check_folder(args.run_dir, getattr(args, "hosts", None))
    if args.command == "run" and run_dir.is_finished(args.run_dir, gin_files.bindings()):
        return  # it only shows its results again, without model or devices
    experiment = Experiment()
    check_problems(experiment)
    if args.command == "run":
        check_arms(handed("loop.run", "controls"))
    if args.command == "verify":  # needs neither model nor devices
        return
    check_limits()
    check_tutorials()
    samplers = _SAMPLERS.get(args.command, _ALL_SAMPLERS)
    learns = args.command in _LEARNS
    if learns and (stage := check_learner()):
        samplers = (*samplers, stage)
    # A suite brings its own prompts and lengths.
    roomy = () if getattr(args, "suite", None) else samplers
    if model := getattr(args, "model", None):
        store.require_weights(model)
    check_room(store.resolve(model or experiment.base), roomy)
    check_devices(experiment, samplers, learns=learns)


def check_settings() -> None:
    """What can be checked of `selfprog run` on a machine that has neither its data and base nor its devices."""
    check_arms(handed("loop.run", "controls"))
    check_limits()
    check_learner()


def check_learner() -> str:
    """The stage that learns from verdicts in place of fine-tuning, "" if none; raises UserError for bad settings."""
    stage = learner()
    if stage == "grpo.run":
        training = handed(stage, "training")
        require_learnable(handed(stage, "attempting"), training)
        made = handed(stage, "puzzles") * training.attempts
        if training.updates > made:
            raise UserError(
                f"PolicyTraining.updates={training.updates}: each step learns another part of a batch, and a batch has "
                f"{made} attempts (grpo.run.puzzles x PolicyTraining.attempts): lower it."
            )
        _require_attempts_left(handed(stage, "each"))
    elif stage == "selfplay.run":
        require_playable(*(handed(stage, name) for name in ("attempting", "proposing", "training", "mix")))
    elif stage:
        raise UserError(
            f"loop.learn.update: {stage} learns from no verdict: choose @grpo.run or @selfplay.run."
        )
    return stage


def _require_attempts_left(each: int | None) -> None:
    """Requires that `grpo.run.each` exceeds what stage 3 makes; an allocation may spare some of that."""
    made = handed("sample_solutions.run", "attempts")
    if each is not None and each <= made and handed("sample_solutions.run", "allocation") is None:
        raise UserError(
            f"grpo.run.each={each}: stage 3 makes {made} attempts at each puzzle (sample_solutions.run.attempts), "
            "which leave none for the policy gradient: raise the first, or lower the second."
        )


def check_pretraining(args: argparse.Namespace) -> None:
    """Checks `selfprog pretrain`."""
    from t5x_selfprog.pretraining.pretrain import check_inputs

    check_folder(args.run_dir, getattr(args, "hosts", None))
    check_inputs(*(handed("pretrain.run", name) for name in ("tokens", "tokenizer", "init_from")))
    handed("pretrain.run", "mesh").make(require_devices())


def check_folder(path: str, several: str | None = None) -> None:
    """Requires a folder that can hold a run and, with `several` (--hosts), that all hosts see it. Collective."""
    if files.is_remote(path):
        return
    place = Path(path)
    there = next(folder for folder in (place, *place.absolute().parents) if os.path.lexists(folder))
    if not there.is_dir():
        at = "is" if there == place else f"{there} is"
        raise UserError(f"--run_dir={path}: {at} a file; give a folder, or a name that is not there yet")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"--run_dir={path}: {there} cannot be written to by you; give a folder of your own")
    if several and hosts.count() > 1:
        _require_shared(path)


def _require_shared(path: str) -> None:
    """Host 0 writes a file that every other host must find."""
    token = hosts.agree(uuid.uuid4().hex)
    seen = os.path.join(path, f".seen-{token}")
    made = hosts.is_first() and not os.path.isdir(path)
    if hosts.is_first():
        os.makedirs(path, exist_ok=True)
        Path(seen).touch()
    hosts.barrier("a file in the run directory")
    found = os.path.exists(seen)
    sees = hosts.gather(found)
    if hosts.is_first():
        files.remove(seen)
        if made:
            with contextlib.suppress(OSError):
                os.rmdir(path)
    if not all(sees):
        hidden = ", ".join(str(i) for i, one in enumerate(sees) if not one)
        raise UserError(
            f"--run_dir={path}: host {hidden} does not see what host 0 writes there; give a folder that all "
            "hosts share (NFS, Filestore, gs://BUCKET/...)"
        )


def check_arms(controls: Iterable[str], *, sources_there: bool = True) -> None:
    """Requires arms that can be made. sources_there: pairs from elsewhere must already exist."""
    sources = handed("control_dataset.run_control", "sources")
    known = [*ARMS, *sources]
    for arm in controls:
        if arm.removesuffix(BEST) not in known:
            raise UserError(
                f"loop.run.controls: unknown arm {arm!r}; {_of(arm, [*known, *(a + BEST for a in ARMS)])}"
            )
    for arm in sorted({arm for arm in controls if list(controls).count(arm) > 1}):
        raise UserError(f"loop.run.controls: the arm {arm!r} stands there twice; name it once")
    for arm, source in sources.items():
        if sources_there and not files.exists(source):
            raise UserError(
                f"control_dataset.run_control.sources: {source!r}, of the arm {arm!r}, is not there"
            )
    attempts, k = handed("best_control.run", "attempts"), handed("best_control.run", "k")
    if attempts < k and any(arm.endswith(BEST) for arm in controls):
        raise UserError(
            f"best_control.run.attempts={attempts}: Pass@{k} needs at least {k}; raise it or lower best_control.run.k."
        )


def check_problems(experiment: Experiment) -> None:
    problems = load_problems(experiment.problems, docstrings=experiment.docstrings)
    if experiment.eval_split not in SPLITS:
        raise UserError(
            f"Experiment.eval_split={experiment.eval_split!r}: {_of(experiment.eval_split, SPLITS)}"
        )
    for split in ("train", experiment.eval_split):
        try:
            in_split(problems, split)
        except UserError as error:
            raise UserError(f"Experiment.problems={experiment.problems!r}: {error}") from error


def check_limits() -> None:
    """Requires exact limits of the evaluations: they judge every attempt to its full limit."""
    handed("evaluate.run", "limits").require_exact("evaluate")
    handed("enumerate.run_enumerator", "limits").require_exact("the enumerator")


def check_tutorials() -> None:
    """Requires the tutorials that prompts name; otherwise this would fail only long after a model is loaded."""
    for stage in ("sample_solutions.run", "evaluate.run"):
        tutorial_blocks(handed(stage, "prompt"))


def check_room(model: str, samplers: Iterable[str]) -> None:
    """Requires room for these stages' prompts and attempts in the context of the model at this path."""
    config = store.read_config(model)
    tokenizer = store.load_tokenizer(model)
    for asked in _sampled(samplers):
        if not isinstance(asked.sampling, SamplingConfig):
            raise UserError(f"{asked.name} must be given a value: {asked.name} = @SamplingConfig()")
        way = asking(asked.prompt, tokenizer, model) if asked.prompt else None
        sampling = way.sampling(asked.sampling) if way else asked.sampling
        try:
            room = Room.of(config, tokenizer, sampling, way.prefix if way else "")
        except UserError as error:
            raise UserError(f"{asked.name}: {error} Lower SamplingConfig.max_new_tokens.") from error
        most = room.buckets[-1] - len(room.start)
        if asked.prompt_tokens > most:
            raise UserError(
                f"{asked.name.rpartition('.')[0]}.prompt_tokens={asked.prompt_tokens}: prompts have room for {most} "
                f"tokens, by the largest of SamplingConfig.prompt_buckets={asked.sampling.prompt_buckets} and by what "
                f"the model's context of {config.context_length} leaves beside "
                f"max_new_tokens={asked.sampling.max_new_tokens}. Lower it to {most}."
            )
        before = len(room.prefix or room.start)
        if asked.row and before + asked.sampling.max_new_tokens >= asked.row:
            raise UserError(
                f"PolicyTraining.length={asked.row}: a row must hold an attempt with its prompt, of which {before} "
                f"tokens come before every puzzle and {asked.sampling.max_new_tokens} may follow it "
                f"(SamplingConfig.max_new_tokens of {asked.name}): raise it, lower the latter, or take a shorter "
                "SolvePrompt.tutorial."
            )


@dataclasses.dataclass(frozen=True)
class _Sampled:
    """Sampling that a stage does: its parameter, and what it asks with.

    Attributes:
      prompt: how solutions are asked for; None for puzzles.
      prompt_tokens: the most tokens of prompts for puzzles; 0 for solutions.
      row: tokens of a training row that must hold attempts with their prompts; 0 for none.
    """

    name: str
    sampling: SamplingConfig
    prompt: SolvePrompt | None
    prompt_tokens: int = 0
    row: int = 0


def _sampled(stages: Iterable[str]) -> Iterator[_Sampled]:
    """All sampling of these stages."""
    for stage in stages:
        if stage in LEARNERS:
            attempting = handed(stage, "attempting")
            row = handed(stage, "training").length
            yield _Sampled("Attempting.sampling", attempting.sampling, attempting.prompt, row=row)
            if stage == "selfplay.run":
                proposing = handed(stage, "proposing")
                yield _Sampled("Proposing.sampling", proposing.sampling, None, proposing.prompt_tokens)
        elif stage == "sample_puzzles.run":
            sampling, tokens = handed(stage, "sampling"), handed(stage, "prompt_tokens")
            yield _Sampled(f"{stage}.sampling", sampling, None, tokens)
        else:
            yield _Sampled(f"{stage}.sampling", handed(stage, "sampling"), handed(stage, "prompt"))


def check_memory(model: ModelConfig, bytes_limit: float, parts: int = 1, stage: str = "") -> None:
    """Requires memory on each device for the least that training takes: weights, gradients and optimizer state.

    With adapters that is twice the weights, which are merged in the end; a policy gradient keeps the weights that it
    began from as well.

    Activations and caches come on top; what they take is known only at run time.

    Args:
      bytes_limit: memory of each device.
      parts: how many devices the weights are split over (MeshConfig.fsdp x tensor).
      stage: that learns from verdicts; "" for fine-tuning.
    """
    loop, lora = _learning(stage)
    optimizer, learns = loop.optimizer.name, "PolicyTraining.lora" if stage else "finetune.run.lora"
    arrays = 2 + bool(stage) + {"adamw": 2, "muon": 1}.get(optimizer, 0)
    how, also = f"training them with {optimizer!r}", f"train adapters alone ({learns} = @Lora()), "
    if lora is not None:
        arrays, how, also = 2, "training adapters of them", ""
    count = network.num_params(model)
    least = 4.0 * count * arrays / parts
    if least > bytes_limit:
        raise UserError(
            f"Experiment.base has {count:,} weights: {how} takes at least {machine.gib(least)} on each device, which "
            f"has {machine.gib(bytes_limit)}. Split them over more devices (MeshConfig.fsdp), {also}set "
            "OptimizerConfig.name = 'adafactor', or begin with a smaller model."
        )


def _learning(stage: str) -> tuple[LoopConfig, Lora | None]:
    """How stage 6 trains: a stage that learns from verdicts, or fine-tuning."""
    if stage:
        training = handed(stage, "training")
        return training.loop, training.lora
    return handed("finetune.run", "loop"), handed("finetune.run", "lora")


def check_devices(experiment: Experiment, samplers: Iterable[str], *, learns: bool = True) -> None:
    """Requires that the mesh fits the devices and that kernels find the devices they need. Starts the backend.

    learns: whether a model will be trained, which takes more memory than sampling.
    """
    samplers = list(samplers)
    stage = next((name for name in samplers if name in LEARNERS), "")
    mesh = experiment.mesh.make(require_devices())
    partitioner = Partitioner(mesh)
    partitioner.for_sampling(experiment.mesh.sampling_tensor)
    platform = mesh.devices.flat[0].platform
    limit = (mesh.devices.flat[0].memory_stats() or {}).get("bytes_limit") if platform != "cpu" else None
    if limit and learns:
        config = store.read_config(store.resolve(experiment.base))
        check_memory(config, limit, mesh.shape["fsdp"] * mesh.shape["tensor"], stage)
    loop, _ = _learning(stage)
    if loop.attention == "splash":
        config = store.read_config(store.resolve(experiment.base))
        require_whole_heads(partitioner, config.num_heads, config.num_kv_heads)
    for kernel, wanted in (("cudnn", "gpu"), ("splash", "tpu")):
        if loop.attention == kernel and platform != wanted:
            raise UserError(
                f"LoopConfig.attention={kernel!r} needs a {wanted.upper()}, the devices here are {platform.upper()}: "
                "set LoopConfig.attention='plain'."
            )
    for asked in _sampled(samplers):
        if asked.sampling.attention == "triton" and (platform != "gpu" or mesh.size > 1):
            stage = asked.name.rpartition(".")[0]
            raise UserError(
                f"SamplingConfig.attention='triton' ({stage}) runs on one GPU, not on {mesh.size} of platform "
                f"{platform}: set attention='plain'."
            )


def _of(word: Any, known: Iterable[str]) -> str:
    """`did you mean X?`, or the list of all choices."""
    known = list(known)
    guess = nearest(word, known)
    return f"did you mean {guess!r}?" if guess else f"choose from {', '.join(map(repr, known))}"
