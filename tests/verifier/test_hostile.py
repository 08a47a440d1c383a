"""Every trick of the corpus, and honest work beside it: no false accept, no escape, no hang, nothing left behind.

A file of `hostile/` is one solution. Its first comment line says what it tries, `# expect:` lists the
outcomes that are right, `# puzzle:` lines give a puzzle of its own; the usual one accepts nothing.
"""

import os
import pathlib
import time
from typing import NamedTuple

import pytest

from verifier import Limits, Pool, Verdict

CORPUS = sorted((pathlib.Path(__file__).parent / "hostile").glob("*.py"))
IMPOSSIBLE = "def f(x: int):\n    return False"
LIMITS = Limits(cpu_s=0.4, wall_s=8.0, memory_mb=512, output_bytes=16 << 20)
HONEST = {
    "puzzle": "def f(x: List[int], n=4):\n    return x == [n] * n",
    "solution": "def g(n=4):\n    return [n] * n",
}


class Trick(NamedTuple):
    says: str
    expect: set[str]
    puzzle: str
    solution: str


def read_trick(path: pathlib.Path) -> Trick:
    source = path.read_text()
    comments = [line[2:] for line in source.splitlines() if line.startswith("# ")]
    puzzle = "\n".join(line.removeprefix("puzzle: ") for line in comments if line.startswith("puzzle:"))
    puzzle = puzzle.replace("puzzle:\n", "\n")
    expect = next(line.removeprefix("expect: ") for line in comments if line.startswith("expect: "))
    return Trick(comments[0], set(expect.split()), puzzle or IMPOSSIBLE, source)


TRICKS = {path.stem: read_trick(path) for path in CORPUS}


def descendants(process: int) -> set[int]:
    """The living processes below one, by /proc."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = pathlib.Path("/proc", entry, "stat").read_text()
            except OSError:
                continue
            parents[int(entry)] = int(stat.rpartition(")")[2].split()[1])
    found = {process}
    while True:
        more = {child for child, parent in parents.items() if parent in found} - found
        if not more:
            return found - {process}
        found |= more


class Ran(NamedTuple):
    verdicts: dict[str, Verdict]
    honest: list[Verdict]
    left_over: set[int]
    workers_kept: bool
    wall_s: float


def run_corpus(isolation: str, kind: str = "") -> Ran:
    """The corpus, or its tricks named `kind...`, through one pool, with an honest attempt after every trick."""
    items, tricks = [], {name: trick for name, trick in TRICKS.items() if name.startswith(kind)}
    for trick in tricks.values():
        items += [{"puzzle": trick.puzzle, "solution": trick.solution}, HONEST]
    start = time.monotonic()
    others = descendants(os.getpid())  # children of tests that ran in this process before
    with Pool(2, LIMITS, isolation=isolation, batch_size=32, reuse=0) as pool:
        pool.isolation  # noqa: B018 (wait for the workers)
        before = pool.pids()
        verdicts = list(pool.judge(items))
        kept = pool.pids() == before
        family = descendants(os.getpid()) - others
    deadline = time.monotonic() + 5
    while (left_over := family & descendants(os.getpid())) and time.monotonic() < deadline:
        time.sleep(0.05)
    still_there = {process for process in family if os.path.exists(f"/proc/{process}")}
    return Ran(
        dict(zip(tricks, verdicts[::2], strict=True)),
        verdicts[1::2],
        left_over | still_there,
        kept,
        time.monotonic() - start,
    )


@pytest.fixture(scope="module")
def jailed() -> Ran:
    return run_corpus("auto")


def test_corpus_is_there():
    assert len(TRICKS) >= 290


@pytest.mark.parametrize("name", TRICKS)
def test_outcome_is_the_declared_one(jailed: Ran, name: str):
    verdict = jailed.verdicts[name]
    assert verdict.outcome in TRICKS[name].expect, f"{TRICKS[name].says} {verdict}"


def test_honest_neighbours_are_accepted(jailed: Ran):
    assert [verdict.outcome for verdict in jailed.honest] == ["accepted"] * len(TRICKS)


def test_workers_survive(jailed: Ran):
    assert jailed.workers_kept


def test_nothing_is_left_behind(jailed: Ran):
    assert not jailed.left_over


def test_nothing_is_written(jailed: Ran):
    assert not os.path.exists("/tmp/hostile")


@pytest.mark.parametrize(
    ("isolation", "kind"),
    [
        ("rlimits", "escape"),  # where isolation matters most
        pytest.param("rlimits", "", marks=pytest.mark.slow),
        pytest.param("seccomp", "", marks=pytest.mark.slow),
        pytest.param("landlock", "", marks=pytest.mark.slow),
    ],
)
def test_weaker_isolation_accepts_nothing_either(isolation: str, kind: str):
    if isolation == "rlimits" and os.geteuid() != 0:
        pytest.skip(
            "without seccomp, and as a user who can signal his own processes, tricks stop our workers"
        )
    ran = run_corpus(isolation, kind)
    assert ran.verdicts and not [name for name, verdict in ran.verdicts.items() if verdict.accepted]
    assert {verdict.outcome for verdict in ran.honest} == {"accepted"}
    assert not ran.left_over


@pytest.mark.skipif(
    os.geteuid() != 0, reason="without seccomp, a user's programs may signal all his processes"
)
def test_who_may_kill_everybody_spares_other_pools():
    """Where nothing but rlimits holds, `os.kill(-1, 9)` reaches no worker: not its own pool's, not another's."""
    killer = {"puzzle": IMPOSSIBLE, "solution": TRICKS["escape_kill_everybody"].solution}
    with Pool(2, reuse=0) as jailed, Pool(2, isolation="rlimits", reuse=0) as open_:
        for pool in (jailed, open_):
            pool.isolation  # noqa: B018 (wait for the workers)
        before = jailed.pids(), open_.pids()
        assert [verdict.outcome for verdict in open_.judge([killer] * 2)] == ["wrong"] * 2
        for pool in (jailed, open_):
            assert [verdict.outcome for verdict in pool.judge([HONEST] * 4)] == ["accepted"] * 4
        assert (jailed.pids(), open_.pids()) == before
