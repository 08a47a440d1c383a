"""What a planned run costs: rates of its stages, the largest batch, hours, dollars and verdicts."""

from typing import Any

from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.plan import estimate, lowering, policy
from t5x_selfprog.plan.estimate import StepTime
from t5x_selfprog.plan.lowering import Learner, Program, SamplingPrograms
from t5x_selfprog.plan.policy import Policy
from t5x_selfprog.plan.slices import GIB, Slice
from t5x_selfprog.plan.workload import Workload, Yields


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
