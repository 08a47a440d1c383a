"""Which weights a training run changes, and which loss it minimises."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax

from t5x_selfprog.model import low_rank, network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.training.lora import Lora

# (config, params, batch, loss_chunk, **forward options) -> (sum of the loss, sum of the weights or a dict of sums)
Loss = Callable[..., tuple[jax.Array, Any]]


class Learning(Protocol):
    """Which weights of a model are trained."""

    @property
    def frozen(self) -> Any:
        """A tree that every step reads and none changes."""

    @property
    def whole(self) -> bool:
        """Whether all weights are trained, as the usual count of operations assumes."""

    def axes(self, config: ModelConfig) -> Any:
        """Logical axes of the trainable weights."""

    def abstract(self, config: ModelConfig) -> Any:
        """Shapes of the trainable weights."""

    def params(self, changed: Any, frozen: Any) -> network.Params:
        """The weights that the loss is a function of."""


@dataclasses.dataclass(frozen=True)
class WholeModel:
    """All weights are trained."""

    frozen: Any = ()
    whole: bool = True

    def axes(self, config: ModelConfig) -> Any:
        return network.logical_axes(config)

    def abstract(self, config: ModelConfig) -> Any:
        return network.abstract_params(config)

    def params(self, changed: Any, frozen: Any) -> network.Params:
        return changed


@dataclasses.dataclass(frozen=True)
class AdaptersAlone:
    """Adapters are trained beside a base that stays."""

    lora: Lora
    frozen: Any
    whole: bool = False

    def axes(self, config: ModelConfig) -> Any:
        return self.lora.axes(config)

    def abstract(self, config: ModelConfig) -> Any:
        return self.lora.abstract(config)

    def params(self, changed: Any, frozen: Any) -> network.Params:
        return low_rank.adapted(frozen, changed, self.lora.scale)


WHOLE = WholeModel()
