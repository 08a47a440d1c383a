"""`scripts/p3_experiment.py`: what it refuses, and a small run that its budget stops, packed and continued."""

import argparse
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.test_loop import CONFIG, few_problems

REPOSITORY = Path(__file__).resolve().parent.parent
BASE = REPOSITORY / "t5x_selfprog" / "assets" / "base"
NEEDED = ("--gin_file=quickstart", f"--model={BASE}", "--budget_s=500", "--output=out")


def experiment(environment: dict[str, str], cwd: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPOSITORY / "scripts" / "p3_experiment.py"), *flags]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--budget_s=60",), "--budget_s=60: too short for one evaluation; 120 is the least"),
        (("--from=nowhere",), "nowhere: there is no such file"),
        (("--cache=nowhere/xla.tar",), "nowhere/xla.tar: there is no folder"),
        (("--pieces=0",), "--pieces=0"),
        (("--budget_s=nan",), "--budget_s=nan: too short"),
        (("--seeds=1,2,1",), "--seeds=1,2,1: each seed once"),
        (("--iterations=3",), "--iterations=3: not known here"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_made(user_environment, tmp_path, flags, said):
    done = experiment(user_environment, tmp_path, *NEEDED, *flags)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "status", "said"),
    [
        (
            ("--from=run.pack", "--seeds=0,1"),
            2,
            "/run.pack: one pack is one run; name its seed alone in --seeds",
        ),
        (("--from=.", "--seeds=3,4"), 1, "has a pack of none of these runs: base-seed-3, base-seed-4"),
    ],
)
def test_packs_that_no_run_would_continue_are_refused(user_environment, tmp_path, flags, status, said):
    """Else the run begins anew, and the stretch of device time is spent on what was there before."""
    (tmp_path / "run.pack").write_bytes(b"a pack")
    done = experiment(user_environment, tmp_path, *NEEDED, *flags)
    assert done.returncode == status and said in done.stderr and "Traceback" not in done.stderr
    assert f"--from={tmp_path}" in done.stderr


def test_the_first_stretch_has_no_compiled_programs_yet(user_environment, tmp_path):
    """The same command serves every stretch; what it says comes before any work, which --from then refuses here."""
    for cache in ("xla.tar", "out/xla.tar"):
        done = experiment(user_environment, tmp_path, *NEEDED, f"--cache={cache}", "--from=.")
        assert done.returncode == 1 and "has a pack of none of these runs" in done.stderr
        assert f"--cache={tmp_path}/{cache} is not there: programs are compiled anew" in done.stderr
        assert f"left in {tmp_path}/out/xla.tar" in done.stderr


def test_a_cache_that_is_none_is_refused_before_a_model_is_waited_for(user_environment, tmp_path):
    (tmp_path / "xla.tar").write_bytes(b"half of a tar file")
    flags = (
        "--gin_file=quickstart",
        "--model=later.gguf",
        "--budget_s=500",
        "--output=out",
        "--cache=xla.tar",
    )
    done = experiment(user_environment, tmp_path, *flags)
    assert done.returncode == 1 and "xla.tar: not a whole tar file" in done.stderr
    assert "waits for" not in done.stderr


# A stretch whose run is a small process with sandboxes, as a run has them.
STRETCH = """
import importlib.util, os, sys, time
from pathlib import Path
os.execv = lambda *_: None
spec = importlib.util.spec_from_file_location("p3_experiment", sys.argv[1])
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
run = script.Run.__new__(script.Run)
run.root, run.log = Path(sys.argv[2], "run"), Path(sys.argv[2], "run.log")
run._command, run._environment = [sys.executable, "-u", "-c", sys.argv[3]], dict(os.environ)
run.start(60)
print(run._process.pid, flush=True)
time.sleep(600)
"""
SMALL_RUN = """
import time
from verifier import Pool
with Pool(2) as pool:
    pair = {"puzzle": "def f(x: int, n=3): return x == n", "solution": "def g(n=3): return n"}
    print([verdict.outcome for verdict in pool.judge([pair] * 8)])
    time.sleep(600)
"""


