"""Preempted, and ended by other hosts: real processes, real signals, JAX's own service between two of them."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_many_hosts import free_port

READY = "ready"
ALONE = """
import ctypes, time
from t5x_selfprog import preemption
from t5x_selfprog.preemption import check
with preemption.listening():
    print('ready', flush=True)
    {body}
"""
TOGETHER = """
import sys, time
from t5x_selfprog import hosts, preemption
from verifier.errors import UserError
host = int(sys.argv[2])
hosts.connect("127.0.0.1:" + sys.argv[1] + f",2,{{host}}")
try:
    with preemption.listening():
        hosts.barrier("begin")
        print("ready", flush=True)
        {body}
except SystemExit as end:
    hosts.leave(end.code)
except Exception:  # a collective fails where another host is gone: as main does
    hosts.leave(1)
"""


@contextlib.contextmanager
def started(commands: list[list[str]], environment: dict[str, str]) -> Iterator[list[subprocess.Popen]]:
    """The processes, once all have reported that they are ready."""
    processes = [
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
        )
        for command in commands
    ]
    try:
        for process in processes:
            while (line := process.stdout.readline()) and line.strip() != READY:
                pass  # other output
            assert line, process.stderr.read()[-2000:]
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def together(body: str, environment: dict[str, str]) -> contextlib.AbstractContextManager:
    script = TOGETHER.format(body=body.replace("\n", "\n        "))
    port = str(free_port())
    commands = [[sys.executable, "-c", script, port, str(host)] for host in (0, 1)]
    return started(commands, environment | {"JAX_NUM_CPU_DEVICES": "1"})


def test_who_works_leaves_at_the_next_check(user_environment):
    script = ALONE.format(body="while True: check(); time.sleep(0.05)")
    with started([[sys.executable, "-c", script]], user_environment) as (process,):
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 143


def test_who_waits_for_something_that_does_not_come_is_ended(user_environment):
    # The main thread waits for a mutex forever, so no Python signal handler ever runs.
    stuck = "m = ctypes.create_string_buffer(64); libc = ctypes.CDLL(None); "
    stuck += "libc.pthread_mutex_lock(m); libc.pthread_mutex_lock(m)"
    impatient = (
        "from t5x_selfprog import preemption; preemption.PATIENCE_S = 0.5\n"  # the timer is made on entry
    )
    script = impatient + ALONE.format(body=stuck)
    with started([[sys.executable, "-c", script]], user_environment) as (process,):
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 143
        assert "leaving without it" in process.stderr.read()


@pytest.mark.skipif(shutil.which("unshare") is None or os.getuid() != 0, reason="needs unshare and root")
def test_the_first_process_of_a_container_hears_it_too(user_environment):
    body = "import os; assert os.getpid() == 1\n    while True: check(); time.sleep(0.05)"
    script = ALONE.format(body=body)
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", script]
    with started([command], user_environment) as (outer,):
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        assert outer.wait(120) == 143


def test_what_one_host_is_told_ends_all(user_environment):
    with together("while True: preemption.check(); time.sleep(0.05)", user_environment) as processes:
        processes[1].send_signal(signal.SIGTERM)
        assert [process.wait(120) for process in processes] == [143, 143]


def test_hosts_that_train_save_after_the_same_step(user_environment):
    body = """with preemption.notice() as notice:
    for step in range(1, 100_000):
        hosts.agree(step)
        time.sleep(0.01 * host)
        if step == 3:
            print("trains", flush=True)
        if notice.reached(step):
            hosts.barrier("saved")
            print("saved", step, flush=True)
            raise preemption.Preempted"""
    with together(body, user_environment) as processes:
        for process in processes:
            while process.stdout.readline().strip() != "trains":
                assert process.poll() is None
        processes[1].send_signal(signal.SIGTERM)
        said = [process.communicate(timeout=120)[0].split("\n") for process in processes]
        assert [process.returncode for process in processes] == [143, 143]
    saved = [[line for line in lines if line.startswith("saved")] for lines in said]
    assert saved[0] == saved[1] and len(saved[0]) == 1


@pytest.mark.parametrize("guilty", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_mistake_that_one_host_finds_is_the_status_of_all(guilty, user_environment):
    body = f"""if host == {guilty}:
    hosts.leave(2)
hosts.barrier("nobody comes")"""
    with together(body, user_environment) as processes:
        began = time.monotonic()
        assert [process.wait(120) for process in processes] == [2, 2]
        assert time.monotonic() - began < 60
        assert f"host {guilty} ended with status 2" in processes[1 - guilty].stderr.read()


@pytest.mark.parametrize("late", [0, 1])
def test_who_is_done_waits_for_the_other_and_both_end_well(late, user_environment):
    """Also with threads that wait for the other host inside JAX, whose unwinding would abort a process at its end."""
    body = f"time.sleep(3.0 * (host == {late})); hosts.finish(); sys.exit(1)"
    with together(body, user_environment) as processes:
        began = time.monotonic()
        assert [process.wait(120) for process in processes] == [0, 0]
        assert time.monotonic() - began > 1.0
