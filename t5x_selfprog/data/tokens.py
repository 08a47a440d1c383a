"""Token ids of a run's pairs on disk, and the one seqio vocabulary that is safe for them.

Two traps lie between a byte-level BPE tokenizer and seqio. Its padding is id 0, and packing silently drops every
token of that id, which in GPT-2's vocabulary and its kin is "!": so ids are one higher inside seqio, and
`ShiftedVocabulary` is the only place that knows. And a pipeline that tokenises in the graph (`py_function`)
cannot be checkpointed: so ids are written once, as records, and the graph only reads them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import Any

import seqio
import tensorflow as tf

from t5x_selfprog.model.store import TOKENIZER_FILES
from t5x_selfprog.tokenizer import Tokenizer
from verifier.records import TOKENS
from verifier.shards import Ledger

SHIFT = 1


class ShiftedVocabulary(seqio.Vocabulary):
    """A `Tokenizer` for seqio: id + 1 on the way in, id - 1 on the way out, 0 for padding alone."""

    def __init__(self, directory: str) -> None:
        """`directory`: a model's or a tokenizer's folder."""
        super().__init__(extra_ids=0)
        self._directory = directory
        self.tokenizer = Tokenizer.load(directory)

    @property
    def identity(self) -> str:
        """Of the tokenizer's files: ids of two tokenizers are kept apart."""
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
    """Writes each text between its start and the end of text, as the trainer sees it, in the tokenizer's own ids.

    Ids, not the shifted ones: the records serve other readers too. A folder that holds the ids of the same texts
    is left as it is; of others it raises LedgerMismatch.
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
    """How TensorFlow parses such a record."""
    return {"tokens": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)}
