"""The policy-gradient stage with a tiny model that samples and learns, and a fake judge."""

import contextlib
import dataclasses
import functools
import json
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from t5x_selfprog import hosts, loop
from t5x_selfprog.model import hf_import, network, store
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.moving.pack import pack
from t5x_selfprog.moving.unpack import unpack
from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.puzzles.prompts import SolvePrompt
from t5x_selfprog.run_dir import open_run
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.stages import grpo
from t5x_selfprog.stages.context import Context, Experiment
from t5x_selfprog.stages.finetune import NothingToLearn
from t5x_selfprog.stages.policy_settings import Attempting, PolicyTraining
from t5x_selfprog.training.lora import Lora
from t5x_selfprog.training.optimizers import OptimizerConfig
from t5x_selfprog.training.policy_gradient import PolicyGradient
from t5x_selfprog.training.train_loop import LoopConfig
from tests.model.tiny_models import copy_golden
from tests.puzzles.chatting import chat_folder
from verifier.errors import UserError
from verifier.storage import files
from verifier.storage.records import ATTEMPT, PAIR, PUZZLE, VERDICT
from verifier.storage.shards import Ledger

SAMPLING = SamplingConfig(
    prompts_in_flight=4, rows_per_prompt=4, max_new_tokens=6, prompt_buckets=(64,), prompts_per_load=1, chunk_steps=6,
    tail_prompts=0, temperature=1.0,
)  # fmt: skip
SOURCES = [f"def f(x: int, a={i}):\n    return x == a" for i in range(6)]
LOOP = LoopConfig(
    OptimizerConfig(learning_rate=1e-1, warmup_steps=1, schedule="constant"), log_every=1, checkpoint_every=2
)


@pytest.fixture(autouse=True)
def optax_promotion():
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("base"))
    config = ModelConfig(4096, 128, 16, 1, 2, 1, 8, 32)
    store.save(folder, config, network.init(config, jax.random.key(0)), store.resolve("base"))
    return folder


class Judge:
    """Accepts solutions with an `x` after the header; dies at one of its calls."""

    def __init__(self, dies_at=None):
        self.calls, self.dies_at = 0, dies_at

    def judge(self, items):
        self.calls += 1
        if self.calls == self.dies_at:
            raise ConnectionError("killed")
        for item in items:
            written = item["solution"].partition(":")[2]
            yield SimpleNamespace(outcome="accepted" if "x" in written else "wrong")


def context(root, judge, base="base"):
    made = Context(open_run(root, {}), Experiment(base=base, shards=2, start="previous"))
    if jax.process_count() == 1 and jax.device_count() == 8:  # as tests have it
        made.partitioner = Partitioner(MeshConfig(1, 1, 1).make(jax.devices()[:1]))
    made.pool = lambda limits: contextlib.nullcontext(judge)
    kept = made.ledger(made.run.stage(0, "kept"), "kept", PUZZLE, shards=1)
    verdicts = made.ledger(made.run.stage(0, "verdicts"), "verdicts", VERDICT, shards=1)
    if hosts.is_first() and not kept.is_complete():
        kept.commit(0, [{"puzzle_id": f"p{i}", "source": source} for i, source in enumerate(SOURCES)])
        kept.finish()
        # p0 was always solved, p1 never: by stage 4, there is nothing to learn from them.
        outcomes = {"p0": ("accepted",) * 2, "p1": ("wrong",) * 2}
        verdicts.commit(
            0,
            [
                {"puzzle_id": f"p{i}", "outcome": outcome}
                for i in range(6)
                for outcome in outcomes.get(f"p{i}", ("accepted", "wrong"))
            ],
        )
        verdicts.finish()
    hosts.barrier("what there was")
    return made


BATCHES, UPDATES, PUZZLES, ATTEMPTS = 12, 2, 3, 8


ATTEMPTING = Attempting(SAMPLING, SolvePrompt(tutorial="none"))
TRAINING = PolicyTraining(
    PolicyGradient(kl=0.02), LOOP, batches=BATCHES, attempts=ATTEMPTS, updates=UPDATES, length=96
)


