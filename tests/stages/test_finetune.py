"""Fine-tuning a tiny model on a handful of pairs: its choices are printed, recorded, and reused by controls."""

import contextlib
import dataclasses
import gc
import json
import re
import shutil

import jax
import numpy as np
import pytest

import gin
from t5x_selfprog import gin_files, loop
from t5x_selfprog.model import merge, network, store
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.puzzles.prompts import pair_text, puzzle_list
from t5x_selfprog.run_dir import open_run
from t5x_selfprog.stages import finetune
from t5x_selfprog.stages.context import Context, Experiment
from t5x_selfprog.stages.finetune import Settings
from t5x_selfprog.training.batches import PackedDocuments
from t5x_selfprog.training.fit import Fit
from t5x_selfprog.training.lora import Lora
from t5x_selfprog.training.optimizers import OptimizerConfig
from t5x_selfprog.training.train_loop import LoopConfig
from verifier.errors import UserError
from verifier.storage.records import PAIR
from verifier.storage.shards import Ledger

LOOP = LoopConfig(OptimizerConfig(learning_rate=1e-2, warmup_steps=10), log_every=1)


@pytest.fixture(autouse=True)
def nothing_bound():
    """Clears bindings left by a command that another test called in this process, which stages would use."""
    gin.clear_config()


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    run = open_run(tmp_path_factory.mktemp("run"), {})
    context = Context(run, Experiment())
    context.partitioner = Partitioner(MeshConfig(1, 1, 1).make(jax.devices()[:1]))
    return context


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model of one small layer with the shipped tokenizer."""
    folder = str(tmp_path_factory.mktemp("base"))
    config = ModelConfig(4096, 128, 32, 1, 4, 2, 8, 64)
    store.save(folder, config, network.init(config, jax.random.key(0)), store.resolve("base"))
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("pairs") / "5_dataset")
    ledger = Ledger(path, stage="dataset", schema=PAIR, shard_count=1, seed=0, fingerprint="f")
    texts = [
        pair_text(f"def f(x: int):\n    return x == {i}", f"def g():\n    return {i}") for i in range(24)
    ]
    ledger.commit(
        0,
        [{"puzzle_id": str(i), "text": text, "weight": 1.0, "iteration": 0} for i, text in enumerate(texts)],
    )
    ledger.finish()
    return path


def test_few_pairs_are_learnt_in_many_small_steps_and_a_control_as_long(
    context, base, pairs, tmp_path, capsys
):
    output = str(tmp_path / "6_checkpoints")
    fit = Fit(min_steps=12, warmup=0.25)
    with jax.numpy_dtype_promotion("standard"):
        done = finetune.run(
            context, [pairs], base, output, Settings(LOOP, epochs=2, batch_size=16, length=128, fit=fit)
        )
        assert (done["step"], done["batch_rows"]) == (12, 1)
        assert "24 pairs" in (said := capsys.readouterr().err) and "12 steps of 1 x 128" in said
        with open(f"{output}/metrics.jsonl") as file:
            lines = [json.loads(line) for line in file]
        rates = [line["learning_rate"] for line in lines]
        assert rates.index(max(rates)) in (2, 3), "the rise takes a quarter of the steps, not ten of twelve"
        assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]
        control = finetune.run(
            context, [pairs], base, str(tmp_path / "control"),
            Settings(LOOP, epochs=2, batch_size=done["batch_rows"], length=128, steps=done["step"], fit=fit),
        )  # fmt: skip
    assert control == done, "the same pairs, steps, batch and warm-up make the same weights"


def test_without_a_fit_epochs_and_batches_are_as_they_were_told(context, base, pairs, tmp_path):
    with jax.numpy_dtype_promotion("standard"):
        done = finetune.run(
            context, [pairs], base, str(tmp_path / "6"), Settings(LOOP, epochs=2, batch_size=4, length=128)
        )
    assert (done["step"], done["batch_rows"]) == (4, 4)


def test_pairs_that_fit_no_row_end_the_iteration_and_not_the_run(base, pairs, tmp_path, monkeypatch, capsys):
    made = Context(open_run(tmp_path / "run", {}), Experiment(base=base))
    made.solved[0] = set()
    shutil.copytree(pairs, made.run.stage(0, "dataset"))
    gin.bind_parameter("finetune.run.length", 8)
    for module, name in (
        (loop.hindsight, "run"),
        (loop.build_dataset, "run"),
        (loop.filter_puzzles, "write_funnel"),
    ):
        monkeypatch.setattr(module, name, lambda *args, **more: None)
    assert loop.learn(made, 0)["step"] == 0
    assert "none of the 24 documents fits a row of 8 tokens (the shortest has " in capsys.readouterr().err
    assert made.run.learnt_nothing(0) and made.run.sampled_from(1, "BASE") == "BASE"


@pytest.fixture(scope="module")
def mixed(pairs, tmp_path_factory):
    """The same pairs, a list of puzzles, and one that no row of 128 tokens holds."""
    path = str(tmp_path_factory.mktemp("mixed") / "5_dataset")
    ledger = Ledger(path, stage="dataset", schema=PAIR, shard_count=1, seed=0, fingerprint="f")
    lists = [puzzle_list([f"def f(x: int):\n    return x == {i}" for i in range(n)]) for n in (3, 60)]
    more = [
        {"puzzle_id": str(i), "text": text, "weight": 1.0, "iteration": 0} for i, text in enumerate(lists)
    ]
    ledger.commit(0, [*Ledger.open(pairs), *more])
    ledger.finish()
    return path


def test_documents_beside_the_pairs_are_no_pairs_and_what_no_row_holds_is_said(
    context, base, mixed, tmp_path, capsys
):
    settings = Settings(LOOP, batch_size=16, length=128, fit=Fit(min_steps=1, max_epochs=1))
    with jax.numpy_dtype_promotion("standard"):
        done = finetune.run(context, [mixed], base, str(tmp_path / "6"), settings)
    assert (done["pairs"], done["documents"], done["too_long"]) == (24, 25, 1)
    said = capsys.readouterr().err
    assert (
        "24 pairs and 1 other documents of" in said and "1 of 26 documents exceed a row of 128 tokens" in said
    )


def test_a_model_asked_without_a_document_start_learns_without_one(context, base, pairs, tmp_path):
    """As a Qwen2.5 is, whose own tokenizer puts nothing before a text."""
    tokens = {}
    for how in (True, False):
        gin.clear_config()
        gin_files.load(["runs/claim_qwen2p5_coder_0p5b.gin"], [f"SamplingConfig.document_start={how}"])
        settings = dataclasses.replace(Settings(), loop=LOOP, length=128, epochs=1)
        with jax.numpy_dtype_promotion("standard"):
            done = finetune.run(context, [pairs], base, str(tmp_path / str(how)), settings)
        tokens[how] = done["tokens"]
    assert tokens[True] - tokens[False] == 24, "one token of each document"


def test_the_model_that_is_trained_from_is_let_go_before_the_first_step(
    context, base, pairs, tmp_path, monkeypatch
):
    """A device then holds weights and two moments, whether training starts fresh or from a checkpoint."""
    batch = PackedDocuments.batch

    def embeddings() -> int:
        gc.collect()
        return sum(x.shape == (4096, 32) and not x.is_deleted() for x in jax.live_arrays())

    def held_at(first: int, last: int) -> int:
        """What is held at step `first` of a run that breaks off at `last`."""
        found: list[int] = []

        def counting(self, step):
            if step == last:
                raise KeyError("the machine is gone")
            found.append(embeddings())
            return batch(self, step)

        context.release()
        before = embeddings()  # of other tests of this process
        monkeypatch.setattr(PackedDocuments, "batch", counting)
        with contextlib.suppress(KeyError):
            finetune.run(
                context,
                [pairs],
                base,
                str(tmp_path / "6"),
                Settings(loop, epochs=2, batch_size=4, length=128),
            )
        assert len(found) == last - first
        return found[0] - before

    loop = dataclasses.replace(LOOP, checkpoint_every=1)
    with jax.numpy_dtype_promotion("standard"):
        assert (held_at(0, 2), held_at(2, 3)) == (3, 3)


def test_adapters_are_trained_alone_merged_and_left_for_peft(context, base, pairs, tmp_path):
    output, lora = (
        str(tmp_path / "6"),
        Lora(rank=2, alpha=8.0, targets=("query", "up"), base_dtype="bfloat16"),
    )
    with jax.numpy_dtype_promotion("standard"):
        done = finetune.run(
            context, [pairs], base, output, Settings(LOOP, batch_size=4, length=128, lora=lora)
        )
    assert done["lora"]["rank"] == 2 and done["step"] == 8
    start, learnt = store.load(base), store.load(output)
    assert learnt.identity == done["identity"] != start.identity
    before, after = store.flatten(start.params), store.flatten(learnt.params)
    changed = {name for name in after if not np.array_equal(after[name], before[name])}
    assert changed == {"blocks/attention/query/kernel", "blocks/mlp/up/kernel"}
    # The adapter written for PEFT, merged with the base, is the model that is sampled.
    done = merge.merge(base, f"{output}/adapter", str(tmp_path / "merged"), "float32")
    merged = store.flatten(store.load(str(tmp_path / "merged")).params)
    for name in changed:
        np.testing.assert_allclose(merged[name], after[name], rtol=1e-5, atol=1e-6)


def test_an_arm_trains_as_long_as_what_it_is_compared_with():
    """A policy gradient's batches are attempts, which say nothing about rows of pairs."""
    assert finetune.as_long_as({"step": 7, "batch_rows": 3}) == Settings(steps=7, batch_size=3)
    assert finetune.as_long_as({"step": 7, "batch_rows": 3}, 2) == Settings(steps=2, batch_size=3)
    assert finetune.as_long_as({"step": 7, "attempts": 99}) == Settings(steps=7)


