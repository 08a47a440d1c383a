"""The memory that sampling takes on one device besides the loaded weights; computed without reading a weight."""

from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.device_room import Part, on_a_device
from t5x_selfprog.partitioning import Partitioner
from t5x_selfprog.sampling.blueprint import Blueprint
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.sampling.weights import abstract_weights

REMEDY = (
    "Take a device with more memory, split the weights over several (MeshConfig.tensor), lower SamplingConfig's "
    "prompts_in_flight, rows_per_prompt or prompt_buckets, set its weights_dtype and cache_dtype to 'bfloat16', or "
    "take a smaller model (`selfprog models`)."
)


def sampled(config: ModelConfig, sampling: SamplingConfig, partitioner: Partitioner | None) -> list[Part]:
    """The copy of the weights that decoding reads, and the caches of the grid."""
    buckets = sampling.buckets(max(1, config.context_length - sampling.max_new_tokens))
    plan = Blueprint(config, sampling, 0, buckets, config.vocab_size, (), (), partitioner)
    copy = on_a_device(abstract_weights(config, sampling.weights_dtype, partitioner))
    return [
        Part(f"a copy in {sampling.weights_dtype} that decoding reads", copy),
        Part(f"caches in {sampling.cache_dtype}", on_a_device(plan.grid_shape())),
    ]
