"""seqio and TFDS over a run: packing loses nothing, rates hold, restarts are exact, builders go by content."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from t5x_selfprog.data.sources import run_datasets
from t5x_selfprog.model.store import SHIPPED
from t5x_selfprog.tokenizer import Tokenizer, train_tokenizer
from tests.data.pairs_run import make_pairs_run, puzzle, solution
from verifier.errors import UserError
from verifier.storage.shards import LedgerMismatch

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("seqio", "tensorflow_datasets")),
    reason="seqio or tensorflow_datasets is not installed: pip install '.[data]'",
)


@pytest.fixture(scope="module", autouse=True)
def tensorflow():
    """Imported with the first of these tests: every process of the suite collects them, and one runs them."""
    global tfds, tasks, ShiftedVocabulary, write_tokens
    import tensorflow_datasets as tfds

    from t5x_selfprog.data import tasks
    from t5x_selfprog.data.tokens import ShiftedVocabulary, write_tokens


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_pairs_run(tmp_path_factory.mktemp("runs") / "self play-1")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> str:
    """A tokenizer in which id 0 is "!", as in GPT-2's family, without a padding token."""
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer([puzzle(0, i) + solution(0, i) for i in range(30)], 300, folder)
    text = (folder / "tokenizer.json").read_text()
    # Exchange the ids of "!" and the padding token.
    loaded = Tokenizer.load(folder)
    bang = loaded.encode("!")[-1]
    text = text.replace('"<|pad|>":0', '"<|pad|>":-1').replace(f'"!":{bang}', '"!":0')
    text = text.replace('"<|pad|>":-1', f'"<|pad|>":{bang}').replace(
        '{"id":0,"content":"<|pad|>"', f'{{"id":{bang},"content":"<|pad|>"'
    )
    (folder / "tokenizer.json").write_text(text)
    assert Tokenizer.load(folder).encode("!")[-1] == 0
    return str(folder)


def documents(batch) -> list[str]:
    """The texts in a packed batch."""
    found = []
    for tokens, segments in zip(batch["decoder_target_tokens"], batch["decoder_segment_ids"], strict=True):
        for segment in range(1, segments.max() + 1):
            found.append(tasks.unshift(tokens[segments == segment]))
    return found


def test_packing_loses_no_token_of_id_zero(run, tokenizer):
    mixture = tasks.register_run(str(run), tokenizer=tokenizer, rates={0: 1.0, 1: 0.0}, name="zero")
    vocabulary = Tokenizer.load(tokenizer)
    wanted = sorted(pair["text"] for pair in run_datasets(str(run))[0])
    wanted = [vocabulary.decode(vocabulary.encode(text)) for text in wanted]
    found = []
    for batch in tasks.batches(mixture, length=256, batch_size=1, epochs=1).as_numpy_iterator():
        found += [vocabulary.decode(ids) for ids in documents(batch)]
    assert any("!!" in text for text in wanted) and sorted(found) == sorted(wanted)


def test_the_vocabulary_goes_both_ways(tokenizer):
    vocabulary = ShiftedVocabulary(tokenizer)
    ids = vocabulary.encode("wow! x - a !")
    assert 0 not in ids and vocabulary.decode(ids) == "wow! x - a !"
    assert vocabulary.pad_id == 0 and vocabulary.vocab_size == vocabulary.tokenizer.vocab_size + 1
    assert vocabulary.eos_id == vocabulary.tokenizer.eos_id + 1


def test_rates_of_iterations_are_kept(run):
    tokenizer = str(Path(SHIPPED) / "base")
    vocabulary = Tokenizer.load(tokenizer)
    mixture = tasks.register_run(str(run), tokenizer=tokenizer, rates={0: 3.0, 1: 1.0})
    assert mixture == "selfprog_self_play_1"
    batches = tasks.batches(mixture, length=256, batch_size=20, packed=False).take(20).as_numpy_iterator()
    texts = [vocabulary.decode(tasks.unshift(row)) for b in batches for row in b["decoder_target_tokens"]]
    first = np.mean(["== 0" in text for text in texts])
    assert first == pytest.approx(0.75, abs=0.07)


