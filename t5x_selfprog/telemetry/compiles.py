"""Records every compilation of this process: which program, which shapes, how long, and whether a cache had it.

JAX reports when it starts and stops tracing, lowering and compiling, and when it reads a program from the persistent
cache. It reports the shapes in a log message at level DEBUG, which is intercepted here and goes nowhere else.
"""

import contextlib
import dataclasses
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import jax

_COMPILE = "/jax/core/compile/backend_compile_duration"
_WORK = (
    _COMPILE,
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
)
_CACHE_HIT = "/jax/compilation_cache/cache_hits"
_SHAPES_LOGGER, _SHAPES_MESSAGE = "jax._src.interpreters.pxla", "Compiling %s with global shapes"
SHOWN = 400  # characters of shapes


@dataclasses.dataclass(frozen=True)
class Compilation:
    """One program compiled, or read from the cache.

    Attributes:
      program: our name for it, or else the name of its function.
      function: JAX's name for it.
      shapes: the shapes of its arguments, equal ones grouped.
      new_shapes: shapes it did not have when it was last compiled in this process; empty the first time.
      seconds: time in the compiler, or reading from the cache.
      cached: whether it was read from the persistent cache.
      times: how often a program of this name has been compiled in this process, this time included.
    """

    program: str
    function: str
    shapes: str
    new_shapes: str
    seconds: float
    cached: bool
    times: int


class _Local(threading.local):
    """What a compiling thread has reported so far."""

    name = ""
    hit = False
    shapes: tuple[str, ...] = ()


class Compiles:
    """What has been compiled since this was created; there is one per process, as JAX's listeners are global.

    Attributes:
      count, cached: programs compiled, and programs read from the cache instead.
      seconds: tracing, lowering, compiling and reading, on all threads.
    """

    def __init__(self) -> None:
        self.count, self.cached, self.seconds = 0, 0, 0.0
        self._local = _Local()
        self._times: Counter[str] = Counter()
        self._last_shapes: dict[str, tuple[str, ...]] = {}
        self._working: dict[int, list[tuple[str, float]]] = {}  # by thread: function, since
        self._listeners: list[Callable[[str, Any], None]] = []
        jax.monitoring.register_scalar_listener(self._begun)
        jax.monitoring.register_event_duration_secs_listener(self._ended)
        jax.monitoring.register_event_listener(self._happened)
        logger = logging.getLogger(_SHAPES_LOGGER)
        if logger.getEffectiveLevel() > logging.DEBUG:
            logger.setLevel(logging.DEBUG)
            logger.addFilter(lambda message: message.levelno > logging.DEBUG)
        logger.filters.insert(0, self._see_shapes)

    def totals(self) -> dict[str, float]:
        return {"compilations": self.count, "cached_programs": self.cached, "compile_s": self.seconds}

    def since(self, before: dict[str, float]) -> dict[str, float]:
        """What `totals` has gained since `before`."""
        return {name: value - before[name] for name, value in self.totals().items()}

    def listen(self, listener: Callable[[str, Any], None]) -> None:
        """Calls `listener` with "begin" or "end" and the function's name, or "compiled" and a Compilation."""
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[str, Any], None]) -> None:
        self._listeners.remove(listener)

    @contextlib.contextmanager
    def naming(self, program: str) -> Iterator[None]:
        """Names whatever this thread compiles in the block `program`."""
        before, self._local.name = self._local.name, program
        try:
            yield
        finally:
            self._local.name = before

    def in_progress(self) -> list[tuple[str, float]]:
        """Functions being traced or compiled now, on any thread, each with its seconds so far."""
        now = time.monotonic()
        return [(work[0][0], now - work[0][1]) for work in list(self._working.values()) if work]

    def idle(self) -> None:
        """Called when this thread works on something else: a trace it began and never ended has failed."""
        self._working.get(threading.get_ident(), []).clear()

    def _begun(self, event: str, value: float, **about: Any) -> None:
        fun_name = str(about.get("fun_name", ""))
        if event in _WORK:
            self._working.setdefault(threading.get_ident(), []).append((fun_name, time.monotonic()))
            self._tell("begin", fun_name)
        if event == _COMPILE:
            self._local.hit = False

    def _ended(self, event: str, duration_secs: float, **about: Any) -> None:
        if event not in _WORK:
            return
        fun_name, seconds = str(about.get("fun_name", "")), duration_secs
        work = self._working.get(threading.get_ident(), [])
        if work:
            work.pop()
        if not work:  # tracing a function traces those it calls: the outermost covers all their seconds
            self.seconds += seconds
        self._tell("end", fun_name)
        if event == _COMPILE:
            self._compiled(fun_name, seconds)

    def _happened(self, event: str, **_: Any) -> None:
        if event == _CACHE_HIT:
            self._local.hit = True

    def _see_shapes(self, message: logging.LogRecord) -> bool:
        if str(message.msg).startswith(_SHAPES_MESSAGE) and isinstance(message.args, tuple):
            self._local.shapes = tuple(_short(shape) for shape in message.args[1])  # type: ignore[attr-defined]
        return True

    def _compiled(self, function: str, seconds: float) -> None:
        shapes = self._local.shapes
        program = self._local.name or function.removeprefix("jit(").removesuffix(")")
        self._local.shapes = ()
        self._times[program] += 1
        self.count += not self._local.hit
        self.cached += self._local.hit
        before = Counter(self._last_shapes.get(program, shapes))
        self._last_shapes[program] = shapes
        new = tuple((Counter(shapes) - before).elements())
        self._tell(
            "compiled",
            Compilation(
                program, function, _together(shapes), _together(new), seconds, self._local.hit,
                self._times[program],
            ),
        )  # fmt: skip

    def _tell(self, what: str, about: Any) -> None:
        for listener in list(self._listeners):
            listener(what, about)


def _short(shape: Any) -> str:
    return shape.str_short() if hasattr(shape, "str_short") else str(shape)


def _together(shapes: tuple[str, ...]) -> str:
    """ "float32[8,64] x12, int32[8]", cut in the middle because a step's weights come first and its batch last."""
    text = ", ".join(f"{shape} x{n}" if n > 1 else shape for shape, n in Counter(shapes).items())
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]} ... {text[-SHOWN // 2 :]}"


_only: list[Compiles] = []


def compiles() -> Compiles:
    """This process's."""
    if not _only:
        _only.append(Compiles())
    return _only[0]
