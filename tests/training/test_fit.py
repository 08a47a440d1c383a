"""Steps, batch and warm-up from the number of tokens: a minimum for few pairs, full batches for many."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t5x_selfprog.training.batches import PackedDocuments
from t5x_selfprog.training.fit import Fit
from verifier.errors import UserError


def test_few_pairs_get_single_rows_until_the_floor_is_met():
    plan = Fit().plan(13, 512, epochs=4, most_rows=16)
    assert (plan.batch_rows, plan.steps, plan.warmup_steps) == (1, 64, 6)
    assert Fit().plan(3, 512, epochs=4, most_rows=16).steps == 30, "ten passes and no more"


def test_many_pairs_get_the_usual_batches_and_epochs():
    plan = Fit().plan(4000, 512, epochs=3, most_rows=16)
    assert (plan.batch_rows, plan.steps, plan.warmup_steps, plan.epochs) == (16, 750, 75, 3)
    assert Fit(batch_tokens=16384).plan(4000, 512, epochs=3, most_rows=16).batch_rows == 32
    assert Fit(batch_tokens=100).plan(4000, 512, epochs=1, most_rows=16).batch_rows == 1


@given(
    rows=st.integers(1, 5000),
    epochs=st.integers(1, 8),
    most_rows=st.integers(1, 300),
    ways=st.sampled_from([1, 2, 3, 8]),
    min_steps=st.integers(1, 200),
    max_epochs=st.integers(1, 20),
)
def test_a_plan_keeps_its_bounds(rows, epochs, most_rows, ways, min_steps, max_epochs):
    plan = Fit(min_steps, max_epochs).plan(rows, 64, epochs=epochs, most_rows=most_rows, ways=ways)
    assert plan.batch_rows % ways == 0 and ways <= plan.batch_rows <= max(ways, most_rows)
    assert epochs <= plan.epochs <= max(epochs, max_epochs)
    if plan.steps < min_steps:
        assert plan.batch_rows == ways, "a larger batch than needed costs updates"
        assert plan.epochs >= max_epochs
    more = Fit(min_steps, max_epochs).plan(rows + 1, 64, epochs=epochs, most_rows=most_rows, ways=ways)
    assert more.batch_rows >= plan.batch_rows
    assert 0 <= plan.warmup_steps < max(1, plan.steps)


def test_the_documents_say_how_many_rows_they_fill():
    documents = [[1] * 33] * 5
    source = PackedDocuments(documents, [1.0] * 5, batch_size=4, length=64, seed=0)
    assert source.rows == 3 and source.steps_in_epoch == 1


@pytest.mark.parametrize("wrong", [{"min_steps": 0}, {"max_epochs": 0}, {"batch_tokens": 0}, {"warmup": 1.0}])
def test_what_makes_no_sense_is_named(wrong):
    with pytest.raises(UserError, match=rf"Fit\.{next(iter(wrong))}={next(iter(wrong.values()))}"):
        Fit(**wrong)
