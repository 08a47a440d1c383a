"""The bench through its command: one JSON line with the promised keys, in every dtype, and clear errors."""

import json

import jax
import pytest

from t5x_selfprog import machine, main
from t5x_selfprog.sampling import bench
from t5x_selfprog.sampling.sampler import SamplingConfig
from t5x_selfprog.training.flops import train_flops_per_token
from verifier.errors import UserError

TINY = ["--prompt=16", "--new=4", "--attempts=3", "--seq=32", "--batch=2", "--steps=1", "--json"]


def bench_json(capsys, *arguments: str) -> dict:
    assert main.main(["bench", *arguments]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize("dtypes", [[], ["--dtype=bfloat16", "--weights_dtype=int8", "--cache_dtype=int8"]])
def test_bench_sample(dtypes, capsys):
    row = bench_json(capsys, "sample", "--size=tiny", *TINY, *dtypes)
    assert row["new_tokens"] == 12 and row["attempts"] == 3
    for name in ("new_tokens_per_s", "completions_per_s", "compile_s", "peak_rss_gb", "bytes_per_step"):
        assert row[name] > 0
    assert row["bandwidth_share"] is None  # no data sheet for this CPU


def test_bench_sample_decodes_several_prompts_together(capsys):
    """Six attempts at each of two prompts, in 2 x 3 rows: twice through the grid, every row busy."""
    flags = ["--prompt=16", "--new=4", "--attempts=6", "--prompts=2", "--batch=6", "--prompts_in_flight=2"]
    row = bench_json(capsys, "sample", "--size=tiny", *flags, "--json")
    assert row["new_tokens"] == 48 and row["row_occupancy"] == 1.0
    assert row["decode_steps_per_s"] * row["decode_s"] == pytest.approx(8)


@pytest.mark.slow  # compiling it
def test_bench_train_on_a_models_shape(capsys):
    with jax.numpy_dtype_promotion("standard"):  # optax promotes dtypes
        row = bench_json(capsys, "train", "--model=base", "--remat=dots", *TINY)
    assert row["tokens"] == 64 and row["parameters"] > 5e6
    assert row["mfu"] is None and row["workspace_gb"] > 0 and row["compile_s"] > 0


def test_bench_attention(capsys):
    assert bench_json(capsys, "attention", "--dtype=bfloat16", *TINY)["worst"] == 0.0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["sample", "--size=3t"], "--size=3t"),
        (["sample", "--size=pythia_71m"], "did you mean pythia_70m?"),
        (["train", "--size=gpt_neo_2b"], "--size=gpt_neo_2b: no shape in gin/models"),
        (["sample", "--size=tiny", "--prompt=2048"], "exceed the model's context of 2048"),
        (["sample", "--size=tiny", "--batch=2", "--prompts_in_flight=4"], "--batch=2: fewer rows than"),
        (["train", "--size=tiny", "--remat=some"], "remat='some' is unknown"),
        (["attention", "--attention=sparse"], "--attention=sparse"),
    ],
)
def test_what_cannot_be_measured_is_named(flags, message, capsys):
    assert main.main(["bench", *flags]) == UserError.EXIT_CODE
    assert message in capsys.readouterr().err


def test_a_step_reads_weights_once_and_caches_by_their_spans():
    config = SamplingConfig(
        prompts_in_flight=1, rows_per_prompt=8, max_new_tokens=64, prompt_buckets=(512,),
        weights_dtype="bfloat16", cache_dtype="bfloat16",
    )  # fmt: skip
    model = bench.sized("125m")
    weights = 2 * 125.2e6
    entry = 2 * 12 * 64 * 2
    caches = entry * (6 * (512 + 8 * 32) + 6 * (256 + 8 * 32))
    moved = bench.roofline(model, config, 1.0)["bytes_per_step"]
    assert moved == pytest.approx(weights + caches, rel=0.02)


def test_peaks_and_flops_are_the_published_ones():
    assert machine.peak("TPU v5 lite").flops_per_s == 197e12
    assert machine.peak("TPU v5p").bytes_per_s > 2.7e12
    assert machine.peak("NVIDIA H200 141GB").bytes_per_s == 4.8e12
    assert machine.peak("cpu") is None
    flops = train_flops_per_token(bench.sized("125m"), 512)
    assert flops == pytest.approx(6 * 125.2e6 + 6 * 12 * 768 * 512, rel=0.02)
