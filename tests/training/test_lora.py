"""Adapters: the function is the merged model's, the base stays, a killed run ends in the same bytes."""

import dataclasses
import functools
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x_selfprog.model import low_rank
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.int8 import quantize
from t5x_selfprog.model.low_rank import LowRank
from t5x_selfprog.model.products import project
from t5x_selfprog.preemption import Preempted
from t5x_selfprog.training.batches import PackedDocuments
from t5x_selfprog.training.learning import AdaptersAlone
from t5x_selfprog.training.lora import Lora
from t5x_selfprog.training.task import TrainingTask
from t5x_selfprog.training.train_loop import train
from t5x_selfprog.training.train_step import loss_sums
from tests.sampling.byte_model import random_params
from tests.training.test_train_loop import assert_equal_trees, one_device, settings
from verifier.errors import UserError

CONFIG = ModelConfig(61, 32, 16, 2, 4, 2, 8, 24, biases=("qkv",))
LORA = Lora(rank=3, alpha=6.0)


@pytest.fixture(autouse=True)
def optax_promotion():
    base()  # before anything is traced
    with jax.numpy_dtype_promotion("standard"):
        yield


@functools.cache
def base():
    return random_params(CONFIG)


def drawn(lora=LORA, config=CONFIG, seed=1):
    """Adapters that change something."""
    random = np.random.default_rng(seed)
    draw = lambda leaf: random.normal(0, 0.3, leaf.shape).astype(np.float32)  # noqa: E731
    return jax.tree.map(draw, lora.abstract(config))


