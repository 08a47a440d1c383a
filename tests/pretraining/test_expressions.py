"""Functions extracted from source: only harmless ones, in the right form, deterministically."""

import ast

import pytest

from t5x_selfprog.pretraining.expressions import Values, documents, expressions, predicate, read, result_type
from t5x_selfprog.puzzles.prompts import puzzle_of_pair
from verifier.language.puzzle import parse_puzzle


def only(source):
    return read(ast.parse(source, mode="eval").body)


def test_a_comparison_becomes_a_puzzle_with_its_first_name_as_the_answer():
    puzzle = parse_puzzle(predicate(only("len(parts) == n + 1")))
    assert (puzzle.answer_name, puzzle.answer_type) == ("parts", "List[int]")
    assert [argument.name for argument in puzzle.arguments] == ["n"]


def solved(puzzle, *values):
    source = Values(map(only, values)).solution(only(puzzle))
    space = {}
    exec(source, space)
    return source, space["g"]


def test_a_solution_has_the_puzzle_s_arguments_and_the_answer_s_type():
    source, g = solved("total > n * price", "len(words) + 1", "wide.upper() + 'x'", "left - right")
    assert source.endswith("return n - price") and isinstance(g(), int)


def test_a_solution_never_uses_what_it_was_not_given():
    for values in ([], ["text.upper()"], ["a + b + c"], ["[n for n in range(k)]"]):
        source, g = solved("total > n", *values)
        assert source.startswith("def g(n=") and g() is not None
    # `n` is taken by the loop, so `k` cannot become `n`.
    assert "for" not in source


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("len(x) * 2", "int"), ("x / 2", "float"), ("x + 'a'", "str"), ("sorted(x)", None), ("x.split(y)", "List[str]"),
        ("n * 3", "int"), ("n * q", None), ("words[1:]", "List[str]"), ("words[n]", "str"), ("not n", "bool"),
        ("words * n", "List[str]"), ("q[0]", None), ("(n, n)", "other"),
        ("[a + 1 for a in x]", "List[int]"), ("[c.upper() for c in x]", "List[str]"), ("x > 3", "bool"),
        ("x.isdigit()", "bool"), ("len(x)", "int"), ("[x, y] + z", "List[int]"),
        ("[] + z", "List[int]"),
    ],
)  # fmt: skip
def test_types_are_told_by_form(source, kind):
    types = {"n": "int", "words": "List[str]"}
    assert result_type(ast.parse(source, mode="eval").body, types) == kind


@pytest.mark.parametrize(
    "source",
    [
        "open(path) == x", "os.getcwd() == here", "x.__class__ == y", "eval(text) > n", "a < b < c", "x is y",
        "print(x) == n", "self.size == n", "x[y]['key'] == z", "x[i][j] == z", "x[i, j] == z", "x[[i]] == z",
        "f(x) == 3", "1 + 2 == 3", "lambda x: x + y", "int(x, base=n) == 3", "x == '" + "long" * 20 + "'",
    ],
)  # fmt: skip
def test_what_is_not_harmless_small_and_plain_is_left_out(source):
    assert only(source) is None


def test_what_stands_between_brackets_is_no_expression():
    found = expressions(ast.parse("self.a[:, : n + 1] = self.b[i : j + 2 * k]"))
    assert [e.source for _, e in found] == ["n + 1", "j + 2 * k"]
    assert only("x[i : j + 2]") is not None


def test_only_the_outermost_expression_is_taken():
    found = list(expressions(ast.parse("if a + b == c * 2:\n    total = a * (b + c)\n")))
    assert [(kind, e.source) for kind, e in found] == [
        ("predicate", "a + b == c * 2"),
        ("value", "a * (b + c)"),
    ]


SOURCE = "".join(
    f"if x{i} * {i} == y{i} + z{i}[{i}]:\n    w = x{i} - y{i} * {i}\n" for i in range(30)
) + "\n".join(f"v = len(s{i}) + {'+'.join(['t'] * (i + 1))}" for i in range(9))


def test_every_document_is_python_and_repeats_nothing():
    found = list(documents([SOURCE, SOURCE], group=3))
    assert found == list(documents([SOURCE], group=3)) and len(found) > 5
    for text in found:
        assert all(isinstance(node, ast.FunctionDef | ast.Assert) for node in ast.parse(text).body)


def test_pairs_stand_as_they_do_in_training():
    pairs = [text for text in documents([SOURCE], group=1) if "def g(" in text]
    assert pairs and all(puzzle_of_pair(text.strip()) is not None for text in pairs)


def test_shapes_are_capped_and_refused_predicates_stay_out():
    counted = "\n".join(documents([SOURCE], group=1, per_shape=4))
    assert counted.count("z") > 0 and counted.count("* ") < 40
    refused = "\n".join(documents([SOURCE], group=1, refuse=lambda source: "z7[7]" in source))
    assert "z7[7]" not in refused and "z8[8]" in refused


def run(pairs):
    for f, g in pairs:
        space = {"List": list}
        exec(f"{f}\n{g}", space)
        try:
            yield space["f"](space["g"]()) is True
        except (TypeError, IndexError):
            yield False


def test_with_a_judge_every_pair_holds_and_what_anything_solves_is_left_out():
    source = "if n > k + 1: pass\nif m == m + q: pass\nif u * 0 < abs(v) + 1: pass\na = b + 5\nc = d * 2\ne = h - 7\n"
    pairs = [text for text in documents([source], group=1, judge=run, tries=8) if "def g(" in text]
    assert pairs and all("n > k + 1" in text for text in pairs)
    for text in pairs:
        exec(text, {})  # the function ends with the assertion
    unchecked = [text for text in documents([source], group=1) if "def g(" in text]
    assert any("m == m + q" in text for text in unchecked)
