"""A view of Python source in the shape of this project's programs: small predicates and small expressions.

A model of a few million weights spends most of a general corpus on names it will never need. Real source is also
full of the one thing that puzzles are made of: boolean and arithmetic expressions over a few variables. Each such
expression, cut out with its free names turned into arguments, is a function:

    if len(parts) == n + 1: ...        ->    def f(parts: List[int], n=4):
                                                 return len(parts) == n + 1

    total = price * count              ->    def g(price=7, count=3):
                                                 return price * count

Predicates and expressions come from unrelated places, and nothing here runs or checks a pair: paired as puzzle and
solution, the expression merely takes the puzzle's arguments and, as far as its form shows, returns the type asked for.
Such pairs teach the form of puzzles and solutions but also, seen often, that answers have little to do with their
questions. Therefore `documents` accepts a judge: of several expressions per puzzle, it shows one that solves it, or no
pair if none does. Types are guessed from use, and defaults are drawn by a hash of the source, so the view is a function
of the corpus.
"""

import ast
import builtins
import hashlib
import itertools
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from t5x_selfprog.puzzles.prompts import BLANK_LINE, pair_text

CALLS = frozenset(
    "abs all any bool chr divmod enumerate float int len list map max min ord pow range reversed round set sorted "
    "str sum tuple zip".split()
)
STR_METHODS = frozenset(
    "capitalize count endswith find index isalnum isalpha isdigit islower isupper join lower lstrip replace rstrip "
    "split startswith strip swapcase title upper zfill".split()
)
TAKES_LIST = frozenset("all any enumerate max min reversed set sorted sum zip".split())
ALLOWED = (
    ast.expr_context, ast.Name, ast.Constant, ast.BinOp, ast.operator, ast.UnaryOp, ast.unaryop, ast.BoolOp,
    ast.boolop, ast.Compare, ast.cmpop, ast.Call, ast.Attribute, ast.Subscript, ast.Slice, ast.List, ast.Tuple,
    ast.ListComp, ast.GeneratorExp, ast.comprehension, ast.IfExp,
)  # fmt: skip
MOST_NODES, MOST_CHARS, MOST_ARGUMENTS = 30, 70, 4
EASY = 0.5  # a puzzle solved by a larger share of expressions says nothing about its solution
MOST_LOOKS = 3  # expressions tried for one solution
RESULTS = {
    **dict.fromkeys(("abs", "int", "len", "max", "min", "ord", "pow", "round", "sum"), "int"),
    **dict.fromkeys(("all", "any", "bool"), "bool"),
    **dict.fromkeys(("chr", "str"), "str"),
    **dict.fromkeys(("divmod", "enumerate", "map", "range", "reversed", "set", "tuple", "zip"), "other"),
    "float": "float",
}  # of those CALLS whose name reveals it
METHOD_RESULTS = {"split": "List[str]", "find": "int", "index": "int", "count": "int"}

# Whether each solution solves its puzzle, for a list of (puzzle, solution).
Judge = Callable[[Iterable[tuple[str, str]]], Iterator[bool]]

WORDS = "apple river stone green paper hello world table light north cloud bread seven mouse garden".split()


@dataclass(frozen=True)
class Expression:
    """`types` maps free names to guessed types, in order of appearance."""

    source: str
    types: tuple[tuple[str, str], ...]
    shape: str


def expressions(tree: ast.AST) -> Iterator[tuple[str, Expression]]:
    """("predicate" or "value", expression) for every usable expression of a file, outermost ones only."""
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.expr):
            found = read(node)
            if found is not None:
                yield ("predicate" if _is_predicate(node) else "value"), found
                continue
        stack.extend(reversed(list(ast.iter_child_nodes(node))))


