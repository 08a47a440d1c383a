"""`selfprog plan --meshes`: compiles a train step on several meshes of a slice and finds the fastest.

Weights split thinly leave memory for rows, but every chip gathers all of them in every step, and where a chip's part of
a weight is thinner than its registers the compiler sums whole gradients. Split less, they are gathered among fewer
chips and summed over more. The compiler's figures decide: it depends on the slice's links and the model's width.
"""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import jax

from t5x_selfprog.model import device_room
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.plan import estimate, lowering
from t5x_selfprog.plan.lowering import Learner, Program
from t5x_selfprog.plan.slices import GIB, Slice
from t5x_selfprog.training.loop_config import LoopConfig
from t5x_selfprog.training.lora import Lora
from t5x_selfprog.training.lora_room import axes_of, largest
from t5x_selfprog.training.optimizers import make_optimizer
from verifier.errors import UserError

TENSOR = (1, 2, 4)
SPLITS = 4  # tried for each of these: all chips, then half as many each time
FULL = 0.8  # share of memory that weights, gradients and moments may take, leaving room for rows


@dataclasses.dataclass(frozen=True)
class Laid:
    """One compiled candidate. Seconds are of a step: `most_s` without overlap, `least_s` with full overlap."""

    mesh: MeshConfig
    rows_computed: int
    gib: float
    fits: bool
    compute_s: float = math.inf
    links_s: float = math.inf
    most_s: float = math.inf
    least_s: float = math.inf

    @property
    def name(self) -> str:
        return f"{self.mesh.data} x {self.mesh.fsdp} x {self.mesh.tensor}"


def chosen(
    asked: str,
    wanted: Slice,
    config: ModelConfig,
    learner: Learner,
    batch_size: int,
) -> list[MeshConfig]:
    """The candidates, or those of `asked`: DATAxFSDPxTENSOR, with commas between. Raises UserError for another form."""
    if asked == "all":
        return candidates(wanted, config, learner, batch_size)
    found = []
    for words in asked.split(","):
        sizes = re.fullmatch(r"(\d+)x(\d+)x(\d+)", words.strip())
        if not sizes or math.prod(map(int, sizes.groups())) != wanted.chips:
            raise UserError(
                f"--meshes={words}: give data x fsdp x tensor, {wanted.chips} chips of {wanted.name} in all, "
                f"as 1x{wanted.chips}x1; or --meshes alone, for all that are worth it."
            )
        found.append(MeshConfig(*map(int, sizes.groups())))
    return found


def held_bytes(config: ModelConfig, loop: LoopConfig, lora: Lora | None, partitioner: Partitioner) -> int:
    """What a device holds without activations: all weights and their state, or of adapters the largest phase."""
    optimizer = make_optimizer(loop.optimizer, lambda step: 0.0, axes_of(config, lora))
    if lora is None:
        parts = device_room.trained(config, partitioner, optimizer)
    else:
        parts = largest(config, lora, optimizer, partitioner)
    return sum(part.num_bytes for part in parts)


def candidates(wanted: Slice, config: ModelConfig, learner: Learner, batch_size: int) -> list[MeshConfig]:
    """Meshes that hold the state, divide the heads and give every chip a row; thinnest splits first."""
    one_device = Partitioner(MeshConfig(1, 1, 1).make(jax.devices()[:1]))
    least_split = held_bytes(config, learner.loop, learner.lora, one_device) / (FULL * wanted.chip.hbm_bytes)
    found = []
    for tensor in TENSOR:
        if config.num_heads % tensor or config.num_kv_heads % tensor or wanted.chips % tensor:
            continue
        fsdp = wanted.chips // wanted.count // tensor
        for _ in range(SPLITS):
            data = wanted.chips // tensor // fsdp
            if fsdp * tensor >= least_split and data * fsdp * learner.loop.accumulate <= batch_size:
                found.append(MeshConfig(data, fsdp, tensor))
            if fsdp % 2:
                break
            fsdp //= 2
    return found