def learn(root, base, judge=None, **more):
    made = context(root, judge or Judge(), base)
    output = made.run.stage(0, "checkpoints")
    done = grpo.run(made, 0, base, output, ATTEMPTING, dataclasses.replace(TRAINING, **more), PUZZLES)
    return done, output


def lines(output):
    with open(f"{output}/metrics.jsonl") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, base):
    root = tmp_path_factory.mktemp("whole")
    with jax.numpy_dtype_promotion("standard"):
        return learn(root, base)


def test_what_is_accepted_becomes_likelier(whole):
    done, output = whole
    shares = []
    for number in range(BATCHES):
        found = [r["outcome"] == "accepted" for r in Ledger.open(f"{output}/rollouts/{number:04d}")]
        shares.append(np.mean(found))
    assert np.mean(shares[-3:]) > np.mean(shares[:3]) + 0.2, shares
    assert done["step"] == BATCHES * UPDATES and done["attempts"] == BATCHES * PUZZLES * ATTEMPTS
    assert 0 <= done["alike"] < done["groups"] == BATCHES * PUZZLES
    assert store.load(output).identity == done["identity"], "a model like any other"


def test_the_samplers_log_probabilities_are_the_trainers(whole):
    """Prompt, tokens and weights are the same on both sides, so old and new agree on-policy and nothing is clipped."""
    ons, offs = lines(whole[1])[::UPDATES], lines(whole[1])[1::UPDATES]
    assert all(abs(line["old_kl"]) < 1e-6 and line["clipped"] == 0.0 for line in ons)
    assert any(line["old_kl"] > 1e-4 for line in offs), "by the second update the weights have changed"


def test_only_puzzles_with_something_to_teach_are_asked_each_in_its_turn(whole):
    asked = [
        {r["puzzle_id"] for r in Ledger.open(f"{whole[1]}/rollouts/{number:04d}")}
        for number in range(BATCHES)
    ]
    assert all(len(names) == 3 and names <= {"p2", "p3", "p4", "p5"} for names in asked)
    assert set().union(*asked) == {"p2", "p3", "p4", "p5"}


def test_adapters_alone_learn_and_sample_merged(base, tmp_path):
    done, output = learn(tmp_path, base, batches=3, lora=Lora(rank=2, alpha=4.0))
    assert store.load(output).identity == done["identity"] and done["lora"]["rank"] == 2
    assert json.loads((tmp_path / "iter_000/6_checkpoints/adapter/adapter_config.json").read_text())["r"] == 2
    found = lines(f"{output}/adapters")
    ons = found[::UPDATES]
    assert all(abs(line["old_kl"]) < 1e-5 and line["clipped"] == 0.0 for line in ons), "merged is beside"
    assert any(line["old_kl"] > 1e-6 for line in found[1::UPDATES]), "adapters change what is sampled"


def test_adapters_beside_a_rounded_base_are_refused(base, tmp_path):
    with pytest.raises(UserError, match=r"PolicyTraining.lora: Lora.base_dtype='int8'"):
        learn(tmp_path, base, lora=Lora(base_dtype="int8"))
    assert not (tmp_path / "iter_000/6_checkpoints").exists()


def test_a_policy_gradient_learns_where_no_attempt_was_accepted(monkeypatch, tmp_path):
    made = context(tmp_path, Judge())
    dataset = made.ledger(made.run.stage(0, "dataset"), "dataset", PAIR, shards=1)
    dataset.commit(0, [])
    dataset.finish()
    monkeypatch.setattr(loop.hindsight, "run", lambda *_: None)
    monkeypatch.setattr(loop.build_dataset, "run", lambda *_: None)
    monkeypatch.setattr(loop.filter_puzzles, "write_funnel", lambda *_, **__: None)
    monkeypatch.setattr(loop, "_solved", lambda *_: set())
    asked = []

    def update(*about):
        asked.append(about[1:])
        return {"step": 3}

    assert loop.learn(made, 0, update=update) == {"step": 3}
    assert asked == [(0, "base", made.run.stage(0, "checkpoints"))]
    assert loop.learn(made, 0, update=lambda *_: None)["step"] == 0, (
        "nothing to attempt: the iteration is skipped"
    )
    assert loop.learn(made, 0)["step"] == 0


