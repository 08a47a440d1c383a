"""`selfprog plan`: what a run needs on a slice of chips, before anyone pays for it.

Reads:    the run's gin files, and for each slice gin/slices/NAME.gin; the shape of the model.
Writes:   nothing, or --save=F: everything printed, as JSON.
Restart:  the program; compiled ones are cached (plan/compiled.py). Two to ten minutes a slice on two cores.
Left out: input pipelines, checkpoint writing, compile time on the slice, preemptions (see --simulate).
"""

import argparse
import concurrent.futures
import dataclasses
import functools
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax

import t5x_selfprog.configurables  # noqa: F401 (declares the dataclasses to gin)
from t5x_selfprog import gin_files
from t5x_selfprog.model import device_room, network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.plan import (
    against,
    costs,
    estimate,
    from_gin,
    lowering,
    meshes,
    policy,
    shown,
    simulation,
    slices,
    ways_out,
    workload,
)
from t5x_selfprog.plan.lowering import Program, SamplingPrograms
from t5x_selfprog.plan.policy import Policy
from t5x_selfprog.plan.slices import GIB, Slice
from t5x_selfprog.plan.workload import Yields
from t5x_selfprog.stages.policy_room import REMEDY as POLICY_REMEDY
from t5x_selfprog.training.loop_config import LoopConfig
from t5x_selfprog.training.lora import Lora
from t5x_selfprog.training.lora_room import LORA_REMEDY
from verifier.errors import UserError
from verifier.storage import files
from verifier.storage.shards import atomic_write

FORM = 2  # of what --save writes: with the slice's links, and the memory held beside the programs
TEST_PROBLEMS = 228  # of P3


def command(args: argparse.Namespace) -> dict[str, Any]:
    """Plans for --slice, compares a saved plan, or simulates it anew. Raises UserError for flags that ask for none."""
    if args.save:
        files.require_place(args.save, "--save", "plan.json")
    if args.saved and args.simulate and not (args.against or args.slice):
        plan = against.read_plan(args.saved)
        _simulate(plan, slices.named(plan["slice"]), args)
        print(shown.describe(plan))
        return _result([plan], args)
    if args.saved or args.against:
        if not (args.saved and args.against) or args.slice:
            raise UserError("plan: --saved=PLAN.json takes --against=RUN or --simulate, and no --slice.")
        compared = against.compare(args.saved, args.against)
        print(against.describe(compared))
        return compared
    if not args.slice:
        raise UserError("plan: give --slice=v5e_64, say, or --slice=all; or --saved=PLAN.json.")
    # The compiler is here, the chips are not: JAX must not look for them.
    jax.config.update("jax_platforms", "cpu")
    names = list(slices.SLICES) if args.slice == "all" else args.slice.split(",")
    wanted = [slices.named(name, "all") for name in names]
    yields = workload.measured(args.pilot) if args.pilot else Yields()
    plans = []
    for found in wanted:
        gin_files.load([*args.gin_file, found.gin_file], args.gin_bindings)
        if args.meshes:
            plans.append(meshes_for(found, args, yields))
            print(meshes.describe(plans[-1]), flush=True)
            continue
        plans.append(plan_for(found, args, yields))
        print(shown.describe(plans[-1]), flush=True)
    if len(plans) > 1 and not args.meshes:
        print(shown.table(plans))
    return _result(plans, args, yields=dataclasses.asdict(yields))


def _result(plans: list[dict[str, Any]], args: argparse.Namespace, **more: Any) -> dict[str, Any]:
    result = {"plans": plans, **more}
    if args.save:
        atomic_write(args.save, json.dumps(result, indent=1) + "\n")
    return result


def _simulate(plan: dict[str, Any], wanted: Slice, args: argparse.Namespace) -> None:
    found = simulation.cluster(wanted, args.preemptions_per_hour, args.fleet, args.host_cores)
    plan["simulated"] = simulation.forecast(plan, found)


