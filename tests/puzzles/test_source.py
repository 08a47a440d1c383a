"""Source text: normal form, identities, renaming, cutting."""

import ast
import inspect
import itertools
import json.decoder
import statistics
import string
import symtable
import sys
import textwrap

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from t5x_selfprog.puzzles import shape
from t5x_selfprog.puzzles.rules import Kept, PuzzleRules, check
from t5x_selfprog.puzzles.scopes import occurrences
from t5x_selfprog.puzzles.shape import abstract_form, shape_id
from t5x_selfprog.puzzles.source import (
    SourceError,
    annotate_return,
    body_tokens,
    cut_at_unindented,
    drop_return_annotation,
    normalise,
    normalise_solution,
    puzzle_id,
    rename_definition,
    rename_function,
    rename_only_mention,
)

MODULES = [ast, inspect, json.decoder, statistics, string, symtable, textwrap]

# Random puzzles as templates: {a}, {b} ... stand for names, {0}, {1} ... for constants.
_leaf = st.sampled_from(["{x}", "{y}", "{0}", "{1}", "-{2}", "[{0}, {1}]", "{x}[{0}]"])
_expression = st.recursive(
    _leaf,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "*", "==", "<", "and", "in"]), inner).map(
            "({0[0]} {0[1]} {0[2]})".format
        ),
        inner.map("len(str({}))".format),
        st.tuples(inner, inner).map("sum({0[0]} for {{i}} in {0[1]} if {{i}} != {{1}})".format),
        st.tuples(inner, inner).map("(lambda {{i}}, {{j}}={{2}}: {{j}} - {0[0]})({0[1]})".format),
        inner.map("{{{{k: {} for {{j}} in {{y}}}}}}".replace("k:", "{{j}}:").format),
    ),
    max_leaves=12,
)
_template = _expression.map(
    "def f({{x}}: int, {{y}}={{1}}):\n    {{z}} = {{0}}\n    return {} == {{z}}".format
)
_names = st.permutations(["a", "b", "c", "d", "e", "value", "total", "é", "x1", "items"])
_constants = st.lists(st.integers(2, 10**30), min_size=3, max_size=3, unique=True)


def fill(template, names, constants):
    return template.format(*constants, **dict(zip("xyzij", names, strict=False)))


@given(_template, _names, _constants)
def test_normal_form_is_a_fixed_point(template, names, constants):
    text = normalise(fill(template, names, constants))
    assert normalise(text) == text


@given(_template, _names, _names, _constants, _constants)
def test_shape_is_blind_to_names_and_constants_and_puzzle_id_is_not(template, names, others, first, second):
    puzzle, renamed = fill(template, names, first), fill(template, others, second)
    assume(normalise(puzzle) != normalise(renamed))
    assert shape_id(puzzle) == shape_id(renamed)
    assert puzzle_id(puzzle) != puzzle_id(renamed)


@given(_template, _names, _constants, st.text(string.ascii_letters + " '\"#", max_size=20))
def test_puzzle_id_is_blind_to_layout_comments_and_docstrings(template, names, constants, remark):
    puzzle = fill(template, names, constants)
    header, *body = puzzle.split("\n")
    decorated = "\n".join(
        [
            f"{header}  # {remark}",
            f"        {remark!r}",
            "",
            *(line.replace(" ", "  ") + " " for line in body),
            "# end",
        ]
    )
    assert puzzle_id(decorated) == puzzle_id(puzzle)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(x: int): return x == 3", "def f(x: str): return x == 3"),
        ("def f(x: int): return sum(x)", "def f(x: int): return len(x)"),
        ("def f(x: int): return x < 3", "def f(x: int): return 3 < x"),
        ("def f(x: int): return x == 3", "def f(x: int): return x == '3'"),
        ("def f(x: str): return x.upper()", "def f(x: str): return x.lower()"),
        ("def f(x: int, a=1): return x == a", "def f(x: int, a=1): return x == x"),
        (
            "def f(x: int): return [i for i in x for j in x]",
            "def f(x: int): return [j for i in x for j in x]",
        ),
    ],
)
def test_shapes_of_different_programs_differ(one, other):
    assert shape_id(one) != shape_id(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(x: int, a=[1, 2]): return x in a", "def f(n: int, s=[5, -6, 10 ** 9]): return n in s"),
        ("def f(x: str): return x == 'a' * 9", "def f(x: str): return x == 'bb'"),
        ("def f(x: str): return x == f'a{x}b'", "def f(y: str): return y == f'{y}'"),
        ("def f(x: int): return f'{x:>{x}.2f}!' == '1'", "def f(y: int): return f'={y:{y}d}' == '22'"),
        ("def f(x: str): return x == f''", "def f(x: str): return x == 'no fields'"),
        # One comprehension variable twice, or two: the bindings are the same.
        (
            "def f(x: int): return [i for i in x] + [i for i in x]",
            "def f(x: int): return [i for i in x] + [j for j in x]",
        ),
        (
            "def f(x: int):\n    def h(a): return a\n    return h(x)",
            "def f(x: int):\n    def q(b): return b\n    return q(x)",
        ),
    ],
)
def test_shapes_of_the_same_program_agree(one, other):
    assert shape_id(one) == shape_id(other)


