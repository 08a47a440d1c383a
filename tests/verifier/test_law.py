"""The same pair gets the same verdict in any company: what children share must not be able to matter."""

import itertools
import json
import os
import pathlib
import re

import pytest

from verifier import Limits, Pool, Verdict

LIMITS = Limits(cpu_s=0.2, memory_mb=256, output_bytes=16 << 20)
NEVER = "def f(x: int):\n    return x == -1"


def judge(pool: Pool, *pairs: tuple[str, str]) -> list[Verdict]:
    return list(pool.judge({"puzzle": puzzle, "solution": text} for puzzle, text in pairs))


def returning(value: str) -> str:
    return f"def g():\n    return {value}"


@pytest.fixture(scope="module")
def pool():
    with Pool(1, LIMITS, reuse=0) as pool:
        yield pool


def test_plain_programs_share_a_child(pool):
    """Or the rest here would show nothing, and cost ten times as much."""
    before = pool.counters["alone"]
    puzzle = "def f(x: int, n=3):\n    return x == n"
    assert {v.outcome for v in judge(pool, *((puzzle, returning(f"{i} - {i} + 3")) for i in range(40)))} == {
        "accepted"
    }
    assert pool.counters["alone"] == before


# --- memory, descriptors


def test_loops_leave_no_memory_behind(pool):
    """Each ends a child, whose area of 16 MiB must be gone then."""
    loops = [(NEVER, f"def g():\n    i = {i}\n    while True:\n        i += 1") for i in range(9)]
    needy = [
        ("def f(x: str, n=300000):\n    return len(x) == n", "def g(n=300000):\n    return 'a' * n"),
        ("def f(x: int):\n    return len(bytearray(150_000_000)) == x", returning("150_000_000")),
        ("def f(x: int):\n    return x == 1", returning("len(bytes(150_000_000)) - 149_999_999")),
    ]
    outcomes = [verdict.outcome for verdict in judge(pool, *loops, *needy)]
    assert outcomes == ["cpu_limit"] * 9 + ["accepted"] * 3


@pytest.mark.slow
def test_attempts_alone_leave_no_descriptors_behind(pool):
    """1,024 is what a process may usually have open, and more than one is needed for each."""
    puzzle = "def f(x: int, n=3):\n    return x == n"
    odd = [(puzzle, f"class A:\n    n = {i}\n\ndef g(n=3):\n    return n") for i in range(600)]
    assert {verdict.outcome for verdict in judge(pool, *odd)} == {"accepted"}


def test_large_answers_are_not_kept_together():
    """Twelve answers of 12 MB each, and a worker that never holds more than two or three."""
    puzzle = "def f(s: str):\n    return len(s) == 12_000_000"
    large = [(puzzle, returning(f"'a' * (12_000_000 + {i} - {i})")) for i in range(12)]
    with Pool(1, Limits(memory_mb=256, output_bytes=16 << 20), reuse=0) as pool:
        pool.isolation  # noqa: B018
        assert {verdict.outcome for verdict in judge(pool, *large)} == {"accepted"}
        peaks = [
            int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{process}/status").read_text())[1])
            for process in family(pool.pids()[0])
        ]
    assert max(peaks) < 120_000, peaks


def family(process: int) -> set[int]:
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = pathlib.Path("/proc", entry, "stat").read_text()
        except OSError:
            continue
        parents[int(entry)] = int(stat.rpartition(")")[2].split()[1])
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


CATCHES = """def g():
    try:
        x = bytes({mb} << 20)
    except MemoryError:
        return 0
    return len(x) >> 20"""
SHRINKS = """def g():
    n = 1 << 40
    while True:
        try:
            return len(bytes(n)) >> 20
        except Exception:
            n //= 2"""


def test_who_catches_a_memory_error_learns_nothing_of_others(pool):
    """Sixty megabytes of neighbours must not move the size at which an allocation fails."""
    puzzle = "def f(x: int):\n    return x == 1000"
    greedy = [(puzzle, returning(f"len([{i}] * 7_000_000)")) for i in range(3)]
    probes = [(puzzle, CATCHES.format(mb=mb)) for mb in (20, 130, 200, 225, 235, 250, 400)] + [
        (puzzle, SHRINKS)
    ]
    alone = [judge(pool, probe)[0].answer for probe in probes]
    assert len(set(alone)) > 3 and "0" in alone
    mixed = list(itertools.chain.from_iterable((*greedy, probe) for probe in probes))
    assert [verdict.answer for verdict in judge(pool, *mixed)][3::4] == alone
    assert [verdict.answer for verdict in judge(pool, *probes)] == alone


