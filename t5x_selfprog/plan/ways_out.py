"""What to change where a run does not fit a slice, the cheapest first: named settings, with values that would help."""

from typing import Any

from t5x_selfprog.model import device_room, network
from t5x_selfprog.partitioning import Partitioner
from t5x_selfprog.plan.lowering import SamplingPrograms
from t5x_selfprog.plan.slices import GIB, SLICES, Slice
from t5x_selfprog.training.loop_config import LoopConfig
from t5x_selfprog.training.optimizers import make_optimizer

ROOM = 0.7  # share of a chip's memory that the state kept between steps may take, leaving room for rows


def of_training(wanted: Slice, partitioner: Partitioner, config: Any, loop: LoopConfig) -> list[str]:
    """At most three ways. Where weights, gradients and moments alone fill a chip, fewer rows at a time do not help."""
    optimizer = make_optimizer(loop.optimizer, lambda step: 0.0, network.logical_axes(config))
    parts = device_room.trained(config, partitioner, optimizer)
    state = sum(part.num_bytes for part in parts)
    full = state > ROOM * wanted.chip.hbm_bytes
    split = partitioner.mesh.shape["fsdp"] * partitioner.mesh.shape["tensor"]
    chips = wanted.chips // wanted.count
    wider, rows, last = [], [], []
    if split < chips:
        wider.append(
            f"MeshConfig.fsdp = {chips // partitioner.mesh.shape['tensor']}, data = {wanted.count}, "
            "fsdp_at_most = None: weights split over all chips"
        )
    if loop.remat != "full":
        rows.append(f"LoopConfig.remat = 'full' (now {loop.remat!r})")
    rows.append(f"LoopConfig.accumulate = {2 * loop.accumulate}: half the rows at a time")
    if loop.optimizer.name == "adamw":
        moments = next(part.num_bytes for part in parts if "optimizer" in part.what)
        last.append(
            f"OptimizerConfig.name = 'adafactor': {moments / GIB:.2f} GiB of moments a chip fewer (its learning rate "
            "is relative to each weight's size)"
        )
    larger = _larger(wanted, state * wanted.chips / ROOM)
    if larger:
        last.append(f"--slice={larger}")
    return (wider + last if full else rows[:1] + wider + rows[1:] + last)[:3]


def of_sampling(wanted: Slice, scope: str, sampler: SamplingPrograms) -> list[str]:
    """At most two ways. Where a copy of the weights fills a chip, several chips should share one."""
    options = []
    if sampler.sampling.weights_dtype == "float32":
        options.append(f"{scope}/SamplingConfig.weights_dtype and cache_dtype = 'bfloat16'")
    if sampler.sampling.prompts_in_flight > 1:
        options.append(
            f"{scope}/SamplingConfig.prompts_in_flight = {sampler.sampling.prompts_in_flight // 2}"
        )
    ways = sampler.partitioner.mesh.shape["tensor"]
    weights = ways * sampler.weights_bytes()
    more = 2 * ways
    while more < wanted.chips and weights / more > ROOM / 2 * wanted.chip.hbm_bytes:
        more *= 2
    shared = f"MeshConfig.sampling_tensor = {more}: {more} chips share a copy of the weights"
    if wanted.chips % more == 0:
        full = weights / ways > ROOM * wanted.chip.hbm_bytes
        options.insert(0 if full else len(options), shared)
    return options[:2]


def _larger(wanted: Slice, num_bytes: float) -> str:
    """The smallest larger slice of the same chips that holds `num_bytes` in all; empty where there is none."""
    of_the_kind = sorted(
        (other for other in SLICES.values() if other.generation == wanted.generation and other.count == 1),
        key=lambda other: other.chips,
    )
    for other in of_the_kind:
        if other.chips > wanted.chips and other.chips * other.chip.hbm_bytes > num_bytes:
            return other.name
    return ""
