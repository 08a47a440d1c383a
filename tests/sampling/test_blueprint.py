"""Programs compiled ahead from shapes alone are the ones that a sampler runs."""

import re
import threading

import pytest

from t5x_selfprog.device_program import DeviceProgram
from t5x_selfprog.model import network
from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.sampling import blueprint, programs
from t5x_selfprog.sampling.blueprint import Blueprint, Room, blueprint_of
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.sampling.programs import Programs
from tests.sampling.byte_model import ByteTokenizer, tiny_config
from tests.sampling.test_sampler import BASE, KEY, MODEL, PREFIX, REQUESTS, make, outcome


@pytest.mark.parametrize("mesh", [None, MeshConfig(2, 2, 2)], ids=str)
def test_a_sampler_finds_all_that_it_needs(mesh):
    changes = {"max_new_tokens": 11, "prompts_in_flight": 8, "prompt_buckets": (24,), "prompts_per_load": 1}
    partitioner = mesh and Partitioner(mesh.make())
    config = SamplingConfig(**BASE | changes)
    room = Room.of(MODEL, ByteTokenizer(), config, PREFIX)
    plan = blueprint_of(MODEL, ByteTokenizer(), config, room, partitioner)
    ahead = Programs(plan.key)
    ahead.ahead(plan.everything())
    assert ahead.compilations == len({program.name for program in plan.everything()}) >= 7
    sampler = make(partitioner=partitioner, **changes)
    found = list(sampler.sample(REQUESTS, KEY))
    assert [len(completions) for completions in found] == [request.attempts for request in REQUESTS]
    assert sampler.stats()["compilations"] == 0 and sampler.stats()["compile_s"] >= 0


@pytest.mark.parametrize("by_slots", [False, True])
def test_at_the_end_no_cache_leaves_its_device(by_slots, monkeypatch):
    """A group's caches are gigabytes: if rows moved between devices, the new grid would not fit beside the old one."""
    monkeypatch.setattr(blueprint, "lies_by_slots", lambda *_: by_slots)
    partitioner = Partitioner(MeshConfig(2, 2, 2).make())
    config = SamplingConfig(**BASE | {"prompts_in_flight": 16, "tail_prompts": (1, 8, 16)})
    plan = blueprint_of(
        MODEL, ByteTokenizer(), config, Room.of(MODEL, ByteTokenizer(), config, ""), partitioner
    )
    assert plan.parts == 4 and plan.tails == (4, 8)
    (compact,) = (program for program in plan.everything() if program.name == ("compact", 16, 4))
    text = compact.compile().as_text()
    assert not re.findall(r"= \S+ (all-\w+|collective-\w+|reduce-scatter)\(", text)


def test_places_without_a_prompt_go_nowhere(monkeypatch):
    """On accelerators every load is a full batch, even if fewer prompts wait: the surplus must not be written."""
    expected = outcome(make(prompts_per_load=3))
    monkeypatch.setattr(Blueprint, "batches", lambda plan: (plan.together(),))
    assert outcome(make(prompts_per_load=3)) == expected


def test_they_are_compiled_beside_one_another_and_once():
    """Each waits until the others have begun: one after the other, they would never end."""
    together = threading.Barrier(2, timeout=60)
    traced = []

    def program(name):
        def function(x):  # one per program, because JAX traces the same function only once
            traced.append(x)
            together.wait()
            return x + 1

        return DeviceProgram(name, function, (1.0,))

    mine = Programs(("beside", object()))
    mine.ahead([program("a"), program("b")])
    mine.ahead([program("a")])
    assert mine.call(program("a")) == mine.call(program("b")) == 2.0
    assert len(traced) == 2 and mine.compilations == 2


def test_one_that_fails_says_so_to_whoever_needs_it_and_may_be_tried_again():
    def function(x):
        raise ValueError("not today")

    mine = Programs(("failing", object()))
    mine.ahead([DeviceProgram("a", function, (1.0,))])
    for _ in range(2):
        with pytest.raises(ValueError, match="not today"):
            mine.call(DeviceProgram("a", function, (1.0,)))
    assert not any(key[0] is mine._key for key in programs._compiled)


@pytest.mark.parametrize("windows, kinds", [((None,), 1), ((None, 9, 5), 3)], ids=str)
def test_layers_of_one_kind_are_traced_once(windows, kinds, monkeypatch):
    """Every start traces its programs, in a time that must not grow with depth; compilers see the layers in line."""
    traced, bind = [], network.bind_block
    monkeypatch.setattr(network, "bind_block", lambda *args: traced.append(args) or bind(*args))
    model = tiny_config(num_layers=12, windows=windows)
    config = SamplingConfig(
        **BASE | {"prompt_buckets": (24,), "weights_dtype": "int8", "cache_dtype": "int8"}
    )
    room = Room.of(model, ByteTokenizer(), config, PREFIX)
    plan = blueprint_of(model, ByteTokenizer(), config, room, None)
    for name in ("prefix", ("decode", 3), ("load", 24, 2)):
        program = plan.described(name)
        traced.clear()
        text = program.lower().as_text()
        assert len(traced) == kinds
        assert "@layer" not in text and text.count("stablehlo.rsqrt") >= 2 * 12 - 1  # two norms each
