"""Token ids of a run's pairs on disk, and the seqio vocabulary that is safe for them.

There are two traps between a byte-level BPE tokenizer and seqio. seqio pads with id 0, and packing silently drops every
token of that id, which is "!" in GPT-2's vocabulary and its relatives. Ids are therefore one higher inside seqio, and
only `ShiftedVocabulary` knows. And a pipeline that tokenises in the graph (`py_function`) cannot be checkpointed, so
ids are written once, as records, and the graph only reads them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import Any

import seqio
import tensorflow as tf

from t5x_selfprog.model.store import SHIPPED, TOKENIZER_FILES
from t5x_selfprog.tokenizer import Tokenizer
from verifier.storage.records import TOKENS
from verifier.storage.shards import Ledger

SHIFT = 1


class ShiftedVocabulary(seqio.Vocabulary):
    """A `Tokenizer` for seqio: encodes to id + 1, decodes from id - 1, and reserves 0 for padding."""

    def __init__(self, directory: str) -> None:
        """`directory`: a model's or a tokenizer's folder, or the name of a model that ships (`base`)."""
        super().__init__(extra_ids=0)
        shipped = os.path.join(SHIPPED, directory)
        named = not os.path.exists(directory) and os.path.isdir(shipped)
        self._directory = os.path.realpath(shipped if named else directory)  # read again from anywhere
        self.tokenizer = Tokenizer.load(self._directory)

    @property
    def identity(self) -> str:
        """A hash of the tokenizer's files, which keeps ids of different tokenizers apart."""
        digest = hashlib.sha256()
        for name in TOKENIZER_FILES:
            path = os.path.join(self._directory, name)
            if os.path.exists(path):
                with open(path, "rb") as file:
                    digest.update(file.read())
        return digest.hexdigest()[:12]

    @property
    def bos_id(self) -> int | None:
        return None

    @property
    def eos_id(self) -> int:
        return self.tokenizer.eos_id + SHIFT

    @property
    def unk_id(self) -> int | None:
        return None

    @property
    def _base_vocab_size(self) -> int:
        return self.tokenizer.vocab_size + SHIFT

    def _encode(self, s: str) -> Sequence[int]:
        return [token + SHIFT for token in self.tokenizer.encode(s)]

    def _decode(self, ids: Iterable[int]) -> str:
        return self.tokenizer.decode(token - SHIFT for token in ids if token >= SHIFT)

    def _encode_tf(self, s: Any) -> Any:
        raise NotImplementedError(
            "write ids with tokens.write_tokens: tokenising in the graph cannot be restarted"
        )

    def _decode_tf(self, ids: Any) -> Any:
        raise NotImplementedError("decode on the host: vocabulary.decode(list(ids))")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShiftedVocabulary) and self._directory == other._directory

    def __hash__(self) -> int:
        return hash(self._directory)


def write_tokens(texts: Iterable[str], tokenizer: Tokenizer, output: str, shards: int = 1) -> Ledger:
    """Writes each text as the trainer sees it, with start and end of text, in the tokenizer's own ids.

    Ids are not shifted, because the records serve other readers too. A folder that already holds the ids of these texts
    is left unchanged.

    Raises LedgerMismatch if the folder holds the ids of other texts.
    """
    encoded = [[tokenizer.start_id, *ids, tokenizer.eos_id] for ids in tokenizer.encode_batch(texts)]
    digest = hashlib.sha256(repr(encoded).encode()).hexdigest()[:16]
    ledger = Ledger(output, stage="tokens", schema=TOKENS, shard_count=shards, seed=0, fingerprint=digest)
    for shard in ledger.pending():
        mine = encoded[shard::shards]
        ledger.commit(shard, [{"tokens": ids} for ids in mine], tokens=sum(map(len, mine)))
    ledger.finish()
    return ledger


def feature_description() -> dict[str, Any]:
    """The feature description with which TensorFlow parses such a record."""
    return {"tokens": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)}
