"""What a run compiles is what the plan lowers, character for character: neither has a description of its own."""

import collections
import contextlib
import functools
import hashlib
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from t5x_selfprog import partitioning
from t5x_selfprog.device_program import DeviceProgram
from t5x_selfprog.model import network, store
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.plan import lowering
from t5x_selfprog.plan.compiled import Compiled
from t5x_selfprog.sampling.bench import Numbers
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.sampling.sampler import Request, Sampler
from t5x_selfprog.stages import policy_learning
from t5x_selfprog.stages.policy_settings import PolicyTraining
from t5x_selfprog.training.batches import PackedDocuments
from t5x_selfprog.training.learning import WHOLE, AdaptersAlone
from t5x_selfprog.training.loop_config import LoopConfig
from t5x_selfprog.training.lora import Lora
from t5x_selfprog.training.policy_gradient import PolicyGradient
from t5x_selfprog.training.rollouts import Groups, Rollout
from t5x_selfprog.training.task import TrainingTask
from t5x_selfprog.training.train_loop import train
from t5x_selfprog.training.training_programs import TrainingPrograms
from tests.sampling.byte_model import random_params

MODEL = ModelConfig(256, 96, 32, 1, 4, 2, 8, 48)
LORA = Lora(rank=2, targets=("query",), base_dtype="int8")
SAMPLING = SamplingConfig(
    prompts_in_flight=8, rows_per_prompt=2, max_new_tokens=8, prompt_buckets=(16,), prompts_per_load=1,
    chunk_steps=4, tail_prompts=(4,), weights_dtype="bfloat16", cache_dtype="int8",
)  # fmt: skip
PREFIX = "5 6 7"
ROWS, LENGTH = 8, 32


class Vocabulary(Numbers):
    end_ids = (0,)  # what the plan assumes: only the tokenizer knows


@pytest.fixture(scope="module")
def loaded() -> Partitioner:
    return Partitioner(MeshConfig(2, 2, 2).make())


@pytest.fixture
def compiled_here(tmp_path):
    """A function that returns the texts of all that JAX has compiled since the test began, by module name."""
    settings = {
        "jax_dump_ir_to": str(tmp_path / "programs"),
        "jax_include_debug_info_in_dumps": False,
        "jax_numpy_dtype_promotion": "standard",  # optax is not strict
    }
    before = {name: jax.config.values[name] for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    yield lambda: prints(path.read_text() for path in (tmp_path / "programs").glob("*_compile.mlir"))
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture
def planned(monkeypatch):
    """Lowers what it is given as the plan does, without compiling: the programs' texts by module name."""
    texts: list[str] = []
    nothing = Compiled("", {}, 0.0, "not compiled")
    monkeypatch.setattr(lowering, "compiled", lambda low, *_: texts.append(low.as_text()) or nothing)

    def of(*jobs) -> dict[str, set[str]]:
        for job in jobs:
            job()
        return prints(texts)

    return of


def prints(texts) -> dict[str, set[str]]:
    """Fingerprints of programs by the names of their modules."""
    found = collections.defaultdict(set)
    for text in texts:
        head = text.split("@", 1)[1]
        found[head[: head.index(" ")]].add(hashlib.sha256(text.strip().encode()).hexdigest())
    return found


def weights(partitioner: Partitioner):
    shardings = partitioner.param_shardings(network.logical_axes(MODEL), network.abstract_params(MODEL))
    return jax.device_put(random_params(MODEL), shardings)


def test_the_sampler_compiles_what_the_plan_lowers(loaded, planned, compiled_here):
    partitioner = loaded.for_sampling(2)
    sampler = Sampler(
        MODEL, weights(loaded), Vocabulary(MODEL.vocab_size), SAMPLING, checkpoint="a", prefix=PREFIX,
        partitioner=partitioner,
    )  # fmt: skip
    sampler.warm_up()
    ran = compiled_here()
    assert [len(done) for done in sampler.sample([Request("x", "9", 3)], jax.random.key(0))] == [3]
    assert {name: compiled_here()[name] for name in ran} == ran  # all that sampling needs was there

    plan = lowering.SamplingPrograms(partitioner, MODEL, SAMPLING, 3, 16)
    costly = planned(plan.decode, plan.prefill, lambda: plan.cut(loaded))
    assert set(costly) == {"jit_decode_chunk", "jit_load_prompts", "jit_cut"}
    assert all(len(texts) == 1 and texts <= ran[name] for name, texts in costly.items())
    everything = prints(program.lower().as_text() for program in plan.blueprint.everything())
    assert {name: ran[name] for name in everything} == everything and len(everything) == 6
    assert len(everything["jit_decode_chunk"]) == 2  # the grid, and the smaller one for its last rows


@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "adapters"])
def test_the_trainer_compiles_what_the_plan_lowers(lora, loaded, planned, compiled_here, tmp_path):
    loop = LoopConfig(remat="dots", dtype="bfloat16", accumulate=2)
    documents = PackedDocuments([np.arange(1, LENGTH)] * ROWS, [1.0] * ROWS, ROWS, LENGTH, seed=0)
    base = weights(loaded)
    learning = WHOLE if lora is None else AdaptersAlone(lora, lora.frozen(MODEL, base, loaded))
    start = (lambda: base) if lora is None else (lambda: lora.init(MODEL, 0))
    task = TrainingTask(documents, lowering.SCHEDULED, learning)
    assert train(loop, MODEL, start, task, str(tmp_path / "run"), loaded, stop_after_s=0.0) is None
    jobs = [lambda: lowering.train_step(loaded, MODEL, lowering.Learner(loop, lora), ROWS, LENGTH)]
    if lora is not None:
        whole = lora.merging(MODEL, loaded).jitted(base, place(lora, loaded))
        assert jax.tree.map(jax.numpy.shape, whole) == jax.tree.map(jax.numpy.shape, base)
        jobs += [
            lambda: lowering.narrowing_of_base(loaded, MODEL, lora),
            lambda: lowering.merging(loaded, MODEL, lora),
        ]
    ran, costly = compiled_here(), planned(*jobs)
    assert sum(map(len, costly.values())) == len(jobs) and len(costly["jit_train_step"]) == 1
    assert {name: ran[name] for name in costly} == costly
    programs = TrainingPrograms(loop, loop.computing(MODEL), loaded, lowering.SCHEDULED, learning)
    moments = programs.moments().of(programs.state_shape().params)
    assert prints([moments.lower().as_text()]) == {"jit_init_fn": ran["jit_init_fn"]}


