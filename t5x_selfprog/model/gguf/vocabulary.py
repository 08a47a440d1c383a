"""The tokenizer that a GGUF file describes, as the files of a published model.

There are the two kinds of t5x_selfprog/tokenizer.py: byte-level BPE with explicit merges, which first splits text into
words by one of the patterns below (llama.cpp names and compiles them in), and SentencePiece, whose merges follow from
its scores.
"""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from verifier.errors import UserError
from verifier.storage.files import write_atomic

UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = (
    2,
    3,
    4,
    5,
    6,
)  # of tokenizer.ggml.token_type; 1 is a plain token
SPACE = "\u2581"  # SentencePiece's

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _by_pattern(digits: str) -> Any:
    pattern = Regex(_WORDS.replace("DIGITS", digits))
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _gpt2() -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _single_digits() -> Any:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2()])


_ROLES = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
_DEFAULT_IDS = {"gpt2": {}, "llama": {"unk": 0, "bos": 1, "eos": 2}}  # llama.cpp's, for files that do not say

# How each value of tokenizer.ggml.pre splits text into words.
PRE_TOKENIZERS = {
    "gpt-2": _gpt2,
    "llama-bpe": lambda: _by_pattern("{1,3}"),
    "qwen2": lambda: _by_pattern(""),
    "smollm": _single_digits,
    "starcoder": _single_digits,
}


def write_tokenizer(metadata: Mapping[str, Any], folder: str, where: str) -> None:
    """Writes tokenizer.json, tokenizer_config.json and, where the file has one, chat_template.jinja.

    Raises UserError for an unknown kind of tokenizer, or an inconsistent one.
    """
    field = lambda name, default=None: metadata.get(f"tokenizer.ggml.{name}", default)  # noqa: E731
    tokens, kinds, kind = field("tokens"), field("token_type"), field("model")
    if kind not in ("gpt2", "llama"):
        raise UserError(
            f"{where}: tokenizer.ggml.model {kind!r} is not supported; there are gpt2 (byte-level BPE) and llama "
            "(SentencePiece)"
        )
    if not tokens:
        raise UserError(f"{where}: no tokenizer.ggml.tokens; fetch the file again")
    kinds = [1] * len(tokens) if kinds is None else kinds
    if len(kinds) != len(tokens):
        raise UserError(
            f"{where}: {len(tokens)} tokens but {len(kinds)} entries in tokenizer.ggml.token_type"
        )
    used = _used(tokens, kinds)
    vocabulary = {tokens[i]: i for i in used}
    if len(vocabulary) < len(used):
        twice = next(tokens[i] for i in used if vocabulary[tokens[i]] != i)
        raise UserError(f"{where}: the token {reprlib.repr(twice)} occurs twice")
    if kind == "gpt2":
        pre = field("pre")
        if pre not in PRE_TOKENIZERS:
            known = ", ".join(sorted(PRE_TOKENIZERS))
            raise UserError(f"{where}: tokenizer.ggml.pre {pre!r} is not supported; there are {known}")
        backend = _byte_level(vocabulary, _merges(field("merges"), vocabulary, where), pre)
        starts = field("add_bos_token", pre == "llama-bpe")
    else:
        scores = field("scores", [0.0] * len(tokens))
        if len(scores) != len(tokens):
            raise UserError(
                f"{where}: {len(tokens)} tokens but {len(scores)} entries in tokenizer.ggml.scores"
            )
        backend = _sentence_piece(vocabulary, scores, kinds, field("add_space_prefix", True))
        starts = field("add_bos_token", True)
    # In order of their ids: the library numbers added tokens from the end of its vocabulary.
    backend.add_tokens(
        [
            AddedToken(
                token,
                special=kinds[i] != USER_DEFINED,
                normalized=kinds[i] == USER_DEFINED and SPACE in token,
            )
            for token, i in vocabulary.items()
            if kinds[i] in (UNKNOWN, CONTROL, USER_DEFINED)
        ]
    )
    ids = {role: field(f"{name}_token_id", _DEFAULT_IDS[kind].get(role)) for role, name in _ROLES.items()}
    if ids["eos"] is None or ids["eos"] not in set(used):
        raise UserError(
            f"{where}: tokenizer.ggml.eos_token_id is {ids['eos']}, which is none of its {len(used):,} tokens; fetch "
            "the file again"
        )
    # A file without such a token may say -1, or the largest number.
    names = {f"{role}_token": tokens[i] for role, i in ids.items() if i in set(used)}
    if starts and "bos_token" in names:
        start = names["bos_token"]
        backend.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
            single=f"{start} $A", pair=f"{start} $A $B", special_tokens=[(start, vocabulary[start])]
        )
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **names,
        "add_bos_token": bool(starts and "bos_token" in names),
        "clean_up_tokenization_spaces": False,
    }
    write_atomic(os.path.join(folder, "tokenizer.json"), backend.to_str() + "\n")
    write_atomic(os.path.join(folder, "tokenizer_config.json"), json.dumps(config, indent=1) + "\n")
    if template := metadata.get("tokenizer.chat_template"):
        write_atomic(os.path.join(folder, "chat_template.jinja"), template)


