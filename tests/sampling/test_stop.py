"""The device's one bit of state ends a completion exactly where its text first has non-whitespace in column 0."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t5x_selfprog.sampling.stop import StopRule, advance, first_unindented, token_texts
from tests.sampling.byte_model import ByteTokenizer

TOKENIZER = ByteTokenizer()
TABLES = StopRule().tables(token_texts(TOKENIZER), TOKENIZER.vocab_size + 5)
LIVELY = [*range(10), *(byte + 2 for byte in b"ab \n\n\n\t\r#)"), *range(258, TOKENIZER.vocab_size)]


def by_regex(text: bytes, at_line_start: bool) -> int | None:
    found = re.search(rb"(?:(?<=\n)|\A)[^\s]" if at_line_start else rb"(?<=\n)[^\s]", text)
    return found.start() if found else None


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(LIVELY), max_size=20), st.booleans())
def test_stops_at_the_token_that_breaks_out(tokens, at_line_start):
    text, state = b"", np.asarray(at_line_start)
    tables = [np.asarray(table) for table in TABLES]
    for token in tokens:
        text += b"" if token < 2 else TOKENIZER.token_bytes(token)
        stopped, state = advance(type(TABLES)(*tables), np.asarray(token), state)
        state = np.asarray(state)
        assert bool(stopped) == (by_regex(text, at_line_start) is not None), (tokens, text)
        if stopped:
            break


@given(st.binary(max_size=12) | st.text(" \na#", max_size=12).map(str.encode), st.booleans())
def test_the_cut_is_where_a_regex_finds_it(text, at_line_start):
    assert first_unindented(text, at_line_start) == by_regex(text, at_line_start)


@pytest.mark.parametrize(
    "text, at_line_start, kept",
    [
        (b" x: int):\n    return x\n\ndef f2(", False, b" x: int):\n    return x\n\n"),
        (b"def f", True, b""),
        (b"def f", False, b"def f"),
        (b"    a\n  \n\n\tb\n)", True, b"    a\n  \n\n\tb\n"),
    ],
)
def test_cut_examples(text, at_line_start, kept):
    assert StopRule("unindented").cut(text, at_line_start) == kept
    assert StopRule("none").cut(text, at_line_start) == text


def test_without_a_rule_no_token_stops():
    tables = StopRule("none").tables(token_texts(TOKENIZER), TOKENIZER.vocab_size)
    tokens = jnp.arange(TOKENIZER.vocab_size)
    assert not advance(tables, tokens, jnp.ones(tokens.shape, bool))[0].any()
