"""How likely given texts are under a model, for `selfprog memory`: does it remember the test puzzles?

Reads:    a model, and the file that it writes.
Writes:   one JSON file, if asked to: whose likelihoods they are, and those found so far, by the texts' digests.
Restart:  texts whose likelihood is in the file are not computed again.
Left out: the training corpus. If you have it, search it instead.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from t5x_selfprog.model import network, store
from t5x_selfprog.model.compute_dtype import on_this_device
from t5x_selfprog.progress import progress_bar
from t5x_selfprog.training.batches import index_in_segment, pack_best_fit
from t5x_selfprog.training.cross_entropy import target_log_probabilities
from verifier.errors import UserError
from verifier.storage import files

_ROW = 512  # tokens; several texts share a row, so that little of it is padding
_STEP = 128  # a row that must be longer grows by this many
_LOGITS = 256  # positions whose logits exist at a time


class Kept:
    """The likelihoods found so far, in a file that is written again after each row.

    Raises:
      UserError: the file holds those of another model, or something else.
    """

    def __init__(self, path: str, identity: str):
        self.path, self._identity = path, identity
        self._nats: dict[str, float] = {}
        if files.exists(path):
            self._nats = self._read()

    def _read(self) -> dict[str, float]:
        content = files.read_json(self.path)
        remedy = "Name another file, or delete this one."
        if not (isinstance(content, dict) and isinstance(content.get("likelihoods"), dict)):
            raise UserError(f"{self.path} does not hold likelihoods. {remedy}")
        if content.get("model") != self._identity:
            raise UserError(
                f"{self.path} holds likelihoods of the model {content.get('model')}, not of {self._identity}. {remedy}"
            )
        for text, nats in content["likelihoods"].items():
            if not (isinstance(nats, float) and math.isfinite(nats)):
                raise UserError(f"{self.path}: the likelihood of {text} is {nats!r}, not a number. {remedy}")
        return content["likelihoods"]

    def get(self, text: str) -> float | None:
        return self._nats.get(_digest(text))

    def put(self, found: dict[str, float]) -> None:
        """found: nats by text."""
        self._nats |= {_digest(text): nats for text, nats in found.items()}
        self.write()

    def write(self, **more: Any) -> None:
        """more: what else the file is to hold, such as what was concluded."""
        content = {"model": self._identity, **more, "likelihoods": dict(sorted(self._nats.items()))}
        files.write_json(self.path, content)


def log_likelihoods(model: store.LoadedModel, texts: Sequence[str], kept: Kept | None = None) -> list[float]:
    """Log-likelihood of each text as a document's beginning, in nats; NaN if it is empty or exceeds the context."""
    config = on_this_device(model.config, "there is no setting: log-likelihoods want the finer type")
    different = list(dict.fromkeys(texts))
    ids = dict(zip(different, model.tokenizer.encode_batch(different), strict=True))
    # Rows depend on the texts alone, so those that are computed after an interruption are the same.
    fitting = [text for text in different if 0 < len(ids[text]) <= config.context_length]
    fitting.sort(key=lambda text: -len(ids[text]))
    longest = len(ids[fitting[0]]) if fitting else 0
    room = min(config.context_length, max(_ROW, -(-longest // _STEP) * _STEP))

    @jax.jit
    def log_probabilities(params: network.Params, row: jax.Array) -> jax.Array:
        tokens, targets, positions, segments = row[:, None]
        hidden = network.forward(config, params, tokens, positions, segments)
        return target_log_probabilities(config, (params, hidden), targets, _LOGITS)[0]

    found: dict[str, float] = {}
    with progress_bar(total=sum(len(ids[text]) for text in fitting), desc="likelihoods", unit="token") as bar:
        for members in pack_best_fit([len(ids[text]) for text in fitting], room):
            here = [fitting[index] for index in members]
            known = {text: nats for text in here if kept and (nats := kept.get(text)) is not None}
            if len(known) < len(here):
                row = _row([ids[text] for text in here], model.tokenizer.start_id, room)
                each = np.asarray(log_probabilities(model.params, row), np.float64)
                segments = row[3]
                known = {text: float(each[segments == i].sum()) for i, text in enumerate(here, start=1)}
                if kept:
                    kept.put(known)
            found |= known
            bar.update(sum(len(ids[text]) for text in here))
    return [found.get(text, math.nan) for text in texts]


def _row(documents: Sequence[Sequence[int]], start_id: int, room: int) -> np.ndarray:
    """Tokens, targets, positions and segments of one row, [4, room] int32."""
    row = np.zeros((4, room), np.int32)
    at = 0
    for number, ids in enumerate(documents, start=1):
        end = at + len(ids)
        row[0, at:end] = [start_id, *ids[:-1]]
        row[1, at:end] = ids
        row[3, at:end] = number
        at = end
    row[2] = index_in_segment(row[3:])[0]
    return row


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
