"""The sampler as stages use it: the right attempts, the same whatever else is sampled with them."""

import gc
import weakref

import jax
import numpy as np
import pytest

from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.sampling.engine import Engine
from t5x_selfprog.sampling.sampler import Request, Sampler, SamplingConfig
from tests.sampling.byte_model import ByteTokenizer, random_params, tiny_config
from verifier.errors import UserError

MODEL = tiny_config(windows=(None, 9), biases=("head",))
PREFIX = "x = 12\n\n"
BASE = {
    "prompts_in_flight": 3,
    "rows_per_prompt": 4,
    "max_new_tokens": 12,
    "prompt_buckets": (8, 24),
    "prompts_per_load": 2,
    "chunk_steps": 4,
    "tail_prompts": 2,
    "temperature": 0.8,
}
FEW_PROGRAMS = {"prompt_buckets": (24,), "prompts_per_load": 1, "tail_prompts": 0}  # compiling dominates
REQUESTS = [
    Request("long", "def f(x: int): ", 9),
    Request("short", "f", 5),
    Request("one", "[1, 2]", 1),
    Request("none", "abc", 0),
    Request("later", "ab\n", 6, first_sample=3),
    Request("last", "return " * 3, 14),
]
KEY = jax.random.key(7, impl="threefry2x32")


def make(prefix: str = PREFIX, partitioner: Partitioner | None = None, **changes) -> Sampler:
    config = SamplingConfig(**(BASE | changes))
    params = random_params(MODEL)
    params["head_bias"] = (
        params["head_bias"].at[ByteTokenizer.eos_id].set(3.0)
    )  # so that some attempts end with it
    return Sampler(
        MODEL, params, ByteTokenizer(), config, checkpoint="abc", prefix=prefix, partitioner=partitioner
    )


def test_a_sampler_takes_other_weights_and_lets_go_of_its_own():
    """Learning from verdicts has room for one set of caches and weights, and no time to collect garbage."""
    gc.collect()
    gc.disable()
    try:
        sampler = make(**FEW_PROGRAMS)
        before, engine = outcome(sampler), weakref.ref(sampler._engine)
        assert sampler.checkpoint == "abc" and sampler.document("f")
        other = jax.tree.map(lambda x: x * 1.5, random_params(MODEL))
        sampler.take(other, "def")
        assert engine() is None and sampler.checkpoint == "def"
        fresh = Sampler(MODEL, other, ByteTokenizer(), sampler._config, checkpoint="def", prefix=PREFIX)
        assert outcome(sampler) == outcome(fresh) != before
        sampler.let_go()
        assert sampler.fits("f") and sampler.document("f") == fresh.document("f")
        with pytest.raises(UserError, match="without a checkpoint identity"):
            sampler.take(other, "")
        gone = weakref.ref(fresh)
        del fresh
        assert gone() is None, "nothing but the last reference kept it"
    finally:
        gc.enable()


def outcome(sampler: Sampler, requests: list[Request] = REQUESTS, key: jax.Array = KEY) -> dict:
    """(item, sample) -> (text, tokens, reason); fails if one occurs twice."""
    found = {}
    for request, completions in zip(requests, sampler.sample(requests, key), strict=True):
        assert {c.item_id for c in completions} == ({request.item_id} if request.attempts else set())
        assert [c.sample_index for c in completions] == sorted(c.sample_index for c in completions)
        for c in completions:
            assert (c.item_id, c.sample_index) not in found
            found[c.item_id, c.sample_index] = (c.text, c.n_tokens, c.stop_reason)
    return found


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    return make()


@pytest.fixture(scope="module")
def expected(sampler) -> dict:
    return outcome(sampler)


def test_every_attempt_asked_for_comes_once(expected):
    asked = {(r.item_id, r.first_sample + i) for r in REQUESTS for i in range(r.attempts)}
    assert set(expected) == asked
    reasons = {reason for _, _, reason in expected.values()}
    assert reasons == {"unindented", "eos", "length"}
    assert len({text for text, _, _ in expected.values()}) > 25


@pytest.mark.parametrize(
    "changes",
    [
        {"prompts_in_flight": 1, "rows_per_prompt": 5, "prompts_per_load": 1},
        pytest.param(
            {"prompts_in_flight": 8, "rows_per_prompt": 3, "prompt_buckets": (24,), "tail_prompts": 0},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"chunk_steps": 7, "prompt_buckets": (64,), "prompts_per_load": 1}, marks=pytest.mark.slow
        ),
    ],
    ids=str,
)
def test_the_grid_changes_nothing(expected, changes):
    assert outcome(make(**changes)) == expected


