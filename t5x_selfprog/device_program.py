"""A device program, described once: the sampler and the trainer run what is compiled from the description, threads
compile the same ahead, and `plan` counts it."""

import dataclasses
import functools
from collections.abc import Callable, Hashable
from typing import Any

import jax

from t5x_selfprog import partitioning
from t5x_selfprog.compiler_options import compiler_options
from t5x_selfprog.partitioning import Partitioner


@dataclasses.dataclass(frozen=True)
class DeviceProgram:
    """Everything that decides what is compiled.

    Attributes:
      name: in messages and records; a tuple if it contains sizes.
      function: a pure function of arrays.
      arguments: arrays for a program that runs; shapes (`jax.ShapeDtypeStruct`) with the same shardings for one that is
        compiled without them (see `of`). Calls of `jitted` bring their own.
      donate: the position of the argument that it consumes.
      in_shardings, out_shardings: as for `jax.jit`; None leaves the layout to the arguments and to the compiler.
      partitioner: lays out the activations of `function`; None for one device, JAX's default. It does not matter who
        traces the program.
    """

    name: Hashable
    function: Callable
    arguments: tuple = ()
    donate: int | None = None
    out_shardings: Any = None
    in_shardings: Any = None
    partitioner: Partitioner | None = None

    def of(self, *arguments: Any) -> "DeviceProgram":
        """The same program for these arguments."""
        return dataclasses.replace(self, arguments=arguments)

    @property
    def platform(self) -> str:
        """The platform of its devices: "cpu", "gpu" or "tpu"."""
        return jax.default_backend() if self.partitioner is None else self.partitioner.platform

    @property
    def compiler_options(self) -> dict[str, str | bool] | None:
        return compiler_options(self.platform)

    @functools.cached_property
    def jitted(self) -> Callable:
        """Compiles at the first call with arguments of new shapes."""
        return self._jit(self.compiler_options)

    def lower(self) -> jax.stages.Lowered:
        """The program for its arguments, before compilation."""
        return self._jit(None).lower(*self.arguments)

    def compile(self) -> jax.stages.Compiled:
        """The program for its arguments, compiled with its platform's options."""
        return self.lower().compile(self.compiler_options)

    def _jit(self, options: dict[str, str | bool] | None) -> Any:
        return jax.jit(
            self._laid_out(),
            in_shardings=self.in_shardings,
            out_shardings=self.out_shardings,
            donate_argnums=() if self.donate is None else (self.donate,),
            compiler_options=options,
        )

    def _laid_out(self) -> Callable:
        """The function, which finds its partitioner, or none, wherever it is traced."""
        function, partitioner = self.function, self.partitioner

        def laid_out(*arguments: Any) -> Any:
            with partitioning.use(partitioner):
                return function(*arguments)

        laid_out.__name__ = _name(function)  # names the compiled program too
        return laid_out


def _name(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return function.__name__