def compare(
    wanted: Slice,
    meshes: list[MeshConfig],
    config: ModelConfig,
    learner: Learner,
    rows_and_length: tuple[int, int],
    compiled: Callable[[str, dict[str, Callable[[], Program]]], dict[str, Program]],
    held_bytes_of: Callable[[Partitioner, ModelConfig, float], float] | None = None,
) -> list[Laid]:
    """All of them, fastest first, those that do not fit last.

    Args:
      rows_and_length: of a step.
      compiled: makes the programs of named jobs (command.beside_one_another).
      held_bytes_of: what a device holds at most, from what the step needs; None for fine-tuning, where narrowing the
        adapters' base and merging them must fit as well as the step.
    """
    loop, lora = learner.loop, learner.lora
    batch_size, length = rows_and_length
    held: dict[str, int] = {}
    partitioners: dict[str, Partitioner] = {}
    rows: dict[str, int] = {}
    jobs: dict[str, Callable[[], Program]] = {}
    by_name: dict[str, MeshConfig] = {}
    for mesh in meshes:
        partitioner = lowering.partitioner_for(wanted, mesh)
        name = f"train on {mesh.data} x {mesh.fsdp} x {mesh.tensor}"
        multiple = partitioner.batch_ways * loop.accumulate
        rows[name], by_name[name] = -(-batch_size // multiple) * multiple, mesh
        held[name] = 0 if lora is None else held_bytes(config, loop, lora, partitioner)
        partitioners[name] = partitioner
        jobs[name] = lambda p=partitioner, n=name: lowering.train_step(p, config, learner, rows[n], length)  # type: ignore[misc]
    found = []
    for name, program in compiled(wanted.name, jobs).items():
        needs = max(program.needs, held[name])
        if held_bytes_of is not None:
            needs = held_bytes_of(partitioners[name], config, program.needs)
        mesh, gib = by_name[name], needs / GIB
        if program.error or needs > wanted.chip.hbm_bytes:
            found.append(Laid(mesh, rows[name], gib, False))
            continue
        tokens, share = rows[name] * length, 1.0 if lora is None else estimate.ADAPTERS_SHARE
        time = estimate.train_time(wanted, program, config, loop, tokens, length, share)
        found.append(
            Laid(mesh, rows[name], gib, True, time.compute_s, time.links_s, time.most_s, time.least_s)
        )
    return sorted(found, key=lambda laid: (not laid.fits, laid.most_s, laid.gib))


def result(wanted: Slice, laid: list[Laid], shipped: MeshConfig, tokens: int) -> dict[str, Any]:
    """For --save: every candidate with its figures, and the best's name."""
    lines = []
    for each in laid:
        line = dataclasses.asdict(each) | {"name": each.name}
        if each.fits:
            line["tokens_per_s_per_chip"] = [tokens / s / wanted.chips for s in (each.most_s, each.least_s)]
        else:
            line = {name: value for name, value in line.items() if not str(name).endswith("_s")}
        lines.append(line)
    best = laid[0].name if laid and laid[0].fits else None
    now = " x ".join(str(size) for size in shipped.sizes(wanted.chips).values())
    return {"slice": wanted.name, "meshes": lines, "best": best, "configured": now}


def describe(found: dict[str, Any]) -> str:
    """A line for each mesh, and what to write in the slice's file."""
    head = f"{'data x fsdp x tensor':<22}{'GiB a chip':>11}{'compiler ms':>13}{'links ms':>10}{'tokens/s/chip':>20}"
    what = f"training adapters of rank {found['lora']['rank']}" if "lora" in found else "training"
    lines = [
        f"\n{found['slice']}: meshes for {what} (the configuration has {found['configured']})",
        f"  {head}",
    ]
    for line in found["meshes"]:
        start = (
            f"  {line['name']:<22}{line['gib']:>11.2f}" if line["gib"] else f"  {line['name']:<22}{'-':>11}"
        )
        if not line["fits"]:
            lines.append(f"{start}  does not fit")
            continue
        low, high = line["tokens_per_s_per_chip"]
        rate = f"{low:,.0f} to {high:,.0f}"
        lines.append(f"{start}{line['compute_s'] * 1e3:>13,.1f}{line['links_s'] * 1e3:>10,.1f}{rate:>20}")
    if found["best"] is None:
        return "\n".join([*lines, "  None fits."])
    sizes = dict(zip(("data", "fsdp", "tensor"), found["best"].split(" x "), strict=True))
    words = ", ".join(f"MeshConfig.{name} = {size}" for name, size in sizes.items())
    return "\n".join([*lines, f"  Best, with nothing of the communication hidden: {words}"])
