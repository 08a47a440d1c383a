"""The optimizer step and the loop: resumption is exact, layouts change nothing, the loss falls."""

import dataclasses
import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x_selfprog.model import network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.preemption import Preempted
from t5x_selfprog.telemetry import recorder
from t5x_selfprog.training import training_programs
from t5x_selfprog.training.batches import Batch, PackedDocuments
from t5x_selfprog.training.checkpoints import Checkpoints
from t5x_selfprog.training.optimizers import OptimizerConfig, make_optimizer, make_schedule
from t5x_selfprog.training.task import TrainingTask
from t5x_selfprog.training.train_loop import LoopConfig, NonFiniteLoss, train
from t5x_selfprog.training.train_step import TrainState, loss_sums, make_train_step
from verifier.errors import UserError

CONFIG = ModelConfig(101, 64, 32, 2, 4, 2, 8, 64)
ONE = MeshConfig(1, 1, 1)


@pytest.fixture(autouse=True)
def optax_promotion():
    """optax raises a float to an integer step in its bias correction, so its code does not pass strict promotion."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def source(seed=0):
    rng = np.random.default_rng(5)
    docs = [np.tile(rng.integers(2, 99, 4), rng.integers(2, 8)) for _ in range(60)]
    return PackedDocuments(docs, [1.0] * 60, batch_size=8, length=64, seed=seed)


def fresh():
    return network.init(CONFIG, jax.random.key(0))


def settings(name="adamw", learning_rate=3e-3, **changes):
    optimizer = OptimizerConfig(name, learning_rate, warmup_steps=2)
    return LoopConfig(optimizer, checkpoint_every=3, log_every=2, **changes)


def one_device():
    return Partitioner(ONE.make(jax.devices()[:1]))


def task(steps):
    return TrainingTask(source(), steps)


def assert_equal_trees(a, b, **tolerance):
    check = np.testing.assert_allclose if tolerance else np.testing.assert_array_equal
    jax.tree.map(lambda x, y: check(np.asarray(x), np.asarray(y), **tolerance), a, b)


# Adafactor's rate is relative to the size of each weight, and therefore larger.
@pytest.mark.parametrize(("name", "rate"), [("adamw", 3e-3), ("adafactor", 0.1), ("muon", 3e-3)])
def test_every_optimizer_learns_a_repeating_text(name, rate, tmp_path):
    train(settings(name, rate), CONFIG, fresh, task(40), str(tmp_path), one_device())
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.5


def test_a_stopped_run_resumes_to_the_same_weights(tmp_path):
    whole = train(settings(), CONFIG, fresh, task(5), str(tmp_path / "a"), one_device())
    directory, pieces = str(tmp_path / "b"), 0
    while (
        state := train(settings(), CONFIG, fresh, task(5), directory, one_device(), stop_after_s=0)
    ) is None:
        pieces += 1
    assert pieces == 4
    assert_equal_trees(whole.params, state.params)
    steps = [json.loads(line)["step"] for line in (tmp_path / "b" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [2, 4, 5]


def test_a_run_killed_after_its_last_checkpoint_is_over(tmp_path):
    """Hashing the weights of a large model takes minutes, so a kill between this checkpoint and done.json is likely."""
    directory, never = str(tmp_path), TrainingTask(None, 4)
    state = train(settings(), CONFIG, fresh, task(4), directory, one_device())
    with Checkpoints(directory) as checkpoints:
        assert not checkpoints.is_final(), "step 3, with its moments"
        checkpoints.save_final(4, state.params)
        assert checkpoints.is_final()
    lines = (tmp_path / "metrics.jsonl").read_bytes()
    stamp = {path: path.stat().st_mtime_ns for path in (tmp_path / "4").rglob("*")}
    mesh = Partitioner(MeshConfig(1, 4, 2).make())  # and elsewhere
    again = train(settings(), CONFIG, fresh, never, directory, mesh)
    assert_equal_trees(again.params, state.params)
    assert int(again.step) == 4 and (tmp_path / "metrics.jsonl").read_bytes() == lines
    with Checkpoints(directory) as checkpoints:
        checkpoints.save_final(4, again.params)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "4").rglob("*")} == stamp, (
        "not written again"
    )


def test_a_run_moves_to_another_mesh_halfway(tmp_path):
    alone = train(settings(), CONFIG, fresh, task(6), str(tmp_path / "a"), one_device())
    directory, mesh = str(tmp_path / "b"), Partitioner(MeshConfig(2, 2, 2).make())
    assert train(settings(), CONFIG, fresh, task(6), directory, mesh, stop_after_s=0) is None
    moved = train(settings(), CONFIG, fresh, task(6), directory, Partitioner(MeshConfig(1, 4, 2).make()))
    assert_equal_trees(alone.params, moved.params, rtol=2e-3, atol=2e-4)


def test_a_run_told_to_go_saves_and_goes_on_where_it_was(tmp_path):
    class Telling:
        def batch(self, step):
            if step == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return source().batch(step)

    before = signal.getsignal(signal.SIGTERM)
    alone = train(settings(), CONFIG, fresh, task(7), str(tmp_path / "a"), one_device())
    with pytest.raises(Preempted) as caught:
        train(settings(), CONFIG, fresh, TrainingTask(Telling(), 7), str(tmp_path / "b"), one_device())
    assert caught.value.code == 143 and signal.getsignal(signal.SIGTERM) == before
    with Checkpoints(str(tmp_path / "b")) as checkpoints:
        assert checkpoints.latest_step() == 3
    state = train(settings(), CONFIG, fresh, task(7), str(tmp_path / "b"), one_device())
    assert_equal_trees(alone.params, state.params)


def test_the_host_stays_within_two_steps_of_the_device(tmp_path, monkeypatch):
    """Otherwise a signal to stop would wait for as many steps as lie between two logged ones."""
    began, behind = [], []

    class Steps(recorder.Recorder):
        def step(self, what, number, ready):
            began.append(ready["loss"])

    monkeypatch.setattr(recorder, "current", Steps)
    rng = np.random.default_rng(0)
    docs = [rng.integers(2, 99, 64) for _ in range(32)]
    long = PackedDocuments(
        docs, [1.0] * 32, batch_size=16, length=64, seed=0
    )  # a step takes longer than to dispatch it

    def looking(step, params):
        behind.append(sum(not loss.is_ready() for loss in began))
        return long.batch(step)

    never = dataclasses.replace(settings(), log_every=100, checkpoint_every=0)
    train(never, CONFIG, fresh, TrainingTask(looking, 12), str(tmp_path), one_device())
    assert 1 <= max(behind) <= 2


def test_checkpoints_come_by_time_where_the_loss_is_logged(tmp_path):
    class Ending:
        def batch(self, step):
            if step == 5:
                raise KeyError("the machine is gone")
            return source().batch(step)

    for seconds, kept in ((0.0, 4), (1e9, None)):
        directory = str(tmp_path / f"{seconds}")
        loop = dataclasses.replace(settings(), checkpoint_every=0, checkpoint_every_s=seconds)  # logs every 2
        with pytest.raises(KeyError):
            train(loop, CONFIG, fresh, TrainingTask(Ending(), 7), directory, one_device())
        with Checkpoints(directory) as checkpoints:
            assert checkpoints.latest_step() == kept


def test_bfloat16_arithmetic_leaves_weights_in_float32(tmp_path):
    plain = train(settings(), CONFIG, fresh, task(6), str(tmp_path / "a"), one_device())
    coarse = train(settings(dtype="bfloat16"), CONFIG, fresh, task(6), str(tmp_path / "b"), one_device())
    for x, y in zip(jax.tree.leaves(plain.params), jax.tree.leaves(coarse.params), strict=True):
        assert y.dtype == jnp.float32
        np.testing.assert_allclose(x, y, atol=2e-2)
    assert any(
        (x != y).any() for x, y in zip(*map(jax.tree.leaves, (plain.params, coarse.params)), strict=True)
    )


def test_a_batch_that_does_not_divide_is_filled_with_rows_that_teach_nothing(tmp_path):
    odd = dataclasses.replace(source(), batch_size=3)
    alone = train(settings(), CONFIG, fresh, TrainingTask(odd, 4), str(tmp_path / "a"), one_device())
    wide = Partitioner(MeshConfig(8, 1, 1).make())
    spread = train(
        settings(accumulate=2), CONFIG, fresh, TrainingTask(odd, 4), str(tmp_path / "b"), wide
    )  # of 16 rows 3 are real
    assert_equal_trees(alone.params, spread.params, rtol=2e-3, atol=2e-4)


def test_accumulated_parts_make_the_same_update():
    schedule = make_schedule(OptimizerConfig("adamw", 1e-3), 10)
    optimizer = make_optimizer(OptimizerConfig("adamw", 1e-3), schedule, network.logical_axes(CONFIG))
    params = fresh()
    state = TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))
    batch = Batch(*map(jnp.asarray, source().batch(0)))
    whole, _ = make_train_step(CONFIG, optimizer)(state, batch)
    parts, _ = make_train_step(CONFIG, optimizer, accumulate=4, loss_chunk=16, remat=jax.checkpoint)(
        state, batch
    )
    assert_equal_trees(whole.params, parts.params, rtol=1e-3, atol=1e-6)


def test_the_loss_is_the_weighted_mean_negative_log_likelihood():
    params, batch = fresh(), source().batch(1)
    weights = np.random.default_rng(0).random(batch.weights.shape).astype(np.float32) * batch.weights
    batch = batch._replace(weights=weights)
    hidden = network.forward(CONFIG, params, batch.tokens, batch.positions, batch.segment_ids)
    logits = np.asarray(network.bind(CONFIG, params).logits(hidden), np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -(weights * np.take_along_axis(log_p, batch.targets[..., None], -1)[..., 0]).sum()
    total, weight = loss_sums(CONFIG, params, batch, loss_chunk=24)
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    np.testing.assert_allclose(weight, weights.sum(), rtol=1e-6)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    poisoned = jax.tree.map(lambda x: x * jnp.nan, fresh())
    with pytest.raises(NonFiniteLoss, match="step 2"):
        train(settings(), CONFIG, poisoned, task(4), str(tmp_path), one_device())


def test_out_of_memory_names_what_to_lower(tmp_path, monkeypatch):
    def exhausted(*_, **__):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 12 bytes.")

    monkeypatch.setattr(training_programs, "make_train_step", lambda *_, **__: exhausted)
    with pytest.raises(UserError, match=r"weights and optimizer .* 12 bytes.*LoopConfig.accumulate"):
        train(settings(), CONFIG, fresh, task(4), str(tmp_path), one_device())


@pytest.mark.parametrize("choice", [{"remat": "some"}, {"attention": "sparse"}])
def test_unknown_ways_to_run_are_named(choice):
    with pytest.raises(UserError, match=f"LoopConfig.{next(iter(choice))}={next(iter(choice.values()))!r}"):
        LoopConfig(**choice)


def test_wsd_is_flat_then_falls_to_zero():
    schedule = make_schedule(
        OptimizerConfig(learning_rate=1.0, schedule="wsd", warmup_steps=10, decay_steps=20), 100
    )
    values = np.array([schedule(i) for i in range(101)])
    assert (
        (np.diff(values[:10]) > 0).all() and np.allclose(values[10:80], 1.0) and np.isclose(values[90], 0.5)
    )
    assert np.isclose(values[100], 0.0)


@pytest.mark.parametrize("field", ["name", "schedule"])
def test_unknown_choices_are_named(field):
    config = OptimizerConfig(**{field: "adamax"})
    with pytest.raises(UserError, match="adamax"):
        make_optimizer(config, make_schedule(config, 10), network.logical_axes(CONFIG))