def test_lack_of_memory_is_no_corrupt_answer():
    """Decoding an answer may take ten times its bytes."""
    puzzle = "def f(x: List[int]):\n    return len(x) > 3"
    with Pool(1, Limits(memory_mb=128, output_bytes=16 << 20)) as pool:
        verdict = judge(pool, (puzzle, returning("[10**9] * 4_000_000")))[0]
    assert (verdict.outcome, verdict.detail) == ("memory_limit", "MemoryError in the puzzle")


def test_puzzles_are_too_large_for_themselves_only():
    """Neither beside others, nor under another limit than the one they are read under."""
    big = "def f(x: int, n=[" + "1, " * 40_000 + "]):\n    return x == {i}"
    pairs = [(big.format(i=i), returning(str(i))) for i in range(6)]
    with Pool(1, Limits(cpu_s=5.0, memory_mb=96, output_bytes=16 << 20), reuse=0) as pool:
        together = [verdict.outcome for verdict in judge(pool, *pairs)]
    with Pool(1, Limits(cpu_s=5.0, memory_mb=96, output_bytes=16 << 20), reuse=0, batch_size=1) as pool:
        assert [verdict.outcome for verdict in judge(pool, *pairs)] == together
    with Pool(1, Limits(cpu_s=5.0), reuse=0) as pool:
        pool.limits = Limits(cpu_s=0.001)
        judge(pool, (big.format(i=8), returning("8")))
        pool.limits = Limits(cpu_s=5.0)
        assert judge(pool, (big.format(i=8), returning("8")))[0].accepted


# --- time


def test_who_takes_long_is_judged_alone(pool):
    """Neither loops before it nor quick ones beside it change what a slow program gets."""
    slow = (
        "def f(x: int):\n    return x > 0",
        "def g():\n    x = 0\n    for i in range(10**6):\n        x += 1\n    return x",
    )
    quick = [("def f(x: int):\n    return x > 0", returning(str(i))) for i in range(30)]
    with Pool(1, Limits(cpu_s=5.0, memory_mb=256, output_bytes=16 << 20), reuse=0) as patient:
        assert judge(patient, slow)[0].accepted
        assert judge(patient, *quick, slow, *quick)[30].accepted


# --- inputs that were found, where they are at hand

CASES = pathlib.Path(os.environ.get("SELFPROG_CASES_DIR", "../shared/cases")) / "verifier"
SLOW = ("01_areas_endless", "08_gc_off_in_checks")
FOUND = (
    "02_format_reads_sources",
    "03_register_counter",
    "03_register_puzzle",
    "04_typing_cache",
    "05_twin_firstlineno",
    "06_nonascii_names",
    "09_outcome_not_plain",
    "10_names_f_in_text",
    *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW),
)


@pytest.mark.skipif(not CASES.is_dir(), reason="set SELFPROG_CASES_DIR to the folder of cases")
@pytest.mark.parametrize("name", FOUND)
@pytest.mark.parametrize("options", [{}, {"batch_size": 1}, {"isolation": "rlimits"}], ids=str)
def test_cases_found(name, options):
    rows = [json.loads(line) for line in (CASES / f"{name}.jsonl").read_text().splitlines()]
    for order in (rows, rows[::-1]):
        with Pool(1, Limits(cpu_s=1.0), **options) as pool:
            outcomes = [verdict.outcome for verdict in pool.judge(order)]
        assert outcomes == [row["expected"] for row in order]


@pytest.mark.skipif(not CASES.is_dir(), reason="set SELFPROG_CASES_DIR to the folder of cases")
@pytest.mark.parametrize("options", [{}, {"isolation": "rlimits"}], ids=str)
def test_cases_of_the_filter(options):
    """Puzzles that accept a guess, and hide it from whoever asks otherwise than the judge."""
    rows = [json.loads(line) for line in (CASES / "13_filter_against_judge.jsonl").read_text().splitlines()]
    for order in (rows, rows[::-1]):
        with Pool(1, Limits(cpu_s=1.0), **options) as pool:
            reports = list(pool.screen_puzzles(row["puzzle"] for row in order))
            verdicts = list(pool.judge(order))
        assert [report.reason for report in reports] == [row["filter_expected"] for row in order]
        assert {verdict.outcome for verdict in verdicts} == {"accepted"}
