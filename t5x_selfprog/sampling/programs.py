"""Compiled device programs, counted, and shared by all samplers of a process that have the same shapes.

A run makes a sampler a stage and iteration, each with other weights in the same shapes: only the first one
compiles.
"""

import collections
import contextlib
import time
from collections.abc import Callable, Hashable
from typing import Any

import jax

from t5x_selfprog import machine, partitioning
from t5x_selfprog.partitioning import Partitioner
from t5x_selfprog.telemetry.compiles import compiles

REMEDY = (
    "Lower SamplingConfig.prompts_in_flight, rows_per_prompt, prompts_per_load, max_new_tokens or the largest of "
    "prompt_buckets, or set cache_dtype or weights_dtype to 'bfloat16' or 'int8'."
)
CAPACITY = 64
_compiled: collections.OrderedDict[Hashable, Callable] = collections.OrderedDict()


class Programs:
    """The programs of one sampler, by name.

    Attributes:
      compilations, compile_s: how many this sampler had to compile, and how long that took.
    """

    def __init__(self, shapes: Hashable, partitioner: Partitioner | None, holds: str = ""):
        """Args:
        shapes: everything that a program's name leaves open, so that equal keys mean equal programs.
        holds: what stays in memory beside them, for messages.
        """
        layout = None if partitioner is None else (partitioner.mesh, tuple(sorted(partitioner.rules.items())))
        self._key = (shapes, layout)
        self._partitioner, self._holds = partitioner, holds
        self.compilations, self.compile_s = 0, 0.0

    def get(
        self,
        name: Hashable,
        function: Callable,
        arguments: tuple,
        donate: int | None = None,
        out_shardings: Any = None,
    ) -> Callable:
        """The program of that name for these arguments. `donate`: position of the one that it consumes."""
        key = (self._key, name)
        if key not in _compiled:
            start = time.perf_counter()
            donated = () if donate is None else (donate,)
            use = partitioning.use(self._partitioner) if self._partitioner else contextlib.nullcontext()
            words = name if isinstance(name, tuple) else (name,)
            with use, compiles().naming(" ".join(map(str, ("sampling", *words)))):
                jitted = jax.jit(function, donate_argnums=donated, out_shardings=out_shardings)
                _compiled[key] = jitted.lower(*arguments).compile()
            self.compilations += 1
            self.compile_s += time.perf_counter() - start
        _compiled.move_to_end(key)
        while len(_compiled) > CAPACITY:
            _compiled.popitem(last=False)
        return _compiled[key]

    def call(self, name: Hashable, function: Callable, *arguments: Any, **options: Any) -> Any:
        """Raises UserError where the device's memory does not suffice."""
        with machine.naming_memory(f"sampling program {name} ({self._holds})", REMEDY):
            return self.get(name, function, arguments, **options)(*arguments)
