"""A run on a slice as a sequence of events: sampling, judging beside it, preemptions, stragglers.

What a plan's averages cannot say: how long chips wait for verdicts, what a preemption costs, where more chips stop
paying. The unit is a shard. Sampling makes shards one after another, all chips together, at the pace of the slowest
host; host h judges shards h, h + hosts, ... on its own cores, in order; a stage ends when its last shard is judged. A
preemption (of any host: the slice goes as a whole) loses the shard being sampled and those being judged, or the
training steps since the last checkpoint, and then `restart_s` pass. The same seed gives the same run.
"""

import dataclasses
import math
import random
from collections.abc import Callable

LEAST_BUSY = 0.95  # of the time that chips sample: what "keep up" means


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Attributes:
    hosts, cores_per_host: cores that judge, on each host.
    preemptions_per_hour: of the whole slice.
    restart_s: from a preemption to the first step after it: queue, start, compile, restore.
    straggling: standard deviation of the logarithm of a host's pace; the slowest of them sets everybody's.
    """

    hosts: int
    cores_per_host: int
    preemptions_per_hour: float = 0.0
    restart_s: float = 600.0
    straggling: float = 0.02


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of one iteration.

    Attributes:
      device_s: seconds of the undisturbed slice for all of it.
      judging_core_s: CPU seconds of judging what it makes, beside it; 0 for stages that make nothing to judge.
      parts: shards, or checkpoints: what is kept when the slice goes.
    """

    name: str
    device_s: float
    judging_core_s: float
    parts: int


@dataclasses.dataclass
class Outcome:
    """Seconds by what the chips did in them, and how often the slice went away."""

    busy_s: float = 0.0
    waiting_s: float = 0.0  # for verdicts
    lost_s: float = 0.0  # work done again
    away_s: float = 0.0  # restarting
    preemptions: int = 0

    @property
    def total_s(self) -> float:
        return self.busy_s + self.waiting_s + self.lost_s + self.away_s

    @property
    def goodput(self) -> float:
        """Share of the time in work that counted."""
        return self.busy_s / self.total_s if self.total_s else 1.0


def simulate(stages: list[Stage], cluster: Cluster, seed: int = 0) -> Outcome:
    """One run of all stages, one after another."""
    rng = random.Random(seed)
    outcome, clock = Outcome(), 0.0
    following = _next_preemption(rng, cluster, clock)

    def go_away(at: float) -> float:
        nonlocal following
        outcome.preemptions += 1
        outcome.away_s += cluster.restart_s
        back = at + cluster.restart_s
        following = _next_preemption(rng, cluster, back)
        return back

    for stage in stages:
        part_s = stage.device_s / stage.parts
        judged_s = stage.judging_core_s / stage.parts / cluster.cores_per_host
        free = [clock] * cluster.hosts  # when each host's cores are free
        pending: list[tuple[float, float, int]] = []  # (begins, ends, host) of judging under way
        part = 0
        while part < stage.parts:
            took = part_s * _slowest(rng, cluster)
            if clock + took > following:  # the slice goes while this part is made
                outcome.lost_s += max(0.0, following - clock)
                at, clock = following, go_away(max(clock, following))
                _interrupt(pending, free, at, clock, judged_s)
                continue
            clock += took
            outcome.busy_s += took
            if judged_s:
                host = part % cluster.hosts
                begins = max(clock, free[host])
                free[host] = begins + judged_s
                pending.append((begins, free[host], host))
            part += 1
        ends = max((end for _, end, _ in pending), default=clock)
        while ends > following:
            outcome.waiting_s += max(0.0, following - clock)
            at, clock = following, go_away(max(clock, following))
            _interrupt(pending, free, at, clock, judged_s)
            ends = max((end for _, end, _ in pending), default=clock)
        outcome.waiting_s += max(0.0, ends - clock)
        clock = max(clock, ends)
    return outcome


def _interrupt(
    pending: list[tuple[float, float, int]], free: list[float], at: float, back: float, judged_s: float
) -> None:
    """Judging that was not done at `at` begins again at `back`, on the same host, in order."""
    undone = sorted((begins, host) for begins, end, host in pending if end > at)
    pending[:] = [entry for entry in pending if entry[1] <= at]
    free[:] = [back] * len(free)
    for _, host in undone:
        pending.append((free[host], free[host] + judged_s, host))
        free[host] += judged_s


def _next_preemption(rng: random.Random, cluster: Cluster, after: float) -> float:
    if not cluster.preemptions_per_hour:
        return math.inf
    return after + rng.expovariate(cluster.preemptions_per_hour / 3600)


def _slowest(rng: random.Random, cluster: Cluster) -> float:
    """The pace of the slowest of all hosts, 1 being usual; the largest of n by its own distribution."""
    if not cluster.straggling:
        return 1.0
    from statistics import NormalDist

    # The largest of n uniforms is u ** (1 / n): one draw, whatever the number of hosts.
    quantile = min(max(rng.random(), 1e-12) ** (1 / cluster.hosts), 1 - 1e-12)
    return max(1.0, math.exp(cluster.straggling * NormalDist().inv_cdf(quantile)))


def cores_needed(stages: list[Stage], cluster: Cluster, most: int = 1 << 14) -> int:
    """The fewest cores a host with which chips wait for verdicts less than a twentieth of their sampling time."""

    def keeps_up(cores: int) -> bool:
        tried = dataclasses.replace(cluster, cores_per_host=cores, preemptions_per_hour=0.0)
        found = simulate([stage for stage in stages if stage.judging_core_s], tried)
        return found.busy_s >= LEAST_BUSY * found.total_s

    return _least(keeps_up, most)


def _least(holds: Callable[[int], bool], most: int) -> int:
    """The smallest number from 1 that holds, by bisection; `most` where none does."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def stages_of(plan: dict, shards: int, checkpoints: int = 50) -> list[Stage]:
    """The stages of a planned run, all iterations together."""
    hours = plan["run"]["slice_hours"]
    core_s = plan["run"]["verifier_core_hours"] * 3600
    sampled = {"3 sample solutions": 0.0, "7 evaluate": 0.0}
    work, iterations = plan["workload"], plan["workload"]["iterations"]
    attempts = {
        "3 sample solutions": iterations * work["solution_attempts"],
        "7 evaluate": work["evaluations"] * work["eval_attempts"],
    }
    total = sum(attempts.values()) or 1.0
    for name in sampled:
        sampled[name] = core_s * attempts[name] / total
    parts = {
        "1 sample puzzles": shards * iterations,
        "3 sample solutions": shards * iterations,
        "6 fine-tune": checkpoints * iterations,
        "7 evaluate": shards * work["evaluations"],
    }
    return [
        Stage(name, value * 3600, sampled.get(name, 0.0), max(1, parts[name]))
        for name, value in hours.items()
    ]
