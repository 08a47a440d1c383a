"""Wall time in parts: nothing is missing or counted twice, despite nesting, exceptions and other threads."""

import random
import threading
import time

import pytest

from t5x_selfprog.telemetry.clock import PARTS, Clock


def total(clock: Clock) -> float:
    return sum(seconds for parts in clock.read().values() for seconds in parts.values())


def test_parts_sum_to_the_wall_time_whatever_is_nested():
    clock, draw = Clock(), random.Random(0)

    def nest(depth: int) -> None:
        for _ in range(3):
            with clock.part(draw.choice(PARTS)), clock.stage(draw.choice("ab")):
                time.sleep(0.002)
                if depth:
                    nest(depth - 1)

    nest(2)
    assert total(clock) == pytest.approx(time.monotonic() - clock.started, abs=1e-3)


def test_time_belongs_to_the_innermost_part_and_to_the_stage_of_the_moment():
    clock = Clock()
    with clock.stage("training"), clock.part("train"):
        time.sleep(0.05)
        with clock.part("save"):
            time.sleep(0.1)
    found = clock.read()["training"]
    assert 0.05 <= found["train"] < 0.09 and 0.1 <= found["save"] < 0.14


def test_what_raises_closes_what_it_opened():
    clock = Clock()
    with pytest.raises(RuntimeError), clock.part("train"):
        clock.begin("compile")  # never ended: the compiler raised
        raise RuntimeError
    time.sleep(0.03)
    assert clock.read()[""]["host"] >= 0.03 and clock.seconds("train", "compile") < 0.02


def test_another_thread_counts_nothing():
    clock = Clock()

    def elsewhere() -> None:
        with clock.part("train"), clock.stage("other"):
            time.sleep(0.03)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert list(clock.read()) == [""] and list(clock.read()[""]) == ["host"]
