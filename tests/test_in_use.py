"""One process at a time at one work in a run directory: real processes, killed for real."""

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from t5x_selfprog import in_use
from t5x_selfprog.main import main
from t5x_selfprog.run_dir import has_made, open_run
from t5x_selfprog.run_layout import IN_USE, WORKS
from tests import test_main
from tests.test_preemption import together

toy = test_main.toy  # a fixture: `main` on made-up commands

HOLDER = """
import sys, time
from t5x_selfprog import in_use
from verifier import Pool
pair = {"puzzle": "def f(x: int, n=3): return x == n", "solution": "def g(n=3): return n"}
with in_use.held(sys.argv[1], "run", sys.argv[2].split(",")), Pool(1) as pool:
    print(next(pool.judge([pair])).outcome, flush=True)
    time.sleep(600)
"""


@contextlib.contextmanager
def holder(folder: Path, environment: dict[str, str], *works: str) -> Iterator[subprocess.Popen[str]]:
    """A process at these works there, with sandboxes of its own, as every run has them."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), ",".join(works or WORKS)],
        env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "accepted\n"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def locks(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob(f"{IN_USE}*"))


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(in_use, "PATIENCE_S", 0.0)


def test_a_second_start_is_refused_with_the_first_ones_name_until_that_is_gone(
    toy,
    tmp_path,
    user_environment,
    capsys,
):
    run = ("run", "--gin_file=toy.gin", f"--run_dir={tmp_path / 'R'}")
    with holder(tmp_path / "R", user_environment) as first:
        assert toy(*run) == 2
        said = capsys.readouterr().err
        for part in (
            f"{tmp_path / 'R'} is in use",
            "`selfprog run`",
            f"process {first.pid} on {socket.gethostname()}",
        ):
            assert part in said
        assert f"kill {first.pid}" in said and "Traceback" not in said and " UTC" in said
        assert not has_made(open_run(tmp_path / "R", {})), "the one that was refused wrote nothing"
        os.kill(first.pid, signal.SIGKILL)  # itself alone: its sandboxes must not keep the lock
        assert toy(*run) == 0, "at once, though nobody could tidy up"
    assert not locks(tmp_path / "R")


def test_refused_before_anything_is_asked_of_devices(toy, tmp_path, monkeypatch, impatient):
    """On an accelerator that the first one has taken, looking for devices ends in a message about memory."""
    from t5x_selfprog import main as main_module

    looked = []
    monkeypatch.setattr(main_module, "resolve", lambda target: looked.append)
    for command in main_module.COMMANDS:
        object.__setattr__(command, "check", "somewhere:check")
    run = ("run", "--gin_file=toy.gin", f"--run_dir={tmp_path / 'R'}")
    with in_use.held(tmp_path / "R", "run", WORKS):
        assert toy(*run) == 2 and not looked
    with contextlib.suppress(TypeError):
        toy(*run)
    assert looked


def test_stages_may_follow_one_another_but_not_beside_a_run_or_themselves(tmp_path, impatient):
    with in_use.held(tmp_path, "solve", ["solve"]), in_use.held(tmp_path, "verify", ["verify"]):
        assert locks(tmp_path) == [f"{IN_USE}solve", f"{IN_USE}verify"]
        with pytest.raises(in_use.InUse, match="`selfprog solve` has been at work there"):
            in_use.held(tmp_path, "run", WORKS).__enter__()
        with pytest.raises(in_use.InUse, match="`selfprog verify` has been at work there"):
            in_use.held(tmp_path, "verify", ["verify"]).__enter__()
        assert locks(tmp_path) == [f"{IN_USE}solve", f"{IN_USE}verify"], (
            "the run's other locks are given back"
        )
    with in_use.held(tmp_path, "run", WORKS), pytest.raises(in_use.InUse, match="`selfprog run`"):
        in_use.held(tmp_path, "verify", ["verify"]).__enter__()
    assert not locks(tmp_path)


def test_growth_waits_for_every_stage(toy, tmp_path, capsys, impatient):
    """What grows is moved, also from under a stage of another name."""
    grows = ("stage", "--gin_file=toy.gin", "--run_dir=R")
    (tmp_path / "toy.gin").write_text("toy_loop.run.puzzles = 'seeds'\nloop.run.iterations = 3\n")
    import t5x_selfprog.loop  # noqa: F401 (declares what grows)

    assert toy(*grows) == 0
    (tmp_path / "R" / "iter_000").mkdir()
    more = "--gin.loop.run.iterations=4"
    with in_use.held("R", "verify", ["verify"]):
        assert toy(*grows) == 0
        assert toy(*grows, more) == 2 and "`selfprog verify` has been at work" in capsys.readouterr().err
    assert toy(*grows, more) == 0 and "4 iterations instead of 3" in capsys.readouterr().err


def test_several_hosts_are_at_one_run_together_and_host_0_holds_it(tmp_path, user_environment, impatient):
    body = f"""
from argparse import Namespace
from t5x_selfprog import entering
parsed = Namespace(run_dir={str(tmp_path / "R")!r}, command="run", hosts="all")
entering.require_possible(parsed, {{}})
with entering.entered(parsed, {{}}, ""):
    hosts.barrier("inside")
    print("inside", flush=True)
    time.sleep(600)
"""
    with together(body, user_environment) as both:
        for process in both:
            while (line := process.stdout.readline().strip()) != "inside":
                assert line, process.stderr.read()[-2000:]
        with pytest.raises(in_use.InUse, match=f"process {both[0].pid} on"):
            in_use.require_free(tmp_path / "R", WORKS)


def test_whoever_only_reads_is_not_hindered(tmp_path, capsys, impatient):
    root = tmp_path / "run"
    open_run(root, {"Experiment.start": "'base'"}, "# made up\n")
    with in_use.held(root, "run", WORKS):
        assert main(["pack", f"--run_dir={root}", f"--output={tmp_path}/a.pack"]) == 0
        assert main(["report", f"--run_dir={root}"]) == 0
    with tarfile.open(tmp_path / "a.pack") as archive:
        assert sorted(archive.getnames()) == ["config.gin", "fingerprint.json", "pack.json"]


def test_without_locks_nothing_is_said_and_nothing_refused(tmp_path, monkeypatch, impatient):
    with in_use.held("memory://bucket/run", "run", WORKS), in_use.held("memory://bucket/run", "run", WORKS):
        pass

    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(in_use.fcntl, "flock", none)
    with in_use.held(tmp_path, "run", WORKS), in_use.held(tmp_path, "run", WORKS):
        in_use.require_free(tmp_path, WORKS)


def test_never_two_at_once_though_each_removes_its_file(tmp_path, monkeypatch):
    """A lock on a file that has just been removed is worth nothing, and must not be taken for one."""
    monkeypatch.setattr(in_use, "PATIENCE_S", 60.0)
    monkeypatch.setattr(in_use.time, "sleep", lambda _: None)
    inside, most, done = 0, [], []
    counting = threading.Lock()

    def work():
        nonlocal inside
        for _ in range(150):
            with in_use.held(tmp_path, "run", ["solve"]):
                with counting:
                    inside += 1
                    most.append(inside)
                with counting:
                    inside -= 1
        done.append(True)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 6 and set(most) == {1} and not locks(tmp_path)
