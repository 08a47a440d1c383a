"""Whether gin's bindings fit the declarations of their parameters: type, choices, bounds.

gin itself accepts any value for any parameter, and a wrong one shows only when it is used, which may be days into a
run. Here every binding is compared with its parameter's annotation, and all that do not fit are reported at once.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from gin import config as gin_config
from t5x_selfprog import gin_errors
from t5x_selfprog.gin_errors import GinError
from t5x_selfprog.gin_types import Reference, declared, fault


def require_fitting(gin_paths: Sequence[str], flags: Sequence[str] = ()) -> None:
    """Raises GinError naming every binding that does not fit, with the flag or the lines that set it and a remedy.

    Args:
      gin_paths: the files that were read.
      flags: the bindings of the command line, NAME=VALUE.
    """
    faults = [
        f"{name} = {shown(value)}: {said}{origin(name, gin_paths, flags)}"
        for name, annotation, value in bound()
        if (said := fault(value, annotation))
    ]
    if faults:
        raise GinError("\n".join(faults))


def require_buildable(gin_paths: Sequence[str], flags: Sequence[str] = ()) -> None:
    """Builds every dataclass that a binding refers to, once; raises GinError with what one of them refuses."""
    for _, _, value in bound():
        for reference in _references(value):
            if reference.evaluate and inspect.isclass(reference.configurable.wrapped):
                with gin_errors.explain_calls(gin_paths, flags):
                    reference.scoped_configurable_fn()


def bound() -> Iterator[tuple[str, Any, Any]]:
    """Name, annotation and value (with macros resolved) of every binding of an annotated parameter."""
    for (scope, selector), parameters in sorted(gin_config._CONFIG.items()):
        if selector.startswith("gin."):
            continue
        known = declared(selector)
        short = selector.removeprefix("t5x_selfprog.")
        for parameter, value in sorted(parameters.items()):
            if parameter in known:
                yield f"{scope + '/' if scope else ''}{short}.{parameter}", known[parameter], resolved(value)


def resolved(value: Any) -> Any:
    """A value with macros replaced by their values; references to configurables stay."""
    if isinstance(value, Reference) and repr(value).startswith("%"):
        macro = gin_config._CONFIG.get(("/".join(value.scopes), "gin.macro"), {})
        return resolved(macro["value"]) if "value" in macro else value
    if type(value) in (tuple, list):
        return type(value)(resolved(item) for item in value)
    if type(value) is dict:
        return {key: resolved(item) for key, item in value.items()}
    return value


def _references(value: Any) -> Iterator[Reference]:
    if isinstance(value, Reference):
        yield value
    elif isinstance(value, dict):
        yield from (found for item in value.values() for found in _references(item))
    elif isinstance(value, tuple | list):
        yield from (found for item in value for found in _references(item))


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def origin(name: str, gin_paths: Sequence[str], flags: Sequence[str]) -> str:
    """Where a binding came from, ready to be appended: its flag, or else the line that sets it."""
    key = _key(name)
    mine = [flag for flag in flags if _key(flag.partition("=")[0].strip()) == key]
    if mine:
        return f" (--gin.{mine[-1]})"
    scope, selector, parameter = key
    last = selector.rpartition(".")[2]
    spelled = (rf"{scope}/" if scope else "(?<!/)") + rf"(?:[\w.]+\.)?{last}\.{parameter}\s*="
    pattern = rf"(?<![\w/]){spelled}"
    # A file comes before those it includes, whose lines it overrides; within a file, the last line counts.
    found = next(filter(None, (gin_errors.matching_lines([path], pattern) for path in gin_paths)), "")
    return "\n  " + found.strip().rpartition("\n  ")[2] if found else ""


def _key(name: str) -> tuple[str, str, str]:
    """Scope, complete selector and parameter; a macro has no selector."""
    scope, _, rest = name.rpartition("/")
    selector, _, parameter = rest.rpartition(".")
    with contextlib.suppress(ValueError, KeyError):
        found = gin_config._REGISTRY.get_match(selector) if selector else None
        if found is not None:
            return scope, found.selector, parameter
    return scope, selector, parameter


def handed(selector: str, parameter: str) -> Any:
    """The value that gin passes for a parameter of a configurable called without scope, or its default."""
    found = gin_config._REGISTRY[selector]
    bindings = gin_config._CONFIG.get(("", found.selector), {})
    if parameter in bindings:
        return copy.deepcopy(bindings[parameter])  # copying makes gin evaluate references
    return inspect.signature(found.wrapped).parameters[parameter].default


def learner() -> str:
    """`grpo.run` where gin names it as `loop.learn.update`; "" where fine-tuning learns."""
    update = handed("loop.learn", "update")
    if update is None:
        return ""
    name = "run" if inspect.isclass(update) else update.__name__  # settings have their stage's name
    return f"{update.__module__.rpartition('.')[2]}.{name}"
