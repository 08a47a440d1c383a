"""What is planned for, as gin is configured now: the model, what a step learns, and the programs of sampling."""

import argparse
import dataclasses
import os
import re
from typing import Any

import gin
from t5x_selfprog import gin_files
from t5x_selfprog.model import store
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.partitioning import Partitioner
from t5x_selfprog.plan import policy, workload
from t5x_selfprog.plan.lowering import Learner, SamplingPrograms
from t5x_selfprog.plan.policy import Policy
from t5x_selfprog.plan.workload import Yields
from t5x_selfprog.puzzles.prompts import SolvePrompt, tutorial_blocks
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.training.loop_config import LoopConfig
from t5x_selfprog.training.lora import Lora
from verifier.errors import UserError

ATTEMPTS = {"puzzles": 64, "solutions": 100}  # at each prompt, where gin binds no other number
BYTES_A_TOKEN = 3.0  # of Python, with the vocabularies of code models


def model_shape(name: str | None) -> ModelConfig:
    """The model's shape: a folder, a file of gin/models, or Experiment.base. Raises UserError."""
    base = name or workload.bound("Experiment.base", "base")
    try:
        return store.read_config(store.resolve(base))
    except UserError:
        stem = re.sub(r"[^a-z0-9]+", "_", os.path.basename(base).lower().replace(".", "p")).strip("_")
        path = gin_files.GIN_FOLDER / "models" / f"{stem}.gin"
        if not path.exists():
            known = ", ".join(sorted(p.stem for p in path.parent.glob("*_*.gin")))
            raise UserError(
                f"--model={base}: neither a model's folder nor a shape in gin/models; there are {known}."
            ) from None
    with gin.unlock_config():
        gin.parse_config_file(str(path))
    return configured(ModelConfig)


def configured(kind: type, scope: str | None = None) -> Any:
    """One of our dataclasses as gin binds it, the way a stage receives it."""
    with gin.config_scope(scope):
        return gin.get_configurable(kind)()


def lora() -> Lora | None:
    """The adapters that fine-tuning trains, as gin is configured now; None where it trains all weights."""
    return None if workload.bound("finetune.run.lora", None) is None else configured(Lora)


def training(
    args: argparse.Namespace, config: ModelConfig, learning: Policy | None, yields: Yields, ways: int
) -> tuple[Learner, int, int]:
    """What a step learns, its rows and their length, as gin is configured now."""
    if learning is not None:
        rows, _ = learning.rows(prefix_tokens(learning.prompt), yields, ways)
        return learning.learner, args.batch or rows, learning.training.length
    batch_size = args.batch or workload.bound("finetune.run.batch_size", 16)
    length = min(workload.bound("finetune.run.length", 1024), config.context_length)
    return Learner(configured(LoopConfig), lora()), batch_size, length


def sampler(partitioner: Partitioner, config: ModelConfig, scope: str, prefix: int) -> SamplingPrograms:
    """The programs of the stage that gin calls `scope`. Raises UserError where its prompts do not fit the context."""
    sampling = configured(SamplingConfig, scope).fitted(
        workload.bound(f"sample_{scope}.run.attempts", ATTEMPTS[scope])
    )
    return _programs(partitioner, config, sampling, prefix, f"{scope}/")


def _programs(
    partitioner: Partitioner, config: ModelConfig, sampling: SamplingConfig, prefix: int, origin: str
) -> SamplingPrograms:
    """origin: begins the setting's name in messages."""
    room = config.context_length - prefix - sampling.max_new_tokens
    if room < 1:
        raise UserError(
            f"{prefix} tokens before every prompt and {origin}SamplingConfig.max_new_tokens="
            f"{sampling.max_new_tokens} leave no room in a context of {config.context_length}: lower the latter."
        )
    return SamplingPrograms(partitioner, config, sampling, prefix, sampling.buckets(room)[-1])


def policy_samplers(
    learning: Policy, partitioner: Partitioner, config: ModelConfig
) -> dict[str, SamplingPrograms]:
    """The programs of sampling while learning from verdicts."""
    prefix = prefix_tokens(learning.prompt)
    found = {
        policy.ATTEMPTS: _programs(partitioner, config, learning.attempting, prefix, "Attempting.sampling: ")
    }
    if learning.proposing is not None:
        found[policy.PROPOSALS] = _programs(
            partitioner, config, learning.proposing, 0, "Proposing.sampling: "
        )
    return found


def prefix_tokens(prompt: SolvePrompt | None = None) -> int:
    """Of a prompt for solutions, by default as stage 3 is configured."""
    if prompt is None:
        names = (field.name for field in dataclasses.fields(SolvePrompt))
        bound = {name: workload.bound(f"SolvePrompt.{name}", None) for name in names}
        prompt = SolvePrompt(**{name: value for name, value in bound.items() if value is not None})
    try:
        text = "\n\n".join(tutorial_blocks(prompt))
    except UserError:
        return 512  # of P3's tutorial, where its folder is missing
    return round(len(text) / BYTES_A_TOKEN)


def rows_computed(partitioner: Partitioner, loop: LoopConfig, batch_size: int) -> int:
    """Rows of a batch, padded with empty rows for all devices as the trainer does."""
    multiple = partitioner.batch_ways * loop.accumulate
    return -(-batch_size // multiple) * multiple