def with_descendants(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [process, *(one for child in children for one in with_descendants(int(child)))]


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process cannot ask for this")
def test_killed_outright_it_leaves_no_run_and_no_sandbox_behind(user_environment, tmp_path):
    """Else they keep the accelerator, and their folder, from whoever comes next."""
    command = [sys.executable, "-c", STRETCH, str(REPOSITORY / "scripts" / "p3_experiment.py"), str(tmp_path)]
    stretch = subprocess.Popen([*command, SMALL_RUN], env=user_environment, stdout=subprocess.PIPE, text=True)
    run = int(stretch.stdout.readline())
    try:
        until = time.monotonic() + 60
        while "accepted" not in (tmp_path / "run.log").read_text() and time.monotonic() < until:
            time.sleep(0.05)
        there = with_descendants(run)
        assert len(there) > 2 and all(map(is_alive, there)), (tmp_path / "run.log").read_text()
        stretch.kill()
        stretch.wait()
        until = time.monotonic() + 20
        while any(map(is_alive, there)) and time.monotonic() < until:
            time.sleep(0.05)
        assert not list(filter(is_alive, there))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run, signal.SIGKILL)
        stretch.kill()
        stretch.communicate()


@pytest.fixture(scope="module")
def script():
    """The script as a module, which would otherwise start itself again with the repository's own Python."""
    spec = importlib.util.spec_from_file_location(
        "p3_experiment", REPOSITORY / "scripts" / "p3_experiment.py"
    )
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "execv", lambda *_: None)
        spec.loader.exec_module(module)
    return module


def dies_after(patch, count: int, *calls) -> None:
    """Lets `count` of these calls (owner, name) happen; the next one kills."""
    left = iter(range(count))

    def dying(call):
        def instead(*args, **more):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return call(*args, **more)

        return instead

    for owner, name in calls:
        patch.setattr(owner, name, dying(getattr(owner, name)))


def test_killed_while_it_packs_it_leaves_one_whole_pack(script, tmp_path, monkeypatch):
    """Every call that changes the folder kills in turn; what is found is the old pack or the new, never a mixture."""
    old, new = ({f"m-seed-0.pack.{i:02d}": text for i in range(n)} for text, n in (("old", 3), ("new", 2)))
    found = []
    for count in range(20):
        output = tmp_path / str(count)
        fresh = output / "m-seed-0.packing"
        fresh.mkdir(parents=True)
        for folder, pieces in ((output, old), (fresh, new)):
            for name, text in pieces.items():
                (folder / name).write_text(text)
        changing = ((Path, "unlink"), (Path, "rename"), (script.shutil, "copy"), (script.shutil, "rmtree"))
        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            dies_after(patch, count, *changing)
            script.put_pack(fresh, "m-seed-0", output)
            break
        there = [Path(path) for path in script.packs_of("m-seed-0", str(output))]
        found.append({path.name: path.read_text() for path in there})
    assert found[0] == old and found[1:] == [new] * 7
    assert sorted(os.listdir(output)) == sorted(new)


def test_asked_to_end_it_packs_what_there_is(script, capsys):
    before = signal.getsignal(signal.SIGTERM)
    try:
        with script.ended_by_request():
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("it goes on")
        os.kill(os.getpid(), signal.SIGTERM)  # a second request does not stop the packing
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "asked to end" in capsys.readouterr().err
    with script.ended_by_request():
        pass
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_it_waits_for_is_said(script, tmp_path, capsys):
    """A mistyped name would else look like a machine that is busy, until no time is left."""
    args = argparse.Namespace(model=str(tmp_path / "q.gguf"), work=str(tmp_path), pieces=2)
    (tmp_path / "q.gguf").touch()
    deadline = script.time.monotonic() + script.LEAST_S + 1.5
    with pytest.raises(SystemExit, match=r"1 of 2 pieces of .*q\.gguf have arrived; no time is left"):
        script.imported(args, {}, deadline, lambda **_: None)
    assert capsys.readouterr().err.count("q.gguf: 1 of 2 files are there") == 1