def read(node: ast.expr) -> Expression | None:
    """The expression, if it is small and uses only its names, literals and harmless builtins."""
    nodes = list(ast.walk(node))
    if not 3 <= len(nodes) <= MOST_NODES or not all(isinstance(n, ALLOWED) for n in nodes):
        return None
    # The content of brackets need not be an expression by itself: `:n`, `:, 0`.
    tuples = [n for n in nodes if isinstance(n, ast.Tuple)]
    if isinstance(node, ast.Slice) or any(isinstance(part, ast.Slice) for n in tuples for part in n.elts):
        return None
    bound = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    called: set[int] = set()
    for n in nodes:
        if isinstance(n, ast.Call):
            if n.keywords or any(isinstance(a, ast.Starred) for a in n.args):
                return None
            if isinstance(n.func, ast.Name) and n.func.id in CALLS:
                called.add(id(n.func))
            elif not (isinstance(n.func, ast.Attribute) and n.func.attr in STR_METHODS):
                return None
        if isinstance(n, ast.Constant) and not _plain(n.value):
            return None
        # A list of numbers takes a single numeric index, which rules out tables, arrays and dictionaries.
        if isinstance(n, ast.Subscript) and (
            isinstance(n.slice, ast.List | ast.Tuple)
            or (isinstance(n.slice, ast.Constant) and not isinstance(n.slice.value, int))
            or (isinstance(n.value, ast.Subscript) and not isinstance(n.value.slice, ast.Slice))
        ):
            return None
        if isinstance(n, ast.Compare) and (len(n.ops) > 1 or isinstance(n.ops[0], ast.Is | ast.IsNot)):
            return None
    methods = {id(n.func) for n in nodes if isinstance(n, ast.Call)}
    if any(isinstance(n, ast.Attribute) and id(n) not in methods for n in nodes):
        return None
    names: list[str] = []
    for n in nodes:
        if isinstance(n, ast.Name) and id(n) not in called and n.id not in bound and n.id not in names:
            names.append(n.id)
    if not 1 <= len(names) <= MOST_ARGUMENTS or any(_unfit(name) for name in [*names, *bound]):
        return None
    guessed = _types(node)
    types = tuple((name, guessed.get(name, "int")) for name in names)
    source = ast.unparse(node)
    if len(source) > MOST_CHARS or "\n" in source:
        return None
    return Expression(source, types, _shape(node, names))


def _plain(value: object) -> bool:
    if isinstance(value, str):
        return 0 < len(value) <= 12 and value.isascii() and value.isprintable()
    return isinstance(value, bool) or (isinstance(value, int | float) and abs(value) < 1e6)


def _unfit(name: str) -> bool:
    return (
        len(name) > 9
        or name.startswith("_")
        or hasattr(builtins, name)
        or name in ("self", "cls", "np", "f", "g")
    )


def _is_predicate(node: ast.expr) -> bool:
    if isinstance(node, ast.BoolOp):
        return all(_is_predicate(value) for value in node.values)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in ("all", "any")
    return isinstance(node, ast.Compare)


def _types(node: ast.expr) -> dict[str, str]:
    """Types of names, by the first use that reveals them."""
    found: dict[str, str] = {}

    def say(expr: ast.AST, kind: str) -> None:
        if isinstance(expr, ast.Name):
            found.setdefault(expr.id, kind)

    for n in ast.walk(node):
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute):
            say(n.func.value, "str")
            for argument in n.args:
                say(argument, "List[str]" if n.func.attr == "join" else "str")
        elif isinstance(n, ast.Call) and isinstance(n.func, ast.Name):
            kinds = {"len": "List[int]", "ord": "str", "float": "str"}
            kind = "List[int]" if n.func.id in TAKES_LIST else kinds.get(n.func.id, "int")
            for argument in n.args[: 1 if n.func.id in TAKES_LIST and len(n.args) == 1 else None]:
                say(argument, "int" if n.func.id in ("max", "min") and len(n.args) > 1 else kind)
        elif isinstance(n, ast.Subscript):
            say(n.value, "List[int]")
            say(n.slice, "int")
        elif isinstance(n, ast.comprehension):
            say(n.iter, "List[int]")
        elif isinstance(n, ast.BinOp | ast.Compare):
            sides = [n.left, n.right] if isinstance(n, ast.BinOp) else [n.left, n.comparators[0]]
            constants = [s.value for s in sides if isinstance(s, ast.Constant)]
            if isinstance(n, ast.Compare) and isinstance(n.ops[0], ast.In | ast.NotIn):
                say(n.comparators[0], "str" if constants and isinstance(constants[0], str) else "List[int]")
            elif constants:
                kind = type(constants[0]).__name__
                for side in sides:
                    say(side, kind if kind in ("str", "float") else "int")
    return found


def _shape(node: ast.expr, names: list[str]) -> str:
    """A key that is equal for expressions that differ only in names and constants."""
    text = re.sub(r"Constant\(value=[^()]*\)", "Constant()", ast.dump(node))
    for i, name in enumerate(names):
        text = text.replace(f"Name(id='{name}'", f"Name(id='v{i}'")
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# Functions made of expressions.


def _default(kind: str, draw: random.Random) -> str:
    number = draw.choice([draw.randint(1, 12), draw.randint(2, 99), draw.randint(100, 1200)])
    if kind == "int":
        return str(number)
    if kind == "float":
        return str(number / draw.choice([2, 4, 5, 10]))
    if kind == "str":
        return repr(draw.choice(WORDS))
    if kind == "List[str]":
        return repr(draw.sample(WORDS, draw.randint(2, 3)))
    return repr([draw.randint(0, 40) for _ in range(draw.randint(3, 5))])


