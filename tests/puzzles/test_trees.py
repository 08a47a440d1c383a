"""Fast visits and copies of syntax trees against `ast`'s and `copy`'s own, on real modules."""

import ast
import copy
import inspect
import json.decoder
import random
import statistics
import textwrap

import pytest

from t5x_selfprog.puzzles import trees

MODULES = [ast, json.decoder, random, statistics, textwrap]
RARE = """
async def f(x, /, y: int = 1, *a, k=2, **r) -> int:
    global n
    nonlocal m
    async with a as b, c: pass
    async for i in x: await i
    match x:
        case [1, *rest] | {"k": v, **more} if v: return
        case A(b, c=None) as d: pass
    try: del x[1:2, ...]
    except* E as e: raise F from e
    finally: n += f"{x!r:>{y}}" @ (z := ~-1)
    from .a import b as c
    return [*x, {**y}, lambda: (yield), 1 if a < b is not c else {d for d in e async for g in h}]
"""


def tree_of(module) -> ast.Module:
    return ast.parse(RARE if module is None else inspect.getsource(module))


def dumped(tree: ast.AST) -> str:
    return ast.dump(tree, include_attributes=True)


def is_leaf(node: ast.AST) -> bool:
    return isinstance(node, ast.expr_context | ast.operator | ast.boolop | ast.unaryop | ast.cmpop)


def changes(base: type) -> type:
    """A transformer that drops, doubles and replaces nodes, after it has recorded which it was shown."""

    class Changes(base):
        def __init__(self):
            self.seen = []

        def visit(self, node):
            if not is_leaf(node):
                self.seen.append(type(node).__name__ + str(getattr(node, "lineno", "")))
            return super().visit(node)

        def visit_Assign(self, node):
            return [node, self.generic_visit(node)]

        def visit_Expr(self, node):
            return None

        def visit_Return(self, node):
            self.generic_visit(node)
            return ast.Return(ast.Constant(1)) if node.value is None else node

        def visit_Attribute(self, node):
            return self.visit(node.value)

        def visit_keyword(self, node):
            return None if node.arg == "key" else self.generic_visit(node)

        def visit_Slice(self, node):
            return ast.Constant(0)

        def visit_If(self, node):
            self.generic_visit(node)
            return node.orelse or node

    return Changes


@pytest.mark.parametrize("module", [None, *MODULES], ids=str)
def test_the_same_nodes_are_visited_and_changed_in_the_same_order(module):
    fast, slow = changes(trees.Transformer)(), changes(ast.NodeTransformer)()
    mine, theirs = fast.visit(tree_of(module)), slow.visit(tree_of(module))
    assert fast.seen == slow.seen and len(set(fast.seen)) > 20
    assert dumped(mine) == dumped(theirs) != dumped(tree_of(module))


@pytest.mark.parametrize("module", [None, *MODULES], ids=str)
def test_visits_leave_out_operators_and_contexts_alone(module):
    def seen_by(base):
        seen = []

        class Watcher(base):
            def visit_Name(self, node):  # a method that visits nothing further
                seen.append(node.id)

            def generic_visit(self, node):
                if not is_leaf(node):
                    seen.append(type(node))
                super().generic_visit(node)

        Watcher().visit(tree_of(module))
        return seen

    assert seen_by(trees.Visitor) == seen_by(ast.NodeVisitor)


def test_every_class_of_nodes_shows_all_its_fields_that_may_hold_more():
    """A new Python may add fields; what is left out is what the trees of this one show to be leaves."""
    nodes = [node for module in (None, *MODULES) for node in ast.walk(tree_of(module))]
    assert len({type(node) for node in nodes}) > 80
    for node in nodes:
        shown = trees.inner_fields(type(node))
        for name in set(node._fields) - set(shown):
            value = getattr(node, name, None)
            for item in value if isinstance(value, list) else [value]:
                assert not isinstance(item, ast.AST) or is_leaf(item), (node, name)


@pytest.mark.parametrize("module", [None, *MODULES], ids=str)
def test_a_copy_is_equal_and_shares_nothing(module):
    tree = tree_of(module)
    tree.body.append(tree.body[0])  # stands in two places
    tree.body.append(ast.Return(tree.body[-1]))
    mine = trees.copied(tree)
    assert dumped(mine) == dumped(tree) == dumped(copy.deepcopy(tree))
    assert mine.body[-2] is mine.body[0] is mine.body[-1].value
    shared = {id(node) for node in ast.walk(mine)} & {id(node) for node in ast.walk(tree)}
    assert not shared
    mine.body.clear()
    assert len(tree.body) > 2


@pytest.mark.parametrize("module", [None, *MODULES], ids=str)
def test_size_counts_as_a_walk_does(module):
    tree = tree_of(module)
    tree.body.append(tree.body[0])
    assert trees.size(tree) == sum(1 for _ in ast.walk(tree)) > 100


def test_depth_counts_the_longest_way_down_even_where_visitors_cannot_follow():
    def down(node):
        return 1 + max(
            map(down, filter(lambda child: not is_leaf(child), ast.iter_child_nodes(node))), default=0
        )

    for module in (None, *MODULES):
        assert trees.depth(tree_of(module)) == down(tree_of(module)) > 5
    deep = ast.Name("x")
    for _ in range(5000):
        deep = ast.UnaryOp(ast.Not(), deep)
    assert trees.depth(deep) == 5001


@pytest.mark.parametrize("module", [None, *MODULES], ids=str)
def test_a_walk_takes_the_same_way(module):
    tree = tree_of(module)
    tree.body.append(tree.body[0])
    assert trees.walk(tree) == [node for node in ast.walk(tree) if not is_leaf(node)]
    assert trees.children(tree) == list(ast.iter_child_nodes(tree))
