"""Sampled and judged shards: their rates, the queue between them, how long chips waited, and what was compiled."""

import collections
import json
import os
import time

import jax
import pytest

from t5x_selfprog.puzzles.prompts import SolvePrompt
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.sampling.sampler import Request, Sampler
from t5x_selfprog.stages.attempts import Solving, sample_attempts
from t5x_selfprog.stages.judging import judge_attempts, overlapped
from t5x_selfprog.telemetry import goodput, recorder
from t5x_selfprog.telemetry.capture import Profile
from t5x_selfprog.telemetry.shards import SamplingMeter
from t5x_selfprog.telemetry.sinks import read_lines
from t5x_selfprog.telemetry.watchdog import Watchdog
from tests.sampling.byte_model import ByteTokenizer, random_params, tiny_config
from tests.stages.test_attempts import EASY, HARD, LIMITS, OneShard
from tests.telemetry.events import scalars
from verifier.fleet.terms import Terms
from verifier.storage.shards import Ledger

SHARDS = 3


class ThreeShards(OneShard):
    def ledger(self, path, stage, schema):
        return Ledger(path, stage=stage, schema=schema, shard_count=SHARDS, seed=0, fingerprint="f")

    def shard_of(self, items, shard):
        return items[shard::SHARDS]


def observed(root):
    return recorder.observed(str(root), Watchdog(), Profile())


def of_kind(root, kind):
    return [line for line in read_lines(root / "metrics.jsonl") if line["kind"] == kind]


def sample_and_judge(root, before_judging=0.0):
    """Three shards of two puzzles each; returns the figures. With a delay, sampling ends before judging begins."""
    context = ThreeShards()
    attempts, verdicts = (str(root / "iter_001" / name) for name in ("3_solutions", "4_verdicts"))
    puzzles = [(f"p{i}", (EASY, HARD)[i % 2]) for i in range(2 * SHARDS)]

    def sample():
        with recorder.current().stage(attempts):
            sample_attempts(
                context, puzzles, attempts, Solving(20, SamplingConfig(), SolvePrompt("none")), model="m", key=None,
                label="1.3",
            )  # fmt: skip

    def judge(alive):
        time.sleep(before_judging)
        judge_attempts(context, attempts, verdicts, terms=Terms(LIMITS), writer_alive=alive)

    with observed(root) as watch:
        overlapped(sample, judge, attempts)()
        return watch.flush()


def test_the_queue_is_what_is_sampled_and_not_judged(tmp_path, monkeypatch):
    monkeypatch.setattr("t5x_selfprog.stages.judging.AT_ONCE", 1)
    sample_and_judge(tmp_path, before_judging=1.0)
    assert [line["attempts"] for line in of_kind(tmp_path, "sample")] == [40] * SHARDS
    judged = of_kind(tmp_path, "judge")
    assert [line["queue_shards"] for line in judged] == [2, 1, 0]
    assert [line["queue_attempts"] for line in judged] == [80, 40, 0]
    for line in judged:
        assert (line["stage"], line["iteration"], line["verdicts"]) == ("4_verdicts", 1, 40)
        assert line["verdicts_per_s"] == pytest.approx(40 / line["seconds"], rel=1e-3) and line["cpu_s"] > 0
    folder = tmp_path / "events" / "iter_001" / "4_verdicts"
    assert scalars(folder, os.listdir(folder))["queue_attempts"] == {0: 80.0, 1: 40.0, 2: 0.0}


def test_waiting_for_verdicts_is_measured_from_the_last_shard_sampled(tmp_path):
    figures = sample_and_judge(tmp_path, before_judging=1.5)
    wait = figures["overlap"]["iter_001/3_solutions"]
    assert wait["waited_s"] > 1.0 and wait["waited_s"] == pytest.approx(figures["parts"]["verdicts"], abs=0.1)
    assert wait["idle_share"] == pytest.approx(
        wait["waited_s"] / (wait["waited_s"] + wait["sampling_s"]), abs=1e-2
    )
    assert "chips waited for verdicts" in goodput.sentence(figures)
    assert sum(figures["parts"].values()) == pytest.approx(figures["wall_s"], abs=0.01)


