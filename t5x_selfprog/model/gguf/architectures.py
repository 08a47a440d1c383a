"""Translates a GGUF file's metadata to config.json, and its tensor names to the published ones.

llama.cpp's converters rearrange some tensors: they permute the rows of Llama's query and key (their rotation pairs
neighbours), split GPT-NeoX's fused projection into blocks of query, key and value, and add one to Gemma's norms. Here
each change is undone as rows are read.
"""

from __future__ import annotations

import dataclasses
import math
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from t5x_selfprog.model.gguf.container import QuantizedTensor
from verifier.errors import UserError

Json = dict[str, Any]
Tensors = Mapping[str, QuantizedTensor]

_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_BLOCK = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
_NEOX_OUTER = {
    "token_embd": "gpt_neox.embed_in", "output_norm": "gpt_neox.final_layer_norm", "output": "embed_out",
}  # fmt: skip
_NEOX_BLOCK = {
    "attn_norm": "input_layernorm", "attn_qkv": "attention.query_key_value", "attn_output": "attention.dense",
    "ffn_norm": "post_attention_layernorm", "ffn_up": "mlp.dense_h_to_4h", "ffn_down": "mlp.dense_4h_to_h",
}  # fmt: skip

# Keys that need no counterpart in config.json. Any other non-zero key that we do not read would mean a feature that our
# model does not have.
_SAID_ELSEWHERE = ("block_count", "vocab_size", "attention.value_length", "rope.scaling.finetuned")


class Keys:
    """The metadata of one architecture; records which keys have been read."""

    def __init__(self, metadata: Mapping[str, Any], architecture: str) -> None:
        self._prefix = architecture + "."
        self._found = {
            key.removeprefix(self._prefix): value
            for key, value in metadata.items()
            if key.startswith(self._prefix)
        }
        self._read = set(_SAID_ELSEWHERE)

    def get(self, key: str, default: Any = None) -> Any:
        self._read.add(key)
        return self._found.get(key, default)

    def number(self, key: str) -> int:
        """Raises UserError where the key is missing or differs by layer."""
        found = self.get(key)
        if isinstance(found, list) and len(set(found)) == 1:
            found = found[0]
        if not isinstance(found, int) or isinstance(found, bool) or found <= 0:
            said = "absent" if found is None else f"{reprlib.repr(found)}, not one number above 0"
            raise UserError(f"{self._prefix}{key} is {said}; such a model is not supported here")
        return found

    def real(self, key: str, default: float | None = None) -> float:
        """A float32 as people write it (1e-05, not 9.999999747378752e-06).

        Raises UserError where it is missing or not above 0.
        """
        found = self.get(key, default)
        if not isinstance(found, int | float) or isinstance(found, bool) or not 0 < found < math.inf:
            said = "absent" if found is None else f"{reprlib.repr(found)}, no number above 0"
            raise UserError(f"{self._prefix}{key} is {said}; fetch the file again")
        return float(str(np.float32(found)))

    def refuse_unread(self) -> None:
        """Raises UserError for keys that nothing has read: experts, caps, other kinds of attention."""
        unread = {key: value for key, value in self._found.items() if key not in self._read and value}
        if unread:
            said = ", ".join(f"{self._prefix}{key} = {value}"[:120] for key, value in sorted(unread.items()))
            raise UserError(f"models with {said} are not supported here")


@dataclasses.dataclass(frozen=True)
class Architecture:
    """One of llama.cpp's architectures.

    Attributes:
      model_type, class_name: the family's name in config.json, and the class of its language model.
      config: returns the keys of config.json that are its own (see `describe` for the others).
      outer, block: published names of the tensors outside and inside the blocks.
      layers: published prefix of the blocks.
      turn: undoes what the converter did to one tensor.
    """

    model_type: str
    class_name: str
    config: Callable[[Keys, Tensors], Json]
    outer: Mapping[str, str] = dataclasses.field(default_factory=lambda: _OUTER)
    block: Mapping[str, str] = dataclasses.field(default_factory=lambda: _BLOCK)
    layers: str = "model.layers"
    turn: Callable[[str, QuantizedTensor, Json], QuantizedTensor] = lambda name, tensor, config: tensor


