"""What learning from verdicts holds on a device, in its two phases: sampling with the newest weights, and a step.

The model that training began from stays loaded throughout; with adapters it is their base.
"""

from collections.abc import Sequence

from t5x_selfprog.model import device_room, store
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.device_room import Part
from t5x_selfprog.partitioning import Partitioner
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.sampling.room import sampled
from t5x_selfprog.stages.context import Context
from t5x_selfprog.stages.policy_settings import PolicyTraining
from t5x_selfprog.training import lora_room
from t5x_selfprog.training.optimizers import make_optimizer

REMEDY = (
    "Take a device with more memory, split the weights over several (MeshConfig.fsdp), train adapters alone "
    "(PolicyTraining.lora = @Lora()), set OptimizerConfig.name = 'adafactor', lower SamplingConfig's prompts_in_flight "
    "and rows_per_prompt, or take a smaller model (`selfprog models`)."
)


def require_room(
    context: Context, start: str, training: PolicyTraining, samplings: Sequence[SamplingConfig]
) -> None:
    """Refuses a model that would not fit in memory while it samples or learns. Raises UserError before it is loaded."""
    apart = bool(training.objective.kl) and store.resolve(context.experiment.base) != store.resolve(start)

    def parts(config: ModelConfig) -> list[list[Part]]:
        return phases(config, training, samplings, context.partitioner, context.sampling_partitioner, apart)

    context.require_phases(start, parts, REMEDY)


def phases(
    config: ModelConfig,
    training: PolicyTraining,
    samplings: Sequence[SamplingConfig],
    partitioner: Partitioner,
    sampling_partitioner: Partitioner,
    base_apart: bool,
) -> list[list[Part]]:
    """The parts of sampling, for each of `samplings`, and of a training step.

    base_apart: another model is loaded too, for the divergence from it.
    """
    lora = training.lora
    optimizer = make_optimizer(training.loop.optimizer, lambda step: 0.0, lora_room.axes_of(config, lora))
    loaded = device_room.loaded(config, partitioner)
    stays = [loaded]
    if base_apart:
        stays.append(Part("the base's weights", loaded.num_bytes))
    if lora is None:
        weights, gradients, moments = device_room.trained(config, partitioner, optimizer)
        newest = [Part("the newest weights", weights.num_bytes), moments]
    else:
        _, adapters, gradients, moments = lora_room.trained(config, lora, optimizer, partitioner)
        newest = [adapters, moments]
    merged = [] if lora is None else [Part("merged weights", loaded.num_bytes)]
    return [
        *([*stays, *newest, *merged, *sampled(config, each, sampling_partitioner)] for each in samplings),
        [*stays, *newest, gradients],
    ]