def test_a_long_shard_shows_its_queue_as_it_shrinks(tmp_path, monkeypatch):
    monkeypatch.setattr("t5x_selfprog.stages.judging.QUEUE_EVERY_S", 0.0)
    monkeypatch.setattr("t5x_selfprog.stages.judging.AT_ONCE", 1)
    sample_and_judge(tmp_path, before_judging=1.0)
    first = [line for line in of_kind(tmp_path, "queue") if line["shard"] == 0]
    assert [line["in_pool"] for line in first] == list(range(39, -1, -1))
    assert [line["queue_attempts"] for line in first] == [80 + line["in_pool"] for line in first]


def test_sampling_reports_tokens_rows_and_seconds_and_names_its_programs(tmp_path, monkeypatch):
    # Samplers of one process share their programs, and another test may have met these shapes.
    monkeypatch.setattr("t5x_selfprog.sampling.programs._compiled", collections.OrderedDict())
    config = tiny_config()
    settings = SamplingConfig(
        prompts_in_flight=2, rows_per_prompt=2, max_new_tokens=8, prompt_buckets=(16,), prompts_per_load=1,
        chunk_steps=4, stop="none",
    )  # fmt: skip
    path = str(tmp_path / "iter_000" / "3_solutions")
    with observed(tmp_path) as watch, watch.stage(path):
        with watch.part("load"):
            sampler = Sampler(config, random_params(config), ByteTokenizer(), settings, checkpoint="tiny")
        meter = SamplingMeter(sampler, path)
        for shard in range(2):
            requests = [Request(f"{shard}/{i}", "def g():", 3) for i in range(3)]
            found = [c for done in sampler.sample(requests, jax.random.key(0)) for c in done]
            meter.shard(shard, len(found))
        figures = watch.flush()
    first, second = of_kind(tmp_path, "sample")
    for line in (first, second):
        assert line["attempts"] == 9 and line["new_tokens"] > 0 and 0 < line["row_occupancy"] <= 1
        assert line["new_tokens_per_s"] == pytest.approx(line["new_tokens"] / line["seconds"], rel=1e-3)
        assert line["new_tokens_per_s_per_chip"] == pytest.approx(
            line["new_tokens_per_s"] / jax.device_count(), rel=1e-3
        )
        assert line["prefill_s"] > 0 and line["decode_s"] > 0 and line["host_s"] > 0
    # Another test may have turned the persistent cache on for this process: then programs are read, not compiled.
    assert first["compilations"] + first["cached_programs"] > 0 and first["compile_s"] > second["compile_s"]
    assert second["compilations"] == second["cached_programs"] == 0  # the second shard met the same shapes
    lines = [line for line in of_kind(tmp_path, "compile") if line["program"].startswith("sampling")]
    named = {line["program"]: line for line in lines}
    assert "decode_chunk" in named["sampling decode 2"]["function"] and "sampling load 16 1" in named
    assert len(named) == len(lines)  # none of them twice
    parts = figures["parts"]
    assert 0.8 * (first["decode_s"] + second["decode_s"]) < parts["decode"] < parts["compile"]
    assert parts["prefill"] > 0
    assert sum(parts.values()) == pytest.approx(figures["wall_s"], abs=0.01)


def test_what_a_kill_left_without_a_shard_is_lost(tmp_path):
    first = goodput.Account(
        lives=1,
        stages={"solutions": {"decode": 10.0, "prefill": 2.0, "host": 5.0}},
        uncommitted={"solutions": {"decode": 4.0, "prefill": 0.5}},
    )
    goodput.write(str(tmp_path), first)
    with observed(tmp_path) as watch:
        figures = watch.flush()
    assert figures["parts"]["lost"] == pytest.approx(4.5) and figures["parts"]["decode"] == pytest.approx(6.0)
    assert figures["lives"] == 2
    with observed(tmp_path) as watch:  # once lost, not lost again
        again = watch.flush()
    assert again["parts"]["lost"] == pytest.approx(4.5) and again["lives"] == 3
    assert json.loads((tmp_path / "goodput.json").read_text())["wall_s"] >= 17.0
