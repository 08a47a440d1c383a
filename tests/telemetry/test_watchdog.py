"""A stuck run reports what, where and for how long, once."""

import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from t5x_selfprog.stages.context import Context
from t5x_selfprog.telemetry import recorder
from t5x_selfprog.telemetry.capture import Profile
from t5x_selfprog.telemetry.compiles import compiles
from t5x_selfprog.telemetry.watchdog import EXIT_STATUS, MAIN, Watch, Watchdog
from verifier import Limits
from verifier.errors import UserError

LIMIT = 0.8  # longer than a thread waits on a busy machine


def observed(root: Path, **settings):
    return recorder.observed(str(root), Watchdog(LIMIT, **settings), Profile())


def told(root: Path) -> str:
    return (root / "stuck-0.txt").read_text()


def stand_still_here(seconds: float = 4 * LIMIT) -> None:
    time.sleep(seconds)


def test_a_stall_names_stage_step_host_and_the_line_that_hangs_once(tmp_path, capsys):
    with observed(tmp_path) as watch, watch.stage(str(tmp_path / "iter_003" / "6_checkpoints")):
        for step in range(5):
            watch.step("step", step, None)
            time.sleep(LIMIT / 8)
        assert not (tmp_path / "stuck-0.txt").exists()
        stand_still_here()
    said = told(tmp_path)
    assert re.search(r"host 0 is stuck: nothing for \d+ s in iter_003/6_checkpoints, after: step 4", said)
    assert "stand_still_here" in said and "test_watchdog.py" in said
    assert said.count("is stuck") == 1 and capsys.readouterr().err.count("is stuck") == 1


def test_a_second_stall_is_told_too(tmp_path):
    with observed(tmp_path) as watch:
        for number in (1, 2):
            watch.beat("chunk", number)
            stand_still_here(2.5 * LIMIT)
    assert told(tmp_path).count("is stuck") == 2 and "after: chunk 2" in told(tmp_path)


def test_a_run_that_moves_says_nothing(tmp_path):
    with observed(tmp_path) as watch:
        for number in range(20):
            watch.beat("verdict", number)
            time.sleep(LIMIT / 8)
    assert not (tmp_path / "stuck-0.txt").exists()


def test_the_judge_may_hang_while_the_sampler_works_and_the_other_way_round(tmp_path):
    path = str(tmp_path / "iter_000" / "4_verdicts")
    with observed(tmp_path) as watch, watch.track("judge", path):
        watch.beat("verdict", 17, "judge")
        for number in range(20):
            watch.beat("decoding chunk", number)
            time.sleep(LIMIT / 8)
        assert "iter_000/4_verdicts, after: verdict 17 (track judge)" in told(tmp_path)
        assert told(tmp_path).count("is stuck") == 1


def test_who_waits_for_verdicts_is_not_stuck_while_they_come(tmp_path):
    with observed(tmp_path) as watch, watch.track("judge"), watch.track(MAIN, waits=True):
        for number in range(20):
            watch.beat("verdict", number, "judge")
            time.sleep(LIMIT / 8)
    assert not (tmp_path / "stuck-0.txt").exists()


def test_every_verdict_of_a_runs_pool_is_a_sign_of_life(tmp_path):
    asking = SimpleNamespace(experiment=SimpleNamespace(workers=1))
    item = {"puzzle": "def f(x: int):\n    return x == 3", "solution": "def g():\n    return 3"}
    with observed(tmp_path), Context.pool(asking, Limits(cpu_s=1.0)) as pool:
        assert [verdict.accepted for verdict in pool.judge([item] * 3)] == [True] * 3
        stand_still_here()
    assert "after: verdict 3 (track main)" in told(tmp_path)


def test_a_long_compilation_is_called_one(tmp_path):
    tracing = threading.Event()

    @jax.jit
    def compiles_for_long(x):
        tracing.set()
        time.sleep(4 * LIMIT)
        return x + 1

    with observed(tmp_path):
        compiles_for_long(jnp.zeros(3))
    said = told(tmp_path)
    assert "compiling" in said and "compiles_for_long" in said and "is stuck" not in said
    assert tracing.is_set() and not compiles().in_progress()


def test_a_function_that_failed_to_trace_is_not_taken_for_compiling(tmp_path):
    @jax.jit
    def cannot_be_traced(x):
        raise ValueError("no")

    with observed(tmp_path):
        with pytest.raises(ValueError, match="no"):
            cannot_be_traced(jnp.zeros(3))
        recorder.current().beat("step", 7)
        assert not compiles().in_progress()
        stand_still_here()
    assert "is stuck" in told(tmp_path) and "is compiling" not in told(tmp_path)


def test_zero_never_looks(tmp_path):
    watch = Watch(Watchdog(0), str(tmp_path), list)
    watch.start()
    assert "watchdog" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(UserError, match="stuck_after_s=-1"):
        Watchdog(-1)


def test_abort_ends_the_process_with_a_status_that_restarts_it(tmp_path, user_environment):
    code = (
        "import time\n"
        "from t5x_selfprog.telemetry import recorder\n"
        "from t5x_selfprog.telemetry.capture import Profile\n"
        "from t5x_selfprog.telemetry.watchdog import Watchdog\n"
        f"with recorder.observed({str(tmp_path)!r}, Watchdog(1.0, abort=True), Profile()):\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=user_environment, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == EXIT_STATUS == 75
    assert "is stuck" in done.stderr and "is stuck" in told(tmp_path)


def test_a_store_that_hangs_does_not_keep_the_process_from_its_end(tmp_path, user_environment):
    code = (
        "import time\n"
        "from verifier.storage import files\n"
        "from t5x_selfprog.telemetry import recorder, watchdog\n"
        "from t5x_selfprog.telemetry.capture import Profile\n"
        "watchdog.WRITE_S = 0.5\n"
        f"with recorder.observed({str(tmp_path)!r}, watchdog.Watchdog(1.0, abort=True), Profile()):\n"
        "    files.write_atomic = lambda *_: time.sleep(60)\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=user_environment, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == EXIT_STATUS and "is stuck" in done.stderr
