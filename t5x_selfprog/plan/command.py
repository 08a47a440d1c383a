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
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

import gin
import t5x_selfprog.configurables  # noqa: F401 (declares the dataclasses to gin)
from t5x_selfprog import gin_files
from t5x_selfprog.model import device_room, network, store
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.plan import (
    against,
    estimate,
    lowering,
    meshes,
    policy,
    simulation,
    slices,
    ways_out,
    workload,
)
from t5x_selfprog.plan.estimate import StepTime
from t5x_selfprog.plan.lowering import Learner, Program, SamplingPrograms
from t5x_selfprog.plan.policy import Policy
from t5x_selfprog.plan.slices import GIB, Slice
from t5x_selfprog.plan.workload import Workload, Yields
from t5x_selfprog.puzzles.prompts import SolvePrompt, tutorial_blocks
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.stages.policy_room import REMEDY as POLICY_REMEDY
from t5x_selfprog.training.loop_config import LoopConfig
from t5x_selfprog.training.lora import Lora
from t5x_selfprog.training.lora_room import LORA_REMEDY
from verifier.errors import UserError
from verifier.storage import files
from verifier.storage.shards import atomic_write

FORM = 2  # of what --save writes: with the slice's links, and the memory held beside the programs
TEST_PROBLEMS = 228  # of P3
ATTEMPTS = {"puzzles": 64, "solutions": 100}  # at each prompt, where gin binds no other number
BYTES_A_TOKEN = 3.0  # of Python, with the vocabularies of code models


def command(args: argparse.Namespace) -> dict[str, Any]:
    """Plans for --slice, compares a saved plan, or simulates it anew. Raises UserError for flags that ask for none."""
    if args.save:
        _require_place(args.save)
    if args.saved and args.simulate and not (args.against or args.slice):
        plan = against.read_plan(args.saved)
        _simulate(plan, slices.named(plan["slice"]), args)
        print(describe(plan))
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
    wanted = [slices.named(name) for name in names]
    yields = workload.measured(args.pilot) if args.pilot else Yields()
    plans = []
    for found in wanted:
        gin_files.load([*args.gin_file, found.gin_file], args.gin_bindings)
        if args.meshes:
            plans.append(meshes_for(found, args, yields))
            print(meshes.describe(plans[-1]), flush=True)
            continue
        plans.append(plan_for(found, args, yields))
        print(describe(plans[-1]), flush=True)
    if len(plans) > 1 and not args.meshes:
        print(table(plans))
    return _result(plans, args, yields=dataclasses.asdict(yields))


def _require_place(path: str) -> None:
    """Raises UserError where no file can be written, before the minutes after which one would be."""
    if files.is_remote(path):
        return
    place = Path(path).absolute()
    there = next(folder for folder in place.parents if folder.exists())
    if place.is_dir():
        raise UserError(f"--save={path}: is a folder; name a file in it, such as {place / 'plan.json'}.")
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"--save={path}: {there} is no folder that you can write to; give another place.")


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
    config = model_shape(args.model)
    work = workload.read(yields, TEST_PROBLEMS)
    learning = Policy.configured(config, work, yields)
    mesh = configured(MeshConfig)
    train_partitioner = lowering.partitioner_for(wanted, mesh)
    sampling_partitioner = train_partitioner.for_sampling(mesh.sampling_tensor)
    learner, batch_size, length = _training(args, config, learning, yields, train_partitioner.batch_ways)
    loop, lora = learner.loop, learner.lora
    base = device_room.loaded(config, train_partitioner).num_bytes
    computed = _rows_computed(train_partitioner, loop, batch_size)
    samplers = {
        "": _sampler(sampling_partitioner, config, "solutions", _prefix_tokens()),
        "puzzle ": _sampler(sampling_partitioner, config, "puzzles", 0),
    }
    if learning is not None:
        samplers |= _policy_samplers(learning, sampling_partitioner, config)
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
        "mesh": dataclasses.asdict(mesh),
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
    plan["rates"] = rates(times, wanted, config, samplers, tokens, length)
    plan["rates"]["mfu"] = [work_share * each for each in plan["rates"]["mfu"]]
    if args.largest_batch:
        plan["largest_batch"] = largest_batch(
            wanted, train_partitioner, config, learner, length, compiled["train"], computed
        )
    if learning is not None:
        cores = wanted.hosts * wanted.cores_per_host
        judging = work.iterations * learning.batches * policy.core_seconds(learning, yields)
        plan["policy"] |= {
            "batch_s": policy.batch_seconds(learning, plan, yields, cores),
            "core_hours": judging / 3600,
        }
    plan["run"] = run_cost(plan, wanted, work, yields, learning)
    if args.simulate:
        _simulate(plan, wanted, args)
    return plan