def test_without_a_puzzle_there_is_nothing_to_attempt(monkeypatch, base, tmp_path):
    monkeypatch.setattr(grpo, "candidates", lambda *_: iter(()))
    assert learn(tmp_path, base)[0] is None


def test_a_judge_s_failure_is_no_attempt_s(tmp_path):
    """p2 was solved, and its other attempt was judged by nobody: nothing there differs."""
    made = context(tmp_path, Judge())
    verdicts = made.ledger(made.run.stage(1, "verdicts"), "verdicts", VERDICT, shards=1)
    outcomes = {"p2": ("accepted", "infrastructure"), "p3": ("accepted", "wrong")}
    verdicts.commit(0, [{"puzzle_id": n, "outcome": o} for n, both in outcomes.items() for o in both])
    verdicts.finish()
    kept = made.ledger(made.run.stage(1, "kept"), "kept", PUZZLE, shards=1)
    kept.commit(0, [{"puzzle_id": f"p{i}", "source": source} for i, source in enumerate(SOURCES)])
    kept.finish()
    assert [name for name, _ in grpo.candidates(made, 1)] == ["p3"]


def test_rows_that_hold_no_puzzle_are_refused_before_anything_is_sampled(base, tmp_path):
    with pytest.raises(
        NothingToLearn,
        match=r"none of the 4 puzzles fits a row of 20 tokens \(PolicyTraining.length\): the shortest",
    ):
        learn(tmp_path, base, length=20)
    assert not list((tmp_path / "iter_000/6_checkpoints").rglob("*.tfrecord"))


@pytest.fixture
def another(tmp_path_factory):
    """A function that makes a base of another kind."""

    def make(words=None, **changes):
        folder = str(tmp_path_factory.mktemp("another"))
        config = dataclasses.replace(ModelConfig(4096, 128, 16, 1, 2, 1, 8, 32), **changes)
        store.save(folder, config, network.init(config, jax.random.key(1)), words or store.resolve("base"))
        return folder

    return make


def test_a_divergence_from_another_kind_of_model_is_refused_before_anything_is_loaded(
    base, another, tmp_path, monkeypatch
):
    made = context(tmp_path, Judge())
    monkeypatch.setattr(store, "load", lambda *_: pytest.fail("loaded"))
    for changes, said in (
        ({"embed_dim": 32}, "embed_dim=32 there and 16 here"),
        ({"mlp": "gelu", "mlp_dim": 64}, "mlp_dim=64 there and 32 here, mlp='gelu' there and 'swiglu' here"),
        ({"words": str(chat_folder(tmp_path / "words")), "vocab_size": 4096}, "its tokens are others"),
    ):
        folder = another(**changes)
        made.experiment = dataclasses.replace(made.experiment, base=folder)
        with pytest.raises(
            UserError, match=r"PolicyGradient.kl=0.02: the divergence would be from"
        ) as raised:
            grpo.run(made, 0, base, made.run.stage(0, "checkpoints"), ATTEMPTING, TRAINING, PUZZLES)
        assert said in str(raised.value) and folder in str(raised.value) and "kl = 0" in str(raised.value)
    assert not (tmp_path / "iter_000/6_checkpoints").exists()


def test_a_divergence_from_other_weights_of_the_same_kind_is_taken(base, another, tmp_path):
    made = context(tmp_path, Judge())
    made.experiment = dataclasses.replace(made.experiment, base=another(context_length=256, dtype="bfloat16"))
    output = made.run.stage(0, "checkpoints")
    grpo.run(made, 0, base, output, ATTEMPTING, dataclasses.replace(TRAINING, batches=1, updates=1), PUZZLES)
    (line,) = lines(output)
    assert line["base_kl"] > 1e-3 and abs(line["old_kl"]) < 1e-6