def test_order_and_company_change_nothing(sampler, expected):
    assert outcome(sampler, REQUESTS[::-1]) == expected
    alone = outcome(sampler, [Request("last", REQUESTS[-1].prompt, 2, first_sample=6)])
    assert alone == {("last", 6): expected["last", 6], ("last", 7): expected["last", 7]}
    others = [Request(f"other {i}", "zz" * (i + 1), 3) for i in range(5)]
    found = outcome(sampler, others[:2] + REQUESTS + others[2:])
    assert {key: value for key, value in found.items() if key in expected} == expected


def test_the_same_requests_give_the_same_bits(sampler):
    first, second = (list(sampler.sample(REQUESTS, KEY)) for _ in range(2))
    assert first == second  # log-probabilities too


@pytest.mark.parametrize(
    ("mesh", "changes"),
    [
        (MeshConfig(8, 1, 1), {"prompts_in_flight": 8}),  # a group each
        pytest.param(  # two groups in each of four parts; so has the mesh with a tail
            MeshConfig(2, 2, 2), {"prompts_in_flight": 8}, marks=pytest.mark.slow
        ),
        (
            MeshConfig(1, 2, 4),
            {"prompts_in_flight": 4, "prompts_per_load": 2},
        ),  # both groups of a part at once
        (MeshConfig(1, 2, 4), {"prompts_in_flight": 3}),  # groups do not divide: rows do
        (
            MeshConfig(2, 2, 2),
            {"prompts_in_flight": 8, "tail_prompts": 1},
        ),  # the last rows move, each in its part
        pytest.param(
            MeshConfig(2, 2, 2),
            {"prompts_in_flight": 8, "idle_share": 0.3, "cache_dtype": "bfloat16"},
            marks=pytest.mark.slow,
        ),
    ],
    ids=str,
)
def test_a_mesh_changes_nothing(expected, mesh, changes, monkeypatch):
    compacted, compact = [], Engine.compact
    monkeypatch.setattr(Engine, "compact", lambda *a: compacted.append(a) or compact(*a))
    if "cache_dtype" in changes:
        expected = outcome(make(cache_dtype=changes["cache_dtype"]))
    partitioner = Partitioner(mesh.make())
    mine = make(partitioner=partitioner, **(FEW_PROGRAMS | changes))
    compacted.clear()
    assert outcome(mine) == expected
    assert bool(compacted) == ("tail_prompts" in changes)


def test_prompts_are_brought_together(expected):
    alone, waiting = make(tail_prompts=0), make(tail_prompts=0, idle_share=0.6)
    assert outcome(alone) == outcome(waiting) == expected
    with pytest.raises(UserError, match="idle_share=1"):
        SamplingConfig(idle_share=1.0)


@pytest.mark.parametrize(
    "weights, cache, mesh, tolerance",
    [
        pytest.param("float32", "bfloat16", None, 0.02, marks=pytest.mark.slow),
        ("bfloat16", "bfloat16", None, 0.02),
        ("int8", "int8", MeshConfig(2, 2, 2), 0.1),
    ],
    ids=str,
)
def test_narrow_numbers_sample_nearly_the_same(sampler, weights, cache, mesh, tolerance):
    """Most attempts are the same, with nearly the same log-probability."""
    partitioner = mesh and Partitioner(mesh.make())
    narrow = make(weights_dtype=weights, cache_dtype=cache, partitioner=partitioner, **FEW_PROGRAMS)
    exact, rough = (
        [completion for completions in s.sample(REQUESTS, KEY) for completion in completions]
        for s in (sampler, narrow)
    )
    alike = [(a, b) for a, b in zip(exact, rough, strict=True) if a.text == b.text]
    assert len(alike) > 0.5 * len(exact)
    written_out = [(a, b) for a, b in alike if a.text and a.stop_reason != "unindented"]
    assert len(written_out) > 5
    for a, b in written_out:
        assert abs(a.logprob - b.logprob) < tolerance * abs(a.logprob) + tolerance


def test_key_item_and_index_change_everything(sampler, expected):
    other_key = outcome(sampler, key=jax.random.fold_in(KEY, 1))
    assert sum(expected[k] == other_key[k] for k in expected if expected[k][0]) <= 2
    renamed = outcome(sampler, [Request("other name", REQUESTS[0].prompt, 9)])
    assert sum(expected["long", i] == renamed["other name", i] for i in range(9)) <= 1
    assert len({expected["long", i] for i in range(9)}) >= 8


