"""`selfprog memory`: does a base model remember the test puzzles?

Reads:    a model, problems in P3's format, our seeds as controls.
Writes:   nothing; prints, and returns the figures for --json.
Restart:  none: seconds to minutes.
Left out: the training corpus. Where one has it, search it instead.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from t5x_selfprog.evaluation.memorisation import examine
from t5x_selfprog.model import store
from t5x_selfprog.model.compute_dtype import on_this_device
from t5x_selfprog.progress import progress_bar
from t5x_selfprog.puzzles.p3 import in_split, load_problems
from t5x_selfprog.training.batches import Batch
from t5x_selfprog.training.train_step import loss_sums
from verifier.errors import UserError

_BUCKETS = (64, 128, 256, 512, 1024, 2048)


def command(args: argparse.Namespace) -> dict[str, Any]:
    test = [problem.source for problem in in_split(load_problems(args.problems), args.split)]
    control = [problem.source for problem in load_problems("seeds") if problem.split != "train"]
    if args.problems == "seeds":
        raise UserError("--problems=seeds: our seeds are the controls; name other problems, such as data/p3")
    model = store.load(args.model)
    try:
        memory = examine(test, control, partial(log_likelihoods, model), count=args.twins)
    except ValueError as error:
        raise UserError(f"--problems={args.problems}: {error}") from error
    excess = memory.excess
    print(
        f"{args.model}: prefers {memory.tested} {args.split} puzzles to their twins by {memory.preference:.2f} nats, "
        f"{memory.controls} puzzles it cannot have seen by {memory.control_preference:.2f}; excess "
        f"{excess.estimate:+.2f} [{excess.low:+.2f}, {excess.high:+.2f}]: {memory.claim}"
    )
    return memory.as_dict()


def log_likelihoods(model: store.LoadedModel, texts: Sequence[str]) -> list[float]:
    """Log-likelihood of each text as a document's beginning, in nats; NaN where it exceeds the context."""
    config = on_this_device(model.config, "there is no setting: log-likelihoods want the finer type")

    @jax.jit
    def total(params: Any, batch: Batch) -> jax.Array:
        return loss_sums(config, params, batch, loss_chunk=batch.tokens.shape[1])[0]

    found = []
    for ids in progress_bar(iterable=model.tokenizer.encode_batch(texts), desc="likelihoods", unit="text"):
        length = len(ids)
        room = next((size for size in _BUCKETS if size >= length), length)
        if length > model.config.context_length or not length:
            found.append(float("nan"))
            continue
        room = min(room, model.config.context_length)
        row = np.zeros((4, 1, room), np.int32)  # tokens, targets, positions, segments
        row[0, 0, :length] = [model.tokenizer.start_id, *ids[:-1]]
        row[1, 0, :length] = ids
        row[2, 0, :length] = np.arange(length)
        row[3, 0, :length] = 1
        weights = row[3].astype(np.float32)
        found.append(-float(total(model.params, Batch(row[0], row[1], row[2], row[3], weights))))
    return found
