"""Compiled device programs, counted, and shared by all samplers of a process that have the same shapes.

A run makes one sampler per stage and iteration, with different weights of the same shapes: only the first compiles.
Programs can be compiled ahead in threads, in parallel with each other and with the work: XLA releases Python's lock
while it compiles.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import jax

from t5x_selfprog import machine, partitioning
from t5x_selfprog.compiler_options import compiler_options
from t5x_selfprog.partitioning import Partitioner
from t5x_selfprog.telemetry import recorder
from t5x_selfprog.telemetry.compiles import compiles

REMEDY = (
    "Lower SamplingConfig.prompts_in_flight, rows_per_prompt, prompts_per_load, max_new_tokens or the largest of "
    "prompt_buckets, or set cache_dtype or weights_dtype to 'bfloat16' or 'int8'."
)
CAPACITY = 64
_compiled: collections.OrderedDict[Hashable, concurrent.futures.Future] = collections.OrderedDict()
_threads: list[concurrent.futures.ThreadPoolExecutor] = []


@dataclasses.dataclass(frozen=True)
class Program:
    """One program with its arguments, or their shapes.

    Attributes:
      donate: the position of the argument that it consumes.
    """

    name: Hashable
    function: Callable
    arguments: tuple
    donate: int | None = None
    out_shardings: Any = None


class Programs:
    """The programs of one sampler, by name.

    Attributes:
      compilations: how many programs this sampler had to compile.
      compile_s: how long it waited for compilation.
    """

    def __init__(self, shapes: Hashable, partitioner: Partitioner | None, holds: str = ""):
        """Args:
        shapes: everything that a program's name leaves open, so that equal keys mean equal programs.
        holds: what else occupies memory, for messages.
        """
        layout = None if partitioner is None else (partitioner.mesh, tuple(sorted(partitioner.rules.items())))
        self._key = (shapes, layout)
        self._partitioner, self._holds = partitioner, holds
        self._platform = jax.default_backend() if partitioner is None else partitioner.platform
        self.compilations, self.compile_s = 0, 0.0

    def ahead(self, programs: Iterable[Program]) -> None:
        """Begins to compile those that do not exist yet, in other threads, in order of need."""
        for program in programs:
            key = (self._key, program.name)
            if key not in _compiled:
                self.compilations += 1
                _compiled[key] = _pool().submit(self._compile, program)

    def get(self, program: Program) -> Callable:
        """The program compiled for its arguments, now or earlier."""
        key = (self._key, program.name)
        if key not in _compiled:
            start = time.perf_counter()
            _compiled[key] = concurrent.futures.Future()
            try:
                _compiled[key].set_result(self._compile(program))
            except BaseException:
                del _compiled[key]
                raise
            self.compilations += 1
            self.compile_s += time.perf_counter() - start
        elif not _compiled[key].done():
            start = time.perf_counter()
            with recorder.current().part("compile"):
                concurrent.futures.wait([_compiled[key]])
            self.compile_s += time.perf_counter() - start
        _compiled.move_to_end(key)
        while len(_compiled) > CAPACITY:
            _compiled.popitem(last=False)
        try:
            return _compiled[key].result()
        except BaseException:
            del _compiled[key]
            raise

    def call(self, program: Program) -> Any:
        """Runs the program. Raises UserError if the device's memory does not suffice."""
        with machine.naming_memory(f"sampling program {program.name} ({self._holds})", REMEDY):
            return self.get(program)(*program.arguments)

    def _compile(self, program: Program) -> Callable:
        donated = () if program.donate is None else (program.donate,)
        use = partitioning.use(self._partitioner) if self._partitioner else contextlib.nullcontext()
        words = program.name if isinstance(program.name, tuple) else (program.name,)
        with use, compiles().naming(" ".join(map(str, ("sampling", *words)))):
            jitted = jax.jit(program.function, donate_argnums=donated, out_shardings=program.out_shardings)
            return jitted.lower(*program.arguments).compile(compiler_options(self._platform))


def _pool() -> concurrent.futures.ThreadPoolExecutor:
    """Threads that compile, one per core."""
    if not _threads:
        _threads.append(concurrent.futures.ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="compile"))
    return _threads[0]
