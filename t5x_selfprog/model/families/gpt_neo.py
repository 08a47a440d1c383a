"""GPT-Neo (Black et al. 2021): alternating global and local attention, no 1/sqrt(C), learned positions."""

from collections.abc import Iterator

from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.families.family import Family, Fields, Json
from t5x_selfprog.model.families.parts import MASKS, gelu, head, linear, norm, output_head
from t5x_selfprog.model.weight_map import Weight
from verifier.errors import UserError


def _read_gpt_neo(published: Json) -> Fields:
    width, heads = published["hidden_size"], published["num_heads"]
    types = published.get("attention_layers") or [
        kind for kinds, times in published["attention_types"] for _ in range(times) for kind in kinds
    ]
    if len(types) != published["num_layers"]:
        raise UserError(f"attention_layers names {len(types)} layers, num_layers = {published['num_layers']}")
    if odd := sorted(set(types) - {"global", "local"}):
        raise UserError(f"attention {', '.join(odd)} is not supported; there are global and local")
    window = published.get("window_size", 256)
    return {
        "num_kv_heads": heads,
        "head_dim": width // heads,
        "mlp_dim": published.get("intermediate_size") or 4 * width,
        "mlp": gelu(published, "activation_function", default="gelu_new"),
        "windows": shortest_period(tuple(window if kind == "local" else None for kind in types)),
        "head": head(published, tied=True),
    }


def _write_gpt_neo(config: ModelConfig) -> Fields:
    kinds = ["global" if span is None else "local" for span in config.layer_windows()]
    period = list(shortest_period(tuple(kinds)))
    return {
        "intermediate_size": config.mlp_dim,
        "activation_function": "gelu_new" if config.mlp == "gelu_tanh" else config.mlp,
        "attention_types": [[period, len(kinds) // len(period)]],
        "attention_layers": kinds,
        "window_size": next((span for span in config.windows if span is not None), 256),
    }


def shortest_period(values: tuple) -> tuple:
    """The shortest prefix that gives `values` when repeated a whole number of times."""
    for n in range(1, len(values) + 1):
        if len(values) % n == 0 and values[:n] * (len(values) // n) == values:
            return values[:n]
    return values


def _gpt_neo_weights(config: ModelConfig) -> Iterator[Weight]:
    yield Weight("transformer.wte.weight", ("embedding",))
    yield Weight("transformer.wpe.weight", ("position_embedding",))
    layer, block = "transformer.h.{}", "blocks"
    yield from norm(config, f"{block}/attention_norm", f"{layer}.ln_1")
    for ours, theirs in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")):
        yield from linear(config, f"{block}/attention/{ours}", f"{layer}.attn.attention.{theirs}", "qkv")
    yield from linear(config, f"{block}/attention/out", f"{layer}.attn.attention.out_proj", "out", inputs=2)
    yield from norm(config, f"{block}/mlp_norm", f"{layer}.ln_2")
    yield from linear(config, f"{block}/mlp/up", f"{layer}.mlp.c_fc", "mlp")
    yield from linear(config, f"{block}/mlp/down", f"{layer}.mlp.c_proj", "mlp")
    yield from norm(config, "final_norm", "transformer.ln_f")
    yield from output_head(config, "lm_head")


GPT_NEO = Family(
    "gpt_neo",
    "GPTNeoForCausalLM",
    {
        "vocab_size": "vocab_size",
        "context_length": "max_position_embeddings",
        "embed_dim": "hidden_size",
        "num_layers": "num_layers",
        "num_heads": "num_heads",
        "norm_eps": "layer_norm_epsilon",
    },
    {"norm": "layer", "positions": "learned", "attention_scale": 1.0, "biases": ("out", "mlp")},
    _read_gpt_neo,
    _write_gpt_neo,
    _gpt_neo_weights,
    surplus=MASKS,
)