def jitted(function):
    """Compiled with little effort: these models are tiny."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


@functools.cache
def _loss():
    return jitted(lambda params, batch: loss_sums(CONFIG, params, batch, 32)[0])


@functools.cache
def _merge(scale):
    return jitted(lambda params, adapters: low_rank.merged(params, adapters, scale))


def merged(adapters, scale=LORA.scale):
    return _merge(scale)(base(), adapters)


def loss_of(params):
    return float(_loss()(params, documents().batch(0)))


def documents():
    random = np.random.default_rng(5)
    docs = [np.tile(random.integers(2, 60, 4), 4) for _ in range(24)]
    return PackedDocuments(docs, [1.0] * len(docs), batch_size=4, length=32, seed=0)


@pytest.mark.parametrize(("contracted", "kernel"), [(1, (6, 2, 5)), (2, (2, 5, 6))])
@pytest.mark.parametrize("narrow", [False, True])
def test_a_projection_adds_the_product_to_its_kernel(contracted, kernel, narrow):
    random = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(random.normal(size=shape), jnp.float32)  # noqa: E731
    inputs, outputs = kernel[:contracted], kernel[contracted:]
    x, w, a, b = draw(3, 4, *inputs), draw(*kernel), draw(*inputs, 2), draw(2, *outputs)
    held = quantize(w, tuple(range(contracted))) if narrow else w
    whole = (held.values * held.scale if narrow else w) + jnp.tensordot(a, b, 1)
    with jax.default_matmul_precision("highest"):
        found, to_x = jax.vjp(lambda x: project(x, LowRank(held, a, b), contracted), x)
        wanted, to_x_wanted = jax.vjp(lambda x: jnp.tensordot(x, whole, contracted), x)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(to_x(found)[0], to_x_wanted(found)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("targets", [("query", "down"), ("key", "value", "out", "gate", "up")])
def test_loss_and_gradients_are_those_of_the_merged_model(targets):
    lora = Lora(rank=2, alpha=5.0, targets=targets)
    adapters, batch = drawn(lora), documents().batch(0)

    def adapted(adapters):
        return loss_sums(CONFIG, low_rank.adapted(base(), adapters, lora.scale), batch, 32)[0]

    def summed(adapters):
        return loss_sums(CONFIG, low_rank.merged(base(), adapters, lora.scale), batch, 32)[0]

    with jax.default_matmul_precision("highest"):
        found, wanted = (jitted(jax.value_and_grad(f))(adapters) for f in (adapted, summed))
    assert_equal_trees(found, wanted, rtol=2e-4, atol=2e-4)
    assert float(found[0]) != pytest.approx(loss_of(base()), rel=1e-3)
    assert {name for _, name in low_rank.projections(adapters)} == set(targets)


def test_fresh_adapters_change_nothing_and_do_not_depend_on_each_other():
    fresh = LORA.init(CONFIG, seed=7)
    assert_equal_trees(merged(fresh), base())
    alone = dataclasses.replace(LORA, targets=("up",)).init(CONFIG, seed=7)
    assert_equal_trees(alone["mlp"]["up"], fresh["mlp"]["up"])
    query, down = fresh["attention"]["query"]["a"], fresh["mlp"]["down"]["a"]
    assert 0.2 < np.abs(query).max() <= 16**-0.5 and 0.17 < np.abs(down).max() <= 24**-0.5
    assert (query != LORA.init(CONFIG, seed=8)["attention"]["query"]["a"]).all()


def learn(directory, steps=8, lora=LORA, source=None):
    learning = AdaptersAlone(lora, lora.frozen(CONFIG, base()))
    return train(
        settings(learning_rate=2e-2), CONFIG, lambda: lora.init(CONFIG, 0),
        TrainingTask(source or documents(), steps, learning), str(directory), one_device(),
    )  # fmt: skip


def test_training_changes_adapters_alone_and_learns(tmp_path):
    before = jax.tree.map(np.array, base())
    state = learn(tmp_path / "whole", steps=30)
    assert_equal_trees(base(), before)
    assert loss_of(merged(state.params)) < 0.9 * loss_of(base())
    assert jax.tree.structure(state.params) == jax.tree.structure(LORA.abstract(CONFIG))


class Told:
    """Batches of another source; a signal comes with one of them."""

    def __init__(self, step):
        self._step, self._source = step, documents()

    def batch(self, step):
        if step == self._step:
            os.kill(os.getpid(), signal.SIGTERM)
        return self._source.batch(step)


@pytest.mark.slow
def test_a_killed_training_ends_in_the_same_bytes(tmp_path):
    whole = learn(tmp_path / "whole")
    with pytest.raises(Preempted):
        learn(tmp_path / "killed", source=Told(4))
    assert_equal_trees(learn(tmp_path / "killed").params, whole.params)


@pytest.mark.parametrize("dtype", [pytest.param("bfloat16", marks=pytest.mark.slow), "int8"])
def test_a_base_in_fewer_bytes_learns_alike(tmp_path, dtype):
    narrow = dataclasses.replace(LORA, base_dtype=dtype)
    frozen = narrow.frozen(CONFIG, base())
    size = lambda tree: sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))  # noqa: E731
    assert size(frozen) < (0.62 if dtype == "bfloat16" else 0.5) * size(base())
    state, whole = learn(tmp_path / dtype, lora=narrow), learn(tmp_path / "float32")
    losses = [loss_of(merged(s.params)) for s in (state, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rank": 0}, "Lora.rank=0"),
        ({"alpha": 0.0}, "Lora.alpha=0.0"),
        ({"alpha": float("nan")}, "Lora.alpha=nan"),
        ({"targets": ()}, "Lora.targets"),
        ({"targets": ("q_proj",)}, "choose some of query, key"),
        ({"base_dtype": "int4"}, "Lora.base_dtype='int4'"),
    ],
)
def test_a_bad_choice_is_named(changes, words):
    with pytest.raises(UserError, match=words):
        Lora(**changes)


def test_a_model_without_gates_has_no_adapters_there():
    plain = dataclasses.replace(CONFIG, mlp="gelu")
    assert "gate" not in LORA.abstract(plain)["mlp"] and "up" in LORA.abstract(plain)["mlp"]
