"""The kernels of a decoding step on a GPU, counted in programs compiled without one, so that none creeps in again."""

import json
import os
import subprocess
import sys

import pytest

from t5x_selfprog.plan import cuda

SHAPES = {  # rows and prompts of `scripts/measure/count_kernels.py`, on the smallest of the published shapes
    "a_head_of_keys_each": ["--size=tiny"],  # GPT-Neo: LayerNorm, learned positions, one matrix up
    "seven_heads_share_keys": ["--size=11m"],  # Llama: RMSNorm, rotary, gated
}
KERNELS_A_LAYER = {  # at most; a product that the compiler splits along its sums counts twice
    ("a_head_of_keys_each", "plain"): 26,
    ("seven_heads_share_keys", "plain"): 26,
    ("a_head_of_keys_each", "triton"): 16,
    ("seven_heads_share_keys", "triton"): 16,
}


def counts(repository, *flags: str) -> dict:
    """Counts in a separate process, because the compiler registers itself with JAX permanently."""
    command = [
        sys.executable,
        str(repository / "scripts" / "measure" / "count_kernels.py"),
        "--groups=4",
        "--rows=16",
        *flags,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    if "No CUDA compiler" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "shape, attention",
    [
        pytest.param(*case, marks=[] if case == ("seven_heads_share_keys", "triton") else pytest.mark.slow)
        for case in KERNELS_A_LAYER
    ],
)
def test_a_layer_has_few_kernels_and_no_cache_is_copied(repository, shape, attention):
    found = counts(repository, *SHAPES[shape], "--prompt=64", "--new=32", f"--attention={attention}")
    assert found["kernels_a_layer"] <= KERNELS_A_LAYER[shape, attention], found
    assert found["outside_bytes_a_layer"] == 0, "caches are copied into or out of every chunk"


def test_prompts_are_computed_by_few_kernels(repository):
    """In query blocks of a CPU's size they would be 54, and take twice as long to compile."""
    found = counts(
        repository,
        *("--size=11m", "--program=load", "--layers=1", "--prompt=384", "--prefix=64", "--together=4"),
    )
    assert found["kernels"] <= 42, found


def test_top_p_costs_few_passes(repository):
    flags = ["--size=tiny", "--layers=1", "--prompt=64", "--new=32"]
    without, cut = (counts(repository, *flags, f"--top_p={p}")["kernels"] for p in (1.0, 0.9))
    assert cut - without <= 8 * 3 + 4  # a pass is at most two reductions and a choice


def test_the_count_is_of_the_loop_and_of_what_stands_around_it():
    """On a minimal program."""
    text = """
%body (p: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %p = (s32[], f32[8,4]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %x = f32[8,4]{1,0} get-tuple-element(%p), index=1
  %loop_add = f32[8,4]{1,0} fusion(%x), kind=kLoop, calls=%fused
  ROOT %t = (s32[], f32[8,4]{1,0}) tuple(%i, %loop_add)
}
ENTRY %main (a: f32[4,8]) -> f32[8,4] {
  %a = f32[4,8]{1,0} parameter(0)
  %wrapped_transpose = f32[8,4]{1,0} fusion(%a), kind=kInput, calls=%other
  %tuple = (s32[], f32[8,4]{1,0}) tuple(%wrapped_transpose)
  %while = (s32[], f32[8,4]{1,0}) while(%tuple), condition=%c, body=%body
  ROOT %out = f32[8,4]{1,0} get-tuple-element(%while), index=1
}
"""
    assert cuda.count(text) == cuda.Counts(kernels=1, bytes=2 * 128, outside_bytes=128)


def test_a_missing_compiler_is_said_with_what_to_install(repository, tmp_path):
    script = str(repository / "scripts" / "measure" / "count_kernels.py")
    environment = {**os.environ, cuda.VARIABLE: str(tmp_path)}
    done = subprocess.run(
        [sys.executable, script, "--size=tiny"], capture_output=True, text=True, env=environment, timeout=300
    )
    if done.returncode == 0:
        pytest.skip("CUDA's compiler is installed here")
    assert "pip install jax-cuda12-plugin" in done.stderr and "Traceback" not in done.stderr
