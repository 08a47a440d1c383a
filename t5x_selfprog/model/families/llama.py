"""Llama (Touvron et al. 2023; Code Llama, DeepSeek-Coder) and its descendants: Qwen 2 and 3, StarCoder2, Gemma."""

import functools
from collections.abc import Iterator, Mapping

from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.families.family import Family, Fields, Json
from t5x_selfprog.model.families.parts import (
    LLAMA_NAMES,
    gelu,
    head,
    linear,
    norm,
    output_head,
    rope,
    silu,
    sliding,
    write_rope,
    write_sliding,
)
from t5x_selfprog.model.weight_map import Weight
from verifier.errors import UserError


def _grouped_heads(published: Json) -> Fields:
    heads = published["num_attention_heads"]
    return {
        "num_kv_heads": published.get("num_key_value_heads") or heads,
        "head_dim": published.get("head_dim") or published["hidden_size"] // heads,
        **rope(published),
    }


def _write_grouped_heads(config: ModelConfig) -> Fields:
    return {"num_key_value_heads": config.num_kv_heads, "head_dim": config.head_dim, **write_rope(config)}


def _read_llama(published: Json) -> Fields:
    attention = ("qkv", "out") if published.get("attention_bias") else ()
    return {
        **_grouped_heads(published),
        "mlp": silu(published),
        "biases": (*attention, "mlp") if published.get("mlp_bias") else attention,
        "head": head(published, tied=False),
    }


def _write_llama(config: ModelConfig) -> Fields:
    return {
        **_write_grouped_heads(config),
        "hidden_act": "silu",
        "attention_bias": "qkv" in config.biases,
        "mlp_bias": "mlp" in config.biases,
    }


def _read_qwen2(published: Json) -> Fields:
    windows = sliding(published, published["num_hidden_layers"])
    fields = {**_grouped_heads(published), "mlp": silu(published), "windows": windows}
    return {**fields, "biases": ("qkv",), "head": head(published, tied=False)}


def _write_qwen2(config: ModelConfig) -> Fields:
    fields = {**_write_grouped_heads(config), **write_sliding(config), "hidden_act": "silu"}
    if config.head_dim * config.num_heads == config.embed_dim:
        del fields["head_dim"]  # Qwen2Config has no such key; it derives the value
    return fields


def _read_qwen3(published: Json) -> Fields:
    head_dim = published.get("head_dim") or 128  # Qwen3Config's default, unlike its relatives'
    biases = ("qkv", "out") if published.get("attention_bias") else ()
    return {**_read_qwen2(published), "head_dim": head_dim, "biases": biases}


def _write_qwen3(config: ModelConfig) -> Fields:
    fields = {**_write_grouped_heads(config), **write_sliding(config), "hidden_act": "silu"}
    return {**fields, "attention_bias": "qkv" in config.biases}


def _read_starcoder2(published: Json) -> Fields:
    return {
        **_grouped_heads(published),
        "mlp": gelu(published, "hidden_act", default="gelu_pytorch_tanh"),
        "biases": ("qkv", "out", "mlp") if published.get("use_bias", True) else (),
        "windows": (published.get("sliding_window"),),
        "head": head(published, tied=True),
    }


def _write_starcoder2(config: ModelConfig) -> Fields:
    return {
        **_write_grouped_heads(config),
        "hidden_act": "gelu_pytorch_tanh" if config.mlp == "gelu_tanh" else config.mlp,
        "use_bias": bool(config.biases),
        "sliding_window": config.windows[0],
    }


def _read_gemma(published: Json) -> Fields:
    gelu(published, "hidden_activation", "hidden_act", default="gelu_pytorch_tanh")
    fields = {**_grouped_heads(published), "embed_scale": float(published["hidden_size"] ** 0.5)}
    if published.get("use_bidirectional_attention"):
        raise UserError("use_bidirectional_attention: only causal attention is supported")
    biases = ("qkv", "out") if published.get("attention_bias") else ()
    return {**fields, "biases": biases, "head": head(published, tied=True)}


def _write_gemma(config: ModelConfig) -> Fields:
    fields = {**_write_grouped_heads(config), "attention_bias": "qkv" in config.biases}
    # Early files say `gelu` but mean the approximation; writing both keys removes the doubt.
    return {**fields, "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh"}


def _llama_weights(config: ModelConfig, mlp: Mapping[str, str] | None = None) -> Iterator[Weight]:
    """mlp: the published names of our MLP projections."""
    mlp = mlp or {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"}
    layer = "model.layers.{}"
    yield Weight("model.embed_tokens.weight", ("embedding",))
    yield from norm(config, "blocks/attention_norm", f"{layer}.input_layernorm")
    for ours, theirs in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")):
        yield from linear(config, f"blocks/attention/{ours}", f"{layer}.self_attn.{theirs}", "qkv")
    yield from linear(config, "blocks/attention/out", f"{layer}.self_attn.o_proj", "out", inputs=2)
    if config.qk_norm == "rms":
        yield from norm(config, "blocks/attention/query_norm", f"{layer}.self_attn.q_norm")
        yield from norm(config, "blocks/attention/key_norm", f"{layer}.self_attn.k_norm")
    yield from norm(config, "blocks/mlp_norm", f"{layer}.post_attention_layernorm")
    for ours, theirs in mlp.items():
        yield from linear(config, f"blocks/mlp/{ours}", f"{layer}.mlp.{theirs}", "mlp")
    yield from norm(config, "final_norm", "model.norm")
    yield from output_head(config, "lm_head")


LLAMA = Family(
    "llama",
    "LlamaForCausalLM",
    {**LLAMA_NAMES, "norm_eps": "rms_norm_eps"},
    {"norm": "rms", "positions": "rotary"},
    _read_llama,
    _write_llama,
    _llama_weights,
    surplus=r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq$",
)


QWEN2 = Family(
    "qwen2",
    "Qwen2ForCausalLM",
    {**LLAMA_NAMES, "norm_eps": "rms_norm_eps"},
    {"norm": "rms", "positions": "rotary"},
    _read_qwen2,
    _write_qwen2,
    _llama_weights,
)


QWEN3 = Family(
    "qwen3",
    "Qwen3ForCausalLM",
    {**LLAMA_NAMES, "norm_eps": "rms_norm_eps"},
    {"norm": "rms", "positions": "rotary", "qk_norm": "rms"},
    _read_qwen3,
    _write_qwen3,
    _llama_weights,
)


STARCODER2 = Family(
    "starcoder2",
    "Starcoder2ForCausalLM",
    {**LLAMA_NAMES, "norm_eps": "norm_epsilon"},
    {"norm": "layer", "positions": "rotary"},
    _read_starcoder2,
    _write_starcoder2,
    functools.partial(_llama_weights, mlp={"up": "c_fc", "down": "c_proj"}),
)


GEMMA = Family(
    "gemma",
    "GemmaForCausalLM",
    {**LLAMA_NAMES, "norm_eps": "rms_norm_eps"},
    {"norm": "rms_plus_one", "mlp": "geglu", "positions": "rotary"},
    _read_gemma,
    _write_gemma,
    _llama_weights,
)
