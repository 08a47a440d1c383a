"""Compiled device programs, counted, and shared by all samplers of a process that have the same shapes.

A run makes one sampler per stage and iteration, with different weights of the same shapes: only the first compiles.
Programs can be compiled ahead in threads, in parallel with each other and with the work: XLA releases Python's lock
while it compiles.
"""

import collections
import concurrent.futures
import os
import time
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from t5x_selfprog import machine
from t5x_selfprog.device_program import DeviceProgram
from t5x_selfprog.telemetry import recorder
from t5x_selfprog.telemetry.compiles import compiles

REMEDY = (
    "Lower SamplingConfig.prompts_in_flight, rows_per_prompt, prompts_per_load, max_new_tokens or the largest of "
    "prompt_buckets, or set cache_dtype or weights_dtype to 'bfloat16' or 'int8'."
)
CAPACITY = 64
_keys: dict[Hashable, object] = {}
_compiled: collections.OrderedDict[Hashable, concurrent.futures.Future] = collections.OrderedDict()
_threads: list[concurrent.futures.ThreadPoolExecutor] = []


class Programs:
    """The programs of one sampler, by name.

    Attributes:
      compilations: how many programs this sampler had to compile.
      compile_s: how long it waited for compilation.
    """

    def __init__(self, key: Hashable, holds: str = ""):
        """Args:
        key: everything that a program's name leaves open, so that equal keys and names mean equal programs.
        holds: what else occupies memory, for messages.
        """
        self._key = _keys.setdefault(key, object())  # cheaper to hash for every chunk than all settings
        self._holds = holds
        self.compilations, self.compile_s = 0, 0.0

    def ahead(self, programs: Iterable[DeviceProgram]) -> None:
        """Begins to compile those that do not exist yet, in other threads, in order of need."""
        for program in programs:
            key = (self._key, program.name)
            if key not in _compiled:
                self.compilations += 1
                _compiled[key] = _pool().submit(_compile, program)

    def get(self, program: DeviceProgram) -> Callable:
        """The program compiled for its arguments, now or earlier."""
        key = (self._key, program.name)
        if key not in _compiled:
            start = time.perf_counter()
            _compiled[key] = concurrent.futures.Future()
            try:
                _compiled[key].set_result(_compile(program))
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

    def call(self, program: DeviceProgram) -> Any:
        """Runs the program. Raises UserError if the device's memory does not suffice."""
        with machine.naming_memory(f"sampling program {program.name} ({self._holds})", REMEDY):
            return self.get(program)(*program.arguments)


def _compile(program: DeviceProgram) -> Callable:
    words = program.name if isinstance(program.name, tuple) else (program.name,)
    with compiles().naming(" ".join(map(str, ("sampling", *words)))):
        return program.compile()


def _pool() -> concurrent.futures.ThreadPoolExecutor:
    """Threads that compile, one per core."""
    if not _threads:
        _threads.append(concurrent.futures.ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="compile"))
    return _threads[0]
