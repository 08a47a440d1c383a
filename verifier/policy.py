"""What a program finds when it runs: builtins, names it need not import, modules it may import.

This is policy, not protection: a program that gets around it still sits in a process that holds nothing
and can do nothing (sandbox.py). It is stated here only, and the same for puzzles and solutions.
"""

import builtins
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# The paper's list.
PAPER_IMPORTS = frozenset(["collections", "copy", "hashlib", "math", "random", "re", "string", "typing"])

# Ours adds modules that only compute: no files, clocks, processes or network.
WIDE_IMPORTS = PAPER_IMPORTS | frozenset(
    [
        "bisect",
        "cmath",
        "decimal",
        "fractions",
        "functools",
        "heapq",
        "itertools",
        "numbers",
        "operator",
        "statistics",
    ]
)

IMPORTS: dict[str, frozenset[str]] = {"wide": WIDE_IMPORTS, "paper": PAPER_IMPORTS}

# Puzzles and solutions write `List[int]` without importing it (P3's convention).
TYPING_NAMES: dict[str, Any] = {
    name: getattr(typing, name)
    for name in (
        [
            "Any",
            "Callable",
            "Dict",
            "FrozenSet",
            "Generator",
            "Iterable",
            "Iterator",
            "List",
            "Optional",
            "Sequence",
            "Set",
            "Tuple",
            "Union",
        ]
    )
}

# Builtins that reach outside the program. `print` stays (it writes to a counter), and so does `eval`. An address, which
# is what `id` gives, is another one in every process: the same attempt would not get the same verdict twice.
REMOVED_BUILTINS = frozenset(
    ["open", "input", "breakpoint", "help", "exit", "quit", "copyright", "credits", "license", "id"]
)

# Builtins that plain programs do not get either (see screen.py): with these one reaches what a name does
# not show.
REFLECTIVE_BUILTINS = frozenset(
    [
        "eval",
        "exec",
        "compile",
        "getattr",
        "setattr",
        "delattr",
        "vars",
        "globals",
        "locals",
        "dir",
        "type",
        "super",
        "memoryview",
        "classmethod",
        "staticmethod",
        "property",
        "__build_class__",
    ]
)


# Text encodings `str.encode` and `bytes.decode` know, beside those built into the interpreter.
_CODECS = [
    "ascii",
    "latin_1",
    "cp437",
    "cp1252",
    "utf_8_sig",
    "utf_16",
    "utf_16_be",
    "utf_16_le",
    "utf_32",
    "utf_32_be",
    "utf_32_le",
]


# From 3.12 on, the interpreter's own arithmetic on long integers is in part a module, which it imports through the
# `__import__` of whatever program is running.
_INTERPRETERS_OWN = frozenset(["_pylong"]) if sys.version_info >= (3, 12) else frozenset()


def import_modules(names: frozenset[str]) -> None:
    """Import every allowed module now: later, in a sandboxed child, no file can be opened.

    `_hashlib` is left out so that hashlib uses the interpreter's own digests instead of loading OpenSSL (4
    MB).
    """
    sys.modules.setdefault("_hashlib", None)  # type: ignore[arg-type]
    for name in sorted(names):
        __import__(name)
    __import__("collections.abc")
    for name in _CODECS:
        __import__(f"encodings.{name}")
    for name in _INTERPRETERS_OWN:
        __import__(name)
    sys.modules["encodings"].__path__[
        :
    ] = []  # an unknown codec is then a LookupError, not a search of the disk


def make_importer(allowed: frozenset[str]) -> Callable[..., Any]:
    """An `__import__` that knows only these modules and their already imported submodules."""
    real_import, modules = builtins.__import__, sys.modules

    def restricted_import(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> Any:
        # The interpreter asks with a list (PyImport_Import), an import statement with None or a tuple.
        if name in _INTERPRETERS_OWN and type(fromlist) is list:
            return real_import(name, {}, {}, (), 0)
        if level == 0 and name.partition(".")[0] in allowed and name in modules:
            return real_import(name, {}, {}, fromlist, 0)
        raise ImportError(f"{name!r} may not be imported", name=str(name))

    return restricted_import


def make_builtins(allowed: frozenset[str], *, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The `__builtins__` of a program that may import `allowed`."""
    space = {name: value for name, value in vars(builtins).items() if name not in REMOVED_BUILTINS | without}
    return space | {"__import__": make_importer(allowed)}