def test_the_same_seed_gives_the_same_batches_and_goes_on_after_a_restart(run):
    mixture = tasks.register_run(str(run), tokenizer=str(Path(SHIPPED) / "base"))
    one, two = (
        list(tasks.batches(mixture, length=256, batch_size=2, seed=5).take(6).as_numpy_iterator())
        for _ in range(2)
    )
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a["decoder_target_tokens"], b["decoder_target_tokens"])
    iterator = iter(tasks.batches(mixture, length=256, batch_size=2, seed=5))
    import tensorflow as tf

    for _ in range(3):
        next(iterator)
    checkpoint = tf.train.Checkpoint(iterator=iterator)
    path = checkpoint.write(str(run / "iterator"))
    fresh = iter(tasks.batches(mixture, length=256, batch_size=2, seed=5))
    tf.train.Checkpoint(iterator=fresh).read(path)
    np.testing.assert_array_equal(
        next(fresh)["decoder_target_tokens"].numpy(), one[3]["decoder_target_tokens"]
    )


def test_a_run_and_a_shipped_tokenizer_are_found_from_anywhere(run, tmp_path, monkeypatch):
    """Named from one folder, read from another, as a worker elsewhere would."""
    monkeypatch.chdir(run.parent)
    mixture = tasks.register_run(run.name, tokenizer="base", name="anywhere")
    monkeypatch.chdir(tmp_path)
    batch = next(tasks.batches(mixture, length=256, batch_size=2).as_numpy_iterator())
    assert batch["decoder_target_tokens"].shape == (2, 256)
    assert ShiftedVocabulary("base") == ShiftedVocabulary(str(Path(SHIPPED) / "base"))
    (tmp_path / "base").mkdir()  # a folder of that name is meant before what ships
    with pytest.raises(UserError, match="no tokenizer here"):
        ShiftedVocabulary("base")


def test_what_a_run_does_not_have_is_named(run, tmp_path):
    base = str(Path(SHIPPED) / "base")
    with pytest.raises(UserError, match="rates name 7"):
        tasks.register_run(str(run), tokenizer=base, rates={7: 1.0})
    with pytest.raises(UserError, match="finished dataset: none"):
        tasks.register_run(str(tmp_path), tokenizer=base)
    write_tokens(["a"], Tokenizer.load(base), str(tmp_path / "t"))
    with pytest.raises(LedgerMismatch):
        write_tokens(["b"], Tokenizer.load(base), str(tmp_path / "t"))


# TFDS.


def test_pairs_in_five_lines(run, tmp_path):
    import t5x_selfprog.data.tfds_builders  # noqa: F401

    pairs = tfds.load(
        "selfprog_pairs", split="train", data_dir=str(tmp_path), builder_kwargs={"run_dir": str(run)}
    )
    rows = list(pairs.as_numpy_iterator())
    assert len(rows) == 30
    assert {int(row["iteration"]) for row in rows} == {0, 1}
    assert all(row["puzzle"].startswith(b"def f(") and row["solution"].startswith(b"def g(") for row in rows)


def test_another_run_is_another_dataset(run, tmp_path):
    from t5x_selfprog.data.tfds_builders import SelfprogPairs

    small = make_pairs_run(tmp_path / "a" / "self play-1", (2,))
    names = {SelfprogPairs(run_dir=str(r), data_dir=str(tmp_path)).builder_config.name for r in (run, small)}
    assert len(names) == 2
    with pytest.raises(UserError, match="no iteration has a finished"):
        SelfprogPairs(run_dir=str(tmp_path), data_dir=str(tmp_path))


def test_problems_in_five_lines(tmp_path):
    import t5x_selfprog.data.tfds_builders  # noqa: F401

    test = tfds.load("p3", split="dev", data_dir=str(tmp_path), builder_kwargs={"source": "seeds"})
    rows = list(test.as_numpy_iterator())
    assert len(rows) > 10 and all(row["puzzle"].startswith(b"def f(") for row in rows)
