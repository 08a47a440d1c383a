"""Batches as a function of the step: nothing is lost or repeated, and nothing is predicted across documents."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t5x_selfprog.training.batches import PackedDocuments, TokenStream, pack_best_fit
from verifier.errors import UserError

EOS = 1


def documents(count, seed=0, longest=30):
    rng = np.random.default_rng(seed)
    return [np.append(rng.integers(2, 99, rng.integers(1, longest)), EOS) for _ in range(count)]


def test_an_epoch_of_a_stream_covers_every_window_once():
    tokens = np.arange(1001, dtype=np.uint16) + 2
    stream = TokenStream(tokens, EOS, batch_size=5, length=10, seed=3)
    for epoch in range(2):
        seen = np.concatenate([stream.batch(epoch * 20 + i).tokens for i in range(20)])
        assert sorted(seen.ravel()) == list(tokens[:1000])


def test_a_stream_never_predicts_the_next_document():
    tokens = np.concatenate(documents(200)).astype(np.uint16)
    batch = TokenStream(tokens, EOS, batch_size=4, length=64, seed=0).batch(7)
    assert (batch.weights[batch.tokens == EOS] == 0).all() and (batch.tokens == EOS).any()
    assert (batch.weights[batch.tokens != EOS] == 1).all()
    inside = batch.segment_ids[:, 1:] == batch.segment_ids[:, :-1]
    assert (batch.targets[:, :-1][inside] == batch.tokens[:, 1:][inside]).all()
    assert (np.diff(batch.positions, axis=1)[inside] == 1).all() and (
        batch.positions[:, 1:][~inside] == 0
    ).all()


def test_a_stream_too_short_says_what_to_lower():
    with pytest.raises(UserError, match=r"100 tokens.*8 x 64"):
        TokenStream(np.zeros(100, np.uint16), EOS, 8, 64, 0).batch(0)


@given(st.lists(st.integers(1, 20), max_size=60), st.integers(20, 40))
def test_packing_places_everything_once_and_overfills_nothing(sizes, capacity):
    rows = pack_best_fit(sizes, capacity)
    assert Counter(name for row in rows for name in row) == Counter(range(len(sizes)))
    assert all(sum(sizes[name] for name in row) <= capacity for row in rows)


def test_an_epoch_trains_on_each_document_once_with_its_weight():
    docs = documents(50)
    weights = [float(i + 1) for i in range(50)]
    source = PackedDocuments(docs, weights, batch_size=3, length=64, seed=1)
    for epoch in range(2):
        start = source.steps(epoch)
        found = []
        for step in range(start, start + source.steps_in_epoch):
            batch = source.batch(step)
            for row in range(3):
                for segment in range(1, batch.segment_ids[row].max() + 1):
                    at = batch.segment_ids[row] == segment
                    ids = (batch.tokens[row, at][0], *batch.targets[row, at])
                    found.append((ids, batch.weights[row, at][0]))
        assert Counter(found) == Counter((tuple(d), w) for d, w in zip(docs, weights, strict=True))


def test_epochs_come_in_different_orders_and_steps_do_not_depend_on_history():
    source = PackedDocuments(documents(80), [1.0] * 80, 4, 64, seed=1)
    ahead = source.batch(source.steps(1))
    again = PackedDocuments(documents(80), [1.0] * 80, 4, 64, seed=1)
    first = again.batch(0)
    again.batch(again.steps(2))
    np.testing.assert_array_equal(again.batch(again.steps(1)).tokens, ahead.tokens)
    assert (first.tokens != ahead.tokens).any()


def test_an_epoch_keeps_other_company_than_the_one_before():
    source = PackedDocuments(documents(200, longest=12), [1.0] * 200, 4, 64, seed=1)
    rows = [[frozenset(row) for row in source._rows(epoch)] for epoch in range(2)]
    assert len(rows[0]) == len(rows[1]) and len(set(rows[0]) & set(rows[1])) < len(rows[0]) // 10


@pytest.mark.parametrize(("length", "median"), [(512, 60), (1024, 110), (1024, 300)])
def test_short_programs_pack_with_hardly_any_padding(length, median):
    """Lengths distributed like those of pairs: log-normal with a long tail."""
    random = np.random.default_rng(0)
    sizes = np.clip(random.lognormal(np.log(median), 0.6, 2000), 12, length + 1).astype(int)
    source = PackedDocuments([np.full(n, 7) for n in sizes], [1.0] * 2000, 8, length, seed=0)
    used = np.concatenate([source.batch(s).segment_ids > 0 for s in range(source.steps_in_epoch)])
    assert source.padding < 0.03
    np.testing.assert_allclose(1 - used[: len(source._rows(0))].mean(), source.padding)


def test_a_document_longer_than_a_row_is_an_error():
    with pytest.raises(UserError, match="100 tokens"):
        PackedDocuments([np.ones(100, int)], [1.0], 1, 64, 0)