def test_runs_that_do_not_end_when_asked_are_killed_all_at_once(script, tmp_path, monkeypatch):
    """One after the other, three would take longer than what is kept back for packing."""
    ignoring = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    runs = [script.Run.__new__(script.Run) for _ in range(3)]
    for run in runs:
        run._process = subprocess.Popen(
            [sys.executable, "-c", ignoring], stdout=subprocess.PIPE, start_new_session=True
        )
        run._process.stdout.readline()
    waits = []
    monkeypatch.setattr(script.time, "monotonic", lambda: float(len(waits)))
    monkeypatch.setattr(script.time, "sleep", waits.append)
    script.stop(runs[:2])
    assert len(waits) >= 8 and runs[2].is_running()
    for run in runs[:2]:
        assert run._process.wait(10) == -signal.SIGKILL
    script.stop(runs[2:])
    assert runs[2]._process.wait(10) == -signal.SIGKILL


def test_why_a_run_was_refused_is_said_and_not_only_logged(script, tmp_path):
    run = script.Run.__new__(script.Run)
    run.root, run.log, run._process, run._environment = (
        tmp_path / "run",
        tmp_path / "run.log",
        None,
        dict(os.environ),
    )
    assert run.refused() == ""
    for status, said in ((0, ""), (2, "RUN is in use:\nwait")):
        code = (
            f"import sys; sys.stderr.write('selfprog: error: RUN is in use:\\nwait\\n'); sys.exit({status})"
        )
        run._command = [sys.executable, "-c", code]
        run.start(60)
        run._process.wait(60)
        assert run.refused() == said


@pytest.mark.slow
def test_a_stretch_ends_with_packs_and_the_next_one_goes_on_from_them(quick_environment, tmp_path):
    problems = few_problems(tmp_path / "problems")
    config = tmp_path / "small.gin"
    config.write_text(CONFIG.format(problems=str(problems), iterations=2) + "loop.run.measured = 'last'\n")
    environment = quick_environment | {"JAX_PLATFORMS": "cpu"}
    flags = (f"--gin_file={config}", f"--model={BASE}", "--seeds=0,1")
    first = experiment(
        environment,
        tmp_path,
        *flags,
        "--budget_s=3000",
        f"--output={tmp_path}/one",
        f"--work={tmp_path}/here",
    )
    assert first.returncode == 0, first.stderr[-3000:]
    measured = json.loads(first.stdout.splitlines()[-1])
    assert sorted(measured) == ["base-seed-0", "base-seed-1"]
    for arms in measured.values():
        assert {"base", "verified", "unverified", "enumerator"} <= {arm.partition(" ")[0] for arm in arms}
    # A seed whose second iteration kept no pair measures the model of its first.
    assert any({"verified 1", "unverified 1"} <= arms.keys() for arms in measured.values())
    packs = sorted(path.name for path in (tmp_path / "one").glob("*.pack*"))
    assert packs == ["base-seed-0.pack.00", "base-seed-1.pack.00"]
    assert all(
        json.loads(line)["left"] > 0 for line in (tmp_path / "one" / "status.jsonl").read_text().splitlines()
    )

    again = experiment(
        environment, tmp_path, *flags, "--budget_s=3000", f"--output={tmp_path}/two", f"--work={tmp_path}/there",
        f"--from={tmp_path}/one",
    )  # fmt: skip
    assert again.returncode == 0, again.stderr[-3000:]
    assert json.loads(again.stdout.splitlines()[-1]) == measured
    assert (tmp_path / "there" / "base-seed-0" / "earlier" / "part_000" / "summary.json").exists()
    one = shutil.copy(tmp_path / "one" / "base-seed-0.pack.00", tmp_path / "run.pack")
    config.write_text(
        config.read_text() + "finetune.run.epochs = 1\n"
    )  # the run keeps what it was begun with
    third = experiment(
        environment, tmp_path, *flags[:2], "--seeds=0", "--budget_s=3000", f"--output={tmp_path}/three",
        f"--work={tmp_path}/elsewhere", f"--from={one}",
    )  # fmt: skip
    assert third.returncode == 0, third.stderr[-3000:]
    assert json.loads(third.stdout.splitlines()[-1]) == {"base-seed-0": measured["base-seed-0"]}
    assert os.path.getsize(tmp_path / "two" / "base-seed-0.pack.00") < 16 << 20
