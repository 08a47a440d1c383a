"""A list of requests that continues after a kill ends bit for bit as if never killed."""

import dataclasses

import jax
import numpy as np
import pytest

from t5x_selfprog.sampling.interface import Request
from t5x_selfprog.sampling.sampler import Sampler
from tests.sampling.test_sampler import KEY, make
from verifier.errors import UserError

SIZES = (5, 9, 1, 14, 6, 3, 8, 2, 11, 4, 7, 10)
REQUESTS = [Request(f"item {i}", "def f(x)"[: 1 + i % 8], n) for i, n in enumerate(SIZES)]
# Rows that start at all places in the ring, several prompts per load, and an end with sharing and compaction.
GRID = {"prompt_buckets": (24,), "chunk_steps": 3, "prompts_in_flight": 4}


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    return make(**GRID)


@pytest.fixture(scope="module")
def unbroken(sampler) -> list:
    return list(sampler.sample(REQUESTS, KEY))


def with_lengths(unbroken: list, known: set[int], longer: int = 0) -> list[Request]:
    return [
        dataclasses.replace(r, lengths=tuple(min(12, c.n_tokens + longer) for c in found))
        if i in known
        else r
        for i, (r, found) in enumerate(zip(REQUESTS, unbroken, strict=True))
    ]


@pytest.mark.parametrize(
    "known",
    [set(range(4)), set(range(9)), {*range(5), 7}, {0, 1, 5, 8, 11}, set(range(11)), {11}],
    ids=lambda known: "-".join(map(str, sorted(known))),
)
def test_what_is_resumed_ends_in_the_same_bits(sampler, unbroken, known):
    """Including log-probabilities, which depend on where in the grid an attempt was."""
    before = sampler.stats()["tokens"]
    found = list(sampler.sample(with_lengths(unbroken, known), KEY))
    assert found == [[] if i in known else completions for i, completions in enumerate(unbroken)]
    everything = sum(c.n_tokens for completions in unbroken for c in completions)
    assert sampler.stats()["tokens"] - before <= everything


def test_the_bits_do_depend_on_what_came_before(sampler, unbroken):
    """Otherwise the test above would prove nothing."""
    anew = list(sampler.sample(REQUESTS[7:], KEY))
    assert [[(c.text, c.n_tokens) for c in cs] for cs in anew] == [
        [(c.text, c.n_tokens) for c in cs] for cs in unbroken[7:]
    ]
    assert anew != unbroken[7:]


def test_a_device_that_ends_attempts_elsewhere_starts_anew(sampler, unbroken):
    """As a device of another kind may: the texts are then the same, but not the last bits."""
    wrong = with_lengths(unbroken, set(range(7)), longer=2)
    found = list(sampler.sample(wrong, KEY))
    assert [len(cs) for cs in found] == [0] * 7 + list(SIZES[7:])
    for ours, theirs in zip(found[7:], unbroken[7:], strict=True):
        assert [(c.text, c.n_tokens) for c in ours] == [(c.text, c.n_tokens) for c in theirs]
        np.testing.assert_allclose([c.logprob for c in ours], [c.logprob for c in theirs], rtol=1e-4)


def test_all_known_needs_no_device(sampler, unbroken):
    before = sampler.stats()["tokens"]
    assert list(sampler.sample(with_lengths(unbroken, set(range(12))), KEY)) == [[]] * 12
    assert sampler.stats()["tokens"] == before


def test_lengths_that_cannot_be_are_refused(sampler):
    for lengths in ((1, 2), (1, 2, 0), (1, 2, 13)):
        with pytest.raises(UserError, match=r"item 9: lengths of attempts that cannot be: 3 were asked for"):
            list(sampler.sample([Request("item 9", "a", 3, lengths=lengths)], KEY))


def test_a_request_that_waits_for_others_comes_when_they_are_done(sampler, unbroken):
    seen = 0

    def requests():
        yield from REQUESTS[:6]
        while seen < 6:
            yield None
        yield from REQUESTS[6:]

    found = []
    for completions in sampler.sample(requests(), KEY):
        seen += 1
        found.append([(c.text, c.n_tokens) for c in completions])
    assert found == [[(c.text, c.n_tokens) for c in cs] for cs in unbroken]

    def for_ever():
        yield REQUESTS[0]
        while True:
            yield None

    with pytest.raises(RuntimeError, match="waits for others"):
        list(sampler.sample(for_ever(), jax.random.fold_in(KEY, 1)))