def _training(
    args: argparse.Namespace, config: ModelConfig, learning: Policy | None, yields: Yields, ways: int
) -> tuple[Learner, int, int]:
    """What a step learns, its rows and their length, as gin is configured now."""
    if learning is not None:
        rows, _ = learning.rows(_prefix_tokens(learning.prompt), yields, ways)
        return learning.learner, args.batch or rows, learning.training.length
    batch_size = args.batch or workload.bound("finetune.run.batch_size", 16)
    length = min(workload.bound("finetune.run.length", 1024), config.context_length)
    return Learner(configured(LoopConfig), _lora()), batch_size, length


def _policy_samplers(
    learning: Policy, partitioner: Partitioner, config: ModelConfig
) -> dict[str, SamplingPrograms]:
    """The programs of sampling while learning from verdicts."""
    prefix = _prefix_tokens(learning.prompt)
    found = {
        policy.ATTEMPTS: _programs(partitioner, config, learning.attempting, prefix, "Attempting.sampling: ")
    }
    if learning.proposing is not None:
        found[policy.PROPOSALS] = _programs(
            partitioner, config, learning.proposing, 0, "Proposing.sampling: "
        )
    return found


def _narrower(sampler: SamplingPrograms, samplers: Mapping[str, SamplingPrograms]) -> bool:
    """Whether its weights are cut otherwise than stage 3's."""
    return sampler.sampling.weights_dtype != samplers[""].sampling.weights_dtype


def _lora() -> Lora | None:
    """The adapters that fine-tuning trains, as gin is configured now; None where it trains all weights."""
    return None if workload.bound("finetune.run.lora", None) is None else configured(Lora)


