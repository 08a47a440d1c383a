"""Where a completion ends: at the first line that is not indented, decided on the device token by token.

A function body sampled after `def f(` or `def g(...):` ends where a line starts in column 0. A few facts about each
token decide this, so the state of a row is one bit: whether it stands at the start of a line.
"""

import dataclasses
import functools
import re
from collections.abc import Iterable
from typing import Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp

WHITESPACE = b" \t\n\r\x0b\x0c"
# Reasons by the code that the device reports; code 0 means that the row goes on.
REASONS = ("", "unindented", "eos", "length")
UNINDENTED, EOS, LENGTH = 1, 2, 3


class Vocabulary(Protocol):
    """What sampling asks of a tokenizer."""

    vocab_size: int

    @property
    def holes(self) -> tuple[int, ...]:
        """Ids below `vocab_size` that are not tokens."""

    @property
    def end_ids(self) -> tuple[int, ...]:
        """Tokens that end a completion."""

    @property
    def start_id(self) -> int | None:
        """The token that begins every document; None if there is none."""

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Iterable[int]) -> str: ...

    def token_bytes(self, token_id: int) -> bytes: ...


class StopTables(NamedTuple):
    """Facts about each of V tokens, [V] bool."""

    starts_text: jax.Array  # its first byte is not whitespace
    breaks_out: jax.Array  # inside it, a non-whitespace byte directly follows a newline
    ends_line: jax.Array  # its last byte is a newline
    empty: jax.Array  # it has no bytes: special tokens, and rows of the embedding table without a token


@dataclasses.dataclass(frozen=True)
class StopRule:
    """What ends a completion besides end-of-text and the token limit.

    Attributes:
      kind: "unindented" (the first line starting with anything but whitespace) or "none".
    """

    kind: Literal["unindented", "none"] = "unindented"

    def tables(self, texts: list[bytes], size: int) -> StopTables:
        """The tables for tokens of these texts, padded to `size` with empty tokens."""
        texts = texts + [b""] * (size - len(texts))
        applies = self.kind == "unindented"
        return StopTables(
            starts_text=jnp.asarray([applies and t[:1] not in _STARTS_INDENTED for t in texts]),
            breaks_out=jnp.asarray([applies and first_unindented(t, False) is not None for t in texts]),
            ends_line=jnp.asarray([t.endswith(b"\n") for t in texts]),
            empty=jnp.asarray([not t for t in texts]),
        )

    def cut(self, text: bytes, at_line_start: bool) -> bytes:
        """The text before its first unindented line."""
        end = first_unindented(text, at_line_start) if self.kind == "unindented" else None
        return text if end is None else text[:end]


_BREAK = re.compile(rb"\n\S")  # in bytes, \S is anything but WHITESPACE
_STARTS_INDENTED = {b"", *(WHITESPACE[i : i + 1] for i in range(len(WHITESPACE)))}


def advance(tables: StopTables, token: jax.Array, at_line_start: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Advances the state of rows by one token.

    Args:
      token: [...] int32; at_line_start: [...] bool, before the token.

    Returns:
      Whether the token begins an unindented line, and whether a line starts after it; [...] bool.
    """
    unindented = tables.breaks_out[token] | (at_line_start & tables.starts_text[token])
    return unindented, jnp.where(tables.empty[token], at_line_start, tables.ends_line[token])


def is_any_of(token: jax.Array, ids: tuple[int, ...]) -> jax.Array:
    """Whether each token is one of a few; [...] bool."""
    return functools.reduce(jnp.logical_or, [token == i for i in ids], jnp.zeros(token.shape, bool))


def first_unindented(text: bytes, at_line_start: bool) -> int | None:
    """The offset of the first non-whitespace byte in column 0; None if there is none."""
    if at_line_start and text[:1] not in _STARTS_INDENTED:
        return 0
    found = _BREAK.search(text)
    return None if found is None else found.start() + 1


def token_texts(tokenizer: Vocabulary) -> list[bytes]:
    """The bytes that each token adds to a text; special tokens add none."""
    return [
        tokenizer.token_bytes(token) if tokenizer.decode([token]) else b""
        for token in range(tokenizer.vocab_size)
    ]