def test_a_run_killed_before_it_said_that_it_is_over_goes_on(base, tmp_path, monkeypatch):
    few = {"batches": 2, "updates": 1}
    with monkeypatch.context() as patch:
        patch.setattr(grpo, "conclude", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            learn(tmp_path, base, **few)
    done, output = learn(tmp_path, base, Judge(dies_at=1), **few)
    assert done["step"] == 2 and store.load(output).identity == done["identity"]


def test_a_run_moved_in_the_middle_goes_the_same_way(base, tmp_path):
    """What was sampled travels, the half-trained weights do not: they are made again from it."""
    few = {"batches": 2, "updates": 1}
    with pytest.raises(ConnectionError):
        learn(tmp_path / "here", base, Judge(dies_at=4), **few)  # in the last batch's second shard
    unpack(pack(str(tmp_path / "here"), str(tmp_path / "a.pack")), str(tmp_path / "there"))
    judge = Judge()
    done, _ = learn(tmp_path / "there", base, judge, **few)
    assert judge.calls == 1, "nothing else was left to judge"
    assert learn(tmp_path / "here", base, **few)[0] == done


def attempted_before(root, base="base"):
    """A run with two attempts of stage 3 at each of its six puzzles."""
    made = context(root, Judge(), base)
    solutions = made.ledger(made.run.stage(0, "solutions"), "solutions", ATTEMPT, shards=1)
    solutions.commit(0, [{"puzzle_id": f"p{i // 2}"} for i in range(12)])
    solutions.finish()
    return made


def test_what_is_left_of_the_attempts_makes_a_smaller_batch(base, tmp_path):
    made, training = attempted_before(tmp_path, base), dataclasses.replace(TRAINING, updates=1)
    output = made.run.stage(0, "checkpoints")
    done = grpo.run(made, 0, base, output, ATTEMPTING, training, PUZZLES, each=5)
    assert (done["step"], done["groups"], done["attempts"]) == (1, 2, 2 * ATTEMPTS)


def test_batches_follow_from_the_attempts_at_each_puzzle(tmp_path):
    """Six kept puzzles and twelve attempts of stage 3: 20 per puzzle leave 108, which make four batches of 24."""
    made = attempted_before(tmp_path)
    assert grpo.batches_for(made, 0, 20, 3, 8) == (4, 3)
    assert grpo.batches_for(made, 0, 5, 3, 8) == (1, 2), (
        "18 are left: less than a batch, but two groups of eight"
    )
    with pytest.raises(
        NothingToLearn, match=r"grpo.run.each=3: 6 kept puzzles and 12 attempts of stage 3 leave 6 .* takes 8"
    ):
        grpo.batches_for(made, 0, 3, 3, 8)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"training": dataclasses.replace(TRAINING, length=20)},
            "none of the 4 puzzles fits a row of 20 tokens",
        ),
        ({"training": TRAINING, "each": 3}, "leave 6 for the policy gradient, and a group takes 8"),
    ],
)
def test_an_iteration_that_can_learn_nothing_is_left_out_and_the_run_goes_on(
    base, tmp_path, monkeypatch, capsys, settings, said
):
    made = attempted_before(tmp_path, base)
    dataset = made.ledger(made.run.stage(0, "dataset"), "dataset", PAIR, shards=1)
    dataset.commit(0, [])
    dataset.finish()
    monkeypatch.setattr(loop.hindsight, "run", lambda *_: None)
    monkeypatch.setattr(loop.build_dataset, "run", lambda *_: None)
    monkeypatch.setattr(loop.filter_puzzles, "write_funnel", lambda *_, **__: None)
    update = functools.partial(grpo.run, attempting=ATTEMPTING, puzzles=PUZZLES, **settings)
    done = loop.learn(made, 0, update=update)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Iteration 0: ")]
    assert said in line and line.endswith(", so there is nothing to learn from.")
    assert done["step"] == 0 and made.run.learnt_nothing(0)
    assert loop.learn(made, 0, update=update) == done, "started again, it ends alike"


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, Lora(rank=2)], ids=["whole", "adapters"])
@pytest.mark.parametrize("family", ["qwen2", "gemma", "gptj"])
def test_a_base_of_any_family_learns_from_its_own_samples(tmp_path, family, lora):
    """What the sampler says of its tokens is what the trainer says, in every family, adapters merged or beside."""
    published = copy_golden(family, tmp_path / "published")
    hf_import.import_model(str(published), str(tmp_path / "shape"))
    config = store.read_config(str(tmp_path / "shape"))
    config = dataclasses.replace(config, vocab_size=4096, context_length=128)
    folder = str(tmp_path / "base")
    store.save(folder, config, network.init(config, jax.random.key(0)), store.resolve("base"))
    done, output = learn(
        tmp_path / "run", folder, batches=2, updates=1, lora=lora, objective=PolicyGradient()
    )
    found = lines(output if lora is None else f"{output}/adapters")
    assert all(abs(line["old_kl"]) < 1e-5 and line["clipped"] == 0.0 for line in found)
    assert done["identity"] != done["start"] and store.load(output).identity == done["identity"]