def _draw(expression: Expression, variant: int) -> random.Random:
    return random.Random(f"{variant} {expression.source}")


def _arguments(types: Iterable[tuple[str, str]], draw: random.Random) -> list[str]:
    return [f"{name}={_default(kind, draw)}" for name, kind in types]


def _header(types: Iterable[tuple[str, str]], draw: random.Random) -> str:
    """A solution's header; given the same draw, its defaults equal those of `predicate`."""
    return f"def g({', '.join(_arguments(types, draw))}):"


def predicate(expression: Expression, name: str = "f", variant: int = 0) -> str:
    """The expression as a puzzle whose first name is the answer. Variants differ in the other arguments' defaults."""
    draw = _draw(expression, variant)
    (answer, kind), *rest = expression.types
    arguments = ", ".join([f"{answer}: {kind}", *_arguments(rest, draw)])
    return f"def {name}({arguments}):\n    return {expression.source}"


class Values:
    """Expressions indexed by argument and result types, to serve as solutions of unrelated puzzles."""

    def __init__(self, values: Iterable[Expression]):
        self._known: dict[tuple[tuple[str, ...], str | None], list[Expression]] = defaultdict(list)
        self._taken: Counter[tuple[tuple[str, ...], str | None]] = Counter()
        for expression in values:
            gives = result_type(ast.parse(expression.source, mode="eval").body, dict(expression.types))
            self._known[_sorted_types(expression.types), gives].append(expression)

    def solution(self, puzzle: Expression, variant: int = 0) -> str:
        """A function `g` of the puzzle's other arguments.

        It returns an expression over all of them if there is one, else over fewer, else a literal of the answer's type.
        """
        draw = _draw(puzzle, variant)
        (_, wanted), *rest = puzzle.types
        header = _header(rest, draw)
        body = self._over(rest, wanted)
        while body is None and rest:
            rest.pop(draw.randrange(len(rest)))
            body = self._over(rest, wanted)
        return f"{header}\n    return {body or _default(wanted, draw)}"

    def candidates(self, puzzle: Expression, variant: int, count: int) -> list[str]:
        """At most `count` different `g`: expressions over all other arguments of a puzzle, over fewer, literals."""
        draw = _draw(puzzle, variant)
        (_, wanted), *rest = puzzle.types
        header = _header(rest, draw)
        found: dict[str, None] = {}
        for number in range(count):
            arguments = draw.sample(rest, len(rest) - number % (len(rest) + 1))
            body = (self._over(arguments, wanted) if arguments else None) or _default(wanted, draw)
            found[f"{header}\n    return {body}"] = None
        return list(found)

    def _over(self, arguments: list[tuple[str, str]], wanted: str) -> str | None:
        """The next expression over names of these types, in these arguments' names; None if none fits."""
        for gives in (wanted, None):  # None: the form does not reveal the type
            key = _sorted_types(arguments), gives
            known = self._known.get(key, [])
            for _ in range(min(len(known), MOST_LOOKS)):
                expression = known[self._taken[key] % len(known)]
                self._taken[key] += 1
                renamed = _renamed(expression, arguments)
                if renamed is not None:
                    return renamed
        return None