def test_abstract_form_keeps_what_a_name_does_not_choose():
    text = abstract_form(
        "def f(words: List[str], n=3):\n    return len(words) == n and all(w.isupper() for w in words)"
    )
    assert text == (
        "def v0(v1: List[str], v2=<int>):\n    return len(v1) == v2 and all((v3.isupper() for v3 in v1))"
    )


def test_annotations_other_than_the_answers_do_not_matter():
    assert normalise("def f(x: int, a: int = 3) -> bool:\n    y: int = a\n    return x == y") == normalise(
        "def f(x: int, a=3):\n    y = a\n    return x == y"
    )
    assert normalise_solution("def g(a: int=3):\n    return a") == normalise_solution(
        "def g(a=3): return (a)"
    )


@pytest.mark.parametrize(
    "text",
    [
        "def f(x: int:\n    return x",
        "def f(x: int):\n    return x\x00",
        "def f(x: str):\n    return x == '\ud800'",
        "def f(x: int): return " + "(" * 5000 + "x" + ")" * 5000,
        "def f(x: int): return " + "-" * 200_000 + "x",
        "def f(x: int): return " + "+".join(["x"] * 50_000),
        "def f(x: int):\n    return x\n\\",
    ],
)
@pytest.mark.parametrize("function", [normalise, puzzle_id, shape_id, abstract_form, body_tokens])
def test_text_that_python_refuses_is_a_source_error(text, function):
    with pytest.raises(SourceError):
        function(text)


@pytest.mark.parametrize(
    "body",
    [
        "return x == 0" + " + 0" * 800,
        "if x: pass\n" + "    elif x: pass\n" * 350 + "    return x",
        "return " + "not " * 800 + "x",
        "return " + "-" * 1500 + "x",
    ],
)
def test_text_that_python_compiles_and_visitors_cannot_follow(body):
    """Deeply nested text is handled or raises SourceError; it never crashes the process."""
    text = f"def f(x: int):\n    {body}"
    compile(text, "x", "exec")
    for function in (normalise, puzzle_id, shape_id, lambda text: rename_function(text, "h")):
        try:
            assert function(text)
        except SourceError as error:
            assert "too deep" in str(error) or "Recursion" in str(error)
    assert rename_definition(text, "h") == "def h" + text.removeprefix("def f")
    result = check(text, PuzzleRules(max_chars=None))
    assert isinstance(result, Kept) or result.reason in ("no_parse", "never_true")


def test_integers_beyond_pythons_digit_limit_are_read_and_the_limit_stays():
    digits = sys.get_int_max_str_digits()
    puzzle = "def f(x: int):\n    return x == " + "7" * 9000
    assert normalise(puzzle) == puzzle
    assert shape_id(puzzle) == shape_id("def f(x: int): return x == 1")
    assert rename_function(puzzle, "f1").startswith("def f1(")
    assert sys.get_int_max_str_digits() == digits


def test_body_tokens_leave_out_the_signature():
    assert body_tokens("def f(x: int, a=[1, 2]):\n    return x+1 in a") == [
        "return",
        "x",
        "+",
        "1",
        "in",
        "a",
    ]


# Scopes, against Python's own compiler.


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_unbound_names_are_those_that_the_compiler_calls_global_and_nobody_binds(module):
    text = inspect.getsource(module)
    found = {name.name for name in occurrences(ast.parse(text)) if name.owner is None}
    top = symtable.symtable(text, "module", "exec")
    bound = {
        symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()
    }
    bound |= {child.get_name() for child in top.get_children()}
    expected, waiting = set(), [top]
    while waiting:
        table = waiting.pop()
        waiting += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_global() and symbol.is_declared_global() and symbol.is_assigned():
                bound.add(symbol.get_name())
            if (symbol.is_global() or table is top) and symbol.is_referenced():
                expected.add(symbol.get_name())
    assert found == expected - bound