def test_weights_go_part_of_the_way_once_even_if_the_end_was_not_noted(context, base, pairs, tmp_path):
    """Interpolated weights lie between the start's and the trained ones; a kill before done.json does not repeat it."""
    settings = Settings(LOOP, batch_size=4, length=128, steps=6)
    outputs = {share: str(tmp_path / f"{share}") for share in (1.0, 0.25)}
    with jax.numpy_dtype_promotion("standard"):  # optax promotes dtypes
        for share, output in outputs.items():
            finetune.run(context, [pairs], base, output, dataclasses.replace(settings, interpolation=share))
    start, trained, between = (store.load(path).params for path in (base, *outputs.values()))
    moved = 0.0
    for old, new, found in zip(*map(jax.tree.leaves, (start, trained, between)), strict=True):
        np.testing.assert_allclose(found, old + 0.25 * (new - old), rtol=1e-5, atol=1e-7)
        moved = max(moved, float(np.abs(new - old).max()))
    assert moved > 1e-3
    done = json.loads((tmp_path / "0.25" / "done.json").read_text())
    assert done["interpolation"] == 0.25
    (tmp_path / "0.25" / "done.json").unlink()
    again = dataclasses.replace(settings, interpolation=0.25)
    assert finetune.run(context, [pairs], base, outputs[0.25], again) == done


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"interpolation": 0.0}, "finetune.run.interpolation=0.0: must be above 0"),
        ({"interpolation": 1.5}, "finetune.run.interpolation=1.5"),
        ({"interpolation": 0.5, "lora": Lora()}, "a lower Lora.alpha"),
    ],
)
def test_an_interpolation_that_makes_no_sense_is_named(settings, message):
    with pytest.raises(UserError, match=re.escape(message)):
        Settings(**settings)
