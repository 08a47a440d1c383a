"""What several families share: keys of config.json, and parts of weight maps."""

from collections.abc import Iterator, Mapping

from t5x_selfprog.model.config import ModelConfig, RopeScaling
from t5x_selfprog.model.families.family import Fields, Json
from t5x_selfprog.model.weight_map import Weight
from verifier.errors import UserError

LLAMA_NAMES = {
    "vocab_size": "vocab_size",
    "context_length": "max_position_embeddings",
    "embed_dim": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "mlp_dim": "intermediate_size",
}

# Causal masks that GPT-Neo, GPT-J and CodeGen store among their weights.
MASKS = r"transformer\.h\.\d+\.attn\.(attention\.)?(bias|masked_bias|causal_mask)$"

# Three names of the tanh approximation; they agree to the last bits of float32.
TANH_GELU = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")


def gelu(published: Json, *keys: str, default: str) -> str:
    name = next((published[key] for key in keys if published.get(key)), default)
    if name == "gelu":
        return "gelu"
    if name in TANH_GELU:
        return "gelu_tanh"
    raise UserError(f"activation {name!r} is not supported here; there are gelu, {', '.join(TANH_GELU)}")


def silu(published: Json) -> str:
    name = published.get("hidden_act", "silu")
    if name not in ("silu", "swish"):
        raise UserError(f"activation {name!r} is not supported here; there is silu")
    return "swiglu"


def head(published: Json, tied: bool) -> str:
    """tied: the family's default, for a config.json that does not say."""
    found = published.get("tie_word_embeddings")
    return "tied" if (tied if found is None else found) else "separate"


def rope(published: Json) -> Fields:
    """rope_theta and rope_scaling, from the spelling of transformers 5 (rope_parameters) or the earlier one."""
    found = published.get("rope_parameters") or published.get("rope_scaling") or {}
    if any(isinstance(value, Mapping) for value in found.values()):
        raise UserError(f"rope_parameters by layer type are not supported: {found}")
    needed = {"linear": ("factor",), "llama3": ("factor", "low_freq_factor", "high_freq_factor")}
    theta = found.get("rope_theta") or published.get("rope_theta") or published.get("rotary_emb_base")
    kind = found.get("rope_type") or found.get("type") or "default"
    if absent := [key for key in needed.get(kind, ()) if found.get(key) is None]:
        raise UserError(
            f"rope_type {kind!r}: {', '.join(absent)} missing; copy the file again from the model's own page"
        )
    if kind == "default":
        scaling = None
    elif kind == "linear":
        scaling = RopeScaling("linear", float(found["factor"]))
    elif kind == "llama3":
        original = found.get("original_max_position_embeddings") or published["max_position_embeddings"]
        low, high = found["low_freq_factor"], found["high_freq_factor"]
        scaling = RopeScaling("llama3", float(found["factor"]), float(low), float(high), int(original))
    else:
        raise UserError(f"rope_type {kind!r} is not supported; there are default, linear and llama3")
    return {"rope_theta": float(theta or 10_000.0), "rope_scaling": scaling}


def write_rope(config: ModelConfig) -> Fields:
    """The older spelling, which transformers 4 and 5 and vLLM all read."""
    scaling = config.rope_scaling
    found: Fields | None = None
    if scaling is not None:
        found = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling is not None and scaling.kind == "llama3":
        found = {
            **(found or {}),
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_context,
        }
    return {"rope_theta": config.rope_theta, "rope_scaling": found}


def sliding(published: Json, layers: int) -> tuple[int | None, ...]:
    """Attention spans of Qwen 2 and 3: unlimited unless `use_sliding_window` is set, then by layer."""
    window = published.get("sliding_window")
    if not published.get("use_sliding_window") or window is None:
        return (None,)
    first = published.get("max_window_layers", 28)
    kinds = published.get("layer_types") or [
        "sliding_attention" if i >= first else "full_attention" for i in range(layers)
    ]
    if len(kinds) != layers:
        raise UserError(f"layer_types names {len(kinds)} layers, num_hidden_layers = {layers}")
    if odd := sorted(set(kinds) - {"sliding_attention", "full_attention"}):
        raise UserError(
            f"layer_types: {', '.join(odd)} is not supported; there are sliding_attention, full_attention"
        )
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)


def write_sliding(config: ModelConfig) -> Fields:
    spans = config.layer_windows()
    window = next((span for span in spans if span is not None), None)
    if window is None:
        return {"use_sliding_window": False, "sliding_window": None, "max_window_layers": config.num_layers}
    kinds = ["full_attention" if span is None else "sliding_attention" for span in spans]
    full = spans.index(window)
    return {
        "use_sliding_window": True, "sliding_window": window, "max_window_layers": full, "layer_types": kinds,
    }  # fmt: skip


def norm(config: ModelConfig, ours: str, theirs: str) -> Iterator[Weight]:
    yield Weight(f"{theirs}.weight", (f"{ours}/scale",))
    if config.norm == "layer":
        yield Weight(f"{theirs}.bias", (f"{ours}/bias",))


def linear(config: ModelConfig, ours: str, theirs: str, bias: str, inputs: int = 1) -> Iterator[Weight]:
    """bias: the entry of `config.biases` that gives this projection a bias."""
    yield Weight(f"{theirs}.weight", (f"{ours}/kernel",), inputs)
    if bias in config.biases:
        yield Weight(f"{theirs}.bias", (f"{ours}/bias",))


def fused(
    config: ModelConfig, theirs: str, order: tuple[str, ...], groups: int, bias: str | None
) -> Iterator[Weight]:
    """Query, key and value in one tensor."""
    ours = [f"blocks/attention/{name}" for name in order]
    yield Weight(f"{theirs}.weight", tuple(f"{name}/kernel" for name in ours), 1, groups)
    if bias in config.biases:
        yield Weight(f"{theirs}.bias", tuple(f"{name}/bias" for name in ours), 0, groups)


def output_head(config: ModelConfig, theirs: str, also: tuple[str, ...] = ()) -> Iterator[Weight]:
    if config.head == "separate":
        yield Weight(f"{theirs}.weight", ("head",), 1, also=also)
    if "head" in config.biases:
        yield Weight(f"{theirs}.bias", ("head_bias",))
