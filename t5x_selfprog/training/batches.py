"""Training batches as a pure function of the step number, so that resuming needs only the step."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from verifier.errors import UserError


class Batch(NamedTuple):
    """Packed rows, all [B, L] int32 except `weights`.

    Attributes:
      tokens: the inputs.
      targets: the next token of the same document.
      positions: index within the document.
      segment_ids: number of the document within the row; 0 is padding.
      weights: float32, 0 where there is no target.
    """

    tokens: (
        Any  # NumPy from a source, JAX arrays on a device, or a description of either by shardings or shapes
    )
    targets: Any
    positions: Any
    segment_ids: Any
    weights: Any


class BatchSource(Protocol):
    """Anything that knows its batch at every step."""

    def batch(self, step: int) -> Batch: ...


@dataclasses.dataclass(frozen=True)
class TokenStream:
    """Windows of one long stream of documents, each ended by `eos_id`, in a new order every epoch.

    Attributes:
      tokens: [total] of any integer dtype (a memory map is fine).
    """

    tokens: np.ndarray
    eos_id: int
    batch_size: int
    length: int
    seed: int

    @property
    def windows(self) -> int:
        return (len(self.tokens) - 1) // self.length

    def batch(self, step: int) -> Batch:
        """Raises UserError where the stream holds less than one batch."""
        if self.windows < self.batch_size:
            raise UserError(
                f"The token stream holds {len(self.tokens)} tokens, less than one batch of "
                f"{self.batch_size} x {self.length}: lower batch_size or length, or add data."
            )
        per_epoch = self.windows // self.batch_size
        epoch, index = divmod(step, per_epoch)
        order = np.random.default_rng((self.seed, epoch)).permutation(self.windows)
        starts = order[index * self.batch_size : (index + 1) * self.batch_size] * self.length
        spans = np.stack([self.tokens[s : s + self.length + 1] for s in starts]).astype(np.int32)
        tokens, targets = spans[:, :-1], spans[:, 1:]
        ends = tokens == self.eos_id
        segment_ids = np.cumsum(ends, axis=1, dtype=np.int32) - ends + 1
        return Batch(tokens, targets, index_in_segment(segment_ids), segment_ids, (~ends).astype(np.float32))


@dataclasses.dataclass(frozen=True)
class PackedDocuments:
    """Short documents packed into rows; every epoch combines documents and orders rows anew.

    Every document is seen once per epoch; the last batch of an epoch is filled up with empty rows. Sizes are packed
    once, and each epoch fills that packing with its own draw among documents of equal size. All epochs therefore have
    the same number of rows, and the batch of any step is found without computing earlier ones.

    Attributes:
      documents: token ids, each at most `length` + 1 long (the last token is only ever a target).
      doc_weights: the loss weight of each document's tokens.
    """

    documents: Sequence[np.ndarray]
    doc_weights: Sequence[float]
    batch_size: int
    length: int
    seed: int

    def __post_init__(self):
        longest = max((len(d) for d in self.documents), default=0)
        if longest > self.length + 1:
            raise UserError(
                f"A document of {longest} tokens does not fit rows of {self.length}: raise the length."
            )
        if not len(self.documents):
            raise UserError("No documents to train on: the dataset stage kept nothing.")

    @functools.cached_property
    def _sizes(self) -> np.ndarray:
        return np.asarray([len(d) - 1 for d in self.documents])

    @functools.cached_property
    def _packing(self) -> list[list[int]]:
        """Rows of ranks: 0 is the longest document."""
        return pack_best_fit(np.sort(self._sizes)[::-1].tolist(), self.length)

    @functools.cached_property
    def _rows(self) -> Callable[[int], list[list[int]]]:
        """Returns the documents of each row in an epoch; caches the last epoch asked for."""
        return functools.lru_cache(maxsize=1)(self._draw)

    def _draw(self, epoch: int) -> list[list[int]]:
        random = np.random.default_rng((self.seed, epoch))
        shuffled = random.permutation(len(self.documents))
        by_rank = shuffled[np.argsort(-self._sizes[shuffled], kind="stable")]
        return [by_rank[self._packing[row]].tolist() for row in random.permutation(len(self._packing))]

    @property
    def rows(self) -> int:
        """The number of packed rows that hold all documents."""
        return len(self._packing)

    @property
    def steps_in_epoch(self) -> int:
        return -(-len(self._packing) // self.batch_size)

    @property
    def padding(self) -> float:
        """The share of positions without a token, not counting the last batch's empty rows."""
        return 1.0 - float(self._sizes.sum()) / (len(self._packing) * self.length)

    def steps(self, epochs: int) -> int:
        """The number of steps in `epochs` passes over the documents."""
        return epochs * self.steps_in_epoch

    def batch(self, step: int) -> Batch:
        epoch, step = divmod(step, self.steps_in_epoch)
        rows = self._rows(epoch)[step * self.batch_size : (step + 1) * self.batch_size]
        shape = (self.batch_size, self.length)
        tokens, targets, segment_ids = (np.zeros(shape, np.int32) for _ in range(3))
        weights = np.zeros(shape, np.float32)
        for r, row in enumerate(rows):
            at = 0
            for segment, i in enumerate(row, start=1):
                document = np.asarray(self.documents[i], np.int32)
                end = at + len(document) - 1
                tokens[r, at:end], targets[r, at:end] = document[:-1], document[1:]
                segment_ids[r, at:end], weights[r, at:end] = segment, self.doc_weights[i]
                at = end
        return Batch(tokens, targets, index_in_segment(segment_ids), segment_ids, weights)


def filled(batch: Any, multiple: int) -> Any:
    """A tree of arrays, [B, ...], with empty rows up to a multiple of so many; they weigh nothing."""
    missing = -len(jax.tree.leaves(batch)[0]) % multiple
    if not missing:
        return batch
    return jax.tree.map(lambda x: np.pad(x, ((0, missing), *[(0, 0)] * (x.ndim - 1))), batch)


def pack_best_fit(sizes: Sequence[int], capacity: int) -> list[list[int]]:
    """Puts each size, in the order given, into the fullest row with room for it; longest first packs best.

    Returns:
      Rows of indices into `sizes`; every index is in exactly one row.
    """
    rows: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(capacity + 1)]  # rows by their remaining room
    rooms = 0  # bit r is set if `with_room[r]` is not empty
    for index, size in enumerate(sizes):
        enough = rooms >> size
        if enough:
            room = size + (enough & -enough).bit_length() - 1
            row = with_room[room].pop()
            if not with_room[room]:
                rooms ^= 1 << room
        else:
            room, row = capacity, len(rows)
            rows.append([])
        rows[row].append(index)
        with_room[room - size].append(row)
        rooms |= 1 << (room - size)
    return rows


def index_in_segment(segment_ids: np.ndarray) -> np.ndarray:
    """Index of each token within its segment: [B, L] -> [B, L]."""
    index = np.broadcast_to(np.arange(segment_ids.shape[1], dtype=np.int32), segment_ids.shape)
    starts = np.diff(segment_ids, axis=1, prepend=-1) != 0
    return index - np.maximum.accumulate(np.where(starts, index, 0), axis=1)
