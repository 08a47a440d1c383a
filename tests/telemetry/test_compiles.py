"""A program that is compiled again is counted and reported with the shapes that caused it."""

import contextlib

import jax
import jax.numpy as jnp

from t5x_selfprog.telemetry import recorder
from t5x_selfprog.telemetry.capture import Profile
from t5x_selfprog.telemetry.compiles import compiles
from t5x_selfprog.telemetry.sinks import read_lines
from t5x_selfprog.telemetry.watchdog import Watchdog


@contextlib.contextmanager
def observed(root):
    with recorder.observed(str(root), Watchdog(0), Profile()) as watch:
        yield watch


def lines(root, program):
    found = [line for line in read_lines(root / "metrics.jsonl") if line["kind"] == "compile"]
    return [line for line in found if line["program"] == program]


def test_a_recompilation_is_counted_and_named_with_its_new_shapes(tmp_path):
    @jax.jit
    def grows_by_shape(x, y):
        return x.sum() + y

    one, few, more = jnp.ones(()), jnp.ones(5), jnp.ones(7)
    with observed(tmp_path) as watch:
        before = compiles().totals()
        with watch.stage(str(tmp_path / "iter_002" / "6_checkpoints")):
            for x in (few, few, more, few):
                grows_by_shape(x, one)
        after = compiles().since(before)
        figures = watch.flush()
    assert after["compilations"] + after["cached_programs"] == 2 and after["compile_s"] > 0
    first, second = lines(tmp_path, "grows_by_shape")
    assert (first["times"], second["times"]) == (1, 2)
    assert (first["stage"], first["iteration"]) == ("6_checkpoints", 2)
    assert "new_shapes" not in first and second["new_shapes"] == "float32[7]"
    assert figures["compilations"]["slowest"]["grows_by_shape"]["times"] == 2


def test_the_name_that_we_give_stands_beside_the_functions(tmp_path):
    @jax.jit
    def inner(x):
        return x * 3

    argument = jnp.ones(3)
    with observed(tmp_path), compiles().naming("sampling load 128"):
        inner(argument)
    (line,) = lines(tmp_path, "sampling load 128")
    assert line["function"] == "jit(inner)"


def test_compiling_is_no_useful_time(tmp_path):
    @jax.jit
    def many_operations(x):
        for _ in range(300):
            x = jnp.sin(x) * 1.5
        return x

    argument = jnp.ones(4)
    with observed(tmp_path) as watch:
        with watch.part("train"):
            many_operations(argument).block_until_ready()
        parts = watch.flush()["parts"]
    assert parts["compile"] > parts["train"] > 0


def test_shapes_are_read_without_a_word_on_the_log(caplog):
    compiles()
    argument = jnp.ones(2)
    with caplog.at_level("DEBUG"):
        jax.jit(lambda x: x - 4)(argument)
    assert not [message for message in caplog.messages if "global shapes" in message]
