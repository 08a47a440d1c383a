"""A run on a slice as a sequence of events: sampling, judging beside it, preemptions, stragglers.

It shows what a plan's averages cannot: how long chips wait for verdicts, what a preemption costs, where more chips stop
paying. The unit is a shard. Sampling makes shards one after another, on all chips together, at the pace of the slowest
host. The machine that would finish first, a host or a member of the fleet, judges the next shard on its own cores. A
stage ends when its last shard is judged. A preemption of any host takes the whole slice: the shard being sampled and
those that its hosts are judging are lost, or the training steps since the last checkpoint; then `restart_s` passes. The
fleet keeps judging. The same seed gives the same run.
"""

import dataclasses
import math
import random
from collections.abc import Callable

LEAST_BUSY = 0.95  # share of the time in which chips sample: what "keep up" means


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Attributes:
    hosts, cores_per_host: hosts, and the cores of each that judge.
    members, cores_per_member: of a fleet beside them, machines without accelerators.
    preemptions_per_hour: of the whole slice.
    restart_s: from a preemption to the first step after it: queue, start, compile, restore.
    straggling: standard deviation of the logarithm of a host's pace; the slowest host sets the pace of all.
    """

    hosts: int
    cores_per_host: int
    preemptions_per_hour: float = 0.0
    restart_s: float = 600.0
    straggling: float = 0.02
    members: int = 0
    cores_per_member: int = 0

    @property
    def judges(self) -> list[int]:
        """The cores of each machine that judges, hosts first."""
        return [self.cores_per_host] * self.hosts + [self.cores_per_member] * self.members


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of one iteration.

    Attributes:
      device_s: seconds that all of it takes on the undisturbed slice.
      judging_core_s: CPU seconds to judge what it makes, meanwhile; 0 for stages that make nothing to judge.
      parts: shards or checkpoints: the units that survive a preemption.
    """

    name: str
    device_s: float
    judging_core_s: float
    parts: int


@dataclasses.dataclass
class Outcome:
    """Seconds by what the chips did, and the number of preemptions."""

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
        """Share of the time spent on work that counted."""
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
        part_s, shard_core_s = stage.device_s / stage.parts, stage.judging_core_s / stage.parts
        judging = _Judging(cluster, shard_core_s, clock)
        part = 0
        while part < stage.parts:
            took = part_s * _slowest(rng, cluster)
            if clock + took > following:  # the slice is preempted while this part is made
                outcome.lost_s += max(0.0, following - clock)
                at, clock = following, go_away(max(clock, following))
                judging.interrupt(at, clock)
                continue
            clock += took
            outcome.busy_s += took
            if shard_core_s:
                judging.add(clock)
            part += 1
        while (ends := judging.ends()) > following:
            outcome.waiting_s += max(0.0, following - clock)
            at, clock = following, go_away(max(clock, following))
            judging.interrupt(at, clock)
        outcome.waiting_s += max(0.0, ends - clock)
        clock = max(clock, ends)
    return outcome


class _Judging:
    """The shards of one stage, each on the machine that would finish it first."""

    def __init__(self, cluster: Cluster, core_s: float, clock: float):
        self._seconds = [core_s / cores for cores in cluster.judges]
        self._hosts = cluster.hosts
        self._free = [clock] * len(self._seconds)  # when each machine becomes free
        self._pending: list[tuple[float, float, int]] = []  # (begins, ends, machine)

    def add(self, sampled: float) -> None:
        """Adds a shard sampled at that time."""
        machine = min(range(len(self._free)), key=lambda m: max(self._free[m], sampled) + self._seconds[m])
        begins = max(self._free[machine], sampled)
        self._free[machine] = begins + self._seconds[machine]
        self._pending.append((begins, self._free[machine], machine))

    def ends(self) -> float:
        """When the last of them is judged; 0 if there is none."""
        return max((end for _, end, _ in self._pending), default=0.0)

    def interrupt(self, at: float, back: float) -> None:
        """The hosts are away from `at` to `back`: their unfinished shards go to whichever machines finish first."""
        undone = sorted(entry for entry in self._pending if entry[1] > at and entry[2] < self._hosts)
        self._pending = [entry for entry in self._pending if entry[1] <= at or entry[2] >= self._hosts]
        self._free[: self._hosts] = [back] * self._hosts
        for begins, _, _ in undone:
            self.add(max(begins, at))


def _next_preemption(rng: random.Random, cluster: Cluster, after: float) -> float:
    if not cluster.preemptions_per_hour:
        return math.inf
    return after + rng.expovariate(cluster.preemptions_per_hour / 3600)


def _slowest(rng: random.Random, cluster: Cluster) -> float:
    """The time factor of the slowest of n hosts (1 is nominal), drawn from the distribution of the maximum."""
    if not cluster.straggling:
        return 1.0
    from statistics import NormalDist

    # The largest of n uniforms is u ** (1 / n): one draw for any number of hosts.
    quantile = min(max(rng.random(), 1e-12) ** (1 / cluster.hosts), 1 - 1e-12)
    return max(1.0, math.exp(cluster.straggling * NormalDist().inv_cdf(quantile)))


def cores_needed(stages: list[Stage], cluster: Cluster, most: int = 1 << 14) -> int:
    """The fewest cores per host with which chips wait for verdicts less than a twentieth of the time."""

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
