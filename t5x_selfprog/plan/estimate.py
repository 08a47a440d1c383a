"""From compiled programs to seconds: the compiler's own count and the data sheet's roofline, side by side.

Neither is a measurement. The compiler's cycles leave out collectives and Pallas kernels, which are added here (bytes
over the links, arithmetic at KERNEL_SHARE of the peak). How much communication overlaps computation is unknown, so a
step lies between the larger of the two and their sum. The roofline includes neither, and is a lower bound on time.
"""

import dataclasses

from t5x_selfprog.model import network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.plan.lowering import Program
from t5x_selfprog.plan.slices import Slice
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.training.flops import train_flops_per_token
from t5x_selfprog.training.loop_config import LoopConfig

# Of a chip's peak in attention kernels: roughly what splash attention reaches at 512 to 2048 tokens.
KERNEL_SHARE = 0.4
ADAPTERS_SHARE = 2 / 3  # of training's arithmetic: the base's weights need no gradients


@dataclasses.dataclass(frozen=True)
class StepTime:
    """Seconds of one step on one chip.

    Attributes:
      compute_s: of the core, kernels included.
      links_s: of receiving data over links, and over the network between slices (an all-reduce in a ring of slices).
      roofline_s: the least the data sheet allows, by arithmetic or by memory.
      limited_by: which of the two sets the roofline: "arithmetic" or "memory".
    """

    compute_s: float
    links_s: float
    roofline_s: float
    limited_by: str

    @property
    def least_s(self) -> float:
        """All communication overlapped."""
        return max(self.compute_s, self.links_s, self.roofline_s)

    @property
    def most_s(self) -> float:
        """No communication overlapped."""
        return max(self.compute_s + self.links_s, self.roofline_s)


def train_time(
    wanted: Slice,
    program: Program,
    config: ModelConfig,
    loop: LoopConfig,
    tokens: int,
    length: int,
    work_share: float = 1.0,
) -> StepTime:
    """The time of an optimizer step over `tokens` tokens on all chips together, in rows of `length`.

    work_share: arithmetic as a share of training the whole model.
    """
    chip = wanted.chip
    kernels = 0.0
    if loop.attention == "splash":
        # Rematerialisation repeats the forward pass in the backward pass.
        passes = {"none": 1.0, "dots": 4 / 3, "full": 4 / 3}[loop.remat]
        attention = 6 * config.num_layers * config.num_heads * config.head_dim * length
        kernels = passes * attention * tokens / wanted.chips / (KERNEL_SHARE * chip.peak.flops_per_s)
    compute = program.cost.cycles / chip.clock_hz + kernels
    flops = work_share * train_flops_per_token(config, length) * tokens / wanted.chips / chip.peak.flops_per_s
    moved = 2 * program.bytes.get("arguments", 0.0) / chip.peak.bytes_per_s  # state read and written
    return _time(wanted, program, compute, flops, moved)


def train_mfu(wanted: Slice, config: ModelConfig, tokens: int, length: int, seconds: float) -> float:
    flops = train_flops_per_token(config, length) * tokens / wanted.chips
    return flops / seconds / wanted.chip.peak.flops_per_s


def decode_time(wanted: Slice, program: Program, config: ModelConfig, sampling: SamplingConfig) -> StepTime:
    """The time of one decode step of the whole grid."""
    rows = sampling.prompts_in_flight * sampling.rows_per_prompt
    compute = program.cost.cycles / wanted.chip.clock_hz / sampling.chunk_steps
    flops = 2 * network.num_params(config) * rows / wanted.chips / wanted.chip.peak.flops_per_s
    # Weights and caches are read once.
    moved = program.bytes.get("arguments", 0.0) / wanted.chip.peak.bytes_per_s
    time = _time(wanted, program, compute, flops, moved)
    return dataclasses.replace(time, links_s=time.links_s / sampling.chunk_steps)


def prefill_time(wanted: Slice, program: Program, config: ModelConfig, tokens: int) -> StepTime:
    """The time of one prefill of `tokens` prompt tokens in all, spread over the chips."""
    compute = program.cost.cycles / wanted.chip.clock_hz
    flops = 2 * network.num_params(config) * tokens / wanted.chips / wanted.chip.peak.flops_per_s
    return _time(wanted, program, compute, flops, 0.0)


def _time(wanted: Slice, program: Program, compute: float, flops_s: float, moved_s: float) -> StepTime:
    links = sum(size / number for number, size in program.cost.bytes_by_links.items())
    links /= wanted.chip.link_bytes_per_s
    links += 2 * (wanted.count - 1) / wanted.count * program.cost.dcn_bytes / wanted.chip.dcn_bytes_per_s
    limited = "arithmetic" if flops_s >= moved_s else "memory"
    return StepTime(compute, links, max(flops_s, moved_s), limited)
