"""Our own puzzle sets: every reference solution holds, nothing is trivial, no predicate occurs twice.

Plain `exec` is fine here, because these programs are ours. Tests `puzzles.json` if it exists, otherwise the pools that
it is made from.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import itertools
import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from t5x_selfprog.puzzles import p3
from t5x_selfprog.puzzles.source import parse
from verifier.language.puzzle import parse_puzzle

ROOT = Path(__file__).parents[2]
SEEDS = p3.SEEDS_FOLDER
TUTORIAL = "Tutorial"  # The five shown in solve prompts: one instance each, easy on purpose.
P3_PUZZLES = Path(os.environ.get("SELFPROG_P3_DIR", ROOT / "../shared/data/p3")) / p3.PUZZLES_FILE

FIELDS = {"name", "sat", "ans_type", "sol_header", "sol_docstring", "sol_bodies", "module", "notes", "weight"}
CPU_S = 0.2  # The author's own bound is 0.02 s; the rest is for a loaded machine.
MOST_TRIVIAL = 0.10  # Share of problems that may fall to a trivial answer: deliberate warm-ups.

Entry = dict[str, Any]


def read(path: Path) -> list[Entry]:
    return json.loads(path.read_text(encoding="utf-8"))


@cache
def problems() -> dict[str, list[Entry]]:
    """Instances by problem name, without the tutorial's."""
    found: dict[str, list[Entry]] = defaultdict(list)
    for entry in read(SEEDS / p3.PUZZLES_FILE):
        if not entry["name"].startswith(TUTORIAL):
            found[entry["name"].rpartition(":")[0]].append(entry)
    return dict(found)


def first_instances() -> list[Entry]:
    return [instances[0] for instances in problems().values()]


def check_all(entries: Iterable[Entry], wrong: Callable[[Entry], str | None]) -> None:
    """One failure that lists every faulty entry, rather than a thousand parametrised tests."""
    faults = [f"{entry['name']}: {why}" for entry in entries if (why := wrong(entry))]
    assert not faults, "\n" + "\n".join(faults)


def every_instance() -> Iterable[Entry]:
    return itertools.chain.from_iterable(problems().values())


def function(source: str, name: str) -> Callable[..., Any]:
    namespace: dict[str, Any] = {"List": list}
    exec(source, namespace)
    return namespace[name]


def solution(entry: Entry) -> str:
    return "\n".join((entry["sol_header"], entry["sol_docstring"], entry["sol_bodies"][0]))


def is_of_type(value: object, annotation: str) -> bool:
    """Whether a value is exactly of the type at every level: True is not an int, 1 is not a float."""
    if annotation.startswith("List["):
        return type(value) is list and all(is_of_type(item, annotation[5:-1]) for item in value)
    return type(value).__name__ == annotation


# Trivial answers, as the puzzle filter knows them.

SCALARS: dict[str, list[Any]] = {
    "int": list(range(-10, 101)),
    "str": ["", "cat", "dog", "aa", "ab", "foo", "bar", "baz"],
    "float": [-100.0, -10.0, -2.0, -1.0, -0.5, -0.1, 0.0, 0.1, 0.5, 1.0, 2.0, 10.0, 100.0],
    "bool": [False, True],
}
LIST_BASE: dict[str, list[Any]] = {**SCALARS, "int": list(range(-3, 11))}
NESTED_BASE: dict[str, list[Any]] = {**SCALARS, "int": [-1, 0, 1, 2]}


def up_to_two(base: list[Any]) -> list[list[Any]]:
    return [list(items) for length in range(3) for items in itertools.product(base, repeat=length)]


@cache
def trivial_answers(annotation: str) -> list[Any]:
    if annotation in SCALARS:
        return SCALARS[annotation]
    inner = annotation[5:-1]
    return up_to_two(LIST_BASE[inner] if inner in SCALARS else up_to_two(NESTED_BASE[inner[5:-1]]))


def lucky_answer(entry: Entry) -> str | None:
    judge = function(entry["sat"], "sat")
    for answer in trivial_answers(entry["ans_type"]):
        with contextlib.suppress(Exception):  # A puzzle may refuse an answer by raising.
            if judge(answer) is True:
                return f"solved by {answer!r}"
    return None


# Identity.

CONSTANT = "constant"


def form(source: str) -> str:
    """A predicate without names and constants; operands of `==`, `*`, `^`, `|` and `&` are unordered.

    Independent of `t5x_selfprog.puzzles.shape`, so that the set is not judged by the code it serves.
    """
    return abstract(source, "given {}".format)


def coarse_form(source: str) -> str:
    """As `form`, but an argument other than the answer counts as one more constant."""
    return abstract(source, lambda _: CONSTANT)


