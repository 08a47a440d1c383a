"""Compiler options are in one place, where the trainer, the sampler and the plan read them."""

import jax
import numpy as np
import pytest

from t5x_selfprog import compiler_options
from t5x_selfprog.device_program import DeviceProgram
from t5x_selfprog.model import network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.plan import lowering
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.sampling.programs import Programs
from t5x_selfprog.training.batches import PackedDocuments
from t5x_selfprog.training.task import TrainingTask
from t5x_selfprog.training.train_loop import LoopConfig, train

TINY = ModelConfig(256, 256, 32, 2, 4, 2, 8, 64)


@pytest.fixture
def told(monkeypatch):
    """An option that every compiler refuses, so that whatever passes it on fails."""
    monkeypatch.setenv("SELFPROG_PLAN_CACHE", "")
    monkeypatch.setitem(compiler_options.OPTIONS, "cpu", {"xla_no_such_option": "true"})
    with jax.numpy_dtype_promotion("standard"):
        yield pytest.raises(Exception, match="xla_no_such_option")


def train_once(directory) -> None:
    one = Partitioner(MeshConfig(1, 1, 1).make(jax.devices()[:1]))
    rows = PackedDocuments([np.arange(2, 30)] * 4, [1.0] * 4, 2, 32, seed=0)
    task = TrainingTask(rows, 1)
    train(LoopConfig(), TINY, lambda: network.init(TINY, jax.random.key(0)), task, str(directory), one)


def test_the_trainer_tells_the_compiler(told, tmp_path):
    with told:
        train_once(tmp_path)


@pytest.mark.parametrize("mesh", [None, MeshConfig(2, 2, 2)])
def test_the_sampler_tells_the_compiler(told, mesh):
    partitioner = None if mesh is None else Partitioner(mesh.make())
    with told:
        Programs("told").get(
            DeviceProgram(
                f"double {mesh}", lambda x: 2 * x, (np.ones(8, np.float32),), partitioner=partitioner
            )
        )


def test_the_plan_tells_the_compiler(told):
    partitioner = Partitioner(MeshConfig(2, 2, 2).make())
    with told:
        lowering.train_step(partitioner, TINY, lowering.Learner(LoopConfig(remat="full")), 8, 64)
    sampling = SamplingConfig(prompts_in_flight=8, rows_per_prompt=2, max_new_tokens=8, prompts_per_load=4)
    with told:
        lowering.SamplingPrograms(partitioner.for_sampling(2), TINY, sampling, 16, 64).decode()


def test_on_tpus_windowed_einsums_are_off_and_other_devices_have_their_defaults():
    found = compiler_options.compiler_options("tpu")
    assert found and all("windowed_einsum" in name and value == "false" for name, value in found.items())
    assert (
        compiler_options.compiler_options("cpu") is None and compiler_options.compiler_options("gpu") is None
    )
