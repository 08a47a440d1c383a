"""Writes GGUF files as llama.cpp's converter does, from the tiny models or from any numbers."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, quantize

from t5x_selfprog.model import hf

ARCHITECTURES = {"gpt_neox": "gptneox"}
LLAMA = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
    "gpt_neox.embed_in": "token_embd", "gpt_neox.final_layer_norm": "output_norm", "embed_out": "output",
    "attention.query_key_value": "attn_qkv", "attention.dense": "attn_output", "mlp.dense_h_to_4h": "ffn_up",
    "mlp.dense_4h_to_h": "ffn_down",
}  # fmt: skip


def convert(folder: Path, path: Path, kinds: Mapping[str, str] | str = "F32", **changes: Any) -> Path:
    """Writes a published folder as a GGUF file.

    Args:
      kinds: the number format of matrices, by their GGUF names or for all.
      changes: metadata added, or (None) left out, with "_" for ".".
    """
    said = json.loads((folder / "config.json").read_text())
    tensors = {name: tensor.open() for name, tensor in hf.find_tensors(str(folder)).items()}
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    metadata = {
        **shape(said),
        **byte_level(tokenizer),
        **{k.replace("__", "."): v for k, v in changes.items()},
    }
    converted = {}
    for name, tensor in tensors.items():
        if name in ("lm_head.weight", "embed_out.weight") and said.get("tie_word_embeddings"):
            continue
        renamed, turned = turn(name, np.asarray(tensor, np.float32), said)
        kind = kinds if isinstance(kinds, str) else kinds.get(renamed, "F32")
        converted[renamed] = (turned, kind if turned.ndim > 1 else "F32")
    rope = said.get("rope_parameters") or {}
    if rope.get("rope_type") == "llama3":
        converted["rope_freqs.weight"] = (llama3_divisors(said), "F32")
    return write(path, metadata, converted)


def write(
    path: Path,
    metadata: Mapping[str, Any],
    tensors: Mapping[str, tuple[np.ndarray, str]],
    split_max_tensors: int = 0,
) -> Path:
    """Writes a GGUF file, quantising its numbers; metadata that is None is left out."""
    writer = GGUFWriter(path, metadata["general.architecture"], split_max_tensors=split_max_tensors)
    for key, value in metadata.items():
        if value is None or key == "general.architecture":
            continue
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    for name, (numbers, kind) in tensors.items():
        named = GGMLQuantizationType[kind]
        writer.add_tensor(name, quantize(numbers, named), raw_dtype=named)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def shape(said: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata that the converter of each family derives from config.json."""
    name = ARCHITECTURES.get(said["model_type"], said["model_type"])
    heads, width = said["num_attention_heads"], said["hidden_size"]
    head_dim = said.get("head_dim") or width // heads
    rope = said.get("rope_parameters") or {}
    found = {
        "block_count": said["num_hidden_layers"],
        "context_length": said["max_position_embeddings"],
        "embedding_length": width,
        "feed_forward_length": said["intermediate_size"],
        "attention.head_count": heads,
        "attention.head_count_kv": said.get("num_key_value_heads"),
        "attention.layer_norm_rms_epsilon": said.get("rms_norm_eps"),
        "attention.layer_norm_epsilon": said.get("norm_epsilon") or said.get("layer_norm_eps"),
        "rope.freq_base": rope.get("rope_theta"),
        "vocab_size": said["vocab_size"],
    }
    if name in ("llama", "qwen3", "gemma"):
        found["attention.key_length"] = found["attention.value_length"] = head_dim
    if name == "llama":
        found["rope.dimension_count"] = head_dim
    if name == "gptneox":
        found["rope.dimension_count"] = int(head_dim * rope.get("partial_rotary_factor", 0.25))
        found["use_parallel_residual"] = said["use_parallel_residual"]
        del found["rope.freq_base"]
        found["rope.freq_base"] = rope.get("rope_theta")
    if rope.get("rope_type") == "linear":
        found |= {"rope.scaling.type": "linear", "rope.scaling.factor": rope["factor"]}
    if name == "starcoder2":
        found["attention.sliding_window"] = said.get("sliding_window")
    return {"general.architecture": name, **{f"{name}.{key}": value for key, value in found.items()}}


def byte_level(tokenizer: Mapping[str, Any], pre: str = "gpt-2") -> dict[str, Any]:
    """The metadata of a byte-level tokenizer.json whose first token ends texts."""
    vocabulary = {**tokenizer["model"]["vocab"], **{x["content"]: x["id"] for x in tokenizer["added_tokens"]}}
    special = {x["content"] for x in tokenizer["added_tokens"] if x["special"]}
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token in special else 1 for token in tokens],
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.bos_token_id": 0,
    }


def turn(name: str, tensor: np.ndarray, said: Mapping[str, Any]) -> tuple[str, np.ndarray]:
    """A published tensor under its GGUF name, rearranged as by the converter."""
    heads, family = said["num_attention_heads"], said["model_type"]
    if family == "llama" and ("q_proj" in name or "k_proj" in name):
        count = heads if "q_proj" in name else said["num_key_value_heads"]
        rows = len(tensor)
        tensor = (
            tensor.reshape(count, 2, rows // count // 2, *tensor.shape[1:])
            .swapaxes(1, 2)
            .reshape(tensor.shape)
        )
    if "query_key_value" in name:
        head_dim = said["hidden_size"] // heads
        parts = tensor.reshape(heads, 3, head_dim, *tensor.shape[1:])
        tensor = np.concatenate([parts[:, i].reshape(heads * head_dim, *tensor.shape[1:]) for i in range(3)])
    if family == "gemma" and "norm" in name:
        tensor = tensor + np.float32(1)
    words, kind = name.rsplit(".", 1)
    if ".layers." in words:
        layer, part = words.split(".layers.")[1].split(".", 1)
        return f"blk.{layer}.{LLAMA[part]}.{kind}", tensor
    return f"{LLAMA[words]}.{kind}", tensor


def llama3_divisors(said: Mapping[str, Any]) -> np.ndarray:
    """The divisor of each rotary frequency, following Llama 3.1's own code."""
    rope, half = said["rope_parameters"], said["head_dim"] // 2
    low, high, original = (
        rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"],
    )  # fmt: skip
    divisors = []
    for i in range(half):
        wavelength = 2 * math.pi / (1 / rope["rope_theta"] ** (2 * i / said["head_dim"]))
        if wavelength < original / high:
            divisors.append(1.0)
        elif wavelength > original / low:
            divisors.append(rope["factor"])
        else:
            smooth = (original / wavelength - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.asarray(divisors, np.float32)


def cut(path: Path, at: Sequence[int], name: str = "{stem}.{i:02}") -> list[Path]:
    """Cuts a file into pieces that end at these byte offsets."""
    data = path.read_bytes()
    pieces = []
    for i, (start, end) in enumerate(zip([0, *at], [*at, len(data)], strict=True)):
        piece = path.parent / name.format(stem=path.name, i=i)
        piece.write_bytes(data[start:end])
        pieces.append(piece)
    return pieces
