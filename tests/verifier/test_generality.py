"""New arguments for old puzzles: both sides change alike, and nothing else does."""

import ast

from verifier.generality import variants

PUZZLE = 'def f(x: int, a=30, s="abc", li=[1, 2, 3]):\n    return x == a + len(s) + len(li)\n'
GENERAL = 'def g(a=30, s="abc", li=[1, 2, 3]):\n    return a + len(s) + len(li)\n'
LUCKY = 'def g(a=30, s="abc", li=[1, 2, 3]):\n    return 36\n'


def passes(puzzle, solution):
    space = {}
    exec(puzzle + "\n" + solution, space)
    return space["f"](space["g"]()) is True


def test_a_general_solution_holds_and_a_lucky_one_does_not():
    general, lucky = variants(PUZZLE, GENERAL, 8), variants(PUZZLE, LUCKY, 8)
    assert len(general) == len(lucky) == 8
    assert all(passes(*pair) for pair in general)
    assert sum(passes(*pair) for pair in lucky) <= 2


def test_variants_differ_from_the_original_and_from_one_another():
    puzzles = [puzzle for puzzle, _ in variants(PUZZLE, GENERAL, 8)]
    assert len(set(puzzles)) == 8
    assert ast.unparse(ast.parse(PUZZLE)) not in {ast.unparse(ast.parse(p)) for p in puzzles}


def test_the_same_sources_give_the_same_variants():
    assert variants(PUZZLE, GENERAL, 5) == variants(PUZZLE, GENERAL, 5)


def test_types_of_defaults_stay():
    for puzzle, solution in variants(PUZZLE, GENERAL, 8):
        f, g = ast.parse(puzzle).body[0], ast.parse(solution).body[0]
        values = [ast.literal_eval(d) for d in f.args.defaults]
        assert [type(v) for v in values] == [int, str, list] and values[0] > 0
        assert values == [ast.literal_eval(d) for d in g.args.defaults]


def test_nothing_to_vary_gives_nothing():
    assert variants("def f(x: int):\n    return x == 3\n", "def g():\n    return 3\n", 4) == []
    assert variants(PUZZLE, "def g():\n    return 36\n", 4) == []
    assert variants(PUZZLE, "def g(:\n", 4) == []
    assert (
        variants("def f(x: int, a=abs(3)):\n    return x == a\n", "def g(a=abs(3)):\n    return a\n", 4) == []
    )
