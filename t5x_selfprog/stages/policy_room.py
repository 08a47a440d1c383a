"""What learning from verdicts holds on a device, in its two phases: sampling with the newest weights, and a step.

The model that training began from stays loaded throughout; with adapters it is their base.
"""

import dataclasses
from collections.abc import Sequence

from t5x_selfprog.model import device_room, store
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.device_room import Part
from t5x_selfprog.partitioning import Partitioner
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.sampling.room import sampled
from t5x_selfprog.sampling.stop import token_texts
from t5x_selfprog.stages.context import Context
from t5x_selfprog.stages.policy_settings import PolicyTraining
from t5x_selfprog.training import lora_room
from t5x_selfprog.training.optimizers import make_optimizer
from verifier.errors import UserError
from verifier.storage import files

REMEDY = (
    "Take a device with more memory, split the weights over several (MeshConfig.fsdp), train adapters alone "
    "(PolicyTraining.lora = @Lora()), set OptimizerConfig.name = 'adafactor', lower SamplingConfig's prompts_in_flight "
    "and rows_per_prompt, or take a smaller model (`selfprog models`)."
)


def require_room(
    context: Context, start: str, training: PolicyTraining, samplings: Sequence[SamplingConfig]
) -> None:
    """Refuses a model that would not fit in memory while it samples or learns, and a base that cannot be compared.

    Raises UserError before any weight is read.
    """
    base, path = store.resolve(context.experiment.base), store.resolve(start)
    apart = bool(training.objective.kl) and base != path
    if apart:
        require_comparable(base, path, training.objective.kl)

    def parts(config: ModelConfig) -> list[list[Part]]:
        return phases(config, training, samplings, context.partitioner, context.sampling_partitioner, apart)

    context.require_phases(start, parts, REMEDY)


def require_comparable(base: str, start: str, kl: float) -> None:
    """Raises UserError unless the models in both folders compute the same function of the same tokens."""
    there, here = (dataclasses.asdict(store.read_config(path)) for path in (base, start))
    free = {"dtype"} if here["positions"] == "learned" else {"dtype", "context_length"}
    changed = [
        f"{name}={there[name]!r} there and {here[name]!r} here" for name in here if there[name] != here[name]
    ]
    changed = [said for said in changed if said.partition("=")[0] not in free]
    if not changed and not _same_tokens(base, start):
        changed = ["its tokens are others"]
    if changed:
        raise UserError(
            f"PolicyGradient.kl={kl}: the divergence would be from Experiment.base={base!r}, a model of another kind "
            f"than the one that is trained, {start!r}: {', '.join(changed)}. Set PolicyGradient.kl = 0, or name as "
            "Experiment.base the model that training began from."
        )


def _same_tokens(base: str, start: str) -> bool:
    one, other = (_read(files.join(path, "tokenizer.json")) for path in (base, start))
    if one is not None and one == other:
        return True
    there, here = (token_texts(store.load_tokenizer(path)) for path in (base, start))
    return there == here


def _read(path: str) -> bytes | None:
    return files.read_bytes(path) if files.exists(path) else None


@dataclasses.dataclass(frozen=True)
class Held:
    """What learning from verdicts holds on a device, whatever it does.

    Attributes:
      stays: the model that training began from (the adapters' base), then the base if another is loaded beside it.
      newest: the weights that are trained, then their moments. gradients: of a step.
      merged: a whole model made of adapters, for sampling; [] without adapters.
    """

    stays: list[Part]
    newest: list[Part]
    gradients: Part
    merged: list[Part]

    @classmethod
    def of(
        cls, config: ModelConfig, training: PolicyTraining, partitioner: Partitioner, base_apart: bool
    ) -> "Held":
        """base_apart: another model is loaded too, for the divergence from it."""
        lora = training.lora
        optimizer = make_optimizer(training.loop.optimizer, lambda step: 0.0, lora_room.axes_of(config, lora))
        loaded = device_room.loaded(config, partitioner)
        stays = [loaded]
        if base_apart:
            stays.append(Part("the base's weights", loaded.num_bytes))
        if lora is None:
            weights, gradients, moments = device_room.trained(config, partitioner, optimizer)
            return cls(stays, [Part("the newest weights", weights.num_bytes), moments], gradients, [])
        _, adapters, gradients, moments = lora_room.trained(config, lora, optimizer, partitioner)
        return cls(stays, [adapters, moments], gradients, [Part("merged weights", loaded.num_bytes)])

    def while_sampling(self) -> list[Part]:
        """Besides the sampler's copy of the weights and its caches."""
        return [*self.stays, *self.newest, *self.merged]

    def while_learning(self) -> list[Part]:
        """Besides activations."""
        return [*self.stays, *self.newest, self.gradients]


def phases(
    config: ModelConfig,
    training: PolicyTraining,
    samplings: Sequence[SamplingConfig],
    partitioner: Partitioner,
    sampling_partitioner: Partitioner,
    base_apart: bool,
) -> list[list[Part]]:
    """The parts of sampling, for each of `samplings`, and of a training step; for `base_apart` see `Held.of`."""
    held = Held.of(config, training, partitioner, base_apart)
    sampling = (sampled(config, each, sampling_partitioner) for each in samplings)
    return [*([*held.while_sampling(), *parts] for parts in sampling), held.while_learning()]