@pytest.mark.parametrize("lora", [None, Lora(rank=2, targets=("query",))], ids=["whole", "adapters"])
def test_a_policy_gradient_compiles_what_the_plan_lowers(lora, loaded, planned, compiled_here, tmp_path):
    """The stage's own learning, from made-up attempts: its step, what the base thinks of them, and the merge."""
    objective = PolicyGradient(kl=0.1)
    loop = LoopConfig(remat="dots", dtype="bfloat16", accumulate=2)
    training = PolicyTraining(objective, loop, lora, batches=2, attempts=2, updates=2, length=LENGTH)
    base = store.LoadedModel(MODEL, weights(loaded), Vocabulary(MODEL.vocab_size), "a", store.resolve("base"))
    context = SimpleNamespace(
        model=lambda _: base, experiment=SimpleNamespace(base="base", seed=0), partitioner=loaded
    )
    session = policy_learning.Session(context, 0, base, str(tmp_path / "run"), None)
    each = [Rollout(np.arange(1, 20), np.arange(3, 9), np.full(6, -1.0), side) for side in (-0.5, 0.5)] * 8
    work = SimpleNamespace(groups=lambda *_: Groups(tuple(each), 8, 0, 16, 8))
    policy_learning.learn(session, work, training, 6, "test")

    learner = lowering.Learner(loop, lora, objective, training.steps)
    jobs = [
        lambda: lowering.train_step(loaded, MODEL, learner, ROWS, LENGTH),
        lambda: lowering.base_opinion(loaded, MODEL, learner, ROWS, LENGTH),
    ]
    jobs += [] if lora is None else [lambda: lowering.merging(loaded, MODEL, lora)]
    ran, costly = compiled_here(), planned(*jobs)
    assert sum(map(len, costly.values())) == len(jobs) and {"jit_train_step", "jit_log_probs"} <= set(costly)
    assert {name: ran[name] for name in costly} == costly


def place(lora: Lora, partitioner: Partitioner):
    fresh = lora.init(MODEL, 0)
    return jax.device_put(fresh, partitioner.param_shardings(lora.axes(MODEL), lora.abstract(MODEL)))


@pytest.mark.parametrize("outside", [None, "another"])
def test_a_program_finds_its_own_layout_wherever_it_is_traced(outside, loaded):
    seen = []

    def double(factor: float, x: jax.Array) -> jax.Array:
        seen.append(partitioning.current())
        return factor * x

    program = DeviceProgram("double", functools.partial(double, 2.0), partitioner=loaded)
    around = partitioning.use(loaded.for_sampling(1)) if outside else contextlib.nullcontext()
    with around:
        assert program.jitted(np.float32(3)) == program.of(np.float32(3)).compile()(np.float32(3)) == 6.0
        assert "@jit_double " in program.of(np.float32(3)).lower().as_text()
    assert seen == [loaded] * 3 and partitioning.current() is None


def test_a_program_without_a_mesh_does_not_take_its_caller_s(loaded):
    seen: list = []
    program = DeviceProgram("current", lambda x: seen.append(partitioning.current()) or x)
    with partitioning.use(loaded):
        program.of(np.float32(1)).lower()
        assert partitioning.current() is loaded
    assert seen == [None] and program.platform == "cpu"
