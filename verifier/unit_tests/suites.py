"""Unit tests as puzzles: what a suite asks runs in the solution's process, what it says of the answers in another.

A suite becomes a puzzle `f(outputs: Any)` that holds what is expected, and a wrapper that is put below every
solution, calls its function on the suite's inputs and answers with the list of what came back. The two are judged like
any attempt: outputs leave the solution's process as a bounded literal, and are compared where no solution ever ran.
The puzzle is hidden (puzzle.HIDDEN), so no expected output is ever in a solution's process.
"""

import ast
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from verifier.language.leniency import lenient_python
from verifier.language.puzzle import HIDDEN, own_nodes
from verifier.unit_tests.suite_calls import ANSWERS, ASK, SuiteError, take_apart


@dataclass(frozen=True)
class Suite:
    """Tests of one task.

    puzzle: accepts the right outputs.
    below: what is put below a solution, "" where the solution is a text inside `around`.
    around: for programs that read standard input: a wrapper with a place for the program's text.
    above: what is put above a completion (a prompt, say) to make a solution of it.
    """

    puzzle: str
    below: str = ""
    around: str = ""
    above: str = ""
    entry_point: str = ""

    def attempt(self, solution: str) -> dict[str, str]:
        """What a pool judges."""
        if self.around:
            return {"puzzle": self.puzzle, "solution": self.around.replace(_PROGRAM, repr(solution), 1)}
        return {"puzzle": self.puzzle, "solution": f"{solution}\n\n\n{self.below}"}


def of_pairs(
    entry_point: str,
    inputs: Sequence[Sequence[Any]],
    outputs: Sequence[Any] | None = None,
    *,
    reference: str = "",
    atol: float = 0.0,
    equal: str = "same",
    above: str = "",
) -> Suite:
    """A suite of arguments and what `entry_point` must return on them.

    outputs: the right ones; if None, those of `reference`, a trusted program that defines `entry_point` (it runs where
        outputs are compared).
    atol: by how much floats may differ; if it is 0 and the outputs are floats, by a millionth of the right one (both as
        in evalplus).
    equal: how outputs are compared, a key of EQUAL.
    """
    _require_some(inputs)
    arguments = literal([list(args) for args in inputs])
    asking = _statements(f"for args in {_DATA}:\n    {ASK}({_ENTRY}(*args))")
    if outputs is None:
        data = arguments
        head = f"inputs = {_DATA}\n{reference}\n\nexpected = [{entry_point}(*args) for args in inputs]"
    else:
        _require_as_many(inputs, outputs)
        data, head = literal(list(outputs)), f"expected = {_DATA}"
    checking = _statements(head) + _statements(_COMPARE.format(atol=float(atol), equal=EQUAL[equal]))
    below = _below(entry_point, asking, arguments)
    return Suite(_puzzle(checking, data), below, above=above, entry_point=entry_point)


def of_asserts(entry_point: str, test: str, *, helpers: str = "", above: str = "") -> Suite:
    """A suite of assertions: a list of them, or HumanEval's `def check(candidate): ...`.

    helpers: statements that the test builds on, as a prompt's imports and other functions; both sides get their own.

    Raises SuiteError, see suite_calls.
    """
    callees = {entry_point}
    statements = _statements(test)
    checks = [node for node in statements if isinstance(node, ast.FunctionDef) and node.name == "check"]
    if checks:
        check = checks[-1]
        if len(check.args.args) != 1:
            raise SuiteError("`check` must take one argument, the function")
        callees.add(check.args.args[0].arg)
        statements = [
            node for node in statements if node is not check and not _calls_check(node)
        ] + check.body
    if statements and isinstance(statements[-1], ast.Return):
        statements.pop()  # the test ends there anyway
    if any(isinstance(node, ast.Return) for node in own_nodes(ast.Module(statements, []))):
        raise SuiteError("a test that returns before its end; whether it does may depend on an answer")
    sides = take_apart(statements, callees)
    given = [node for node in _statements(helpers) if getattr(node, "name", "") != entry_point]
    names = _statements("\n".join(f"{name} = {_ENTRY}" for name in sorted(callees)))
    first, last = _statements(f"{ANSWERS} = iter(outputs)"), _returns(f"next({ANSWERS}, None) is None")
    return Suite(
        _puzzle([*given, *first, *sides.checking, *last]),
        below=_below(entry_point, [*given, *names, *sides.asking]),
        above=above,
        entry_point=entry_point,
    )


