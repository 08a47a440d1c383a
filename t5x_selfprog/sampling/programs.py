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

from t5x_selfprog import partitioning
from t5x_selfprog.partitioning import Partitioner
from verifier.errors import UserError

CAPACITY = 64
_compiled: collections.OrderedDict[Hashable, Callable] = collections.OrderedDict()


class Programs:
    """The programs of one sampler, by name.

    Attributes:
      compilations, compile_s: how many this sampler had to compile, and how long that took.
    """

    def __init__(self, shapes: Hashable, partitioner: Partitioner | None):
        """shapes: everything that a program's name leaves open, so that equal keys mean equal programs."""
        layout = None if partitioner is None else (partitioner.mesh, tuple(sorted(partitioner.rules.items())))
        self._key = (shapes, layout)
        self._partitioner = partitioner
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
            with use:
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
        try:
            return self.get(name, function, arguments, **options)(*arguments)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            there_is = (jax.devices()[0].memory_stats() or {}).get("bytes_limit")
            raise UserError(
                f"Out of memory in sampling program {name}: {str(error).splitlines()[0]}"
                + (f" The device has {there_is / 2**30:.1f} GiB." if there_is else "")
                + " Lower SamplingConfig.prompts_in_flight, rows_per_prompt, prompts_per_load or the largest "
                "of prompt_buckets, or set cache_dtype or weights_dtype to 'bfloat16' or 'int8'."
            ) from error