def abstract(source: str, name_of_given: Callable[[int], str]) -> str:
    tree = parse(source).body[-1]
    assert isinstance(tree, ast.FunctionDef)
    answer, *givens = [argument.arg for argument in tree.args.args]
    bound = {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    bound |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    bound |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    names = {answer: "answer", **{name: name_of_given(i) for i, name in enumerate(givens)}}

    def rename(name: str) -> str:
        return names.setdefault(name, f"v{len(names)}") if name in bound else name

    class Abstract(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return ast.Name(CONSTANT) if is_constant(node) else super().visit(node)

        def visit_Name(self, node: ast.Name) -> ast.AST:
            return ast.Name(rename(node.id))

        def visit_arg(self, node: ast.arg) -> ast.AST:
            return ast.arg(rename(node.arg))

        def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
            self.generic_visit(node)
            node.name, node.args.defaults, node.returns = rename(node.name), [], None
            return node

        def visit_Compare(self, node: ast.Compare) -> ast.AST:
            self.generic_visit(node)
            if len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq):
                node.left, node.comparators[0] = sorted((node.left, node.comparators[0]), key=ast.dump)
            return node

        def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
            self.generic_visit(node)
            if isinstance(node.op, ast.Mult | ast.BitXor | ast.BitOr | ast.BitAnd):
                node.left, node.right = sorted((node.left, node.right), key=ast.dump)
            return node

    annotation = tree.args.args[0].annotation
    body = [node for node in tree.body if not (isinstance(node, ast.Expr) and is_constant(node.value))]
    parts = [Abstract().visit(node) for node in body]
    return "\n".join([ast.unparse(annotation) if annotation else "", *map(ast.dump, parts)])


def is_constant(node: ast.AST) -> bool:
    match node:
        case ast.Constant():
            return True
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return is_constant(operand)
        case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
            return bool(elements) and all(map(is_constant, elements))
    return False


# The tests.


def test_there_is_a_set_to_test() -> None:
    assert len(problems()) >= 240


def test_no_entry_is_there_twice() -> None:
    names = [entry["name"] for entry in read(SEEDS / p3.PUZZLES_FILE)]
    assert [name for name, count in Counter(names).items() if count > 1] == []


def test_instances_are_numbered_and_there_are_three_or_more() -> None:
    for name, instances in problems().items():
        assert len(instances) >= 3, name
        assert [entry["name"] for entry in instances] == [f"{name}:{i}" for i in range(len(instances))]


def test_entries_have_the_fields_of_the_format() -> None:
    def wrong(entry: Entry) -> str | None:
        if set(entry) != FIELDS:
            return f"fields {sorted(set(entry) ^ FIELDS)} are missing or unknown"
        if len(entry["sol_bodies"]) != 1:
            return "needs one reference solution"
        return None if entry["notes"] in set("12345") else f"difficulty {entry['notes']!r} is not 1 to 5"

    check_all(every_instance(), wrong)


def test_puzzles_have_a_valid_signature() -> None:
    def wrong(entry: Entry) -> str | None:
        puzzle = parse_puzzle(entry["sat"].replace("def sat(", "def f(", 1))
        if puzzle.answer_type != entry["ans_type"]:
            return f"annotated {puzzle.answer_type}, ans_type {entry['ans_type']}"
        return None if puzzle.arguments else "has nothing but the answer"

    check_all(every_instance(), wrong)


def test_instances_differ_in_defaults_only_and_share_one_solution() -> None:
    def beyond_header(source: str) -> str:
        return source.partition("\n")[2]

    for name, instances in problems().items():
        assert len({entry["sat"] for entry in instances}) == len(instances), (
            f"{name}: an instance is there twice"
        )
        assert len({beyond_header(entry["sat"]) for entry in instances}) == 1, f"{name}: predicates differ"
        assert len({entry["sol_bodies"][0] for entry in instances}) == 1, f"{name}: solutions differ"


def test_solution_takes_the_givens_of_its_own_instance() -> None:
    def wrong(entry: Entry) -> str | None:
        sat, sol = parse(entry["sat"]).body[0], parse(solution(entry)).body[0]
        assert isinstance(sat, ast.FunctionDef) and isinstance(sol, ast.FunctionDef)
        givens = [ast.dump(node) for node in (*sat.args.args[1:], *sat.args.defaults)]
        taken = [ast.dump(node) for node in (*sol.args.args, *sol.args.defaults)]
        return None if givens == taken else f"{entry['sol_header']} does not fit its puzzle"

    check_all(every_instance(), wrong)


def test_solution_uses_its_arguments() -> None:
    def wrong(entry: Entry) -> str | None:
        tree = parse(solution(entry)).body[0]
        assert isinstance(tree, ast.FunctionDef)
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        return None if used & {argument.arg for argument in tree.args.args} else "ignores the arguments"

    check_all(first_instances(), wrong)


def test_reference_solution_passes_in_time_and_type() -> None:
    def wrong(entry: Entry) -> str | None:
        answer_of, judge = function(solution(entry), "sol"), function(entry["sat"], "sat")
        start = time.process_time()
        answer = answer_of()
        outcome = judge(answer)
        used_s = time.process_time() - start
        if not is_of_type(answer, entry["ans_type"]):
            return f"{answer!r} is no {entry['ans_type']}"
        if outcome is not True:
            return f"{answer!r} gives {outcome!r}"
        return f"takes {used_s:.3f} s" if used_s > CPU_S else None

    check_all(every_instance(), wrong)


def test_answers_of_all_kinds_and_difficulties() -> None:
    types = Counter(entry["ans_type"] for entry in first_instances())
    for annotation in ("int", "float", "str", "List[int]", "List[str]", "List[bool]", "List[List[int]]"):
        assert types[annotation] >= 8, (annotation, types)
    assert set(Counter(entry["notes"] for entry in first_instances())) == set("12345")


def test_few_problems_fall_to_a_trivial_answer() -> None:
    lucky = {entry["name"]: why for entry in first_instances() if (why := lucky_answer(entry))}
    assert len(lucky) <= MOST_TRIVIAL * len(problems()), lucky


def test_puzzles_use_builtins_and_their_own_names_only() -> None:
    def wrong(entry: Entry) -> str | None:
        for tree in (parse(entry["sat"]), parse(solution(entry))):
            nodes = list(ast.walk(tree))
            own = {node.arg for node in nodes if isinstance(node, ast.arg)} | {"List"}
            own |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
            own |= {
                node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            }
            if any(isinstance(node, ast.Import | ast.ImportFrom | ast.Global) for node in nodes):
                return "imports"
            for node in nodes:
                if isinstance(node, ast.Name) and node.id not in own and not hasattr(builtins, node.id):
                    return f"{node.id} is not defined"
        return None

    check_all(first_instances(), wrong)


def test_no_predicate_is_there_twice() -> None:
    by_form = defaultdict(list)
    for entry in [*first_instances(), *tutorial_instances()]:
        by_form[form(entry["sat"])].append(entry["name"])
    assert [names for names in by_form.values() if len(names) > 1] == []


def test_no_predicate_is_one_of_p3() -> None:
    if not P3_PUZZLES.exists():
        pytest.skip(f"no P3 at {P3_PUZZLES}; set SELFPROG_P3_DIR to the folder of its puzzles.json")
    theirs = {coarse_form(entry["sat"]): entry["name"] for entry in read(P3_PUZZLES)}
    ours = [*first_instances(), *tutorial_instances()]
    same = [(entry["name"], theirs.get(coarse_form(entry["sat"]))) for entry in ours]
    assert [pair for pair in same if pair[1] is not None] == []


def tutorial_instances() -> list[Entry]:
    return [entry for entry in read(SEEDS / p3.PUZZLES_FILE) if entry["name"].startswith(TUTORIAL)]


def test_our_reader_accepts_the_set(tmp_path: Path) -> None:
    names = list(problems())
    (tmp_path / p3.PUZZLES_FILE).write_text(json.dumps(list(every_instance())))
    (tmp_path / p3.SPLIT_FILE).write_text(json.dumps({"train": names[::2], "test": names[1::2]}))
    assert {problem.name for problem in p3.load_problems(tmp_path)} == set(names)


def test_splits_are_disjoint_and_large_enough() -> None:
    splits = json.loads((SEEDS / p3.SPLIT_FILE).read_text())
    counts = Counter(itertools.chain.from_iterable(splits.values()))
    assert [name for name, count in counts.items() if count > 1] == []
    tutorial = {entry["name"].rpartition(":")[0] for entry in tutorial_instances()}
    assert (
        set(counts) == set(problems()) | tutorial and tutorial <= set(splits["train"]) and len(tutorial) == 5
    )
    assert len(splits["train"]) >= 120 and len(splits["test"]) >= 120
    types = {name: instances[0]["ans_type"] for name, instances in problems().items()}
    in_train = {types[name] for name in set(splits["train"]) - tutorial}
    assert in_train >= {types[n] for n in splits["test"]} == {types[n] for n in splits["dev"]}
    assert len({types[n] for n in splits["test"]}) >= 7


@pytest.mark.parametrize(
    ("one", "other", "same", "coarsely_same"),
    [
        ("def f(x: int, a=3): return x * a == 12", "def f(n: int, k=9): return 5 == k * n", True, True),
        ("def f(x: int, a=3): return x + a == 12", "def f(x: int, a=3): return x - a == 12", False, False),
        ("def f(x: str, a=3): return len(x) == a", "def f(x: int, a=3): return len(x) == a", False, False),
        ("def f(x: str, a=3): return len(x) == a", "def f(x: str, a=3): return max(x) == a", False, False),
        ("def f(s: str, n=2): return s[0] == n", "def f(s: str, n=2): return s[n] == 'a'", False, True),
        ("def f(x: str, a=1, b=2): return x[a:b]", "def f(x: str, a=1, b=2): return x[b:a]", False, True),
    ],
)
def test_forms_see_predicates_not_names(one: str, other: str, same: bool, coarsely_same: bool) -> None:
    assert (form(one) == form(other)) is same
    assert (coarse_form(one) == coarse_form(other)) is coarsely_same
