"""A child's work, in memory of its own: written by the judging process, read by that child and no other.

The process from which children are forked only passes the descriptor on, and so holds none of it.
"""

import mmap
import os
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from verifier.language import literal
from verifier.language.answer_types import Checker, compile_checker, parse_type
from verifier.worker.child import Attempt, Check, Twin

_LENGTH = struct.Struct("<I")


class Pending(NamedTuple):
    """An encoded answer and its puzzle, not yet checked."""

    item: int
    code: bytes  # of the puzzle, marshalled
    answer_type: str
    answer: literal.Buffer
    plain: bool  # the puzzle


class Request:
    """An open request of `size` bytes. Use it as a context."""

    def __init__(self, message: object, blobs: Sequence[literal.Buffer] = ()):
        parts = literal.encode_parts(message)
        head = _LENGTH.pack(sum(map(len, parts)))
        self.descriptor = os.memfd_create("request")
        self.size = 0
        for data in (b"".join([head, *parts]), *blobs):
            view = memoryview(data)
            while view:
                written = os.write(self.descriptor, view)
                self.size += written
                view = view[written:]

    def __enter__(self) -> "Request":
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self.descriptor)


def open_request(descriptor: int) -> memoryview:
    """The bytes, mapped."""
    return memoryview(mmap.mmap(descriptor, 0, mmap.MAP_PRIVATE, mmap.PROT_READ))


def _read(data: memoryview) -> tuple[Any, memoryview]:
    end = _LENGTH.size + _LENGTH.unpack_from(data)[0]
    return literal.decode(data[_LENGTH.size : end]), data[end:]


# --- solutions


def solutions_request(attempts: Sequence[Attempt], known: Sequence[Twin]) -> Request:
    """Columns of one type each, which are quick to encode; the few codes that are quoted appear once."""
    codes: dict[tuple[bytes, bool], int] = {}
    quotes = [codes.setdefault((attempt.quoted, attempt.quoted_plain), len(codes)) for attempt in attempts]
    items, groups, sources = ([attempt[column] for attempt in attempts] for column in range(3))
    return Request((items, groups, sources, quotes, list(codes), [tuple(twin) for twin in known]))


def read_solutions_request(data: memoryview) -> tuple[list[Attempt], list[Twin]]:
    (*rest, quotes, codes, known), _ = _read(data)
    rows = zip(*rest, quotes, strict=True)
    attempts = [Attempt(item, group, source, *codes[quote]) for item, group, source, quote in rows]
    return attempts, [Twin(*twin) for twin in known]


# --- checks


def checks_request(checks: Sequence[Pending]) -> Request:
    codes: dict[tuple[bytes, str, bool], int] = {}
    which = [codes.setdefault((check.code, check.answer_type, check.plain), len(codes)) for check in checks]
    answers = [check.answer for check in checks]
    items, lengths = [check.item for check in checks], list(map(len, answers))
    return Request((items, which, list(codes), lengths), [b"".join(answers)] if len(answers) > 1 else answers)


def read_checks_request(data: memoryview) -> list[Check]:
    (items, which, puzzles, lengths), answers = _read(data)
    checkers = {answer_type: _checker(answer_type) for _, answer_type, _ in puzzles}
    checks, at = [], 0
    for item, number, length in zip(items, which, lengths, strict=True):
        code, answer_type, plain = puzzles[number]
        checks.append(Check(item, code, *checkers[answer_type], answers[at : at + length], plain))
        at += length
    return checks


def _checker(answer_type: str) -> tuple[Checker, bytes]:
    """A type's checker, and the first bytes that by themselves show an encoded answer to be of the type."""
    return compile_checker(parse_type(answer_type, or_any=True)), literal.PROOFS.get(answer_type, b"")
