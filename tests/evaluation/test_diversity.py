"""Shapes ignore names and constants; every puzzle falls in exactly one bin of the solve rate."""

import itertools

from t5x_selfprog.evaluation.diversity import diversity, solve_rate_histogram


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