def of_programs(inputs: Sequence[str], outputs: Sequence[str]) -> Suite:
    """A suite of texts for standard input and what must come out.

    Spaces at the ends of lines, and empty lines at the end, do not count.
    """
    _require_some(inputs)
    _require_as_many(inputs, outputs)
    around = (
        "import verifier_console\n\n\ndef g():\n"
        f"    return verifier_console.run({_PROGRAM}, {literal(list(inputs))}, globals())\n"
    )
    checking = _statements(f"expected = {_DATA}" + _COMPARE.format(atol=0.0, equal=EQUAL["lines"]))
    return Suite(_puzzle(checking, literal(list(outputs))), around=_within_reason(around))


def _require_some(inputs: Sequence[Any]) -> None:
    if not len(inputs):
        raise SuiteError("has no tests: whatever defines the function would pass")


def _require_as_many(inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    if len(outputs) != len(inputs):
        raise SuiteError(f"{len(inputs)} inputs and {len(outputs)} outputs")


def literal(value: Any) -> str:
    """Source text of a plain value, of any size and with NaN and infinity in it. Raises SuiteError for others."""
    with lenient_python():
        return _literal(value)


def _literal(value: Any) -> str:
    kind = type(value)
    if value is None or kind in (int, bool, str, bytes) or (kind is float and math.isfinite(value)):
        return repr(value)
    if kind is float:
        return f"float('{value}')"
    if kind is complex:
        return f"complex({_literal(value.real)}, {_literal(value.imag)})"
    if kind is list:
        return f"[{', '.join(map(_literal, value))}]"
    if kind is tuple:
        return f"({''.join(f'{_literal(item)}, ' for item in value)})"
    if kind is set:
        return f"{{{', '.join(sorted(map(_literal, value)))}}}" if value else "set()"
    if kind is frozenset:
        return f"frozenset({_literal(set(value))})"
    if kind is dict:
        return f"{{{', '.join(f'{_literal(k)}: {_literal(v)}' for k, v in value.items())}}}"
    raise SuiteError(f"{kind.__name__} {str(value)[:60]!r} is no plain value")


# The texts.

_PROGRAM = "'verifier program'"
MOST_CHARACTERS = 1 << 21  # half of what a pool takes as a program (pool.LONGEST_TEXT): a solution is added
_ENTRY = "verifier_entry"
_DATA = "verifier_data"
_TESTS = "verifier_tests"

# What came back is copied as it comes, since the function may go on changing it; instances of subclasses (Counter,
# defaultdict, namedtuple) become what they are equal to.
_PLAIN = """
def verifier_plain(value):
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [verifier_plain(item) for item in value]
        for kind in (list, tuple, set, frozenset):
            if isinstance(value, kind):
                return kind(items)
    if isinstance(value, dict):
        return {verifier_plain(key): verifier_plain(item) for key, item in value.items()}
    return value
"""

# A solution may have a `g` of its own: the wrapper gives it its name back.
_BELOW = """
verifier_entry = {entry}
try:
    verifier_own = g
except NameError:
    verifier_own = None

{plain}

def g(verifier_own=verifier_own, verifier_entry=verifier_entry, verifier_plain=verifier_plain):
    global g
    g = verifier_own
    verifier_outputs = []

    def {ask}(value):
        verifier_outputs.append(verifier_plain(value))
        return value

    def verifier_tests():
        pass

    verifier_tests()
    return verifier_outputs
"""

_COMPARE = """
atol = {atol}

{equal}

if not isinstance(outputs, list) or len(outputs) != len(expected):
    return False
for number, (output, right) in enumerate(zip(outputs, expected)):
    if not equal(output, right):
        raise AssertionError(f"test {{number}}: {{output!r:.60}} instead of {{right!r:.60}}")
return True
"""

_SAME = """
def near(a, b, by):
    if isinstance(b, (list, tuple)):
        return isinstance(a, (list, tuple)) and len(a) == len(b) and all(near(x, y, by) for x, y in zip(a, b))
    if isinstance(b, (int, float)) and isinstance(a, (int, float)):
        return a == b or abs(a - b) <= by + 1e-07 * abs(b) < float("inf")
    return a == b

def equal(output, right):
    right = verifier_plain(right)
    if output == right:
        return True
    floats = right if isinstance(right, (list, tuple)) else [right]
    by = atol or (1e-06 if floats and all(isinstance(x, float) for x in floats) else 0.0)
    return by > 0 and near(output, right, by)
"""

_OR = (
    (_PLAIN + _SAME.replace("def equal", "def same")).replace("{", "{{").replace("}", "}}")
    + """
def equal(output, right):
    return same(output, right) or {or_else}
"""
)

# The last ones are for single tasks of evalplus, which accept more than one answer.
EQUAL = {
    "same": _PLAIN + _SAME,
    "set": """
def equal(output, right):
    return set(output) == set(right)
""",
    "found": """
def equal(output, right):
    right = right if isinstance(right, bool) else right is not None
    return (output if isinstance(output, bool) else output is not None) == right
""",
    "or_zero": _OR.format(or_else="output == 0"),
    "digits": _OR.format(
        or_else="""output == (lambda a, b: sum(
            abs(int(x) - int(y)) for x, y in zip(a.zfill(len(b)), b.zfill(len(a)))
        ))(*map(str, inputs[number]))"""
    ),
    "pyramid": _OR.format(
        or_else="""abs(output - (lambda base, height: round(
            base**2 + 2 * base * ((base / 2) ** 2 + height**2) ** 0.5
        ))(*inputs[number])) <= atol"""
    ),
    "root": """
def equal(output, right):
    return abs(sum(part * output ** power for power, part in enumerate(inputs[number][0]))) <= atol
""",
    "any": """
def equal(output, right):
    return True
""",
    "lines": """
def equal(output, right):
    def lines(text):
        return [line.rstrip() for line in text.rstrip().split(chr(10))]
    return lines(output) == lines(right)
""",
}


def _within_reason(text: str) -> str:
    if len(text) > MOST_CHARACTERS:
        raise SuiteError(f"tests of {len(text)} characters; at most {MOST_CHARACTERS} are judged")
    return text


def _below(entry_point: str, asking: Sequence[ast.stmt], data: str = "") -> str:
    if not entry_point.isidentifier():
        raise SuiteError(f"entry point {entry_point!r} is no name")
    tree = parse(_BELOW.format(entry=entry_point, plain=_PLAIN, ask=ASK))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == _TESTS:
            node.body = list(asking)
    return _text(tree, data)


def _puzzle(checking: Sequence[ast.stmt], data: str = "") -> str:
    tree = parse("def f(outputs: Any):\n    pass")
    tree.body[0].body = list(checking)  # type: ignore[attr-defined]
    return HIDDEN + _text(tree, data)


def _text(tree: ast.Module, data: str) -> str:
    """The program, with `data` in its place: megabytes of it in a syntax tree would take a minute to unparse."""
    try:
        with lenient_python():
            text = ast.unparse(ast.fix_missing_locations(tree)) + "\n"
        return _within_reason(text.replace(_DATA, data, 1) if data else text)
    except (ValueError, RecursionError) as e:
        raise SuiteError(f"tests that cannot be written: {e}") from e


def parse(source: str) -> ast.Module:
    """The source's syntax tree. Raises SuiteError."""
    try:
        with lenient_python():
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        raise SuiteError(f"not Python: {e}: {source.strip()[:80]!r}") from e


def _statements(source: str) -> list[ast.stmt]:
    """The source's outermost statements, without bare strings and without annotations.

    They go inside a function, where a name in an annotation may be a variable of the test's.
    """
    tree = parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    return [node for node in tree.body if not _is_text(node)]


def _returns(expression: str) -> list[ast.stmt]:
    return [ast.Return(parse(expression).body[0].value)]  # type: ignore[attr-defined]


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _calls_check(node: ast.stmt) -> bool:
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "check"
