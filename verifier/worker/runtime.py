"""What every program, puzzle or solution, runs in: its namespace, its limits, what it may print."""

import ast
import gc
import re
import resource
import sys
import typing
from typing import Any, NamedTuple

from verifier.language import policy, program_time
from verifier.language.screen import Screen
from verifier.language.shown import without_addresses
from verifier.sandbox import linux

RECURSION_LIMIT = 5000  # calls of a program and of what runs it, counted from the body of its child


class OutputLimit(BaseException):
    """Raised in a program that prints too much; not an Exception, so that `except Exception` does not hide it."""


class Printed:
    """Replaces stdout and stderr: counts and forgets."""

    def __init__(self, limit_characters: int):
        self.limit, self.count = limit_characters, 0

    def write(self, text: str) -> int:
        self.count += len(text)
        if self.count > self.limit:
            raise OutputLimit
        return len(text)

    def flush(self) -> None:
        pass


class Runtime(NamedTuple):
    """What every program of a worker runs with.

    once: identical work runs once in a batch.
    host_mb: address space that the host allows any process.
    """

    screen: Screen
    plain_builtins: dict[str, Any]
    builtins: dict[str, Any]
    once: bool
    host_mb: int

    @classmethod
    def make(cls, imports: frozenset[str], *, once: bool = True) -> "Runtime":
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        forget_cached()  # every program should find the caches empty
        return cls(
            Screen(imports),
            policy.make_builtins(imports, without=policy.REFLECTIVE_BUILTINS),
            policy.make_builtins(imports),
            once,
            1 << 40 if hard == resource.RLIM_INFINITY else hard >> 20,
        )

    def space(self, *, plain: bool) -> dict[str, Any]:
        """A fresh namespace. Plain programs can share builtins because they cannot reach the dictionary."""
        builtins = self.plain_builtins if plain else dict(self.builtins)
        return {"__builtins__": builtins, "__name__": "program", **policy.TYPING_NAMES}


class Allowance(NamedTuple):
    """verdict.Limits, as they arrive here."""

    cpu_s: float
    wall_s: float
    memory_mb: int
    output_bytes: int


def peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Demand:
    """How much memory the programs of one child have asked for, counted from here.

    In a shared child, no program may meet the limit because of the others, nor catch a MemoryError that it would not
    get alone. So the child may use a quarter more than the limit (SHARED_MEMORY), and a program that asks for much runs
    again alone: up to the first that does, all of them together have stayed within that quarter. (Where the host allows
    less than that, "much" is less; where it allows no more than the limit, every program is judged alone.)
    """

    def __init__(self, memory_mb: int, host_mb: int):
        linux.show_memory_asked_for()
        self._room = min(memory_mb << 18, host_mb - memory_mb - _REQUEST_MB << 20)  # bytes
        self._top, self._peak_kb = linux.heap_top(), peak_kb()

    def is_large(self) -> bool:
        """Whether it is more than a quarter of the limit, given back or not."""
        asked = linux.heap_top() - self._top
        return asked > self._room or peak_kb() - self._peak_kb > self._room >> 10


SHARED_MEMORY = 1.25  # of the limit, for a shared child
_REQUEST_MB = 64  # kept free for a child's request where the host has a limit


def begin_programs(output_characters: int) -> Printed:
    """The state every program starts from, set once in a fresh child."""
    gc.disable()  # cyclic garbage of one program must not be collected, or finalised, in the time of another
    sys.setrecursionlimit(_calls_so_far() + RECURSION_LIMIT)
    reset_random()
    printed = Printed(output_characters)
    sys.stdin, sys.stdout, sys.stderr = None, printed, printed  # type: ignore[assignment]
    return printed


def _calls_so_far() -> int:
    """The interpreter's current call depth, which differs between judging and screening.

    A program must get equally far in both.
    """
    try:
        sys.setrecursionlimit(1)
    except RecursionError as e:
        found = re.search(r"recursion depth (\d+)", str(e))
        return int(found[1]) if found else 0
    return 0


def reset_shared(source: str, code: bytes) -> None:
    """Before every program: restart the clock and, if one of its two texts might use it, the shared generator.

    (Seeding costs a tenth of a judgement.)
    """
    program_time.reset()
    # names are normalised: letters beyond ASCII may spell `random` too
    if not source.isascii() or any(word in source or word.encode() in code for word in _DRAWING):
        reset_random()


_DRAWING = ("random", "statistics")  # modules with which one can draw from the shared generator


def forget_cached() -> None:
    """Clears the caches of `re` and `typing`, after a program that may have used them.

    Their keys may be equal but not the same (`List[1]`, `List[True]`; `re.compile(p, 1.0)`), and they keep objects
    alive, which would die in another program's time.
    """
    re.purge()
    for clear in _TYPING_CACHES:
        clear()


_TYPING_CACHES: list[Any] = typing._cleanups  # type: ignore[attr-defined]


def reset_random() -> None:
    """The shared generator of `random` starts alike for every program, whatever ran before it."""
    random = sys.modules.get("random")
    if random is not None:
        random.seed(0)


def compile_program(source: str | ast.Module, name: str) -> Any:
    """The program's code. A backslash at its end is not an error: in a file, more lines would follow."""
    if isinstance(source, str) and source.rstrip("\n").endswith("\\"):
        source += "\n\n"
    return compile(source, name, "exec", dont_inherit=True)


COMPILE_ERRORS = (
    SyntaxError,
    ValueError,
    RecursionError,
    OverflowError,
)  # ValueError: NUL bytes, lone surrogates


def class_name(value: object) -> str:
    """The class's name, asked of `type` itself so that no metaclass answers; "Exception" if it is no identifier."""
    name = str(type.__dict__["__name__"].__get__(type(value)))[:60]
    return name if name.isidentifier() else "Exception"


def describe(error: BaseException) -> str:
    """The start of str(error), whatever that does, without addresses and without the host's path of a module."""
    try:
        text = str(error)
        if type(error) is ImportError and type(error.path) is str and type(text) is str:
            text = text.replace(f" ({error.path})", "")
        return without_addresses(text[:1000])[:200] if type(text) is str else ""
    except BaseException:
        return ""
