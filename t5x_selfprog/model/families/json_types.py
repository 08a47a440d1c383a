"""The type of each key of config.json, so that a mistake in a hand-written file is reported by key."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from verifier.errors import UserError


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _positive(value: Any) -> bool:
    return _number(value) and value > 0


def _words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _tokens(value: Any) -> bool:
    return _token(value) or (isinstance(value, list) and all(map(_token, value)))


def _periods(value: Any) -> bool:
    """GPT-Neo's: [[["global", "local"], 12]]."""
    return isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and _words(pair[0]) and _count(pair[1]) for pair in value
    )


_KINDS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    (
        "a whole number above 0 and below 2**31",
        _count,
        "vocab_size hidden_size intermediate_size num_hidden_layers num_layers num_attention_heads num_heads "
        "num_key_value_heads head_dim max_position_embeddings n_embd n_layer n_head n_positions n_inner rotary_dim "
        "window_size sliding_window original_max_position_embeddings",
    ),
    (
        "a number above 0",
        _positive,
        "rms_norm_eps norm_epsilon layer_norm_eps layer_norm_epsilon rope_theta rotary_pct rotary_emb_base "
        "partial_rotary_factor factor low_freq_factor high_freq_factor",
    ),
    (
        "a number",
        _number,
        "max_window_layers",
    ),
    (
        "true or false",
        lambda value: isinstance(value, bool),
        "tie_word_embeddings use_sliding_window attention_bias mlp_bias use_bias use_parallel_residual "
        "use_bidirectional_attention",
    ),
    (
        "text",
        lambda value: isinstance(value, str),
        "model_type hidden_act hidden_activation activation_function torch_dtype dtype rope_type type",
    ),
    ("an object", lambda value: isinstance(value, Mapping), "rope_scaling rope_parameters"),
    ("a list of words", _words, "architectures layer_types attention_layers"),
    ('a list as [[["global", "local"], 12]]', _periods, "attention_types"),
    ("a token's id, or a list of them", _tokens, "eos_token_id bos_token_id"),
    ("a token's id", _token, "pad_token_id"),
)  # fmt: skip
KINDS = {key: (kind, fits) for kind, fits, keys in _KINDS for key in keys.split()}


def check_types(published: Mapping[str, Any], where: str) -> None:
    """Raises UserError naming every key whose value has a type that no family allows there."""
    wrong = [f"{name} = {value!r} is not {kind}" for name, value, kind in _wrong(published, "")]
    if wrong:
        raise UserError(f"{where}: {'; '.join(wrong)}: copy the file again from the model's own page")


def _wrong(published: Mapping[str, Any], inside: str) -> list[tuple[str, Any, str]]:
    found = []
    for key, value in published.items():
        kind, fits = KINDS.get(key, ("", None))
        if value is None or fits is None:
            continue
        if not fits(value):
            found.append((f"{inside}{key}", value, kind))
        elif key in ("rope_scaling", "rope_parameters"):
            found += _wrong(value, f"{key}.")
    return found
