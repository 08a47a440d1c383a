"""Simulates a plan's stages on its slice: total time, cores needed, and how far growth pays."""

import dataclasses
import re
from typing import Any

from t5x_selfprog.plan.events import Cluster, Outcome, Stage, cores_needed, simulate
from t5x_selfprog.plan.policy import STAGE as POLICY
from t5x_selfprog.plan.slices import Slice
from verifier.errors import UserError

RUNS = 20
PAPER_SHARDS = 64  # of runs/paper_*.gin, from which older saved plans without this entry were made
WORTH = 1.5  # speed-up on twice the chips below which growth no longer pays


def cluster(wanted: Slice, preemptions_per_hour: float, fleet: str, host_cores: int | None) -> Cluster:
    """The slice, and beside it a fleet such as "8x30": machines x cores. Raises UserError.

    host_cores: how many of a host's cores judge; None for all.
    """
    members, cores = 0, 0
    if fleet:
        found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", fleet)
        if not found:
            raise UserError(f"--fleet={fleet}: give machines x cores, such as 8x30.")
        members, cores = int(found[1]), int(found[2])
    host_cores = wanted.cores_per_host if host_cores is None else host_cores
    if not 1 <= host_cores <= wanted.cores_per_host:
        raise UserError(f"--host_cores={host_cores}: a host of {wanted.name} has {wanted.cores_per_host}.")
    return Cluster(wanted.hosts, host_cores, preemptions_per_hour, members=members, cores_per_member=cores)


def forecast(plan: dict[str, Any], cluster: Cluster) -> dict[str, Any]:
    """The mean of RUNS simulated runs, the cores with which verdicts keep up, and what growth brings."""
    stages = stages_of(plan)
    mean = _mean(stages, cluster)
    return mean | {
        "chip_hours": mean["total_s"] / 3600 * plan["chips"],
        "preemptions_per_hour": cluster.preemptions_per_hour,
        "cores_a_host_needed": cores_needed(stages, cluster),
        "cores_a_host": cluster.cores_per_host,
        "fleet": [cluster.members, cluster.cores_per_member],
        "growth": growth(stages, cluster),
    }


def growth(stages: list[Stage], cluster: Cluster, most: int = 64) -> list[dict[str, float]]:
    """The run on 1, 2, 4, ... times the chips, hosts and preemptions, until twice the chips are not WORTH it.

    Devices are assumed to scale without loss. What does not scale is the end of every stage, when chips wait for the
    last shard's verdicts, restarts, and the slowest of more hosts. The fleet does not grow.
    """
    found: list[dict[str, float]] = []
    times = 1
    while times <= most:
        larger = dataclasses.replace(
            cluster,
            hosts=cluster.hosts * times,
            preemptions_per_hour=cluster.preemptions_per_hour * times,
        )
        shorter = [dataclasses.replace(stage, device_s=stage.device_s / times) for stage in stages]
        total_s = _mean(shorter, larger)["total_s"]
        found.append({"times": times, "total_s": total_s})
        if len(found) > 1 and found[-2]["total_s"] < WORTH * total_s:
            break
        times *= 2
    return found


def growth_words(simulated: dict[str, Any]) -> str:
    """The times as text, and where growth stops paying."""
    _, *more = simulated["growth"]
    said = ", ".join(f"x{g['times']:.0f} in {g['total_s'] / 3600:,.2f} h" for g in more)
    last, before = more[-1], simulated["growth"][-2]
    if before["total_s"] >= WORTH * last["total_s"]:
        return f"of the slice: {said}; it still pays there"
    gain = before["total_s"] / last["total_s"]
    return f"of the slice: {said}; from x{before['times']:.0f} on twice the chips bring {gain:.2f} times the speed"


def fleet_words(simulated: dict[str, Any]) -> str:
    """The fleet beside the hosts as text; empty without one."""
    members, cores = simulated["fleet"]
    return f", beside a fleet of {members} x {cores}" if members else ""


def _mean(stages: list[Stage], cluster: Cluster) -> dict[str, float]:
    found = [simulate(stages, cluster, seed) for seed in range(RUNS)]
    names = [field.name for field in dataclasses.fields(Outcome)] + ["total_s", "goodput"]
    return {name: sum(getattr(outcome, name) for outcome in found) / RUNS for name in names}


def stages_of(plan: dict, checkpoints: int = 50) -> list[Stage]:
    """The stages of a planned run, all iterations together."""
    shards = plan.get("shards", PAPER_SHARDS)
    hours = plan["run"]["slice_hours"]
    learnt = plan.get("policy", {})  # its hours include waiting for its verdicts
    core_s = (plan["run"]["verifier_core_hours"] - learnt.get("core_hours", 0.0)) * 3600
    work, iterations = plan["workload"], plan["workload"]["iterations"]
    attempts = {
        "3 sample solutions": iterations * work["solution_attempts"],
        "7 evaluate": work["evaluations"] * work["eval_attempts"],
    }
    total = sum(attempts.values()) or 1.0
    sampled = {name: core_s * count / total for name, count in attempts.items()}
    parts = {
        POLICY: iterations * learnt.get("batches", 0),
        "1 sample puzzles": shards * iterations,
        "3 sample solutions": shards * iterations,
        "6 fine-tune": checkpoints * iterations,
        "7 evaluate": shards * work["evaluations"],
    }
    return [
        Stage(name, value * 3600, sampled.get(name, 0.0), max(1, parts[name]))
        for name, value in hours.items()
    ]
