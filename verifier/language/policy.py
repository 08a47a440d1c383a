"""What a program finds when it runs: builtins, names it need not import, modules it may import.

This is policy, not protection: a program that gets around it still sits in a process that holds nothing
and can do nothing (`verifier.sandbox`). It is stated only here, and is the same for puzzles and solutions.
"""

import builtins
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from verifier.language import console, future, program_time, text_codecs

# The paper's list.
PAPER_IMPORTS = frozenset(["collections", "copy", "hashlib", "math", "random", "re", "string", "typing"])

# Ours adds modules that only compute: no files, processes or network, and no clock but one that is ours.
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
        "time",
    ]
)

IMPORTS: dict[str, frozenset[str]] = {"wide": WIDE_IMPORTS, "paper": PAPER_IMPORTS}

# Puzzles and solutions write `List[int]` without importing it (P3's convention), and some `typing.List[int]`.
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
} | {"typing": typing}

# Builtins that reach outside the program. `print` stays (it writes to a counter), and so does `eval`. `id` gives an
# address, which differs in every process: the same attempt would not get the same verdict twice.
REMOVED_BUILTINS = frozenset(
    ["open", "input", "breakpoint", "help", "exit", "quit", "copyright", "credits", "license", "id"]
)

# Builtins that plain programs do not get either (see screen.py): they reach what no name shows.
REFLECTIVE_BUILTINS = frozenset(
    [
        "eval",
        "exec",
        "compile",
        "getattr",
        "hasattr",
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


# What the interpreter imports by itself, through the `__import__` of the running program: for an identifier beyond
# ASCII or `\N{...}` in a text and, from 3.12 on, for its own arithmetic on long integers.
_INTERPRETERS_OWN = frozenset(["unicodedata", "_pylong"] if sys.version_info >= (3, 12) else ["unicodedata"])

# A program that imports these gets our own. `time`, where it is allowed, is a clock that only its own readings move;
# `__future__` only matters to the compiler; `verifier_console` runs programs on standard input (suites.py).
STAND_INS: dict[str, Callable[[], ModuleType]] = {
    "time": program_time.module,
    "__future__": future.module,
    "verifier_console": console.module,
}


def import_modules(names: frozenset[str]) -> None:
    """Imports every allowed module now: later, in a sandboxed child, no file can be opened.

    `_hashlib` is left out so that hashlib uses the interpreter's own digests instead of loading OpenSSL (4 MB).
    """
    sys.modules.setdefault("_hashlib", None)  # type: ignore[arg-type]
    for name in sorted(names):
        __import__(name)
    __import__("collections.abc")
    for name in _INTERPRETERS_OWN:
        __import__(name)
    text_codecs.install()
    if "random" in names:
        _seed_alike()


def _seed_alike() -> None:
    """`random.seed()` and `Random()`, which draw a seed from the host, get 0: a verdict must not depend on it."""
    import random

    seed_with = random.Random.seed

    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        """Initialize internal state from a seed."""
        seed_with(self, 0 if a is None else a, version)

    random.Random.seed = seed  # type: ignore[method-assign]
    random.seed = random._inst.seed  # type: ignore[attr-defined]
    random.seed()


def make_importer(allowed: frozenset[str]) -> Callable[..., Any]:
    """An `__import__` that knows only these modules and their already imported submodules."""
    real_import, modules = builtins.__import__, sys.modules
    stand_ins = {name: make for name, make in STAND_INS.items() if name != "time" or name in allowed}

    def restricted_import(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> Any:
        # The interpreter passes a list (PyImport_Import), an import statement None or a tuple.
        if name in _INTERPRETERS_OWN and type(fromlist) is list:
            return real_import(name, {}, {}, (), 0)
        if level == 0 and name in stand_ins:
            return stand_ins[name]()
        if level == 0 and name.partition(".")[0] in allowed and name in modules:
            return real_import(name, {}, {}, fromlist, 0)
        raise ImportError(f"{name!r} may not be imported", name=str(name))

    return restricted_import


def make_builtins(allowed: frozenset[str], *, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The `__builtins__` of a program that may import `allowed`."""
    space = {name: value for name, value in vars(builtins).items() if name not in REMOVED_BUILTINS | without}
    return space | {"__import__": make_importer(allowed)}
