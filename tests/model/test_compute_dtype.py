"""A model computes in bfloat16 only where the device can, and otherwise reports what it does instead."""

import dataclasses

import numpy as np
import pytest

from t5x_selfprog.model import compute_dtype, store
from t5x_selfprog.model.compute_dtype import has_bfloat16_units, on_this_device
from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.stages.likelihoods import log_likelihoods
from t5x_selfprog.training import training_programs
from t5x_selfprog.training.batches import PackedDocuments
from t5x_selfprog.training.task import TrainingTask
from t5x_selfprog.training.train_loop import LoopConfig, train
from tests.sampling.byte_model import random_params, tiny_config

NARROW = tiny_config(dtype="bfloat16")


@pytest.fixture(params=[True, False], ids=["units", "no units"])
def units(request, monkeypatch) -> bool:
    monkeypatch.setattr(compute_dtype, "has_bfloat16_units", lambda: request.param)
    compute_dtype._say.cache_clear()
    return request.param


def test_the_type_is_the_devices_and_what_changes_is_said_once(units, capsys):
    assert on_this_device(NARROW, "how else").dtype == ("bfloat16" if units else "float32")
    assert dataclasses.replace(on_this_device(NARROW, "how else"), dtype="bfloat16") == NARROW
    assert on_this_device(tiny_config(), "how else").dtype == "float32"
    said = capsys.readouterr().err
    assert said.count("no bfloat16 units") == (0 if units else 1) and ("how else" in said) != units


def test_an_accelerator_keeps_what_was_published(monkeypatch):
    monkeypatch.setattr(compute_dtype, "has_bfloat16_units", lambda: False)
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    assert on_this_device(NARROW, "").dtype == "bfloat16"


@pytest.mark.parametrize("asked", [None, "bfloat16", "float32"])
def test_training_computes_in_it_unless_gin_says_otherwise(asked, units, tmp_path, monkeypatch, capsys):
    computed = []

    def spy(config, *args, **kwargs):
        computed.append(config.dtype)
        raise KeyboardInterrupt  # before anything is compiled

    monkeypatch.setattr(training_programs, "make_train_step", spy)
    source = PackedDocuments([np.arange(2, 18)], [1.0], 1, 16, seed=0)
    with pytest.raises(KeyboardInterrupt):
        partitioner, task = Partitioner(MeshConfig().make()), TrainingTask(source, 1)
        train(LoopConfig(dtype=asked), NARROW, random_params(NARROW), task, str(tmp_path), partitioner)
    assert computed == [asked or ("bfloat16" if units else "float32")]
    assert ("LoopConfig.dtype='bfloat16'" in capsys.readouterr().err) == (asked is None and not units)


def test_likelihoods_of_a_bfloat16_model_are_those_of_float32_without_units(monkeypatch):
    monkeypatch.setattr(compute_dtype, "has_bfloat16_units", lambda: False)
    model = store.load("base")
    narrow = dataclasses.replace(model, config=dataclasses.replace(model.config, dtype="bfloat16"))
    wide = dataclasses.replace(model, config=dataclasses.replace(model.config, dtype="float32"))
    texts = ["def f(x: int):\n    return x == 7\n"]
    assert log_likelihoods(narrow, texts) == log_likelihoods(wide, texts)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\n", True),
        ("processor\t: 0\nflags\t\t: fpu avx2 amx_bf16 amx_tile\n", True),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", True),
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512f\nbugs\t: bf16\n", False),
    ],
)
def test_a_cpu_is_asked_what_it_can(text, expected, tmp_path):
    (tmp_path / "cpuinfo").write_text(text)
    assert has_bfloat16_units(str(tmp_path / "cpuinfo")) is expected
    assert has_bfloat16_units(str(tmp_path / "absent")) is False
