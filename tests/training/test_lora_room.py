"""What training adapters takes of a device: as much as is there, and less than the whole model does."""

import jax
import numpy as np
import pytest

from t5x_selfprog.model import device_room, network, store
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.plan import command, lowering
from t5x_selfprog.run_dir import open_run
from t5x_selfprog.stages.context import Context, Experiment
from t5x_selfprog.training.lora import Lora
from t5x_selfprog.training.lora_room import axes_of, largest, phases
from t5x_selfprog.training.optimizers import OptimizerConfig, make_optimizer
from t5x_selfprog.training.train_loop import LoopConfig
from tests.sampling.byte_model import random_params, tiny_config
from verifier.errors import UserError

CONFIG = tiny_config(embed_dim=64)
LARGE = ModelConfig(50257, 2048, 2048, 24, 16, 16, 128, 8192)


def optimizer(lora, config=CONFIG):
    return make_optimizer(OptimizerConfig(), lambda step: 0.0, axes_of(config, lora))


def on_one(tree, device):
    return sum(
        s.data.nbytes for x in jax.tree.leaves(tree) for s in x.addressable_shards if s.device == device
    )


@pytest.fixture(scope="module")
def split():
    return Partitioner(MeshConfig(data=1, fsdp=8).make())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_what_is_counted_is_what_is_there(split, dtype):
    lora, first = Lora(rank=4, base_dtype=dtype), jax.devices()[0]
    axes = network.logical_axes(CONFIG)
    params = jax.device_put(
        random_params(CONFIG), split.param_shardings(axes, network.abstract_params(CONFIG))
    )
    held = lora.frozen(CONFIG, params, split)
    narrowing, trained, merging = phases(CONFIG, lora, optimizer(lora), split)
    assert trained[0].num_bytes == on_one(held, first) and dtype in trained[0].what
    adapters = lora.init(CONFIG, 0)
    placed = jax.device_put(adapters, split.param_shardings(lora.axes(CONFIG), lora.abstract(CONFIG)))
    assert trained[1].num_bytes == trained[2].num_bytes == on_one(placed, first)
    moments = optimizer(lora).init(adapters)
    whole = sum(np.asarray(x).nbytes for x in jax.tree.leaves(adapters))
    share = sum(np.asarray(x).nbytes for x in jax.tree.leaves(moments)) * trained[1].num_bytes / whole
    assert trained[3].num_bytes == pytest.approx(share, rel=1e-3)
    assert sum(part.num_bytes for part in narrowing) >= on_one(params, first)
    assert [part.num_bytes for part in merging][::2] == [on_one(params, first)] * 2


def test_the_phase_that_holds_the_most_decides(split):
    for dtype in ("float32", "int8"):
        lora = Lora(rank=1, targets=("query",), base_dtype=dtype)
        assert "merged weights" in {part.what for part in largest(CONFIG, lora, optimizer(lora), split)}
    everything = Lora(rank=512)
    assert "adapters" in {part.what for part in largest(CONFIG, everything, optimizer(everything), split)}


def test_a_model_too_large_to_be_trained_whole_may_have_adapters(tmp_path, monkeypatch):
    folder = str(tmp_path / "model")
    store.save(folder, CONFIG, random_params(CONFIG), store.resolve("base"))
    context = Context(open_run(tmp_path / "run", {}), Experiment(base=folder, shards=1))
    context.partitioner = Partitioner(MeshConfig(1, 1, 1).make(jax.devices()[:1]))
    weights = 4 * network.num_params(CONFIG)
    monkeypatch.setattr(device_room, "device_bytes", lambda devices: (3 * weights, "this device"))
    with pytest.raises(UserError, match="the optimizer's state"):
        context.require_room(folder, loop=LoopConfig())
    context.require_room(folder, loop=LoopConfig(), lora=Lora(rank=2))
    monkeypatch.setattr(device_room, "device_bytes", lambda devices: (weights, "this device"))
    with pytest.raises(UserError, match=r"merged weights .*Lora.base_dtype = 'int8'"):
        context.require_room(folder, loop=LoopConfig(), lora=Lora(rank=2))


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_plan_of_adapters_holds_the_base_and_no_moments_of_it(split, dtype):
    """The compiled step's arguments on a device are the frozen base, the adapters with two moments, and the batch."""
    before = jax.config.jax_numpy_dtype_promotion
    jax.config.update("jax_numpy_dtype_promotion", "standard")
    lora = Lora(rank=4, base_dtype=dtype)
    try:
        planned = lowering.train_step(split, CONFIG, lowering.Learner(LoopConfig(), lora), 8, 64)
        merged = lowering.merging(split, CONFIG, lora)
    finally:
        jax.config.update("jax_numpy_dtype_promotion", before)
    _, trained, merging = phases(CONFIG, lora, optimizer(lora), split)
    base, adapters, _, moments = (part.num_bytes for part in trained)
    assert planned.bytes["arguments"] == pytest.approx(base + adapters + moments + 5 * 4 * 64, rel=0.02)
    loaded = merging[0].num_bytes
    assert merged.bytes["arguments"] + merged.bytes["results"] == pytest.approx(
        2 * loaded + adapters, rel=0.02
    )


def test_a_plan_that_does_not_fit_says_what_adapters_would_take(split):
    said = command.adapters_way(split, LARGE, LoopConfig())
    lora = Lora(base_dtype="int8")
    most = sum(part.num_bytes for part in largest(LARGE, lora, optimizer(lora, LARGE), split)) / 2**30
    whole = 4 * device_room.loaded(LARGE, split).num_bytes / 2**30
    assert f"{most:.2f} GiB of weights and state a chip at most, in place of {whole:.2f}" in said
