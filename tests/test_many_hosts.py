"""Several real processes as one run: their results equal those of one process with equally many devices.

Every test starts `selfprog run` like a launcher, on local ports, with virtual CPU devices.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.test_loop import CONFIG, contents, few_problems

DEVICES = 4
Start = Callable[..., list[subprocess.Popen]]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def start(tmp_path_factory, quick_environment) -> Start:
    """`start(run_dir, hosts)`: the processes of one run, which have DEVICES devices together."""
    folder = tmp_path_factory.mktemp("hosts")
    problems = few_problems(folder / "problems")
    config = folder / "small.gin"
    mesh = "MeshConfig.data = 2\nMeshConfig.fsdp = 2\n"
    config.write_text(CONFIG.format(problems=str(problems), iterations=1) + mesh)

    def start(run_dir: Path, hosts: int, *flags: str, last: tuple[str, ...] = ()) -> list[subprocess.Popen]:
        port, processes = free_port(), []
        for i in range(hosts):
            environment = quick_environment | {
                "JAX_COMPILATION_CACHE_DIR": str(folder / f"xla_{hosts}"),
                "JAX_NUM_CPU_DEVICES": str(DEVICES // hosts),
            }
            command = [sys.executable, "-m", "t5x_selfprog.main", "run", f"--gin_file={config}", *flags]
            command += [f"--run_dir={run_dir}", "--quiet"]
            command.append(f"--hosts=127.0.0.1:{port},{hosts},{i}")  # even for one: see hosts.connect
            if i == hosts - 1:
                command += last
            log = open(run_dir.with_suffix(f".{i}.log"), "a")  # noqa: SIM115 (the process owns it)
            processes.append(
                subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
            )
        return processes

    return start


def finish(processes: list[subprocess.Popen], run_dir: Path) -> None:
    for i, process in enumerate(processes):
        log = run_dir.with_suffix(f".{i}.log")
        assert process.wait(timeout=1500) == 0, f"host {i}: {log.read_text()[-3000:]}"


def end(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
@pytest.mark.timeout(1800)  # four starts of a run, on two slow cores beside other work
def test_two_hosts_make_what_one_makes_though_killed_and_restarted_on_another_number(start, tmp_path):
    alone, together = tmp_path / "alone" / "run", tmp_path / "together" / "run"
    for run_dir in (alone, together):
        run_dir.parent.mkdir()
    finish(start(alone, 1), alone)
    for hosts, seconds in ((2, 60.0), (4, 90.0)):
        processes = start(together, hosts)
        time.sleep(seconds)
        end(processes)
    finish(start(together, 2), together)
    assert contents(together) == contents(alone)


def test_hosts_that_differ_are_refused_with_the_difference(start, tmp_path):
    run_dir = tmp_path / "run"
    processes = start(run_dir, 2, last=("--gin.Experiment.seed=5",))
    try:
        assert processes[1].wait(timeout=120) == 2
        said = run_dir.with_suffix(".1.log").read_text()
        assert "hosts of one run must be alike" in said
        assert "Experiment.seed: host 0 has '0', host 1 has '5'" in said
    finally:
        end(processes)
    assert not (run_dir / "base").exists()


def test_a_spec_of_another_form_is_refused(user_environment, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "t5x_selfprog.main", "run", "--gin_file=quickstart", "--hosts=3",
         f"--run_dir={tmp_path / 'run'}"],
        env=user_environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "--hosts=3: give auto, or ADDRESS:PORT,COUNT,INDEX" in done.stderr
