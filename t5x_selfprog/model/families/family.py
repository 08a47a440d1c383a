"""What a family of published models is: how to read and write its config.json, and where its weights go."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.families.json_types import check_types
from t5x_selfprog.model.weight_map import Weight
from verifier.errors import UserError

Json = Mapping[str, Any]
Fields = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Family:
    """One entry of the table.

    Attributes:
      model_type, architecture: how config.json names the family, and the class of its language model.
      names: fields of ModelConfig and what config.json calls them, where one is simply the other.
      style: fields of ModelConfig that all its models share.
      read: the remaining fields, from config.json.
      write: their keys of config.json, from a ModelConfig.
      weights: the tensors of one model.
      surplus: patterns of tensors that older files hold and that are no weights (masks, frequencies).
    """

    model_type: str
    architecture: str
    names: Mapping[str, str]
    style: Mapping[str, Any]
    read: Callable[[Json], Fields]
    write: Callable[[ModelConfig], Fields]
    weights: Callable[[ModelConfig], Iterator[Weight]]
    surplus: str = r"$^"

    def config(self, published: Json, where: str) -> ModelConfig:
        """Our configuration; activations are computed in the published dtype (float32 for float16).

        Raises UserError naming absent keys, values of the wrong kind, or a choice of the published model that ours
        does not have.
        """
        check_types(published, where)
        absent = [name for name in self.names.values() if published.get(name) is None]
        if absent:
            raise UserError(f"{where}: a {self.model_type} model needs the keys {', '.join(absent)}")
        if published.get("quantization_config"):
            raise UserError(f"{where}: a quantised checkpoint; import the model in its original precision")
        sizes = {ours: published[theirs] for ours, theirs in self.names.items()}
        dtype = published.get("dtype") or published.get("torch_dtype") or "float32"
        try:
            fields = {**sizes, **self.style, **self.read(published)}
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        except KeyError as error:
            raise UserError(f"{where}: the key {error} is missing") from error
        return ModelConfig(**fields, dtype="bfloat16" if dtype == "bfloat16" else "float32")

    def published(self, config: ModelConfig) -> Fields:
        """What config.json says of this configuration, as far as the family can (see `fits`)."""
        sizes = {theirs: getattr(config, ours) for ours, theirs in self.names.items()}
        tied = {"tie_word_embeddings": config.head == "tied"}
        kind = {"architectures": [self.architecture], "model_type": self.model_type}
        return {**kind, **sizes, **tied, **self.write(config)}

    def fits(self, config: ModelConfig) -> bool:
        """Whether the family can express this configuration: written and read again, it is the same."""
        try:
            again = self.config(self.published(config), self.model_type)
        except UserError:
            return False
        return same(again, config)


def same(one: ModelConfig, other: ModelConfig) -> bool:
    """Whether two configurations are of the same function of the same weights."""
    return _canonical(one) == _canonical(other)


def _canonical(config: ModelConfig) -> ModelConfig:
    """The same model with one spelling for what has several, and without what no published file says."""
    windows = config.layer_windows()
    windows = tuple(None if w is None or w >= config.context_length else w for w in windows)
    return dataclasses.replace(
        config,
        windows=windows,
        biases=tuple(sorted(config.biases)),
        rotary_dim=None if config.positions == "learned" else config.rotary_dim or config.head_dim,
        attention_scale=config.attention_scale or config.head_dim**-0.5,
        parallel_norms=1 if config.residual == "serial" else config.parallel_norms,
        rope_theta=0.0 if config.positions == "learned" else config.rope_theta,
        dtype="float32",
    )
