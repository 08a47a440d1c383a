"""Our trainer follows a torch AdamW run step by step, with every way of saving memory."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x_selfprog.model import network
from t5x_selfprog.training.optimizers import make_optimizer, make_schedule
from t5x_selfprog.training.train_loop import LoopConfig
from t5x_selfprog.training.train_step import TrainState, make_train_step
from tests.training import torch_reference
from tests.training.torch_reference import CONFIG, OPTIMIZER, STEPS


def our_losses(steps: int = STEPS, loss_chunk: int = 20, **loop) -> list[float]:
    """The mean loss before each update."""
    with jax.numpy_dtype_promotion("standard"):  # optax is not strict
        schedule = make_schedule(OPTIMIZER, STEPS)
        optimizer = make_optimizer(OPTIMIZER, schedule, network.logical_axes(CONFIG))
        options = LoopConfig(**loop).forward_options(CONFIG)
        step_fn = jax.jit(
            make_train_step(CONFIG, optimizer, loss_chunk=loss_chunk, **options),
            compiler_options={"xla_backend_optimization_level": 0},
        )
        params = jax.tree.map(jnp.asarray, torch_reference.initial_params())
        state = TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))
        data, losses = torch_reference.source(), []
        for step in range(steps):
            state, metrics = step_fn(state, data.batch(step))
            losses.append(float(metrics["loss"]))
    return losses


@pytest.fixture(scope="module")
def ours() -> list[float]:
    return our_losses()


def test_fifty_steps_equal_torch_as_recorded(ours):
    golden = json.loads(torch_reference.GOLDEN.read_text())["losses"]
    assert np.mean(golden[-5:]) < golden[0] - 1.0  # the model learnt something
    np.testing.assert_allclose(ours, golden, rtol=1e-4)


def test_fifty_steps_equal_torch_here(ours):
    pytest.importorskip("torch", reason="torch is not installed; the recorded curve stands for it")
    np.testing.assert_allclose(ours, torch_reference.torch_losses(), rtol=1e-4)


@pytest.mark.parametrize("loop", [{"remat": "dots"}, {"remat": "full", "unroll": -1}], ids=str)
def test_what_is_recomputed_changes_nothing(ours, loop):
    np.testing.assert_allclose(our_losses(4, loss_chunk=48, **loop), ours[:4], rtol=1e-5)