@pytest.mark.parametrize(
    ("text", "unbound"),
    [
        ("def f(x):\n    return [y for y in y]", {"y"}),  # The first iterable belongs outside.
        ("def f(x):\n    return [z := 1 for _ in x] and z", set()),
        ("def f(x):\n    class A:\n        b = 1\n        def m(self): return b\n    return A", {"b"}),
        ("def f(x):\n    try: pass\n    except E as e: return e", {"E"}),
        (
            "def f(x):\n match x:\n  case [a, *b]: return a, b\n  case {'k': v, **r}: return v, r, q",
            {"q"},
        ),
        ("def f(x):\n    def h():\n        nonlocal n\n        n = 2\n    n = 1\n    return h() or n", set()),
        ("def f(x=d, *, k: t = e) -> r:\n    return x, k", {"d", "t", "e", "r"}),
        ("def f(x):\n    global n\n    n = 1\ndef g():\n    return n", set()),
    ],
)
def test_scope_rules(text, unbound):
    assert {name.name for name in occurrences(ast.parse(text)) if name.owner is None} == unbound


# Renaming.


def test_renaming_reaches_recursive_uses_and_leaves_namesakes():
    puzzle = (
        "def sat(x: int, sat_=3):  # sat\n"
        "    def inner(sat):\n"
        "        return sat\n"
        "    s = 'sat' + str(x.sat)\n"
        "    return x < 1 or sat(x - 1, sat_=2) and inner(x)"
    )
    renamed = rename_function(puzzle, "f")
    assert renamed == puzzle.replace("def sat(", "def f(").replace("or sat(", "or f(")


@pytest.mark.parametrize(
    ("text", "renamed"),
    [
        ("def sat(é: str): return 'é' + é if é else sat(é)", "def f(é: str): return 'é' + é if é else f(é)"),
        ("def  sat (x): return x\r\n\r\n", "def  f (x): return x\r\n\r\n"),
        ("def sat(x): return '''\nsat\x0c''' + sat(x)", "def f(x): return '''\nsat\x0c''' + f(x)"),
        ("def sat(x): return sat(sat(sat(x)))", "def f(x): return f(f(f(x)))"),
    ],
)
def test_renaming_keeps_every_other_character(text, renamed):
    assert rename_function(text, "f") == renamed


@pytest.mark.parametrize(
    "text",
    ["def sat(x): return f'{sat(x)}'", "def \\\n sat(x): return x", "def sat(x): return f'''\n{\nsat(x)}'''"],
)
def test_where_the_place_in_the_text_is_unsure_the_program_is_still_right(text):
    assert ast.dump(ast.parse(rename_function(text, "f"))) == ast.dump(ast.parse(text.replace("sat", "f")))


LONG = "\n    return " + " + ".join(["x"] * 102)  # a sum nests to the left


@pytest.mark.parametrize("new", ["f", "f1", "x", "all", "match", "_", "é", "if", "sat2"])
@pytest.mark.parametrize(
    "text",
    [
        "def sat(x: int):\n    return x == 1",
        "def  sat\t(x, sat_=3, unsat='satin', *, _sat=0, sat2=1): return sat_.satx",
        "@all\n@(lambda f: f)\ndef sat(x):\n    def f(): return f1\n    return f()",
        "# def\n\n\ndef sat(x):  # f\n    class f1:\n        def f(self, f=lambda x: x): return f\n    return x",
        "def sat(x, f=1, *, all=2): return [f for f in x if all]\r\n",
        "def sat(s='def f', t=f'{1!r:>{2}}'): return f'{s=}' f''",
        "def sat(x):\n    global f, f1\n    match x:\n        case [f, *f1]: return 1",
        "def sat(x: 'int') -> 'f':\n    'def '\n    try: pass\n    except E as f: import f1",
        "def sat(x, y=[" + "(-1, [2.5]), " * 300 + "]): return x + 1",
        "def sat(x): return '\\x73at' + '''\n\\\n\x0cf''' \\\n + f\"{x!r}\" * 0x5a",
    ],
)
def test_a_name_that_is_mentioned_once_is_renamed_as_the_tree_says(text, new):
    """A comment that mentions it as well sends the same function the longer way."""
    long_way = rename_function(f"{text}\n# sat", new)
    found = rename_only_mention(text, ast.parse(text).body[0], new)
    assert (found is None) == (new in ("é", "if"))
    if found is not None:
        assert f"{found}\n# sat" == long_way and rename_function(text, new) == found != text