def plan_for(wanted: Slice, args: argparse.Namespace, yields: Yields) -> dict[str, Any]:
    """Compiles a run's programs for one slice, as gin is configured now. Raises UserError for a bad mesh or model."""
    config = from_gin.model_shape(args.model)
    work = workload.read(yields, TEST_PROBLEMS)
    learning = Policy.configured(config, work, yields)
    mesh = from_gin.configured(MeshConfig)
    train_partitioner = lowering.partitioner_for(wanted, mesh)
    sampling_partitioner = train_partitioner.for_sampling(mesh.sampling_tensor)
    learner, batch_size, length = from_gin.training(
        args, config, learning, yields, train_partitioner.batch_ways
    )
    loop, lora = learner.loop, learner.lora
    base = device_room.loaded(config, train_partitioner).num_bytes
    computed = from_gin.rows_computed(train_partitioner, loop, batch_size)
    samplers = {
        "": from_gin.sampler(sampling_partitioner, config, "solutions", from_gin.prefix_tokens()),
        "puzzle ": from_gin.sampler(sampling_partitioner, config, "puzzles", 0),
    }
    if learning is not None:
        samplers |= from_gin.policy_samplers(learning, sampling_partitioner, config)
    jobs: dict[str, Callable[[], Program]] = {
        "train": lambda: lowering.train_step(train_partitioner, config, learner, computed, length)
    }
    if lora is not None:
        if lora.base_dtype != "float32":
            jobs["narrow the base"] = lambda: lowering.narrowing_of_base(train_partitioner, config, lora)
        jobs["merge"] = lambda: lowering.merging(train_partitioner, config, lora)
    if learner.objective is not None and learner.objective.kl:
        ways = train_partitioner.batch_ways
        seen = -(-batch_size // ways) * ways
        jobs["base"] = lambda: lowering.base_opinion(train_partitioner, config, learner, seen, length)
    for stage, sampler in samplers.items():
        jobs |= {f"{stage}decode": sampler.decode, f"{stage}prefill": sampler.prefill}
    for stage, sampler in reversed(samplers.items()):
        # Cut alike, they are one program; but while learning, more is held beside it.
        if not stage or stage == policy.ATTEMPTS or _narrower(sampler, samplers):
            jobs[f"{stage}weights"] = functools.partial(sampler.cut, train_partitioner)
    compiled = beside_one_another(wanted.name, jobs)
    compiled |= {f"{stage}narrow": sampler.narrowing() for stage, sampler in samplers.items()}
    beside = {} if learning is None else learning.beside(config, train_partitioner)
    for name, program in compiled.items():
        # During sampling a model's float32 weights stay loaded; training pairs frees them.
        in_learning = name.startswith((policy.ATTEMPTS, policy.PROPOSALS))
        if program.error:
            continue
        if name.endswith(("decode", "prefill", "narrow")):
            program.bytes["loaded"] = beside["sampling"] if in_learning else base
        elif learning is not None and (in_learning or name in beside):
            program.bytes["loaded"] = beside["cut" if in_learning else name]
    sampling = samplers[""].sampling
    plan: dict[str, Any] = {
        "form": FORM,
        "slice": wanted.name,
        "chips": wanted.chips,
        "hosts": wanted.hosts,
        "mesh": dataclasses.asdict(mesh) | mesh.sizes(wanted.chips),
        "parameters": network.num_params(config),
        "batch_size": batch_size,
        "rows_computed": computed,
        "length": length,
        "rows": sampling.prompts_in_flight * sampling.rows_per_prompt,
        "hbm_gib": wanted.chip.hbm_bytes / GIB,
        "usd_per_chip_hour": args.price or wanted.chip.usd_per_hour,
        "programs": {name: _program(program) for name, program in compiled.items()},
        "fits": {name: _fits(program, wanted) for name, program in compiled.items()},
        "workload": dataclasses.asdict(work),
        "shards": workload.bound("Experiment.shards", 4),
    }
    if lora is not None:
        plan["lora"] = dataclasses.asdict(lora) | {"weights": _count(lora.abstract(config))}
    if learning is not None:
        _, most = learning.rows(samplers[policy.ATTEMPTS].prefix_tokens, yields, train_partitioner.batch_ways)
        plan["policy"] = learning.summary(batch_size, most)
    if not all(plan["fits"].values()):
        plan["ways_out"] = _ways_out(wanted, plan, train_partitioner, config, loop, samplers)
        return plan
    tokens = batch_size * length
    work_share = 1.0 if lora is None else estimate.ADAPTERS_SHARE
    times = {
        "train": estimate.train_time(
            wanted, compiled["train"], config, loop, computed * length, length, work_share
        )
    }
    for stage, sampler in samplers.items():
        decode, prefill = compiled[f"{stage}decode"], compiled[f"{stage}prefill"]
        load = sampler.prompts_per_load() * sampler.bucket
        times[f"{stage}decode"] = estimate.decode_time(wanted, decode, config, sampler.sampling)
        times[f"{stage}prefill"] = estimate.prefill_time(wanted, prefill, config, load)
    plan["times"] = {name: dataclasses.asdict(time) for name, time in times.items()}
    plan["rates"] = costs.rates(times, wanted, config, samplers, tokens, length)
    plan["rates"]["mfu"] = [work_share * each for each in plan["rates"]["mfu"]]
    if args.largest_batch:
        plan["largest_batch"] = costs.largest_batch(
            wanted, train_partitioner, config, learner, length, compiled["train"], computed
        )
    if learning is not None:
        cores = wanted.hosts * wanted.cores_per_host
        judging = work.iterations * learning.batches * policy.core_seconds(learning, yields)
        plan["policy"] |= {
            "batch_s": policy.batch_seconds(learning, plan, yields, cores),
            "core_hours": judging / 3600,
        }
    plan["run"] = costs.run_cost(plan, wanted, work, yields, learning)
    if args.simulate:
        _simulate(plan, wanted, args)
    return plan


def _narrower(sampler: SamplingPrograms, samplers: Mapping[str, SamplingPrograms]) -> bool:
    """Whether its weights are cut otherwise than stage 3's."""
    return sampler.sampling.weights_dtype != samplers[""].sampling.weights_dtype


def _count(shapes: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def meshes_for(wanted: Slice, args: argparse.Namespace, yields: Yields) -> dict[str, Any]:
    """Compiles the train step on several meshes of a slice. Raises UserError for a malformed mesh."""
    config = from_gin.model_shape(args.model)
    learning = Policy.configured(config, workload.read(yields, TEST_PROBLEMS), yields)
    learner, batch_size, length = from_gin.training(args, config, learning, yields, ways=1)
    tried = meshes.chosen(args.meshes, wanted, config, learner, batch_size)
    held = None if learning is None else learning.held_bytes
    laid = meshes.compare(wanted, tried, config, learner, (batch_size, length), beside_one_another, held)
    found = meshes.result(wanted, laid, from_gin.configured(MeshConfig), batch_size * length)
    return found if learner.lora is None else found | {"lora": dataclasses.asdict(learner.lora)}


def beside_one_another(slice_name: str, jobs: Mapping[str, Callable[[], Program]]) -> dict[str, Program]:
    """The programs, compiled on one thread per core; each is reported on standard error when done."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        names = {pool.submit(job): name for name, job in jobs.items()}
        for number, done in enumerate(concurrent.futures.as_completed(names), start=1):
            print(
                f"plan: {slice_name}: {names[done]}, {number} of {len(jobs)} ({done.result().compile_s:,.0f} s)",
                file=sys.stderr,
            )
    found = {name: done.result() for done, name in names.items()}
    return {name: found[name] for name in jobs}


def _program(program: Program) -> dict[str, Any]:
    cost = program.cost
    return {
        "compile_s": round(program.compile_s, 1),
        "bytes": program.bytes,
        "cycles": cost.cycles,
        "collective_bytes": dict(cost.collective_bytes),
        "bytes_by_links": {str(links): size for links, size in sorted(cost.bytes_by_links.items())},
        "dcn_bytes": cost.dcn_bytes,
        "custom_calls": dict(cost.custom_calls),
        "unknown_loops": cost.unknown_loops,
        "error": program.error[:2000],
    }


def _fits(program: Program, wanted: Slice) -> bool:
    return not program.error and program.needs <= wanted.chip.hbm_bytes


def adapters_way(partitioner: Partitioner, config: ModelConfig, loop: LoopConfig) -> str:
    """What training adapters would take in place of the whole model, without activations."""

    def of(lora: Lora | None) -> float:
        return meshes.held_bytes(config, loop, lora, partitioner) / GIB

    return (
        f"finetune.run.lora = @Lora(), Lora.base_dtype = 'int8': {of(Lora(base_dtype='int8')):.2f} GiB of weights and "
        f"state a chip at most, in place of {of(None):.2f}"
    )


_ADAPTERS = ("train", "narrow the base", "merge")
_LEARNING = ("train", "merge", "base")


def _ways_out(
    wanted: Slice,
    plan: dict[str, Any],
    partitioner: Partitioner,
    config: ModelConfig,
    loop: LoopConfig,
    samplers: dict[str, SamplingPrograms],
) -> list[str]:
    ways: list[str] = []
    if "policy" in plan:
        learnt = [
            name
            for name in plan["fits"]
            if name in _LEARNING or name.startswith((policy.ATTEMPTS, policy.PROPOSALS))
        ]
        ways = [] if all(plan["fits"][name] for name in learnt) else [POLICY_REMEDY]
    elif "lora" in plan:
        ways = [] if all(plan["fits"].get(name, True) for name in _ADAPTERS) else [LORA_REMEDY]
    elif not plan["fits"]["train"]:
        ways = [
            *ways_out.of_training(wanted, partitioner, config, loop),
            adapters_way(partitioner, config, loop),
        ]
    for stage, sampler in samplers.items():
        if stage in (policy.ATTEMPTS, policy.PROPOSALS):
            continue
        if not all(
            plan["fits"].get(f"{stage}{what}", True) for what in ("decode", "prefill", "narrow", "weights")
        ):
            ways += ways_out.of_sampling(wanted, "puzzles" if stage else "solutions", sampler)
    return list(dict.fromkeys(ways))
