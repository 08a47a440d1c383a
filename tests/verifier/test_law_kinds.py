"""One program for each thing that an interpreter keeps, and neighbours that would show if it were kept for them.

Each is judged in a process of its own, then all together, in three orders; whatever a program says of what it found
must be the same. The programs are in law_programs.txt; those that need Python 3.12 say so in their names.
"""

import pathlib
import random
import sys

import pytest

from verifier import Limits, Pool, Verdict
from verifier.sandbox.isolation import LAYERS

LIMITS = Limits(cpu_s=2.0, memory_mb=512, output_bytes=1 << 20)
ANY_TEXT = "def f(x: str):\n    return True"
BEGINS = "### "
TEXT = (pathlib.Path(__file__).parent / "law_programs.txt").read_text()
PROGRAMS = {
    name: program
    for name, _, program in (
        block.partition("\n") for block in TEXT.removeprefix(BEGINS).split(f"\n{BEGINS}")
    )
    if sys.version_info >= (3, 12) or not name.startswith("3.12")
}


def told(verdict: Verdict) -> tuple[str, str, str | None]:
    return verdict.outcome, verdict.detail, verdict.answer


def check(isolation: str) -> dict[str, tuple[str, str, str | None]]:
    items = {name: {"puzzle": ANY_TEXT, "solution": program} for name, program in PROGRAMS.items()}
    with Pool(1, LIMITS, isolation=isolation, batch_size=1, reuse=0) as pool:
        alone = dict(zip(items, map(told, pool.judge(items.values())), strict=True))
    names = list(items)
    for order in (names, names[::-1], random.Random(0).sample(names * 2, 2 * len(names))):
        with Pool(1, LIMITS, isolation=isolation, reuse=0) as pool:
            verdicts = list(pool.judge(items[name] for name in order))
        assert {n: told(v) for n, v in zip(order, verdicts, strict=True) if told(v) != alone[n]} == {}
    return alone


def test_nothing_is_kept_for_a_neighbour():
    said = check("auto")
    refused = {name for name, (outcome, _, _) in said.items() if outcome != "accepted"}
    assert refused - {"mask", "limits"} == {  # these two are refused where the host has seccomp
        "pattern 1.0",
        "clock beyond its end",
        "other builtins",
        "imports a hidden module",
        "no code page",
        "error with an address",
        "import error",
    }
    assert said["import error"][1] == "cannot import name 'nothing' from 'math'"
    assert said["depth"] == said["depth below a class"] == said["depth beside f"]
    assert (
        said["finds a global"][2] == "'none'" and said["is a sequence"][2] == "'[True, False, False, True]'"
    )


@pytest.mark.slow
@pytest.mark.parametrize("isolation", LAYERS)
def test_nothing_is_kept_at_any_level(isolation):
    check(isolation)