@pytest.mark.parametrize(
    "text",
    [
        "def sat(x): return sat(x)",
        "def sat(x): return 'not sat'",
        "def sat(x): return x  # sat",
        "def sat(x): return f'{sat(x)}'",
        "def \\\n sat(x): return x",
        "def \x0csat(x): return x",
        "def sat(é): return é",
        "def ｓａｔ(x): return 'sat'",
        "def ｓat(x): return sat(x)",
        "def sat(x):" + LONG,
        "def sat(x):\n" + "".join(f"{' ' * i}if x:\n" for i in range(1, 99)) + " " * 99 + "return -(-x)",
    ],
)
def test_where_one_mention_is_not_plain_to_see_the_tree_is_asked(text):
    assert rename_only_mention(text, ast.parse(text).body[0], "f") is None
    expected = ast.parse(text)
    expected.body[0].name = "f"
    for node in ast.walk(expected):
        if isinstance(node, ast.Name) and node.id == "sat":
            node.id = "f"
    assert ast.dump(ast.parse(rename_function(text, "f"))) == ast.dump(expected)


def test_a_local_that_would_capture_the_recursion_is_refused():
    with pytest.raises(SourceError, match="'f'"):
        rename_function("def sat(x, f=1): return sat(x)", "f")
    assert rename_function("def sat(x, f=1): return x", "f") == "def f(x, f=1): return x"


def test_text_that_does_not_parse_is_renamed_in_its_header_only():
    assert rename_definition("def f12(x: int:\n    return f12(", "f") == "def f(x: int:\n    return f12("
    assert rename_definition("f12 = 3 +", "f") == "f12 = 3 +"


# Cutting.


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("def f(x):\n    return x\n\ndef f2(", "def f(x):\n    return x"),
        ("def f(x):\n    return x\n# note\n    more", "def f(x):\n    return x"),
        ("def f(x):\r\n    return x\r\nprint(1)", "def f(x):\n    return x"),
        (
            "def f(\n    x: int,\n) -> bool:\n    return x\nend",
            "def f(\n    x: int,\n) -> bool:\n    return x",
        ),
        ("def f(x):\n\n\n    return x\n   \n", "def f(x):\n\n\n    return x"),
        ("def f(x): return x\nassert f(g())", "def f(x): return x"),
        ("def f(x):\n\treturn x\x0b\u2028y\n", "def f(x):\n\treturn x\x0b\u2028y"),
        ("", ""),
    ],
)
def test_cut_at_the_first_unindented_line(text, cut):
    assert cut_at_unindented(text) == cut


@given(st.text("df :()x\n\t\r\x0b\x1c\x85\u2028#]}", max_size=60))
@settings(max_examples=200)
def test_the_cut_is_what_is_kept_line_by_line(text):
    first, *rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    indented = itertools.takewhile(lambda line: not line or line[0].isspace() or line[0] in ")]}", rest)
    assert cut_at_unindented(text) == "\n".join([first, *indented]).rstrip()


@given(st.text("df :()x\n\t\r#]}", max_size=60))
@settings(max_examples=200)
def test_cutting_twice_cuts_once(text):
    once = cut_at_unindented(text)
    assert cut_at_unindented(once) == once


def test_real_functions_normalise_rename_and_abstract():
    for module in MODULES:
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.FunctionDef) and not node.decorator_list:
                text = ast.get_source_segment(inspect.getsource(module), node)
                assert normalise(normalise(text)) == normalise(text)
                assert rename_function(rename_function(text, "zzz"), node.name) == text
                assert shape.shape_id(text) == shape.shape_id(rename_function(text, "zzz"))


@pytest.mark.parametrize(
    "source",
    [
        "def f(x: int): return x == 1",
        "def f(x: Dict[str, int], s='->', t=lambda y: (y)) :\n    return {1: x}[1:2] -> 3",
        "def f(\n    x: int,  # )->:\n    a=[1, (2)],\n):\n    return x in a",
        "@cached(1)\ndef f(x: str, a='é\u2028'):\r\n    return x",
        "def f(x: int, a=3",
        'def f(x: int):\n    return """',
        "",
    ],
)
def test_a_return_annotation_comes_and_goes(source):
    said = annotate_return(source, "List[int]")
    assert (said == source) == ("):" not in source and ") :" not in source)
    assert annotate_return(said, "bool") == said and drop_return_annotation(source) == source
    assert drop_return_annotation(said) == source.replace(") :", "):")
