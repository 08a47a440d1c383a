"""From compiled programs to seconds: the compiler's own count and the data sheet's roofline, side by side.

Neither is a measurement. The compiler's cycles leave out collectives and Pallas kernels, which are added here (bytes
over the links, arithmetic at KERNEL_SHARE of the peak); how far communication hides behind computation is unknown, so a
step lies between the larger of the two and their sum. The roofline knows nothing of either, and is a bound.
"""

import dataclasses

from t5x_selfprog.model import network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.plan.lowering import Program
from t5x_selfprog.plan.slices import Slice
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.training.flops import train_flops_per_token
from t5x_selfprog.training.train_loop import LoopConfig

KERNEL_SHARE = (
    0.4  # of a chip's peak in attention kernels: what splash attention reaches at 512 to 2048 tokens, roughly
)


@dataclasses.dataclass(frozen=True)
class StepTime:
    """Seconds of one step on one chip.

    Attributes:
      compute_s: the core, kernels included; links_s: what comes in over the links, and over the network between
        slices (an all-reduce as a ring of slices).
      roofline_s: the least the data sheet allows, by arithmetic or by memory.
      limited_by: which of these the roofline is: "arithmetic" or "memory".
    """

    compute_s: float
    links_s: float
    roofline_s: float
    limited_by: str

    @property
    def least_s(self) -> float:
        """Communication wholly hidden."""
        return max(self.compute_s, self.links_s, self.roofline_s)

    @property
    def most_s(self) -> float:
        """Nothing hidden."""
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
    """Of an optimizer step over `tokens` tokens, all chips together, in rows of `length`.

    work_share: of a whole model's training, as arithmetic.
    """
    chip = wanted.chip
    kernels = 0.0
    if loop.attention == "splash":
        passes = {"none": 1.0, "dots": 4 / 3, "full": 4 / 3}[
            loop.remat
        ]  # the forward pass again on the way back
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
    """Of one decoding step of the whole grid."""
    rows = sampling.prompts_in_flight * sampling.rows_per_prompt
    compute = program.cost.cycles / wanted.chip.clock_hz / sampling.chunk_steps
    flops = 2 * network.num_params(config) * rows / wanted.chips / wanted.chip.peak.flops_per_s
    moved = (
        program.bytes.get("arguments", 0.0) / wanted.chip.peak.bytes_per_s
    )  # weights and caches, read once
    time = _time(wanted, program, compute, flops, moved)
    return dataclasses.replace(time, links_s=time.links_s / sampling.chunk_steps)


def prefill_time(wanted: Slice, program: Program, config: ModelConfig, tokens: int) -> StepTime:
    """Of one load of prompts, `tokens` in all, spread over the chips."""
    compute = program.cost.cycles / wanted.chip.clock_hz
    flops = 2 * network.num_params(config) * tokens / wanted.chips / wanted.chip.peak.flops_per_s
    return _time(wanted, program, compute, flops, 0.0)


def _time(wanted: Slice, program: Program, compute: float, flops_s: float, moved_s: float) -> StepTime:
    links = sum(size / number for number, size in program.cost.bytes_by_links.items())
    links /= wanted.chip.link_bytes_per_s
    links += 2 * (wanted.count - 1) / wanted.count * program.cost.dcn_bytes / wanted.chip.dcn_bytes_per_s
    limited = "arithmetic" if flops_s >= moved_s else "memory"
    return StepTime(compute, links, max(flops_s, moved_s), limited)
