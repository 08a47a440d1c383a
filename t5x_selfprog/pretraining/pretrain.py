"""Pretrains a base model on a stream of Python tokens.

Reads:    TOKENS/train.bin, TOKENS/heldout.bin (uint16 ids, documents ended by <|endoftext|>), a tokenizer.
Writes:   RUN/checkpoints/<step> (Orbax, metrics.jsonl), then RUN/model (weights.safetensors, model.json, tokenizer).
Restart:  the newest checkpoint; batches are a function of the step, so the stream needs no state.
Left out: making the tokens (scripts/make/pretraining_corpus.py does).
"""

import dataclasses
import json
import os
from typing import Annotated

import jax
import numpy as np

import gin
import t5x_selfprog.configurables  # noqa: F401 (declares the dataclasses to gin)
from t5x_selfprog.bounds import Count, OneOf, Positive, Seed, Whole
from t5x_selfprog.compilation import keep_compiled
from t5x_selfprog.model import device_room, network, store
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.telemetry import recorder
from t5x_selfprog.telemetry.capture import Profile
from t5x_selfprog.telemetry.watchdog import Watchdog
from t5x_selfprog.tokenizer import Tokenizer
from t5x_selfprog.training.batches import TokenStream
from t5x_selfprog.training.optimizers import make_optimizer
from t5x_selfprog.training.task import TrainingTask
from t5x_selfprog.training.train_loop import TRAINING_REMEDY, LoopConfig, train
from verifier.errors import UserError
from verifier.storage.shards import atomic_write


@gin.configurable("run", module="pretrain")
@dataclasses.dataclass(frozen=True)
class Settings:
    """What is trained on which tokens; `pretrain.run` in gin.

    Attributes:
      tokens: the folder with train.bin and heldout.bin; "~" is expanded.
      tokenizer: a tokenizer folder, or the name of a shipped model.
      init_from: a model to start from (same shape) instead of fresh weights.
      num_steps: batches of `batch_size` x `length` tokens.
      stop_after_s: saves and stops after this long; the same command continues from there.
    """

    model: ModelConfig = gin.REQUIRED
    tokens: str = gin.REQUIRED
    tokenizer: str = "base"
    init_from: str | None = None
    num_steps: Count = gin.REQUIRED
    batch_size: Count = 32
    length: Count = 512
    loop: LoopConfig = LoopConfig()
    mesh: MeshConfig = MeshConfig()
    seed: Seed = 0
    heldout_batches: Whole = 8
    stop_after_s: Positive = float("inf")
    watchdog: Watchdog = Watchdog()
    profile: Profile = Profile()
    export_dtype: Annotated[str, OneOf(("float32", "bfloat16", "float16"))] = "bfloat16"


def run(run_dir: str, settings: Settings | None = None) -> dict | None:
    """Trains with these settings, by default as gin binds them; returns the summary, None if paused."""
    settings = settings or Settings()
    model, loop, init_from = settings.model, settings.loop, settings.init_from
    batch_size, length, num_steps = settings.batch_size, settings.length, settings.num_steps
    keep_compiled()
    tokenizer_dir = check_inputs(settings.tokens, settings.tokenizer, init_from)
    tokens = os.path.expanduser(settings.tokens)
    train_tokens, heldout_tokens = (_token_file(tokens, name) for name in _TOKEN_FILES)
    eos_id = Tokenizer.load(tokenizer_dir).eos_id
    partitioner = Partitioner(settings.mesh.make())
    stream = TokenStream(train_tokens, eos_id, batch_size, length, settings.seed)
    held = TokenStream(heldout_tokens, eos_id, batch_size, length, seed=0)
    heldout = [held.batch(i) for i in range(min(settings.heldout_batches, held.windows // batch_size))]

    optimizer = make_optimizer(loop.optimizer, lambda step: 0.0, network.logical_axes(model))
    parts = device_room.trained(model, partitioner, optimizer)
    device_room.require_room(run_dir, model, parts, TRAINING_REMEDY, list(partitioner.mesh.devices.flat))

    def initial() -> network.Params:
        if init_from:
            return store.load(os.path.expanduser(init_from), partitioner).params
        return network.init(model, jax.random.key(settings.seed))

    checkpoints = os.path.join(run_dir, "checkpoints")
    with recorder.observed(run_dir, settings.watchdog, settings.profile) as watch, watch.stage(checkpoints):
        state = train(
            loop, model, initial, TrainingTask(stream, num_steps, heldout=heldout), checkpoints, partitioner,
            stop_after_s=settings.stop_after_s, label="pretrain",
        )  # fmt: skip
    if state is None:
        return None
    output = os.path.join(run_dir, "model")
    store.save(output, model, state.params, tokenizer_dir, settings.export_dtype)
    with open(os.path.join(checkpoints, "metrics.jsonl")) as file:
        last = json.loads(file.readlines()[-1])
    summary = {
        "steps": num_steps,
        "tokens": num_steps * batch_size * length,
        "parameters": network.num_params(model),
        "corpus_tokens": len(train_tokens),
        "last": last,
        "model": output,
    }
    atomic_write(os.path.join(run_dir, "pretrain.json"), json.dumps(summary, indent=1) + "\n")
    return summary


_TOKEN_FILES = ("train.bin", "heldout.bin")


def check_inputs(tokens: str, tokenizer: str, init_from: str | None) -> str:
    """Raises UserError if an input is missing; returns the tokenizer's folder."""
    folder = os.path.expanduser(tokens)
    for name in _TOKEN_FILES:
        if not os.path.exists(os.path.join(folder, name)):
            raise UserError(
                f"{os.path.join(folder, name)} is missing: "
                f"make it with `scripts/make/pretraining_corpus.py --output {folder}`."
            )
    found = tokenizer if os.path.isdir(tokenizer) else os.path.join(store.SHIPPED, tokenizer)
    if not os.path.isdir(found):
        raise UserError(
            f"pretrain.run.tokenizer={tokenizer!r}: neither a folder nor the name of a model that ships"
        )
    if init_from:
        store.resolve(os.path.expanduser(init_from))
    return found


def _token_file(folder: str, name: str) -> np.ndarray:
    return np.memmap(os.path.join(folder, name), np.uint16, mode="r")
