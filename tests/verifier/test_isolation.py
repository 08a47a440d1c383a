"""What the weakest level closes, and that every verdict says what it doesn't."""

import os
import pathlib

import pytest

from verifier import Limits, Pool, PoolError
from verifier.cli import main

PROBE = """
import random

def g(name='NAME'):
    os = random._os
    tried = {
        'descriptor': lambda: os.open('/dev/null', 0),
        'file': lambda: os.open('/etc/passwd', os.O_RDONLY),
        'folder': lambda: os.listdir('/'),
        'path': lambda: os.stat('/etc'),
        'parent': lambda: os.stat('../../../../etc'),
        'make': lambda: os.mkdir('/tmp/' + name),
        'make here': lambda: os.mkdir(name),
        'change': lambda: os.chmod('/tmp/' + name + '.txt', 0o600),
        'shorten': lambda: os.truncate('/tmp/' + name + '.txt', 0),
        'pipe': os.pipe,
        'copy': lambda: os.dup(0),
        'memory': lambda: os.memfd_create('m'),
        'process': os.fork,
    }
    found = []
    for round in range(2):
        for what, call in tried.items():
            try:
                call()
                found.append(what)
            except OSError:
                pass
        for descriptor in range(3):
            try:
                os.close(descriptor)
            except OSError:
                pass
    return found
"""
ITEM = {"puzzle": "def f(x: List[str]):\n    return x == []"}
MEMORY = """
import random

def g():
    libc = random._os.sys.modules['ctypes'].CDLL(None)
    return libc.shmget(0x5EED, 4096, 0o1666)
"""


@pytest.fixture
def world_writable(tmp_path_factory):
    path = pathlib.Path("/tmp") / f"verifier_probe_{os.getpid()}.txt"
    path.write_text("untouched")
    path.chmod(0o666)
    yield path
    path.unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may shut programs in a folder")
@pytest.mark.parametrize("isolation", ["rlimits", "seccomp"])
def test_root_leaves_nothing_to_be_opened_or_changed(isolation, world_writable):
    probe = PROBE.replace("NAME", world_writable.stem)
    with Pool(1, Limits(), isolation=isolation) as pool:
        verdict = next(pool.judge([ITEM | {"solution": probe}]))
        assert "open:" not in pool.isolation or pool.isolation.startswith("rlimits (open: System V objects")
    assert verdict.accepted, verdict
    assert world_writable.read_text() == "untouched"


@pytest.mark.skipif(os.geteuid() == 0, reason="root's programs are shut in a folder")
def test_verdicts_say_what_is_open():
    with Pool(1, Limits(), isolation="rlimits") as pool:
        verdict = next(pool.judge([ITEM | {"solution": "def g():\n    return []"}]))
    assert verdict.isolation == "rlimits (open: paths, signals to the same user, System V objects, keys)"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has System V objects of its own without more")
def test_system_v_objects_do_not_stay():
    with Pool(1, Limits(), isolation="rlimits") as pool:
        if "System V" in pool.isolation:
            pytest.skip("not even root may here")
        list(pool.judge([{"puzzle": "def f(x: int):\n    return x >= 0", "solution": MEMORY}]))
    assert "0x00005eed" not in pathlib.Path("/proc/sysvipc/shm").read_text()
    assert str(0x5EED) not in pathlib.Path("/proc/sysvipc/shm").read_text().split()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's programs are users of their own")
@pytest.mark.parametrize("name", ["neighbour_system_v", "neighbour_key"])
def test_what_one_program_left_in_the_kernel_no_other_finds(name):
    trick = (pathlib.Path(__file__).parent / "hostile" / f"{name}.py").read_text()
    with Pool(1, Limits(), isolation="rlimits", reuse=0) as pool:
        if {"neighbour_system_v": "System V", "neighbour_key": "keys"}[name] in pool.isolation:
            pytest.skip("not even root may here")
        item = {"puzzle": "def f(x: int):\n    return x >= 0", "solution": trick}
        assert [verdict.answer for verdict in pool.judge([item] * 3)] == ["0"] * 3


def test_services_refuse_the_weakest_level_unless_it_is_asked_for(tmp_path, monkeypatch, capsys):
    """Where the host allows no more: here, because seccomp's filter is not available."""
    (tmp_path / "attempts").mkdir()
    (tmp_path / "attempts" / "COMPLETE").touch()
    asked = []

    def refuse(*positional, require, isolation, **others):
        asked.append((isolation, require))
        raise PoolError("no")

    monkeypatch.setattr("verifier.pool.Pool", refuse)
    for words in (
        ["serve", str(tmp_path / "attempts"), "--output", str(tmp_path / "out")],
        ["serve", str(tmp_path / "attempts"), "--output", str(tmp_path / "out"), "--isolation=rlimits"],
        ["serve", str(tmp_path / "attempts"), "--output", str(tmp_path / "out"), "--require=rlimits"],
        ["follow", str(tmp_path)],
    ):
        with pytest.raises(SystemExit):
            main(words)
    assert asked == [("auto", "seccomp"), ("rlimits", "rlimits"), ("auto", "rlimits"), ("auto", "seccomp")]