def describe(metadata: Mapping[str, Any], tensors: Tensors, where: str) -> tuple[Architecture, Json]:
    """The architecture and its config.json. A separate head is taken as untied; the caller may know better.

    Raises UserError for an unknown architecture, or metadata that our model cannot represent.
    """
    name = metadata.get("general.architecture")
    if name not in ARCHITECTURES:
        raise UserError(
            f"{where}: architecture {name!r} is not supported; there are {', '.join(sorted(ARCHITECTURES))}"
        )
    if "token_embd.weight" not in tensors:
        raise UserError(f"{where}: no tensor token_embd.weight; is it one part of a split model?")
    architecture = ARCHITECTURES[name]
    try:
        return architecture, _said(architecture, Keys(metadata, name), metadata, tensors)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _said(architecture: Architecture, keys: Keys, metadata: Mapping[str, Any], tensors: Tensors) -> Json:
    embedding = tensors["token_embd.weight"]
    vocabulary = {
        key: metadata[f"tokenizer.ggml.{name}_token_id"]
        for key, name in (("bos_token_id", "bos"), ("eos_token_id", "eos"), ("pad_token_id", "padding"))
        if f"tokenizer.ggml.{name}_token_id" in metadata
    }
    said = {
        "architectures": [architecture.class_name],
        "model_type": architecture.model_type,
        "vocab_size": embedding.shape[0],
        "hidden_size": keys.number("embedding_length"),
        "num_hidden_layers": keys.number("block_count"),
        "num_attention_heads": keys.number("attention.head_count"),
        "intermediate_size": keys.number("feed_forward_length"),
        "max_position_embeddings": keys.number("context_length"),
        "tie_word_embeddings": "output.weight" not in tensors,
        "torch_dtype": str(embedding.dtype),
        **vocabulary,
        **architecture.config(keys, tensors),
    }
    keys.refuse_unread()
    return said


def rename(architecture: Architecture, tensors: Tensors, config: Json) -> dict[str, QuantizedTensor]:
    """The tensors under their published names, with the converter's changes undone; unknown names are kept."""
    found = {}
    for name, tensor in tensors.items():
        base, _, kind = name.rpartition(".")
        _, _, numbered = base.partition("blk.")
        layer, _, part = numbered.partition(".")
        if not numbered and base in architecture.outer:
            name = f"{architecture.outer[base]}.{kind}"
        elif part in architecture.block:
            name = f"{architecture.layers}.{layer}.{architecture.block[part]}.{kind}"
        found[name] = architecture.turn(part or base, tensor, config)
    return found


def _rope(keys: Keys, tensors: Tensors) -> Json:
    """Theta and the scaling of frequencies; Llama 3's scaling is not in the metadata but given as a tensor."""
    theta = keys.real("rope.freq_base", 10_000.0)
    # A file that names a factor but no type means the linear one; llama.cpp reads both keys so.
    kind, factor = keys.get("rope.scaling.type", "linear"), keys.get("rope.scaling.factor", 0.0)
    factor = factor or keys.get("rope.scale_linear", 0.0)  # its name in older files
    original = keys.get("rope.scaling.original_context_length")
    if kind not in ("none", "linear"):
        raise UserError(f"rope.scaling.type {kind!r} is not supported; there are none and linear")
    linear = kind == "linear" and factor not in (0, 1)
    if "rope_freqs.weight" in tensors:
        if linear:
            raise UserError(f"rope_freqs.weight and a linear factor of {factor} together are not supported")
        return {"rope_theta": theta, "rope_scaling": _llama3(tensors["rope_freqs.weight"], theta)}
    if linear:
        scaling = {"rope_type": "linear", "factor": float(factor)}
        return {"rope_theta": theta, "rope_scaling": scaling}
    if original and original != keys.get("context_length"):
        raise UserError(
            f"rope.scaling.original_context_length = {original} without a known rope.scaling.type"
        )
    return {"rope_theta": theta, "rope_scaling": None}


def _llama3(tensor: QuantizedTensor, theta: float) -> Json:
    """The parameters of Llama 3's scaling that give these divisors; only factor and original context vary.

    Raises UserError where no parameters do.
    """
    wanted = tensor.open().astype(np.float64)
    wavelength = 2 * math.pi * theta ** (np.arange(len(wanted)) / len(wanted))
    factor, low, high = float(round(wanted.max(), 3)), 1.0, 4.0
    ramp = (wanted > 1.001) & (wanted < 0.999 * factor)
    if factor > 1 and ramp.any():
        smooth = (1 / wanted[ramp] - 1 / factor) / (1 - 1 / factor)
        original = round(float(np.median(wavelength[ramp] * (smooth * (high - low) + low))))
        smooth = np.clip((original / wavelength - low) / (high - low), 0.0, 1.0)
        if np.allclose(1 / ((1 - smooth) / factor + smooth), wanted, rtol=1e-3):
            return {
                "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
                "original_max_position_embeddings": original,
            }  # fmt: skip
    raise UserError(f"rope_freqs.weight stretches rotary frequencies in a way that is not known: {wanted}")


def _grouped(keys: Keys, tensors: Tensors, rms: bool = True) -> Json:
    heads, width = keys.number("attention.head_count"), keys.number("embedding_length")
    if keys.get("attention.head_count_kv") is None:
        kv_heads = heads
    else:
        kv_heads = keys.number("attention.head_count_kv")
    head_dim = keys.get("attention.key_length") or keys.get("rope.dimension_count") or width // heads
    if keys.get("rope.dimension_count", head_dim) != head_dim:
        raise UserError(
            f"rope.dimension_count = {keys.get('rope.dimension_count')} of {head_dim} is not supported"
        )
    norm = "attention.layer_norm_rms_epsilon" if rms else "attention.layer_norm_epsilon"
    return {
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "rms_norm_eps" if rms else "norm_epsilon": keys.real(norm),
        **_rope(keys, tensors),
    }


