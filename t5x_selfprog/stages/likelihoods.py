"""How likely given texts are under a model, for `selfprog memory`: does it remember the test puzzles?

Reads:    a model.
Writes:   nothing.
Restart:  none: it takes seconds to minutes.
Left out: the training corpus. If you have it, search it instead.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from t5x_selfprog.model import store
from t5x_selfprog.model.compute_dtype import on_this_device
from t5x_selfprog.progress import progress_bar
from t5x_selfprog.training.batches import Batch
from t5x_selfprog.training.train_step import loss_sums

_BUCKETS = (64, 128, 256, 512, 1024, 2048)


def log_likelihoods(model: store.LoadedModel, texts: Sequence[str]) -> list[float]:
    """Log-likelihood of each text as a document's beginning, in nats; NaN if it is empty or exceeds the context."""
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