def test_groups_that_are_all_alike_teach_nothing(base, tmp_path):
    """Every attempt is right, so no group has anything to compare: all are dropped and counted, and no loss is left."""
    everything = SimpleNamespace(judge=lambda items: (SimpleNamespace(outcome="accepted") for _ in items))
    done, output = learn(tmp_path, base, everything, batches=2, updates=1, objective=PolicyGradient())
    assert done["alike"] == done["groups"] == 2 * PUZZLES and done["accepted"] == done["attempts"]
    assert [line["loss"] for line in lines(output)] == [0.0, 0.0]
    assert all(line["grad_norm"] == 0.0 and line["clipped"] == 0.0 for line in lines(output))
    assert store.load(output).identity == done["identity"]


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, Lora(rank=2)], ids=["whole", "adapters"])
def test_killed_after_each_of_its_files_it_ends_in_the_same_bytes(base, tmp_path, monkeypatch, lora):
    """Every file that appears whole: shards, their entries and ends, the adapters, the model's files, done.json."""
    few = {"batches": 2, "updates": 1, "lora": lora}
    done, _ = learn(tmp_path / "whole", base, **few)
    real, written = files.open_atomic, set()

    @contextlib.contextmanager
    def dying(path):
        with real(path) as file:
            yield file
        name = str(path)
        if "6_checkpoints" in name and "metrics" not in name and name not in written:  # those hold times
            written.add(name)
            raise ConnectionError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(files, "open_atomic", dying)
        for _ in range(60):
            with contextlib.suppress(ConnectionError):
                learn(tmp_path / "killed", base, **few)
                break
    ends = {Path(path).name for path in written}
    assert {"done.json", "model.json", "manifest.json", "part-00001-of-00002.tfrecord"} <= ends
    assert ("adapter_config.json" in ends) == (lora is not None)
    assert learn(tmp_path / "killed", base, Judge(dies_at=1), **few)[0] == done
    for path in sorted(written):
        there = Path(str(path).replace("/killed/", "/whole/"))
        assert Path(path).read_bytes() == there.read_bytes(), path
    assert store.load(str(tmp_path / "killed/iter_000/6_checkpoints")).identity == done["identity"]


@pytest.mark.slow
def test_a_killed_training_ends_in_the_same_bytes(whole, base, tmp_path):
    done, output = whole
    for dies_at in (4, 3):  # in a batch's second shard before a checkpoint; then in a first one after several
        with pytest.raises(ConnectionError):
            learn(tmp_path, base, Judge(dies_at))
    again, other = learn(tmp_path, base)
    assert again == done
    for number in range(BATCHES):
        for name in ("manifest.json", "part-00000-of-00002.tfrecord", "part-00001-of-00002.tfrecord"):
            path = f"rollouts/{number:04d}/{name}"
            with open(f"{output}/{path}", "rb") as one, open(f"{other}/{path}", "rb") as two:
                assert one.read() == two.read(), path
    assert any(line["base_kl"] > 0 for line in lines(output)[1:]), "the policy has left the base"
    assert learn(tmp_path, base, Judge(dies_at=1))[0] == done, "nothing is left to do"