def _llama(keys: Keys, tensors: Tensors) -> Json:
    return {
        **_grouped(keys, tensors),
        "hidden_act": "silu",
        "attention_bias": "blk.0.attn_q.bias" in tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in tensors,
    }


def _qwen2(keys: Keys, tensors: Tensors) -> Json:
    found = {**_grouped(keys, tensors), "hidden_act": "silu", "use_sliding_window": False}
    if found["head_dim"] * keys.number("attention.head_count") == keys.number("embedding_length"):
        del found["head_dim"]  # Qwen2Config has no such key; it derives the value
    return found


def _qwen3(keys: Keys, tensors: Tensors) -> Json:
    bias = "blk.0.attn_q.bias" in tensors
    return {
        **_grouped(keys, tensors),
        "hidden_act": "silu",
        "use_sliding_window": False,
        "attention_bias": bias,
    }


def _gemma(keys: Keys, tensors: Tensors) -> Json:
    approximation = "gelu_pytorch_tanh"
    return {**_grouped(keys, tensors), "hidden_act": approximation, "hidden_activation": approximation}


def _starcoder2(keys: Keys, tensors: Tensors) -> Json:
    return {
        **_grouped(keys, tensors, rms=False),
        "hidden_act": "gelu_pytorch_tanh",
        "use_bias": "blk.0.attn_q.bias" in tensors,
        "sliding_window": keys.get("attention.sliding_window") or None,
    }


def _gpt_neox(keys: Keys, tensors: Tensors) -> Json:
    head_dim = keys.number("embedding_length") // keys.number("attention.head_count")
    if keys.get("attention.head_count_kv", keys.number("attention.head_count")) != keys.number(
        "attention.head_count"
    ):
        raise UserError("grouped heads are not supported in GPT-NeoX")
    rope = _rope(keys, tensors)
    return {
        "layer_norm_eps": keys.real("attention.layer_norm_epsilon"),
        "hidden_act": "gelu",
        "rotary_pct": keys.get("rope.dimension_count", head_dim) / head_dim,
        "rotary_emb_base": rope["rope_theta"],
        "rope_scaling": rope["rope_scaling"],
        "use_parallel_residual": bool(keys.get("use_parallel_residual", True)),
        "attention_bias": "blk.0.attn_qkv.bias" in tensors,
    }


def _turn_llama(part: str, tensor: QuantizedTensor, config: Json) -> QuantizedTensor:
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}.get(part)
    if heads is None or tensor.shape[0] % (2 * heads):
        return tensor  # a shape that does not fit is reported later
    return dataclasses.replace(tensor, order=_halves(tensor.shape[0], heads))


def _halves(rows: int, heads: int) -> np.ndarray:
    """Where the file holds each row: rows that rotate together are neighbours there, and half a head apart in ours."""
    return np.arange(rows).reshape(heads, -1, 2).swapaxes(1, 2).reshape(-1)


def _turn_neox(part: str, tensor: QuantizedTensor, config: Json) -> QuantizedTensor:
    heads = config["num_attention_heads"]
    if part != "attn_qkv" or tensor.shape[0] % (3 * heads):
        return tensor
    order = np.arange(tensor.shape[0]).reshape(3, heads, -1).swapaxes(0, 1).reshape(-1)
    return dataclasses.replace(tensor, order=order)


def _turn_gemma(part: str, tensor: QuantizedTensor, config: Json) -> QuantizedTensor:
    return dataclasses.replace(tensor, shift=-1.0) if part.endswith("norm") else tensor


ARCHITECTURES = {
    "llama": Architecture("llama", "LlamaForCausalLM", _llama, turn=_turn_llama),
    "qwen2": Architecture("qwen2", "Qwen2ForCausalLM", _qwen2),
    "qwen3": Architecture(
        "qwen3",
        "Qwen3ForCausalLM",
        _qwen3,
        block={**_BLOCK, "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"},
    ),
    "gemma": Architecture("gemma", "GemmaForCausalLM", _gemma, turn=_turn_gemma),
    "starcoder2": Architecture(
        "starcoder2",
        "Starcoder2ForCausalLM",
        _starcoder2,
        block={**_BLOCK, "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"},
    ),
    "gptneox": Architecture(
        "gpt_neox",
        "GPTNeoXForCausalLM",
        _gpt_neox,
        outer=_NEOX_OUTER,
        block=_NEOX_BLOCK,
        layers="gpt_neox.layers",
        turn=_turn_neox,
    ),
}
