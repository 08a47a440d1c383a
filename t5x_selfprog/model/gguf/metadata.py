"""The metadata of a GGUF file as plain values, each checked to be of the kind that we read it as."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable
from typing import Any

from verifier.errors import UserError


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return (_whole(value) or isinstance(value, float)) and math.isfinite(value)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _all(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


# Keys of the architecture are given without its name. Sizes are checked where they are read (`Keys.number`).
_KINDS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    (
        "text",
        _text,
        "general.architecture tokenizer.ggml.model tokenizer.ggml.pre tokenizer.chat_template rope.scaling.type",
    ),
    (
        "a whole number",
        _whole,
        "tokenizer.ggml.bos_token_id tokenizer.ggml.eos_token_id tokenizer.ggml.unknown_token_id "
        "tokenizer.ggml.padding_token_id tokenizer.ggml.eot_token_id tokenizer.ggml.eom_token_id split.no split.count "
        "split.tensors.count",
    ),
    (
        "a whole number of at least 0",
        lambda value: _whole(value) and value >= 0,
        "rope.dimension_count rope.scaling.original_context_length attention.key_length attention.sliding_window",
    ),
    (
        "a number of at least 0",
        lambda value: _number(value) and value >= 0,
        "rope.scaling.factor rope.scale_linear",
    ),
    (
        "true or false",
        lambda value: isinstance(value, bool),
        "tokenizer.ggml.add_bos_token tokenizer.ggml.add_space_prefix use_parallel_residual",
    ),
    ("a list of texts", _all(_text), "tokenizer.ggml.tokens tokenizer.ggml.merges"),
    ("a list of whole numbers", _all(_whole), "tokenizer.ggml.token_type"),
    ("a list of numbers", _all(_number), "tokenizer.ggml.scores"),
)
KINDS = {key: (kind, fits) for kind, fits, keys in _KINDS for key in keys.split()}


def read(reader: Any, where: str) -> dict[str, Any]:
    """All keys and values of a file that `GGUFReader` has opened.

    Raises UserError for text that is not UTF-8, and naming every key whose value is not of the kind it must be.
    """
    found: dict[str, Any] = {}
    for key, field in reader.fields.items():
        try:
            found[key] = field.contents()
        except UnicodeDecodeError as error:
            raise UserError(f"{where}: {key} is not UTF-8 ({error}); fetch the file again") from error
    own = f"{found.get('general.architecture')}."
    wrong = []
    for key, value in found.items():
        kind, fits = KINDS.get(key.removeprefix(own), ("", None))
        if fits is not None and not fits(value):
            wrong.append(f"{key} = {reprlib.repr(value)} is not {kind}")
    if wrong:
        raise UserError(f"{where}: {'; '.join(wrong)}: fetch the file again")
    return found
