"""GPT-J (Wang & Komatsuzaki 2021) and CodeGen (Nijkamp et al. 2022): one kind of block, stored in two ways."""

import functools
from collections.abc import Callable, Iterator

from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.families.family import Family, Fields, Json
from t5x_selfprog.model.families.parts import MASKS, fused, gelu, head, linear, norm, output_head
from t5x_selfprog.model.weight_map import Weight


def _read_gptj(published: Json) -> Fields:
    width, heads = published["n_embd"], published["n_head"]
    return {
        "num_kv_heads": heads,
        "head_dim": width // heads,
        "mlp_dim": published.get("n_inner") or 4 * width,
        "mlp": gelu(published, "activation_function", default="gelu_new"),
        "head": head(published, tied=False),
    }


def _write_gptj(config: ModelConfig) -> Fields:
    return {
        "rotary_dim": config.rotary_dim or config.head_dim,
        "n_inner": config.mlp_dim,
        "n_ctx": config.context_length,
        "activation_function": "gelu_new" if config.mlp == "gelu_tanh" else config.mlp,
    }


def _gptj_weights(
    config: ModelConfig, attention: Callable[[ModelConfig], Iterator[Weight]]
) -> Iterator[Weight]:
    yield Weight("transformer.wte.weight", ("embedding",))
    yield from norm(config, "blocks/attention_norm", "transformer.h.{}.ln_1")
    yield from attention(config)
    yield from linear(config, "blocks/attention/out", "transformer.h.{}.attn.out_proj", "out", inputs=2)
    yield from linear(config, "blocks/mlp/up", "transformer.h.{}.mlp.fc_in", "mlp")
    yield from linear(config, "blocks/mlp/down", "transformer.h.{}.mlp.fc_out", "mlp")
    yield from norm(config, "final_norm", "transformer.ln_f")
    yield from output_head(config, "lm_head")


def _gptj_attention(config: ModelConfig) -> Iterator[Weight]:
    for ours, theirs in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")):
        yield from linear(config, f"blocks/attention/{ours}", f"transformer.h.{{}}.attn.{theirs}", "qkv")


def _codegen_attention(config: ModelConfig) -> Iterator[Weight]:
    # CodeGen was trained on four tensor-parallel cores: each quarter of the heads holds its query, value and key, in
    # that order.
    order = ("query", "value", "key")
    yield from fused(config, "transformer.h.{}.attn.qkv_proj", order, groups=4, bias=None)


GPTJ_NAMES = {
    "vocab_size": "vocab_size",
    "context_length": "n_positions",
    "embed_dim": "n_embd",
    "num_layers": "n_layer",
    "num_heads": "n_head",
    "rotary_dim": "rotary_dim",
    "norm_eps": "layer_norm_epsilon",
}
GPTJ_STYLE = {
    "norm": "layer", "positions": "rotary_interleaved", "residual": "parallel", "biases": ("mlp", "head"),
}  # fmt: skip


GPTJ = Family(
    "gptj",
    "GPTJForCausalLM",
    GPTJ_NAMES,
    GPTJ_STYLE,
    _read_gptj,
    _write_gptj,
    functools.partial(_gptj_weights, attention=_gptj_attention),
    surplus=MASKS,
)


CODEGEN = Family(
    "codegen",
    "CodeGenForCausalLM",
    GPTJ_NAMES,
    GPTJ_STYLE,
    _read_gptj,
    _write_gptj,
    functools.partial(_gptj_weights, attention=_codegen_attention),
    surplus=MASKS,
)
