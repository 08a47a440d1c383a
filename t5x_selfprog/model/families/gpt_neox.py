"""GPT-NeoX and Pythia (Black et al. 2022, Biderman et al. 2023)."""

from collections.abc import Iterator

from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.families.family import Family, Fields, Json
from t5x_selfprog.model.families.parts import (
    LLAMA_NAMES,
    fused,
    gelu,
    head,
    linear,
    norm,
    output_head,
    rope,
    write_rope,
)
from t5x_selfprog.model.weight_map import Weight


def _read_neox(published: Json) -> Fields:
    width, heads = published["hidden_size"], published["num_attention_heads"]
    share = (published.get("rope_parameters") or {}).get("partial_rotary_factor")
    share = published.get("rotary_pct", 0.25) if share is None else share
    attention = ("qkv", "out") if published.get("attention_bias", True) else ()
    parallel = published.get("use_parallel_residual", True)
    return {
        "num_kv_heads": heads,
        "head_dim": width // heads,
        "rotary_dim": int(width // heads * share),
        "mlp": gelu(published, "hidden_act", default="gelu"),
        "residual": "parallel" if parallel else "serial",
        "parallel_norms": 2 if parallel else 1,
        "biases": (*attention, "mlp"),
        "head": head(published, tied=False),
        **rope(published),
    }


def _write_neox(config: ModelConfig) -> Fields:
    rotary = write_rope(config)
    return {
        "rotary_pct": (config.rotary_dim or config.head_dim) / config.head_dim,
        "rotary_emb_base": rotary["rope_theta"],
        "rope_scaling": rotary["rope_scaling"],
        "hidden_act": "gelu_new" if config.mlp == "gelu_tanh" else config.mlp,
        "use_parallel_residual": config.residual == "parallel",
        "attention_bias": "qkv" in config.biases,
    }


def _neox_weights(config: ModelConfig) -> Iterator[Weight]:
    yield Weight("gpt_neox.embed_in.weight", ("embedding",))
    layer = "gpt_neox.layers.{}"
    yield from norm(config, "blocks/attention_norm", f"{layer}.input_layernorm")
    order = ("query", "key", "value")
    yield from fused(config, f"{layer}.attention.query_key_value", order, config.num_heads, bias="qkv")
    yield from linear(config, "blocks/attention/out", f"{layer}.attention.dense", "out", inputs=2)
    yield from norm(config, "blocks/mlp_norm", f"{layer}.post_attention_layernorm")
    yield from linear(config, "blocks/mlp/up", f"{layer}.mlp.dense_h_to_4h", "mlp")
    yield from linear(config, "blocks/mlp/down", f"{layer}.mlp.dense_4h_to_h", "mlp")
    yield from norm(config, "final_norm", "gpt_neox.final_layer_norm")
    yield from output_head(config, "embed_out", also=("lm_head.weight",))


GPT_NEOX = Family(
    "gpt_neox",
    "GPTNeoXForCausalLM",
    {**LLAMA_NAMES, "norm_eps": "layer_norm_eps"},
    {"norm": "layer", "positions": "rotary"},
    _read_neox,
    _write_neox,
    _neox_weights,
    surplus=r"gpt_neox\.layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)$",
)