def _sorted_types(types: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(sorted(kind for _, kind in types))


def _renamed(expression: Expression, arguments: Iterable[tuple[str, str]]) -> str | None:
    """The expression with its names replaced by arguments of the same types; None if a loop binds one of these."""
    tree = ast.parse(expression.source, mode="eval")
    by_type = lambda item: item[1]  # noqa: E731
    pairs = zip(sorted(expression.types, key=by_type), sorted(arguments, key=by_type), strict=True)
    new = {old: name for (old, _), (name, _) in pairs}
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    if any(isinstance(node.ctx, ast.Store) and node.id in new.values() for node in names):
        return None
    for node in names:
        node.id = new.get(node.id, node.id)
    return ast.unparse(tree)


def result_type(node: ast.expr, types: Mapping[str, str]) -> str | None:
    """The result type of an expression over names of these types, if its form reveals it; "other" for foreign types."""
    of = partial(result_type, types=types)
    match node:
        case ast.Name():
            return types.get(node.id)
        case ast.Constant():
            return type(node.value).__name__
        case ast.Compare() | ast.UnaryOp(op=ast.Not()):
            return "bool"
        case ast.BoolOp():
            return of(node.values[0])
        case ast.UnaryOp():
            return of(node.operand)
        case ast.IfExp():
            return of(node.body) or of(node.orelse)
        case ast.List() | ast.ListComp():
            items = [node.elt] if isinstance(node, ast.ListComp) else node.elts
            inner = (of(items[0]) if items else None) or "int"
            return f"List[{inner}]" if inner in ("int", "str", "float", "bool") else "other"
        case ast.Subscript():
            kind = of(node.value) or ""
            return kind if isinstance(node.slice, ast.Slice) or kind == "str" else kind[5:-1] or None
        case ast.BinOp():
            return _sum_type(of(node.left), of(node.right), node.op)
        case ast.Call(func=ast.Name(id=name)):
            return RESULTS.get(name)
        case ast.Call(func=ast.Attribute(attr=method)):
            return METHOD_RESULTS.get(
                method, "bool" if method.startswith(("is", "starts", "ends")) else "str"
            )
    return "other"


def _sum_type(left: str | None, right: str | None, operation: ast.operator) -> str | None:
    """The result type of arithmetic; a list or a text times a number keeps its type."""
    sides = {left, right}
    if isinstance(operation, ast.Div):
        return "float"
    for kind in sides:
        if kind == "str" or (kind or "").startswith("List"):
            return kind
    return "float" if "float" in sides else "int" if sides == {"int"} else None


def documents(
    texts: Iterable[str],
    *,
    per_shape: int = 100,
    group: int = 6,
    variants: int = 3,
    refuse: Callable[[str], bool] = lambda predicate: False,
    judge: Judge | None = None,
    tries: int = 16,
) -> Iterator[str]:
    """Documents of the view: numbered lists of predicates as in a puzzle prompt, and lists of pairs as in training.

    Args:
      texts: source files.
      per_shape: the most expressions that may differ only in names and constants.
      group: functions or pairs per document.
      variants: in how many pairs each predicate appears, each with other defaults and another expression.
      refuse: says which predicates must not appear (held-out puzzles).
      judge: says which pairs of puzzle and solution hold, in order. Then only pairs that hold are used, and puzzles
        that most expressions solve, or none, have no pair.
      tries: how many expressions are judged per puzzle.
    """
    shapes: Counter[str] = Counter()
    seen: set[str] = set()
    puzzles: list[Expression] = []
    values: list[Expression] = []
    for text in texts:
        for kind, expression in expressions(ast.parse(text)):
            if expression.source in seen or shapes[expression.shape] >= per_shape:
                continue
            seen.add(expression.source)
            shapes[expression.shape] += 1
            if kind == "value":
                values.append(expression)
            elif not refuse(predicate(expression)):
                puzzles.append(expression)
    draw = random.Random(0)
    draw.shuffle(values)
    known = Values(values)
    draw.shuffle(puzzles)
    for some in _groups(puzzles, group):
        yield puzzle_list(some) + "\n"
    for variant in range(variants):
        draw.shuffle(puzzles)
        if judge is None:
            whole = puzzles[: len(puzzles) // group * group]
            solved = [(puzzle, known.solution(puzzle, variant)) for puzzle in whole]
        else:
            solved = list(_solved(puzzles, known, variant, judge, tries))
        for some in _groups(solved, group):
            yield pair_list(some, variant) + "\n"


def _groups(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Consecutive groups of `size` items, without the remainder."""
    for i in range(0, len(items) - size + 1, size):
        yield items[i : i + size]


def _solved(
    puzzles: Iterable[Expression], known: Values, variant: int, judge: Judge, tries: int
) -> Iterator[tuple[Expression, str]]:
    """Puzzles that some but not most candidates solve, each with the first solution that holds."""
    tried = [(puzzle, known.candidates(puzzle, variant, tries)) for puzzle in puzzles]
    verdicts = judge(
        (predicate(puzzle, variant=variant), g) for puzzle, candidates in tried for g in candidates
    )
    for puzzle, candidates in tried:
        holding = list(itertools.compress(candidates, itertools.islice(verdicts, len(candidates))))
        if 0 < len(holding) <= EASY * len(candidates):
            yield puzzle, holding[0]


def puzzle_list(puzzles: Iterable[Expression]) -> str:
    """Predicates as a puzzle prompt lists them."""
    return BLANK_LINE.join(predicate(e, f"f{i}") for i, e in enumerate(puzzles, start=1))


def pair_list(solved: Iterable[tuple[Expression, str]], variant: int) -> str:
    """Predicates as puzzles, each with its solution (checked or supposed), as a solve prompt lists them."""
    return BLANK_LINE.join(pair_text(predicate(puzzle, variant=variant), g) for puzzle, g in solved)
