"""A family of published models: how its config.json is read and written, and where its weights go."""

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
      model_type, architecture: the family's name in config.json, and the class of its language model.
      names: fields of ModelConfig that config.json holds unchanged, with their keys there.
      style: values of ModelConfig fields that all models of the family share.
      read: returns the remaining fields, given config.json.
      write: returns the corresponding keys of config.json, given a ModelConfig.
      weights: yields the tensors of one model.
      surplus: a pattern for tensors in older files that are not weights (masks, frequencies).
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
        """Our configuration; activations keep the published dtype (float16 becomes float32).

        Raises UserError naming missing keys, values of the wrong type, or a feature that our model does not have.
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
            return ModelConfig(**fields, dtype="bfloat16" if dtype == "bfloat16" else "float32")
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        except KeyError as error:
            raise UserError(f"{where}: the key {error} is missing") from error

    def published(self, config: ModelConfig) -> Fields:
        """The config.json of this configuration, as far as the family can express it (see `fits`)."""
        sizes = {theirs: getattr(config, ours) for ours, theirs in self.names.items()}
        tied = {"tie_word_embeddings": config.head == "tied"}
        kind = {"architectures": [self.architecture], "model_type": self.model_type}
        return {**kind, **sizes, **tied, **self.write(config)}

    def fits(self, config: ModelConfig) -> bool:
        """Whether the family can express this configuration, that is, whether it survives a write and a read."""
        try:
            again = self.config(self.published(config), self.model_type)
        except UserError:
            return False
        return same(again, config)


def same(one: ModelConfig, other: ModelConfig) -> bool:
    """Whether two configurations describe the same function of the same weights."""
    return _canonical(one) == _canonical(other)


def _canonical(config: ModelConfig) -> ModelConfig:
    """The same model with one spelling where there are several, and without what no published file states."""
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