def _count(shapes: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def meshes_for(wanted: Slice, args: argparse.Namespace, yields: Yields) -> dict[str, Any]:
    """Compiles the train step on several meshes of a slice. Raises UserError for a malformed mesh."""
    config = model_shape(args.model)
    learning = Policy.configured(config, workload.read(yields, TEST_PROBLEMS), yields)
    learner, batch_size, length = _training(args, config, learning, yields, ways=1)
    tried = meshes.chosen(args.meshes, wanted, config, learner, batch_size)
    held = None if learning is None else learning.held_bytes
    laid = meshes.compare(wanted, tried, config, learner, (batch_size, length), beside_one_another, held)
    found = meshes.result(wanted, laid, configured(MeshConfig), batch_size * length)
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


def model_shape(name: str | None) -> ModelConfig:
    """The model's shape: a folder, a file of gin/models, or Experiment.base. Raises UserError."""
    base = name or workload.bound("Experiment.base", "base")
    try:
        return store.read_config(store.resolve(base))
    except UserError:
        stem = re.sub(r"[^a-z0-9]+", "_", os.path.basename(base).lower().replace(".", "p")).strip("_")
        path = gin_files.GIN_FOLDER / "models" / f"{stem}.gin"
        if not path.exists():
            known = ", ".join(sorted(p.stem for p in path.parent.glob("*_*.gin")))
            raise UserError(
                f"--model={base}: neither a model's folder nor a shape in gin/models; there are {known}."
            ) from None
    with gin.unlock_config():
        gin.parse_config_file(str(path))
    return configured(ModelConfig)


def configured(kind: type, scope: str | None = None) -> Any:
    """One of our dataclasses as gin binds it, the way a stage receives it."""
    with gin.config_scope(scope):
        return gin.get_configurable(kind)()


def _sampler(partitioner: Partitioner, config: ModelConfig, scope: str, prefix: int) -> SamplingPrograms:
    """The programs of the stage that gin calls `scope`. Raises UserError where its prompts do not fit the context."""
    sampling = configured(SamplingConfig, scope).fitted(
        workload.bound(f"sample_{scope}.run.attempts", ATTEMPTS[scope])
    )
    return _programs(partitioner, config, sampling, prefix, f"{scope}/")


def _programs(
    partitioner: Partitioner, config: ModelConfig, sampling: SamplingConfig, prefix: int, origin: str
) -> SamplingPrograms:
    """origin: begins the setting's name in messages."""
    room = config.context_length - prefix - sampling.max_new_tokens
    if room < 1:
        raise UserError(
            f"{prefix} tokens before every prompt and {origin}SamplingConfig.max_new_tokens="
            f"{sampling.max_new_tokens} leave no room in a context of {config.context_length}: lower the latter."
        )
    return SamplingPrograms(partitioner, config, sampling, prefix, sampling.buckets(room)[-1])


def _prefix_tokens(prompt: SolvePrompt | None = None) -> int:
    """Of a prompt for solutions, by default as stage 3 is configured."""
    if prompt is None:
        tutorial, typed = (
            workload.bound("SolvePrompt.tutorial", "seeds"),
            workload.bound("SolvePrompt.typed", False),
        )
    else:
        tutorial, typed = prompt.tutorial, prompt.typed
    try:
        text = "\n\n".join(tutorial_blocks(tutorial, typed=typed))
    except UserError:
        return 512  # of P3's tutorial, where its folder is missing
    return round(len(text) / BYTES_A_TOKEN)


def _rows_computed(partitioner: Partitioner, loop: LoopConfig, batch_size: int) -> int:
    """Rows of a batch, padded with empty rows for all devices as the trainer does."""
    multiple = partitioner.batch_ways * loop.accumulate
    return -(-batch_size // multiple) * multiple


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


def rates(
    times: dict[str, StepTime],
    wanted: Slice,
    config: ModelConfig,
    samplers: dict[str, SamplingPrograms],
    tokens: int,
    length: int,
) -> dict[str, Any]:
    """Tokens per second per chip and MFU of training, least and most; prompts per second of the slice."""
    train = (times["train"].most_s, times["train"].least_s)
    found: dict[str, Any] = {
        "train": [tokens / seconds / wanted.chips for seconds in train],
        "mfu": [estimate.train_mfu(wanted, config, tokens, length, seconds) for seconds in train],
    }
    for stage, sampler in samplers.items():
        decode, prefill = times[f"{stage}decode"], times[f"{stage}prefill"]
        s, waiting = sampler.sampling, sampler.sampling.groups_per_load()
        # While groups wait for a load, half of them on average, their rows are idle.
        busy = 1 - waiting / 2 / s.prompts_in_flight if waiting > 1 else 1.0
        rows = busy * s.prompts_in_flight * s.rows_per_prompt / wanted.chips
        found[f"{stage}decode"] = [rows / seconds for seconds in (decode.most_s, decode.least_s)]
        each_load = min(sampler.prompts_per_load(), max(waiting, s.prompts_per_load))
        found[f"{stage}prompts_per_s"] = each_load / prefill.most_s
        found[f"{stage}longest_s"] = s.max_new_tokens * decode.most_s
        found[f"{stage}decode_roofline_share"] = [
            decode.roofline_s / seconds for seconds in (decode.most_s, decode.least_s)
        ]
    return found


def largest_batch(
    wanted: Slice,
    partitioner: Any,
    config: ModelConfig,
    learner: Learner,
    length: int,
    at: Program,
    size: int,
) -> int:
    """The most rows per step that fit: a line through this compilation and one with twice the rows."""
    twice = lowering.train_step(partitioner, config, learner, 2 * size, length)
    if twice.error:
        return size
    a_row = (twice.needs - at.needs) / size
    ways = partitioner.mesh.shape["data"] * partitioner.mesh.shape["fsdp"]
    if a_row <= 0:
        return 2 * size
    return max(size, int((size + (wanted.chip.hbm_bytes - at.needs) / a_row) // ways * ways))


def run_cost(
    plan: dict[str, Any], wanted: Slice, work: Workload, yields: Yields, learning: Policy | None = None
) -> dict[str, Any]:
    """Hours of the slice by stage by the slower estimate, chip-hours, dollars, verifier core-hours, bytes."""
    decode = plan["rates"]["decode"][0] * wanted.chips
    train = plan["rates"]["train"][0] * wanted.chips
    write = plan["rates"]["puzzle decode"][0] * wanted.chips
    puzzle_prompts, prompts = plan["rates"]["puzzle prompts_per_s"], plan["rates"]["prompts_per_s"]
    puzzle_tokens = work.puzzle_attempts * yields.puzzle_tokens
    solution_tokens = work.solution_attempts * yields.solution_tokens
    eval_tokens = work.evaluations * work.eval_attempts * yields.solution_tokens
    seconds = {
        "1 sample puzzles": work.iterations * (puzzle_tokens / write + work.puzzle_prompts / puzzle_prompts),
        "3 sample solutions": work.iterations * (solution_tokens / decode + work.puzzles_kept / prompts),
        "6 fine-tune": work.pairs_trained() * yields.pair_tokens / train,
        "7 evaluate": eval_tokens / decode,
    }
    attempts = work.iterations * work.solution_attempts + work.evaluations * work.eval_attempts
    judged = attempts * yields.distinct
    core_s = judged * yields.verdict_s()
    to_keep_up = core_s / max(1e-9, seconds["3 sample solutions"] + seconds["7 evaluate"])
    if learning is not None:
        batches, steps = work.iterations * learning.batches, learning.batches * learning.training.updates
        step_s = plan["policy"]["batch_s"]["steps"] / learning.training.updates
        del seconds["6 fine-tune"]
        evaluating = seconds.pop("7 evaluate")
        # Control arms are fine-tuned for as many steps.
        learnt = batches * sum(plan["policy"]["batch_s"].values()) + work.controls * steps * step_s
        seconds |= {policy.STAGE: learnt, "7 evaluate": evaluating}
        attempts += batches * learning.attempts
        judged += batches * learning.attempts * yields.distinct
        core_s += batches * policy.core_seconds(learning, yields)
    hours = {name: value / 3600 for name, value in seconds.items()}
    chip_hours = sum(hours.values()) * wanted.chips / wanted.chip.halves
    weights = 4 * plan["parameters"]  # float32
    return {
        "slice_hours": hours,
        "chip_hours": chip_hours,
        "usd": chip_hours * plan["usd_per_chip_hour"],
        "verdicts": judged,
        "verifier_core_hours": core_s / 3600,
        "cores_to_keep_up": to_keep_up,
        "host_cores": wanted.hosts * wanted.cores_per_host,
        "storage_gib": ((3 + work.iterations) * weights + attempts * 600) / GIB,
    }


def describe(plan: dict[str, Any]) -> str:
    """The plan of one slice as lines for people."""
    hbm = plan["hbm_gib"]
    lora = plan.get("lora")
    adapters = f", {lora['weights']:,} of adapters beside them in {lora['base_dtype']}" if lora else ""
    chips = "chips" if slices.named(plan["slice"]).chip.halves == 1 else "halves of chips"
    lines = [f"\n{plan['slice']}: {plan['chips']} {chips}, {plan['parameters']:,} weights{adapters}"]
    for name, program in plan["programs"].items():
        needs = sum(program["bytes"].values()) / GIB
        if program["error"]:
            said = re.search(r"Used [\d.]+\w+ of [\d.]+\w+ hbm[^.]*\.?[^.]*", program["error"])
            lines.append(
                f"  {name:<14} does not fit: {said[0] if said else program['error'].splitlines()[0][:200]}"
            )
        else:
            took = f"; compiled in {program['compile_s']:.0f} s" if program["compile_s"] else ""
            lines.append(f"  {name:<14} {needs:6.2f} of {hbm:.2f} GiB a chip, {hbm - needs:+.2f} left{took}")
    if "policy" in plan:
        lines.append(policy.describe(plan))
    if "ways_out" in plan:
        return "\n".join(
            [*lines, "  It does not fit. Ways out:", *(f"    {way}" for way in plan["ways_out"])]
        )
    rate, run, times = plan["rates"], plan["run"], plan["times"]
    low, high = rate["mfu"]
    empty = plan.get("rows_computed", plan["batch_size"]) - plan["batch_size"]
    if empty:
        lines.append(
            f"           {empty} empty rows beside the {plan['batch_size']} of a batch keep all chips in step"
        )
    lines.append(
        f"  train    {rate['train'][0]:,.0f} to {rate['train'][1]:,.0f} tokens/s/chip, MFU {low:.2f} to {high:.2f}; "
        f"roofline ({times['train']['limited_by']}) {times['train']['roofline_s'] * 1e3:,.1f} ms a step, compiler "
        f"{times['train']['compute_s'] * 1e3:,.1f} ms and links {times['train']['links_s'] * 1e3:,.1f} ms"
    )
    lines.append(
        f"  decode   {rate['decode'][0]:,.0f} to {rate['decode'][1]:,.0f} tokens/s/chip at {plan['rows']:,} rows; "
        f"roofline ({times['decode']['limited_by']}) {times['decode']['roofline_s'] * 1e3:,.2f} ms a step, compiler "
        f"{times['decode']['compute_s'] * 1e3:,.2f} ms"
    )
    if "largest_batch" in plan:
        lines.append(f"  largest batch that fits: {plan['largest_batch']} rows of {plan['length']}")
    stages = ", ".join(f"{name} {hours:,.2f} h" for name, hours in run["slice_hours"].items())
    price = plan["usd_per_chip_hour"]
    dollars = f"${run['usd']:,.0f} at ${price:.2f}" if price else "no list price is known (--price)"
    lines.append(f"  run      {stages}")
    lines.append(
        f"           {run['chip_hours']:,.0f} chip-hours, {dollars}; "
        f"{run['verdicts']:,.0f} verdicts, {run['verifier_core_hours']:,.0f} core-hours: "
        f"{run['cores_to_keep_up']:,.0f} of the hosts' {run['host_cores']:,} cores keep up; "
        f"{run['storage_gib']:,.0f} GiB"
    )
    if "simulated" in plan:
        s = plan["simulated"]
        lines.append(
            f"  simulated {s['total_s'] / 3600:,.2f} h, goodput {s['goodput']:.1%}: waiting for verdicts "
            f"{s['waiting_s'] / s['total_s']:.1%}, work done again {s['lost_s'] / s['total_s']:.1%}, away "
            f"{s['away_s'] / s['total_s']:.1%} ({s['preemptions']:.1f} preemptions); "
            f"{s['cores_a_host']} cores of a host judge, {s['cores_a_host_needed']:,} keep its chips busy"
            f"{simulation.fleet_words(s)}"
        )
        lines.append(f"  growth   {simulation.growth_words(s)}")
    return "\n".join(lines)


def table(plans: list[dict[str, Any]]) -> str:
    """One line per slice."""
    rows = [f"\n{'slice':<10}{'chips':>6}{'fits':>6}{'train tok/s/chip':>18}{'MFU':>7}{'decode':>10}"
            f"{'hours':>9}{'chip-hours':>12}{'USD':>10}"]  # fmt: skip
    for plan in plans:
        head = f"{plan['slice']:<10}{plan['chips']:>6}"
        if "run" not in plan:
            rows.append(f"{head}{'no':>6}")
            continue
        rate, run = plan["rates"], plan["run"]
        dollars = f"{run['usd']:,.0f}" if run["usd"] else "-"
        rows.append(
            f"{head}{'yes':>6}{rate['train'][0]:>18,.0f}{rate['mfu'][0]:>7.2f}{rate['decode'][0]:>10,.0f}"
            f"{sum(run['slice_hours'].values()):>9,.1f}{run['chip_hours']:>12,.0f}{dollars:>10}"
        )
    return "\n".join(rows)
