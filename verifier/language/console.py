"""Programs that read standard input and write standard output, run on texts inside a child.

A wrapper (suites.py) imports `run` from `verifier_console`. A program that does so is alone in its process, so nothing
here needs protection. `sys`, `os`, `io` and `threading` of these programs are our own: they hold what programs of this
kind use, and no more.
"""

import io
import sys
from collections.abc import Callable, Mapping
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any

from verifier.language import program_time

RECURSION_LIMIT = 200_000  # the most a program may set


def run(code: str, texts: list[str], space: Mapping[str, Any]) -> list[str]:
    """What the program writes on each input, run anew for each.

    `space` is the wrapper's namespace, whose builtins the program gets. Raises what the program raises, SystemExit
    with a status other than 0 too.
    """
    compiled = compile(code, "<solution>", "exec", dont_inherit=True)
    own = space["__builtins__"]
    return [_run_once(compiled, text, own) for text in texts]


def _run_once(compiled: CodeType, text: str, own: Mapping[str, Any]) -> str:
    program_time.reset()
    random = sys.modules.get("random")
    if random is not None:
        random.seed(0)
    stdin = io.TextIOWrapper(io.BytesIO(text.encode("utf-8", "surrogatepass")), "utf-8", "surrogateescape")
    stdout = io.TextIOWrapper(io.BytesIO(), "utf-8", "surrogatepass", newline="\n")
    modules = _modules(stdin, stdout)
    real_import = own["__import__"]

    def import_(name: str, *rest: Any, **named: Any) -> Any:
        return modules[name] if name in modules else real_import(name, *rest, **named)

    def print_(
        *values: object, sep: Any = " ", end: Any = "\n", file: Any = None, flush: bool = False
    ) -> None:
        print(*values, sep=sep, end=end, file=modules["sys"].stdout if file is None else file)

    def input_(prompt: object = "") -> str:
        modules["sys"].stdout.write(str(prompt))
        line = modules["sys"].stdin.readline()
        if not line:
            raise EOFError("EOF when reading a line")
        return line[:-1] if line.endswith("\n") else line

    def open_(file: object, *rest: Any, **named: Any) -> Any:
        if file == 0:
            return stdin
        raise OSError(1, "only standard input, 0, can be opened", file)

    functions = {
        "print": print_,
        "input": input_,
        "open": open_,
        "__import__": import_,
        "exit": _exit,
        "quit": _exit,
    }
    namespace = {"__name__": "__main__", "__builtins__": {**own, **functions}}
    try:
        exec(compiled, namespace)
    except SystemExit as e:
        if e.code not in (None, 0):
            raise
    finally:
        stdout.flush()
    return stdout.buffer.getvalue().decode("utf-8", "replace")  # type: ignore[attr-defined]


def _modules(stdin: io.TextIOWrapper, stdout: io.TextIOWrapper) -> dict[str, ModuleType]:
    def read(descriptor: int, count: int) -> bytes:
        return bytes(stdin.buffer.read(count))

    def write(descriptor: int, data: bytes) -> int:
        stdout.flush()
        stdout.buffer.write(data)
        return len(data)

    size = len(stdin.buffer.getbuffer())  # type: ignore[attr-defined]
    return {
        "sys": _module(
            "sys",
            stdin=stdin,
            stdout=stdout,
            stderr=io.StringIO(),
            argv=["program.py"],
            maxsize=sys.maxsize,
            version=sys.version,
            version_info=sys.version_info,
            float_info=sys.float_info,
            byteorder=sys.byteorder,
            exit=_exit,
            setrecursionlimit=lambda limit: sys.setrecursionlimit(min(limit, RECURSION_LIMIT)),
            getrecursionlimit=sys.getrecursionlimit,
            set_int_max_str_digits=lambda digits: None,
            getsizeof=sys.getsizeof,
            intern=sys.intern,
        ),
        "os": _module(
            "os",
            read=read,
            write=write,
            fstat=lambda descriptor: SimpleNamespace(st_size=size),
            environ={},
            linesep="\n",
        ),
        "io": _module(
            "io", BytesIO=io.BytesIO, StringIO=io.StringIO, TextIOWrapper=io.TextIOWrapper, IOBase=io.IOBase
        ),
        "threading": _module("threading", Thread=Thread, stack_size=lambda size=0: 0),
    }


def _module(name: str, **members: Any) -> ModuleType:
    found = ModuleType(name)
    vars(found).update(members)
    return found


def _exit(status: object = None) -> None:
    raise SystemExit(status)


class Thread:
    """Runs at once when it is started: programs make threads for their bigger stacks."""

    def __init__(
        self,
        group: None = None,
        target: Callable[..., object] | None = None,
        name: str = "",
        args: tuple = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        daemon: bool | None = None,
    ):
        self._target, self._args, self._named = target, args, kwargs or {}

    def start(self) -> None:
        if self._target is not None:
            self._target(*self._args, **self._named)

    def join(self, timeout: float | None = None) -> None:
        """Nothing to wait for: `start` has run it."""


def module() -> ModuleType:
    return _module("verifier_console", run=run)
