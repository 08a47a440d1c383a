"""The simulated pod against results computed by hand."""

import dataclasses

import pytest

from t5x_selfprog.plan.events import Cluster, Stage, cores_needed, simulate

STEADY = Cluster(hosts=4, cores_per_host=10, straggling=0.0)


def test_without_trouble_chips_wait_for_the_last_shard_only():
    found = simulate([Stage("solve", 1000.0, 400.0, 8)], STEADY)
    assert found.busy_s == pytest.approx(1000.0)
    assert found.waiting_s == pytest.approx(400.0 / 8 / 10)  # the last shard, on one host's cores
    assert found.lost_s == found.away_s == found.preemptions == 0


def test_too_few_cores_make_judging_the_pace():
    slow = dataclasses.replace(STEADY, cores_per_host=1)
    found = simulate([Stage("solve", 1000.0, 40_000.0, 8)], slow)
    # 5,000 seconds a shard; the fourth host's second shard begins after its first, made at 500 s
    assert found.total_s == pytest.approx(500 + 2 * 5000)
    needed = cores_needed([Stage("solve", 1000.0, 40_000.0, 80)], STEADY)
    assert (
        simulate(
            [Stage("solve", 1000.0, 40_000.0, 80)], dataclasses.replace(STEADY, cores_per_host=needed)
        ).goodput
        >= 0.95
    )
    less = dataclasses.replace(STEADY, cores_per_host=needed - 1)
    assert simulate([Stage("solve", 1000.0, 40_000.0, 80)], less).goodput < 0.95


def test_a_fleet_takes_what_hosts_cannot_do_in_time_and_outlives_a_preemption():
    slow = dataclasses.replace(STEADY, hosts=1, cores_per_host=1)
    beside = dataclasses.replace(slow, members=4, cores_per_member=10)
    stage = Stage("solve", 1000.0, 10_000.0, 8)  # a shard every 125 s takes the host 1250 s, a member 125 s
    assert simulate([stage], slow).waiting_s == pytest.approx(125 + 8 * 1250 - 1000)
    assert simulate([stage], beside).waiting_s == pytest.approx(125)
    # The slice is preempted at the end of sampling, for longer than a member needs for the last shard.
    spot = dataclasses.replace(beside, preemptions_per_hour=0.5, restart_s=5000.0)
    for seed in range(200):
        found = simulate([stage], spot, seed)
        if found.preemptions == 1 and found.lost_s == 0:
            assert found.waiting_s < 125 and found.total_s == pytest.approx(1000 + found.waiting_s + 5000)
            return
    raise AssertionError("no seed took the slice away after the last shard")


def test_a_preemption_costs_the_restart_and_what_was_not_kept():
    spot = dataclasses.replace(STEADY, preemptions_per_hour=2.0, restart_s=300.0)
    runs = [simulate([Stage("train", 36_000.0, 0.0, 100)], spot, seed) for seed in range(40)]
    mean = sum(run.preemptions for run in runs) / 40
    assert 15 < mean < 30  # two an hour of work, in ten hours and a little
    for run in runs:
        assert run.busy_s == pytest.approx(36_000.0)
        assert run.away_s == run.preemptions * 300.0
        assert 0 <= run.lost_s <= run.preemptions * 360.0  # at most one part each
    coarse = [simulate([Stage("train", 36_000.0, 0.0, 10)], spot, seed) for seed in range(40)]
    assert sum(r.lost_s for r in coarse) > 3 * sum(r.lost_s for r in runs)


def test_the_slowest_of_many_hosts_sets_the_pace():
    few, many = (
        simulate([Stage("train", 1000.0, 0.0, 200)], dataclasses.replace(STEADY, hosts=n, straggling=0.05))
        for n in (1, 64)
    )
    assert few.busy_s < many.busy_s
    assert many.busy_s == pytest.approx(
        1000 * 1.127, rel=0.02
    )  # exp(0.05 x 2.37), the mean largest of 64 normals
    assert simulate([Stage("t", 1.0, 0.0, 5)], STEADY) == simulate([Stage("t", 1.0, 0.0, 5)], STEADY)
