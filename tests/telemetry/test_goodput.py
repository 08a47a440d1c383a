"""The account of a run's time over its lives: parts sum to the wall time, and work undone by kills is lost."""

import time

import pytest

from t5x_selfprog.telemetry import goodput, recorder
from t5x_selfprog.telemetry.capture import Profile
from t5x_selfprog.telemetry.clock import PARTS
from t5x_selfprog.telemetry.watchdog import Watchdog
from verifier.storage import files

STAGE = "iteration 0: training"


def observed(root):
    return recorder.observed(str(root), Watchdog(0), Profile())


def test_parts_and_stages_sum_to_the_wall_time(tmp_path):
    began = time.monotonic()
    with observed(tmp_path) as watch, watch.clock.stage(STAGE):
        for part in ("train", "save", "decode", "verdicts"):
            with watch.part(part):
                time.sleep(0.05)
    wall = time.monotonic() - began
    found = files.read_json(tmp_path / goodput.NAME)
    assert set(found["parts"]) == set(PARTS)
    assert sum(found["parts"].values()) == pytest.approx(found["wall_s"], abs=0.01)
    assert sum(sum(of.values()) for of in found["stages"].values()) == pytest.approx(
        found["wall_s"], abs=0.01
    )
    assert 0.2 <= found["wall_s"] <= wall + 0.01
    assert found["useful_s"] == pytest.approx(found["parts"]["train"] + found["parts"]["decode"], abs=0.01)
    assert found["goodput"] == pytest.approx(found["useful_s"] / found["wall_s"], abs=0.01)
    assert found["waiting_for_verdicts"] == pytest.approx(
        found["parts"]["verdicts"] / found["wall_s"], abs=0.01
    )


def test_lives_add_up(tmp_path):
    walls = []
    for _ in range(2):
        with observed(tmp_path) as watch, watch.part("train"):
            time.sleep(0.1)
        walls.append(files.read_json(tmp_path / goodput.NAME)["wall_s"])
    found = files.read_json(tmp_path / goodput.NAME)
    # milliseconds are rounded
    assert found["lives"] == 2 and found["parts"]["train"] >= 0.2 and walls[1] >= walls[0] + 0.099


def test_sampling_that_no_shard_holds_is_lost_to_the_next_life(tmp_path):
    with observed(tmp_path) as watch:
        with watch.part("decode"):
            time.sleep(0.1)
        watch.committed(watch.clock.read())
        with watch.part("decode"):
            time.sleep(0.05)
    kept = files.read_json(tmp_path / goodput.NAME)["parts"]
    assert kept["decode"] >= 0.15 and kept["lost"] == 0
    with observed(tmp_path):
        pass
    found = files.read_json(tmp_path / goodput.NAME)["parts"]
    assert 0.1 <= found["decode"] < 0.15 and found["lost"] >= 0.05
    assert found["decode"] + found["lost"] == pytest.approx(kept["decode"], abs=0.01)


def test_the_wait_for_verdicts_is_a_share_of_sampling_and_waiting(tmp_path):
    with observed(tmp_path) as watch:
        watch.waited(str(tmp_path / "iter_000" / "3_solutions"), 3.0, 1.0)
    found = files.read_json(tmp_path / goodput.NAME)["overlap"]
    assert found == {"iter_000/3_solutions": {"sampling_s": 3.0, "waited_s": 1.0, "idle_share": 0.25}}


def test_the_sentence_says_both_shares_in_one_line():
    account = goodput.Account(
        lives=2, devices=1, lost_steps=3, stages={"": {"train": 60.0, "verdicts": 25.0, "host": 15.0}}
    )
    said = goodput.sentence(account.figures())
    assert "60.0% of 100 s in 2 lives" in said and "waited for verdicts 25.0%" in said
    assert "host 15.0%" in said and "3 training steps made again" in said and "\n" not in said


def test_nothing_is_written_where_nothing_is_observed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    watch = recorder.current()
    with watch.stage(str(tmp_path)), watch.track("judge"), watch.part("train"):
        watch.step("step", 1, None)
        watch.record("train", str(tmp_path), 1, {"loss": 1.0})
        assert watch.flush() == {}
    assert list(tmp_path.iterdir()) == []


def test_a_run_in_a_bucket_is_accounted_for_there():
    root = "memory://goodput-test/run"
    with observed(root) as watch:
        watch.record("sample", f"{root}/iter_001/3_solutions", 0, {"new_tokens": 5})
    assert files.read_json(f"{root}/goodput.json")["lives"] == 1
    (line,) = files.read_bytes(f"{root}/metrics.jsonl").splitlines()
    assert b'"stage": "3_solutions", "iteration": 1, "shard": 0, "new_tokens": 5' in line
    assert len(files.listdir(f"{root}/events/iter_001/3_solutions")) == 1