def _used(tokens: Sequence[str], kinds: Sequence[int]) -> list[int]:
    """Ids that have a token. Converters fill the other rows of the embedding with names of their own."""
    last = len(tokens)
    while last and kinds[last - 1] == UNUSED:
        last -= 1
    return [i for i in range(last) if not (kinds[i] == UNUSED and tokens[i] == f"[PAD{i}]")]


def ends(metadata: Mapping[str, Any]) -> list[int]:
    """The tokens that end a turn or a document, as listed in generation_config.json."""
    tokens = len(metadata["tokenizer.ggml.tokens"])
    found = [metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")]
    return list(dict.fromkeys(token for token in found if token is not None and 0 <= token < tokens))


def _merges(found: list[str] | None, vocabulary: Mapping[str, int], where: str) -> list[tuple[str, str]]:
    if found is None:
        raise UserError(f"{where}: no tokenizer.ggml.merges; fetch the file again")
    merges = []
    for merge in found:
        left, _, right = merge.partition(" ")
        if left not in vocabulary or right not in vocabulary or left + right not in vocabulary:
            raise UserError(
                f"{where}: the merge {reprlib.repr(merge)} uses tokens that are not in tokenizer.ggml.tokens"
            )
        merges.append((left, right))
    return merges


def _byte_level(vocabulary: dict[str, int], merges: list[tuple[str, str]], pre: str) -> tokenizers.Tokenizer:
    # Llama 3 encodes a word that is itself a token as that token, whatever the merges would give.
    model = models.BPE(vocabulary, merges, ignore_merges=pre == "llama-bpe")
    backend = tokenizers.Tokenizer(model)
    if pre == "qwen2":
        backend.normalizer = normalizers.NFC()  # type: ignore[assignment]
    backend.pre_tokenizer = PRE_TOKENIZERS[pre]()
    backend.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    return backend


def _sentence_piece(
    vocabulary: dict[str, int], scores: Sequence[float], kinds: Sequence[int], space_first: bool
) -> tokenizers.Tokenizer:
    """scores, kinds: by id."""
    merges = []
    for token, i in vocabulary.items():
        if kinds[i] in (UNKNOWN, CONTROL, USER_DEFINED, BYTE):
            continue
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in vocabulary and right in vocabulary:
                merges.append(
                    (-scores[i], -len(left), -len(right), vocabulary[left], vocabulary[right], left, right)
                )
    merges.sort(key=lambda merge: merge[:5])
    unknown = next((token for token, i in vocabulary.items() if kinds[i] == UNKNOWN), None)
    model = models.BPE(
        vocabulary,
        [(left, right) for *_, left, right in merges],
        unk_token=unknown,
        fuse_unk=True,
        byte_fallback=True,
    )
    backend = tokenizers.Tokenizer(model)
    prepend = [normalizers.Prepend(SPACE)] if space_first else []
    backend.normalizer = normalizers.Sequence([*prepend, normalizers.Replace(" ", SPACE)])  # type: ignore[assignment]
    strip = [decoders.Strip(" ", 1, 0)] if space_first else []
    backend.decoder = decoders.Sequence(  # type: ignore[assignment]
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return backend
