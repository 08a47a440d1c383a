"""What distinguishes one decoder from another, as data."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

from verifier.errors import UserError


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies were stretched to a longer context than the model was first trained on.

    Attributes:
      kind: "linear" (every frequency divided by `factor`; Chen et al. 2023) or "llama3" (Llama 3.1: only the
        low frequencies, with a ramp between wavelengths original_context / high_freq_factor and
        original_context / low_freq_factor).
      factor: by how much frequencies are divided.
      low_freq_factor, high_freq_factor: bounds of the ramp ("llama3" only).
      original_context: the context length before stretching, in tokens ("llama3" only).
    """

    kind: Literal["linear", "llama3"] = "linear"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_context: int = 8192

    def __post_init__(self):
        if self.kind not in ("linear", "llama3"):
            raise UserError(f"RopeScaling.kind={self.kind!r}: choose 'linear' or 'llama3'.")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Shape and style of a decoder. Every published family is a choice of these fields.

    Attributes:
      vocab_size: rows of the embedding table, padding rows included.
      context_length: longest sequence the model may see, in tokens.
      embed_dim, num_layers, num_heads, num_kv_heads, head_dim, mlp_dim: D, N, H, K, C, F.
      norm: "rms" (scale only), "rms_plus_one" (Gemma: the scale is stored minus one) or "layer" (scale and bias).
      mlp: "swiglu" / "geglu" (gated, two input matrices) or "gelu_tanh" / "gelu" (one input matrix).
      norm_eps: added to the variance before its square root.
      positions: "rotary" (channel i pairs with i + rotary_dim / 2), "rotary_interleaved" (neighbours pair) or
        "learned" (added to the embedding).
      rope_theta: base of the rotary wavelengths.
      rotary_dim: leading channels of a head that rotate; None means all of them.
      rope_scaling: how rotary frequencies were stretched; None means not at all.
      residual: "serial" (attention, then MLP) or "parallel" (both read the block's input).
      parallel_norms: norms of a parallel block: 1 (GPT-J) or 2 (GPT-NeoX).
      windows: attention spans by layer, repeated over the depth; None means no limit. GPT-Neo: (None, 256).
      attention_scale: multiplies query-key products; None means head_dim ** -0.5. GPT-Neo: 1.
      biases: which of "qkv", "out", "mlp" and "head" have a bias.
      qk_norm: "none" or "rms" (Qwen3: each head's query and key are normalised before rotation).
      head: "tied" (the embedding table, transposed) or "separate".
      embed_scale: multiplies token embeddings (Gemma: sqrt(D)).
      dtype: the type of activations. The trainer stores weights in float32.
    """

    vocab_size: int
    context_length: int
    embed_dim: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    mlp_dim: int
    norm: Literal["rms", "rms_plus_one", "layer"] = "rms"
    norm_eps: float = 1e-6
    mlp: Literal["swiglu", "geglu", "gelu_tanh", "gelu"] = "swiglu"
    positions: Literal["rotary", "rotary_interleaved", "learned"] = "rotary"
    rope_theta: float = 10_000.0
    rotary_dim: int | None = None
    rope_scaling: RopeScaling | None = None
    residual: Literal["serial", "parallel"] = "serial"
    parallel_norms: Literal[1, 2] = 1
    windows: tuple[int | None, ...] = (None,)
    attention_scale: float | None = None
    biases: tuple[str, ...] = ()
    qk_norm: Literal["none", "rms"] = "none"
    head: Literal["tied", "separate"] = "tied"
    embed_scale: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        for name in ("windows", "biases"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.num_heads % self.num_kv_heads:
            raise UserError(
                f"ModelConfig.num_heads={self.num_heads} is not a multiple of num_kv_heads={self.num_kv_heads}: "
                "every key/value head must serve the same number of query heads."
            )
        unknown = set(self.biases) - {"qkv", "out", "mlp", "head"}
        if unknown:
            raise UserError(
                f"ModelConfig.biases: unknown {sorted(unknown)}; choose from qkv, out, mlp, head."
            )
        if (self.rotary_dim or self.head_dim) % 2:
            raise UserError(
                f"ModelConfig: rotated channels must be even, got {self.rotary_dim or self.head_dim}."
            )

    def layer_windows(self) -> tuple[int | None, ...]:
        """The attention span of each layer, [N]."""
        return tuple(self.windows[i % len(self.windows)] for i in range(self.num_layers))

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "model.json") -> "ModelConfig":
        """Raises UserError naming unknown or missing fields."""
        try:
            fields = json.loads(text)
        except ValueError as error:
            raise UserError(f"{where}: not JSON ({error}); create or copy the model again") from error
        if not isinstance(fields, dict):
            raise UserError(f"{where}: not a JSON object; create or copy the model again")
        return cls.from_dict(fields, where)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], where: str) -> "ModelConfig":
        known = {f.name: f for f in dataclasses.fields(cls)}
        surplus = sorted(set(fields) - set(known))
        missing = sorted(n for n, f in known.items() if f.default is dataclasses.MISSING and n not in fields)
        if surplus or missing:
            raise UserError(f"{where}: unknown model fields {surplus}, missing model fields {missing}.")
        _check_kinds(cls, fields, where)
        scaling = fields.get("rope_scaling")
        if scaling is not None:
            if not isinstance(scaling, Mapping) or set(scaling) - {
                f.name for f in dataclasses.fields(RopeScaling)
            }:
                raise UserError(
                    f"{where}: rope_scaling = {scaling!r} is not an object of RopeScaling's fields."
                )
            _check_kinds(RopeScaling, scaling, f"{where}: rope_scaling")
            fields = {**fields, "rope_scaling": RopeScaling(**scaling)}
        return cls(**fields)


def _check_kinds(cls: type, fields: Mapping[str, Any], where: str) -> None:
    """Raises UserError naming every field whose value does not have the declared type."""
    wrong = []
    for name, declared in get_type_hints(cls).items():
        if name not in fields or name == "rope_scaling":
            continue
        value, choices = fields[name], get_args(declared)
        if get_origin(declared) is Literal:
            fits = value in choices if isinstance(value, str | int) else False
        elif get_origin(declared) is tuple:
            fits = isinstance(value, list | tuple) and all(
                isinstance(x, str) if choices[0] is str else x is None or _is_count(x) for x in value
            )
        elif type(None) in choices:
            fits = value is None or (_is_number(value) if float in choices else _is_count(value))
        else:
            fits = {int: _is_count, float: _is_number}.get(declared, lambda x: isinstance(x, str))(value)
        if not fits:
            wrong.append(f"{name} = {value!r}")
    if wrong:
        raise UserError(f"{where}: {', '.join(wrong)}: wrong type for this field; create the model again.")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