def test_nothing_compiles_after_warming_up():
    sampler = make(chunk_steps=5)  # shapes that no other test has compiled
    sampler.warm_up()
    list(sampler.sample(REQUESTS[:1], KEY))  # what JAX itself caches on first use
    compilations = []

    def listen(event: str, seconds: float, **_: object) -> None:
        if "backend_compile" in event:
            compilations.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    before = sampler.stats()["compilations"]
    assert before > 6
    try:
        list(sampler.sample(REQUESTS[::-1], KEY))
        assert (sampler.stats()["compilations"], compilations) == (before, [])
        jax.jit(lambda x: x + 1)(np.zeros(3))
        assert compilations, "the listener hears nothing: the assertion above proves nothing"
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_samplers_of_equal_shape_share_their_programs(sampler, expected):
    assert outcome(make()) == expected  # other tests' programs may have evicted what the fixture compiled
    again = make()
    assert outcome(again) == expected
    assert again.stats()["compilations"] == 0
    assert make(max_new_tokens=13).stats()["compilations"] > 0


def test_log_probabilities_are_the_models_own(sampler):
    """Not the tempered distribution's: over all first tokens, the probabilities sum to one."""
    one_token = make(
        max_new_tokens=1, temperature=3.0, rows_per_prompt=64, prompts_in_flight=1, prefix="", **FEW_PROGRAMS
    )
    (completions,) = one_token.sample([Request("x", "ab", 3000)], KEY)
    by_text = {(c.text, c.stop_reason): np.exp(c.logprob) for c in completions}
    assert 0.5 < sum(by_text.values()) < 1.0 + 1e-4
    greedy = make(temperature=0.0, prefix="", **FEW_PROGRAMS)
    texts = {c.text for cs in greedy.sample([Request("a", "ab", 3), Request("b", "ab", 2)], KEY) for c in cs}
    assert len(texts) == 1


def test_prompts_that_do_not_fit_are_named_and_counted(sampler):
    assert sampler.fits("a" * 24) and not sampler.fits("a" * 25) and not sampler.fits("")
    with pytest.raises(UserError, match=r"item 9 has 25 tokens.*at most 24"):
        list(sampler.sample([Request("fine", "a", 1), Request("item 9", "a" * 25, 1)], KEY))
    tight = make(prefix="p" * 130, prompt_buckets=(8, 64))
    assert tight.longest_prompt == MODEL.context_length - 130 - 12
    with pytest.raises(UserError, match=r"prefix takes 150"):
        make(prefix="p" * 150)


@pytest.mark.parametrize("prefix", ["", pytest.param("xy\n\n", marks=pytest.mark.slow)])
def test_every_prompt_begins_with_the_token_that_begins_a_document(prefix):
    """As in training. Spelled out in the prompt, the same token gives the same attempts."""

    class Starting(ByteTokenizer):
        start_id = ord("S") + 2

    def texts(tokenizer, text, **changes):
        config = SamplingConfig(**BASE | FEW_PROGRAMS | changes)
        before, prompt = (text[: -len("ab")], "ab") if prefix else ("", text)
        sampler = Sampler(MODEL, random_params(MODEL), tokenizer, config, checkpoint="abc", prefix=before)
        return [c.text for cs in sampler.sample([Request("x", prompt, 4)], KEY) for c in cs]

    plain, spelled = f"{prefix}ab", f"S{prefix}ab"
    assert texts(Starting(), plain) == texts(ByteTokenizer(), spelled) != texts(ByteTokenizer(), plain)
    assert texts(Starting(), plain, document_start=False) == texts(ByteTokenizer(), plain)


def test_out_of_memory_says_what_was_asked_and_what_to_lower(monkeypatch):
    from t5x_selfprog.sampling import programs

    def exhausted(*_, **__):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 12 bytes.\nmuch more")

    hungry = make()
    monkeypatch.setattr(programs.Programs, "get", lambda *_, **__: exhausted)
    with pytest.raises(UserError, match=r"weights .* GiB, caches .* GiB for 3 prompts x 4 rows") as caught:
        hungry.warm_up()
    assert "allocating 12 bytes." in str(caught.value) and "much more" not in str(caught.value)
    assert "SamplingConfig.prompts_in_flight" in str(caught.value)


def test_weights_without_an_identity_are_refused():
    with pytest.raises(UserError, match="checkpoint"):
        Sampler(MODEL, random_params(MODEL), ByteTokenizer(), SamplingConfig(**BASE), checkpoint="")


def test_other_generators_are_refused(sampler):
    with pytest.raises(ValueError, match="threefry"):
        list(sampler.sample(REQUESTS, jax.random.key(0, impl="rbg")))


def test_statistics_add_up(sampler):
    before = sampler.stats()
    found = outcome(sampler)
    after = sampler.stats()
    assert after["completions"] - before["completions"] == len(found)
    assert after["tokens"] - before["tokens"] == sum(n for _, n, _ in found.values())
    assert 0 < after["row_occupancy"] <= 1
