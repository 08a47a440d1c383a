"""No function takes more than eight parameters: past that, what belongs together is passed as one dataclass."""

import ast
from collections.abc import Iterator
from pathlib import Path

import t5x_selfprog
import verifier

MOST = 8
ROOT = Path(t5x_selfprog.__file__).parent.parent
PACKAGES = [Path(package.__file__).parent for package in (t5x_selfprog, verifier)]

# Those that may have more, and why.
EXCEPTIONS = {
    "t5x_selfprog/sampling/row_attention_triton.py:_own_kernel": "a Pallas kernel: one reference for each array",
    "verifier/pool.py:Pool.__init__": "a public door with a default for each: users name what they change",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def functions(source: str) -> Iterator[tuple[str, int]]:
    """Every function of a file by its qualified name, with the number of its parameters besides self and cls."""

    def visit(node: ast.AST, name: str) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            inner = name
            if isinstance(child, ast.ClassDef | Function):
                inner = f"{name}.{getattr(child, 'name', 'lambda')}".lstrip(".")
            if isinstance(child, Function):
                yield inner, _count(child.args)
            yield from visit(child, inner)

    yield from visit(ast.parse(source), "")


def _count(given: ast.arguments) -> int:
    names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    names += [one.arg for one in (given.vararg, given.kwarg) if one is not None]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def test_no_function_has_more_than_eight_parameters():
    files = [file for package in PACKAGES for file in sorted(package.rglob("*.py"))]
    long = {
        f"{file.relative_to(ROOT).as_posix()}:{name}": count
        for file in files
        for name, count in functions(file.read_text())
        if count > MOST
    }
    assert len(files) > 300
    found = {name: count for name, count in long.items() if name not in EXCEPTIONS}
    assert not found, "pass what belongs together as one frozen dataclass (see e.g. stages/attempts.Solving)"
    assert not EXCEPTIONS.keys() - long.keys(), "these no longer need to be exceptions"


def test_every_form_of_parameter_is_counted():
    source = """
def none(): pass
def all_forms(a, b, /, c, d=1, *e, f, g=2, **h): pass
class C:
    def method(self, a, *, b): return lambda x, y: lambda z: x
    @classmethod
    async def made(cls, a):
        def inner(self, a, b): pass
"""
    assert dict(functions(source)) == {
        "none": 0,
        "all_forms": 8,
        "C.method": 2,
        "C.method.lambda": 2,
        "C.method.lambda.lambda": 1,
        "C.made": 1,
        "C.made.inner": 2,
    }
