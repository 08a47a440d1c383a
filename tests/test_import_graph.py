"""Which package imports which: no cycles, and no import that a package's `__init__` does not allow.

The graph is drawn from the syntax trees. Its nodes are the packages and top-level modules of t5x_selfprog. Imports that
run when a module is loaded and lazy ones (inside functions, or for type checking only) are told apart.
"""

import ast
import functools
import graphlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import t5x_selfprog
import verifier

ROOT = Path(t5x_selfprog.__file__).parent
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))

Import = tuple[str, str, bool]  # file relative to the package's root, what it imports, lazy


def imports_of(source: str, file: str, modules: set[str]) -> Iterator[Import]:
    """Imports of other packages and top-level modules of t5x_selfprog in one file's source.

    Args:
      modules: dotted names of all modules, to tell a module from a name inside one.
    """

    def visit(node: ast.AST, lazy: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            match child:
                case ast.Import(names=names):
                    yield from ((alias.name, lazy) for alias in names)
                case ast.ImportFrom(module=str(module), level=0, names=names):
                    full = [f"{module}.{alias.name}" for alias in names]
                    yield from ((name if name in modules else module, lazy) for name in full)
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                    yield from visit(child, True)
                case ast.If(test=test) if "TYPE_CHECKING" in ast.unparse(test):
                    yield from visit(child, True)
                case _:
                    yield from visit(child, lazy)

    own = file.partition("/")[0].removesuffix(".py")
    for name, lazy in visit(ast.parse(source), False):
        top, _, rest = name.partition(".")
        imported = rest.partition(".")[0]
        if top == "t5x_selfprog" and imported and imported != own:
            yield file, imported, lazy


@functools.cache
def all_imports() -> frozenset[Import]:
    files = sorted(ROOT.rglob("*.py"))
    modules = {
        ".".join(("t5x_selfprog", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        for file in files
    }
    return frozenset(
        found
        for file in files
        for found in imports_of(file.read_text(), file.relative_to(ROOT).as_posix(), modules)
    )


def cycle(imports: Iterable[Import]) -> list[str]:
    """The names along a cycle between packages and top-level modules; empty if there is none."""
    graph: dict[str, set[str]] = {}
    for file, imported, _ in imports:
        graph.setdefault(file.partition("/")[0].removesuffix(".py"), set()).add(imported)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def allowed(package: str) -> set[str]:
    """The packages named in the sentence "May import ..." of a package's docstring."""
    docstring = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text())) or ""
    sentence = re.search(r"May import ((?:[^.]|\.\w)*)\.", docstring)
    assert sentence, f"t5x_selfprog/{package}/__init__.py does not say what the package may import"
    return set(re.findall(r"`(\w+)`", sentence[1]))


@pytest.mark.parametrize("kinds", [{False}, {False, True}], ids=["when loaded", "lazy ones too"])
def test_there_is_no_cycle_between_packages(kinds):
    chosen = {found for found in all_imports() if found[2] in kinds}
    found = cycle(chosen)
    places = sorted(file for file, imported, _ in chosen if imported in found and file.split("/")[0] in found)
    assert not found, f"{' <- '.join(found)}: move what is shared, or import in one direction only ({places})"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_the_packages_that_its_docstring_names(package):
    imported = {
        (name, file) for file, name, _ in all_imports() if file.startswith(f"{package}/") and name in PACKAGES
    }
    names = allowed(package)
    assert not {(name, file) for name, file in imported if name not in names}


def test_the_verifier_imports_nothing_of_this_package():
    files = sorted(Path(verifier.__file__).parent.rglob("*.py"))
    found = [file.name for file in files for _ in imports_of(file.read_text(), "verifier/x.py", set())]
    assert files and not found


# What each wing of the verifier may import from its other wings.
WINGS = {
    "language": set(),
    "sandbox": {"verdict"},
    "worker": {"language", "sandbox", "outcomes", "former_names"},
    "storage": {"errors"},
    "unit_tests": {"language", "storage", "errors"},
}


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_of_the_verifier_imports_only_what_lies_below_it(wing):
    folder = Path(verifier.__file__).parent / wing
    found = {
        (file.name, name.split(".")[1])
        for file in folder.glob("*.py")
        for name in re.findall(r"^ *from (verifier\.\w+)", file.read_text(), re.MULTILINE)
    }
    assert found and {name for _, name in found} <= WINGS[wing] | {wing}, sorted(found)
    assert not [
        file.name
        for file in folder.glob("*.py")
        if re.search(r"^ *from verifier import", file.read_text(), re.M)
    ]


def test_the_graph_sees_what_it_must():
    """It sees packages in either form of import, and tells modules from names in them and lazy imports from others."""
    source = """
import os
import t5x_selfprog.loop
from t5x_selfprog import hosts
from t5x_selfprog.model import network
from t5x_selfprog.puzzles.source import parse
if TYPE_CHECKING:
    from t5x_selfprog.study import grid
try:
    import t5x_selfprog.report.build
except ImportError:
    pass
class C:
    from t5x_selfprog import stages
    def f(self):
        from t5x_selfprog.training import fit
        return lambda: __import__("t5x_selfprog.data")
"""
    modules = {"t5x_selfprog.hosts", "t5x_selfprog.model.network", "t5x_selfprog.stages"}
    found = {(name, lazy) for _, name, lazy in imports_of(source, "model/x.py", modules)}
    now = {"loop", "hosts", "puzzles", "report", "stages"}
    assert found == {(name, False) for name in now} | {("study", True), ("training", True)}
    assert cycle({("a/x.py", "b", False), ("b.py", "c", True), ("c/y.py", "a", False)})
    assert not cycle({("a/x.py", "b", False), ("a/y.py", "c", True), ("b.py", "c", False)})
