"""A program is compiled once: what came of it is read the next time, and only of the same program."""

import jax
import jax.numpy as jnp
import pytest

from t5x_selfprog.plan import compiled


@pytest.fixture
def compiler(monkeypatch, tmp_path):
    """Counts what is compiled; the cache is a folder of the test's own."""
    monkeypatch.setenv(compiled.VARIABLE, str(tmp_path / "plans"))
    seen = []
    compile_ = compiled._compile
    monkeypatch.setattr(compiled, "_compile", lambda *a: seen.append(a) or compile_(*a))
    return seen


def lowered(scale: float):
    return jax.jit(lambda x: jnp.sin(x) * scale).lower(jax.ShapeDtypeStruct((8, 8), jnp.float32))


def test_the_second_time_is_the_first_read_again(compiler):
    devices = jax.devices()[:1]
    first = compiled.compiled(lowered(2.0), None, devices)
    again = compiled.compiled(lowered(2.0), None, devices)
    assert (
        len(compiler) == 1 and again == first and "HloModule" in again.text and again.held["arguments"] == 256
    )


@pytest.mark.parametrize("damage", [b"", b"\x1f\x8b half", None])
def test_one_that_is_damaged_is_compiled_again_and_kept(compiler, damage, tmp_path):
    devices = jax.devices()[:1]
    first = compiled.compiled(lowered(2.0), None, devices)
    (path,) = (tmp_path / "plans").iterdir()
    path.write_bytes(path.read_bytes()[:-9] if damage is None else damage)
    assert compiled.compiled(lowered(2.0), None, devices).held == first.held and len(compiler) == 2
    assert compiled.compiled(lowered(2.0), None, devices).held == first.held and len(compiler) == 2


def test_another_program_options_or_devices_are_compiled(compiler, monkeypatch):
    devices = jax.devices()
    compiled.compiled(lowered(2.0), None, devices[:1])
    compiled.compiled(lowered(3.0), None, devices[:1])
    compiled.compiled(lowered(2.0), {"xla_cpu_enable_fast_math": False}, devices[:1])
    compiled.compiled(lowered(2.0), None, devices[:2])
    assert len(compiler) == 4
    monkeypatch.setenv(compiled.VARIABLE, "")  # no cache
    compiled.compiled(lowered(2.0), None, devices[:1])
    assert len(compiler) == 5
