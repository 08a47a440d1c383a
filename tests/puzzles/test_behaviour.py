"""Puzzles that behave alike are one puzzle, however written; rejecting every probe identifies none."""

import json

import pytest

from t5x_selfprog.puzzles.behaviour import (
    BehaviourCheck,
    KnownBehaviours,
    Probes,
    behaviours,
    is_telling,
    make_probes,
    near_misses,
    of_problems,
)
from t5x_selfprog.puzzles.p3 import load_problems
from verifier import Limits, Pool

PUZZLES = {
    "Add": ("def sat(x: int, a=30):\n    return x + a == 777", "def sol(a=30):", "    return 777 - a"),
    "Reverse": ("def sat(s: str, t='drawer'):\n    return s[::-1] == t", "def sol(t='drawer'):", "    return t[::-1]"),
    "Long": ("def sat(li: List[int], n=4):\n    return li == [9] * n", "def sol(n=4):", "    return [9] * n"),
    "Longer": ("def sat(li: List[int], n=4000):\n    return li == [9] * n", "def sol(n=4000):", "    return [9] * n"),
}  # fmt: skip
SAME = {
    "Add": "def f(n: int, b=747):\n    for k in [b]:\n        if n == k:\n            return True\n    return False",
    "Reverse": "def f(word: str, w='reward'):\n    return len(word) == 6 and word in [w]",
    "Long": "def f(x: List[int], k=9):\n    return len(x) == 4 and set(x) == {k}",
    "Longer": "def f(x: List[int], k=9):\n    return sum(x) == 36000 and set(x) == {k} and len(x[::-1]) == 4 * 10**3",
}
OTHERS = [
    ("def f(x: int, a=30):\n    return x + a == 778", "int"),
    ("def f(s: str, t='drawer'):\n    return s == t", "str"),
    ("def f(li: List[int], n=4):\n    return li == [n] * 9", "List[int]"),
    ("def f(x: int):\n    return 1 // 0 == x", "int"),
    ("def f(x: int):\n    return 0 * x == 0", "int"),
]


CPU_S = 0.2


@pytest.fixture(scope="module")
def problems(tmp_path_factory):
    folder = tmp_path_factory.mktemp("problems")
    entries = [
        {
            "name": f"{name}:0", "sat": sat, "ans_type": sat.split(": ")[1].split(",")[0], "sol_header": header,
            "sol_docstring": "", "sol_bodies": [body], "module": "m",
        }
        for name, (sat, header, body) in PUZZLES.items()
    ]  # fmt: skip
    (folder / "puzzles.json").write_text(json.dumps(entries))
    (folder / "split.json").write_text(json.dumps({"test": list(PUZZLES)}))
    return load_problems(folder)


@pytest.fixture(scope="module")
def pool():
    with Pool(workers=1, limits=Limits(cpu_s=0.2)) as pool:
        yield pool


@pytest.fixture(scope="module")
def probes(problems, pool):
    return make_probes(problems, pool, 24)


def test_the_same_thing_in_other_words_is_recognised(problems, pool, probes):
    known = KnownBehaviours()
    for problem, behaviour in of_problems(pool, problems, probes, CPU_S):
        assert is_telling(behaviour)
        known.add(problem.answer_type, behaviour, problem.name)
    disguised = [(SAME[problem.name], problem.answer_type) for problem in problems]
    found = behaviours(pool, disguised, probes, CPU_S)
    names = [known.match(kind, shown) for (_, kind), shown in zip(disguised, found, strict=True)]
    assert names == [problem.name for problem in problems]
    for (_, kind), shown in zip(OTHERS, behaviours(pool, OTHERS, probes, CPU_S), strict=True):
        assert known.match(kind, shown) is None


def test_a_puzzle_that_refuses_or_takes_everything_is_nobody(pool, probes):
    nothing, everything = behaviours(
        pool, [("def f(x: int):\n    return x == 10**9 + 7", "int"), ("def f(x: int):\n    return x == x", "int")],
        probes, CPU_S,
    )  # fmt: skip
    assert not is_telling(nothing) and not is_telling(everything)
    known = KnownBehaviours()
    known.add("int", nothing, "a")
    assert known.match("int", nothing) is None and known.match("int", None) is None


def test_probes_follow_from_the_problems_alone(problems, pool, probes):
    assert make_probes(problems[::-1], pool, 24).identity == probes.identity
    assert "747" in probes.by_type["int"] and "'reward'" in probes.by_type["str"]
    assert all(len(literals) <= 24 for literals in probes.by_type.values())
    assert make_probes(problems, pool, 1).by_type["int"] == ("747",)  # answers are never left out


def test_a_slow_puzzle_is_left_alone(pool):
    probes = Probes({"int": tuple(str(i) for i in range(1, 200))})
    slow = "def f(x: int):\n    while True:\n        x += 1"
    quick, none, untyped = behaviours(
        pool, [("def f(x: int):\n    return x == 3", "int"), (slow, "int"), (slow, "Set[int]")], probes, CPU_S
    )
    assert quick is not None and len(quick) == 199 and quick.index("1") == 2
    assert none is None and untyped is None


class Robbed:
    """A pool on a machine with busy neighbours: every fifth probe exceeds the limit the first time."""

    def __init__(self, pool):
        self.pool, self.seen = pool, set()

    def ask(self, puzzles, **patience):
        puzzles = list(puzzles)
        for (source, values), letters in zip(puzzles, self.pool.ask(puzzles, **patience), strict=True):
            said = ""
            for value, letter in zip(values, letters, strict=True):
                robbed = (source, value) not in self.seen and len(self.seen) % 5 == 0
                self.seen.add((source, value))
                said += "!" if robbed else letter
                if said.count("!") == patience["ends"]:
                    break
            yield said


def test_a_probe_whose_time_went_to_others_is_asked_again(pool):
    probes = Probes({"int": tuple(str(i) for i in range(24))})
    puzzles = [("def f(x: int):\n    return x % 2 == 1", "int")]
    for door in (pool, Robbed(pool)):
        assert behaviours(door, puzzles, probes, CPU_S) == ["01" * 12]


@pytest.mark.parametrize("answer", ["5", "-2.5", "'abc'", "''", "[1, 2]", "[]", "[['a'], []]", "True"])
def test_near_misses_are_of_the_type_and_something_else(answer):
    for miss in near_misses(answer):
        assert type(eval(miss)) is type(eval(answer)) and miss != answer
    assert near_misses(answer) or answer in ("''", "[]")


def test_what_is_no_check_is_refused():
    with pytest.raises(ValueError, match="'tests' must be"):
        BehaviourCheck(against=("tests",))
    assert near_misses("[1, 2, 3, ...") == []
