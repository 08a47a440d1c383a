"""Shapes ignore names and constants; every puzzle falls in exactly one bin of the solve rate."""

import itertools
import math

import pytest

from t5x_selfprog.evaluation.diversity import concepts, diversity, solve_rate_histogram, vendi_score


def puzzle(number: int, source: str, answer_type: str = "int") -> dict:
    return {"puzzle_id": f"p{number}", "source": source, "answer_type": answer_type}


def test_counts_shapes_not_constants():
    found = diversity(
        [
            puzzle(0, "def f(x: int, a=1):\n    return x + a == 3"),
            puzzle(1, "def f(n: int, z=7):\n    return n + z == 99"),
            puzzle(2, "def f(n: int, z=7):\n    return n * z == 99"),
            puzzle(3, "def f(s: str):\n    return len(s) == 3", "str"),
            puzzle(3, "def f(s: str):\n    return len(s) == 3", "str"),
        ]
    )
    assert (found.puzzles, found.distinct, found.shapes, found.largest_shape) == (5, 4, 3, 2)
    assert found.as_dict()["answer_types"] == {"int": 3, "str": 1}


def test_no_puzzles_is_no_error():
    assert diversity([]).as_dict()["shapes"] == 0
    assert all(entry["share"] == 0 for entry in solve_rate_histogram([(0, 0)]))


def test_every_rate_has_one_bin():
    tried = 200
    entries = solve_rate_histogram([(accepted, tried) for accepted in range(tried + 1)])
    assert sum(entry["count"] for entry in entries) == tried + 1
    assert entries[0]["count"] == 1 and entries[1]["count"] == 2  # 0; then 0.5% and 1%
    assert abs(sum(entry["share"] for entry in entries) - 1) < 1e-12
    assert all(a["up_to"] == b["above"] for a, b in itertools.pairwise(entries))


def test_vendi_counts_what_is_effectively_different():
    apart = [frozenset({name}) for name in "abcd"]
    assert vendi_score(apart) == pytest.approx(4)
    assert vendi_score([apart[0]] * 9) == pytest.approx(1)
    assert vendi_score([frozenset()] * 3) == pytest.approx(1) and vendi_score([]) == 0
    # Half alike, half not: eigenvalues 1/2, 1/4, 1/4.
    mixed = vendi_score([apart[0], apart[0], apart[1], apart[2]])
    assert mixed == pytest.approx(math.exp(0.5 * math.log(2) + 0.5 * math.log(4)))
    # Two that share one of two concepts: likeness 1/2, eigenvalues 3/4 and 1/4.
    two = vendi_score([frozenset("ab"), frozenset("bc")])
    assert two == pytest.approx(math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))))


def test_concepts_are_what_is_used_not_what_it_is_called():
    one = concepts("def f(s: str, n=3):\n    return len(s.upper()) == n + sum([n])")
    assert one == {"len", "sum", ".upper", "+", "=="}
    assert one == concepts("def f(zz: str, n=9):\n    return len(zz.upper()) == n + sum([n])")
    assert concepts("def f(") == frozenset()


def test_novelty_is_against_what_came_before():
    puzzles = [
        puzzle(0, "def f(x: int, a=1):\n    return x + a == 3"),
        puzzle(1, "def f(s: str):\n    return s.count('a') == 3", "str"),
    ]
    seeds = ["def f(k: int, b=9):\n    return k + b == 10"]
    found = diversity(puzzles, {"p0": "0101", "p9": "11"}, seeds)
    assert (found.shapes, found.new_shapes, found.behaviours, found.told) == (2, 1, 1, 1)
    assert 0 < found.distance < 1
    assert diversity(puzzles[:1], before=seeds).distance == pytest.approx(0)
    assert diversity(puzzles).new_shapes is None
