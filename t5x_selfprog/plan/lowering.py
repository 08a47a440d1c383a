"""A run's three device programs, compiled for a slice that is not here: train step, prefill, decode.

Nothing is allocated: weights, optimizer state, caches and batches are shapes with shardings. The programs are those
that the trainer and the sampler run.
"""

import dataclasses
import functools
from typing import Any

from t5x_selfprog.device_program import DeviceProgram
from t5x_selfprog.model import device_room, network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.orbax_restore import abstract_like
from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.plan.compiled import compiled
from t5x_selfprog.plan.hlo_cost import Cost, cost_of
from t5x_selfprog.plan.links import Wires
from t5x_selfprog.plan.slices import Slice, devices
from t5x_selfprog.sampling.blueprint import Blueprint
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.sampling.weights import preparation
from t5x_selfprog.training.learning import WHOLE, AdaptersAlone, Learning
from t5x_selfprog.training.loop_config import LoopConfig
from t5x_selfprog.training.lora import Lora
from t5x_selfprog.training.policy_gradient import PolicyGradient
from t5x_selfprog.training.policy_programs import base_log_probs, policy_programs
from t5x_selfprog.training.training_programs import TrainingPrograms

# Updates of the learning rate's schedule, a constant of the step. How many a run makes depends on pairs that do not
# exist yet.
SCHEDULED = 1000


@dataclasses.dataclass(frozen=True)
class Learner:
    """What a training step does.

    Attributes:
      lora: adapters that are trained beside a frozen base; None where all weights are.
      objective: of a policy gradient on verdicts; None where pairs are learnt.
      num_steps: updates over which the learning rate goes, a constant of the step.
    """

    loop: LoopConfig
    lora: Lora | None = None
    objective: PolicyGradient | None = None
    num_steps: int = SCHEDULED

    def programs(self, partitioner: Partitioner, config: ModelConfig) -> TrainingPrograms:
        config = self.loop.computing(config)
        learning: Learning = WHOLE
        if (lora := self.lora) is not None:
            frozen = abstract_like(lora.abstract_frozen(config), lora.frozen_shardings(config, partitioner))
            learning = AdaptersAlone(lora, frozen)
        if self.objective is None:
            return TrainingPrograms(self.loop, config, partitioner, self.num_steps, learning)
        return policy_programs(self.loop, config, partitioner, self.num_steps, learning, self.objective)


@dataclasses.dataclass(frozen=True)
class Program:
    """One program on one chip.

    Attributes:
      bytes: what it needs, by what they hold: arguments, temporaries, results that do not reuse an argument, code.
      error: the compiler's message if it does not fit; then there is no cost.
    """

    name: str
    compile_s: float
    bytes: dict[str, float]
    cost: Cost
    error: str = ""

    @property
    def needs(self) -> float:
        return sum(self.bytes.values())


def partitioner_for(wanted: Slice, mesh: MeshConfig) -> Partitioner:
    return Partitioner(mesh.make(devices(wanted)))


def train_step(
    partitioner: Partitioner, config: ModelConfig, learner: Learner, batch_size: int, length: int
) -> Program:
    """The train step of rows that are packed with pairs or with attempts."""
    return _compiled("train step", learner.programs(partitioner, config).step_of(batch_size, length))


def base_opinion(
    partitioner: Partitioner, config: ModelConfig, learner: Learner, batch_size: int, length: int
) -> Program:
    """The base's log-probabilities of a step's attempts, from which their divergence is measured."""
    programs = learner.programs(partitioner, config)
    program = base_log_probs(learner.loop, programs.config, partitioner)
    rows = programs.batch_shape(batch_size, length)
    return _compiled("base's opinion", program.of(_weights(partitioner, config), rows))


def narrowing_of_base(partitioner: Partitioner, config: ModelConfig, lora: Lora) -> Program:
    """Narrows the base: holds it both in float32 and in the type it has while its adapters are trained."""
    return _compiled("narrow the base", lora.holding(config, partitioner).of(_weights(partitioner, config)))


def merging(partitioner: Partitioner, config: ModelConfig, lora: Lora) -> Program:
    """Merges adapters into the base: holds the base, its adapters and the merged weights together."""
    shapes = lora.abstract(config)
    adapters = abstract_like(shapes, partitioner.param_shardings(lora.axes(config), shapes))
    program = lora.merging(config, partitioner)
    return _compiled("merge", program.of(_weights(partitioner, config), adapters))


def _weights(partitioner: Partitioner, config: ModelConfig) -> Any:
    """A model in float32 as it is loaded."""
    shapes = network.abstract_params(config)
    return abstract_like(shapes, partitioner.param_shardings(network.logical_axes(config), shapes))


@dataclasses.dataclass(frozen=True)
class SamplingPrograms:
    """A sampler's programs, with the run's `prefix_tokens` and largest prompt bucket.

    What only the tokenizer knows is assumed: that every row of the embedding is a token, and that one of them ends an
    attempt.
    """

    partitioner: Partitioner
    config: ModelConfig
    sampling: SamplingConfig
    prefix_tokens: int
    bucket: int

    @functools.cached_property
    def blueprint(self) -> Blueprint:
        vocab_size = self.config.vocab_size
        return Blueprint(
            self.config,
            self.sampling,
            self.prefix_tokens,
            (self.bucket,),
            vocab_size,
            (),
            (0,),
            self.partitioner,
        )

    def decode(self) -> Program:
        """One chunk of `sampling.chunk_steps` steps."""
        return _compiled("decode", self.blueprint.described(("decode", self.sampling.prompts_in_flight)))

    def prefill(self) -> Program:
        """A full load of prompts in the largest bucket: `sampling.prompts_per_load` in each part of the grid."""
        return _compiled("prefill", self.blueprint.described(("load", self.bucket, self.prompts_per_load())))

    def cut(self, loaded: Partitioner) -> Program:
        """Makes the weights as decoding reads them from float32 ones laid out by `loaded`."""
        program = preparation(self.config, self.sampling.weights_dtype, self.partitioner)
        return _compiled("weights", program.of(_weights(loaded, self.config)))

    def narrowing(self) -> Program:
        """The end of a shard, when the grid and the smaller one that replaces it exist together.

        What moves is copied as it is, so this is counted, not compiled.
        """
        grid = device_room.on_a_device(self.blueprint.grid_shape())
        share = max(self.blueprint.tails, default=0) / self.sampling.prompts_in_flight
        held: dict[str, float] = {
            "weights": self.weights_bytes(),
            "grid": grid,
            "smaller grid": round(share * grid),
        }
        return Program("narrow", 0.0, held, Cost())

    def weights_bytes(self) -> int:
        """Bytes of the weights as decoding reads them, on one chip."""
        return device_room.on_a_device(self.blueprint.weights_shape())

    def prompts_per_load(self) -> int:
        """The most prompts prefilled at one time, in all parts of the grid together."""
        return self.blueprint.parts * self.blueprint.together()


def _compiled(name: str, program: DeviceProgram) -> Program:
    """name: what the plan calls it."""
    assert program.partitioner is not None
    chips = list(program.partitioner.mesh.devices.flat)
    found = compiled(program.lower(), program.compiler_options, chips)
    if found.error:
        return Program(name, found.compile_s, {}, Cost(), found.error)
    links_of = Wires.of(chips).links if program.platform == "tpu" else lambda group: 1
    return Program(name, found.compile_s, found.held, cost_of(found.text, links_of))
