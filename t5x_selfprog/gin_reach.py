"""Bindings that nothing can reach: they would be recorded with a run as if used, but have no effect.

gin accepts them all. So values are followed from where the code begins (the stages' functions, and the dataclasses that
it makes itself) through references and macros, scope by scope, as gin would. A binding that is not reached is its
author's mistake.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gin import config as gin_config
from t5x_selfprog.gin_errors import nearest

# Called by the code, not through a reference.
_CALLED = ("t5x_selfprog.Experiment", "t5x_selfprog.MeshConfig", "t5x_selfprog.ModelConfig")
_MACRO = "gin.macro"
Key = tuple[str, str]  # scope and configurable, gin's own key for bindings


@dataclass(frozen=True)
class Unreachable:
    """A binding without effect, as spelled on the command line, with the reason and a binding that would work."""

    name: str
    why: str


def unreachable(config: Mapping[Key, Mapping[str, Any]]) -> list[Unreachable]:
    """The bindings that gin holds (`gin.config._CONFIG`) but no call will see, sorted by name."""
    asked, used = _followed(config)
    found = []
    for (scope, selector), parameters in config.items():
        for parameter in parameters:
            if (scope, selector, parameter) not in used:
                found.append(_said(scope, selector, parameter, asked, config))
    return sorted(found, key=lambda one: one.name)


def overruled(config: Mapping[Key, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Pairs of a binding and a narrower one that takes its place in a scope where the first would count too."""
    asked, _ = _followed(config)
    for (scope, selector), parameters in config.items():
        within = {one for one in asked.get(selector, ()) if not scope or f"{one}/".startswith(f"{scope}/")}
        for parameter in parameters if selector != _MACRO else ():
            for at in sorted({_effective(config, one, selector)[parameter][0] for one in within} - {scope}):
                yield _name(scope, selector, parameter), _name(at, selector, parameter)


def _name(scope: str, selector: str, parameter: str) -> str:
    return (f"{scope}/" if scope else "") + f"{selector.removeprefix('t5x_selfprog.')}.{parameter}"


def _followed(
    config: Mapping[Key, Mapping[str, Any]],
) -> tuple[dict[str, set[str]], set[tuple[str, str, str]]]:
    """The scopes in which each configurable is asked for, and the bindings that take effect in one of them."""
    asked: dict[str, set[str]] = {}
    used: set[tuple[str, str, str]] = set()
    waiting = [("", selector) for selector in {selector for _, selector in config} if _begins(selector)]
    while waiting:
        scope, selector = waiting.pop()
        if scope in asked.setdefault(selector, set()):
            continue
        asked[selector].add(scope)
        for parameter, (at, value) in _effective(config, scope, selector).items():
            used.add((at, selector, parameter))
            for reference in _references(value):
                inner = "/".join(reference.scopes) if reference.scopes else scope
                waiting.append((inner, reference.config_key[1]))
    return asked, used


def _begins(selector: str) -> bool:
    """Whether code calls it: a stage's function or settings (`finetune.run`), or a dataclass that the code makes."""
    is_function = inspect.isfunction(_made_of(selector)) and not selector.startswith("gin.")
    return is_function or selector.endswith(".run") or selector in _CALLED


def _made_of(selector: str) -> Any:
    return getattr(gin_config._REGISTRY.get_match(selector), "wrapped", None)


def _effective(
    config: Mapping[Key, Mapping[str, Any]], scope: str, selector: str
) -> dict[str, tuple[str, Any]]:
    """The value of each parameter in a scope, and the innermost enclosing scope that gives it."""
    parts = scope.split("/") if scope else []
    found: dict[str, tuple[str, Any]] = {}
    for depth in range(len(parts) + 1):
        at = "/".join(parts[:depth])
        found |= {name: (at, value) for name, value in config.get((at, selector), {}).items()}
    return found


def _references(value: Any) -> Iterator[Any]:
    if isinstance(value, gin_config.ConfigurableReference):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _references(key)
            yield from _references(inner)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from _references(inner)


def _said(
    scope: str,
    selector: str,
    parameter: str,
    asked: Mapping[str, set[str]],
    config: Mapping[Key, Mapping[str, Any]],
) -> Unreachable:
    if selector == _MACRO:
        macros = sorted(asked.get(_MACRO, set()) - {scope})
        known = nearest(scope, macros)
        hint = f"; did you mean {known}?" if known else f"; {_one_of(macros)} are named" if macros else ""
        return Unreachable(scope, f"no value names the macro %{scope}{hint}")
    target = selector.removeprefix("t5x_selfprog.")
    name = _name(scope, selector, parameter)
    scopes = asked.get(selector, set())
    if not scopes:
        takers = _takers(target.rpartition(".")[2], asked)
        remedy = f"; bind {_one_of([f'{taker} = @{target}()' for taker in takers])} as well" if takers else ""
        return Unreachable(name, f"nothing asks for {target}{remedy}")
    works = _that_work(selector, parameter, scopes, config)
    names = [_name(at, selector, parameter) for at in works]
    if not any(inner == scope or inner.startswith(f"{scope}/") or not scope for inner in scopes):
        known = nearest(name, names) or _one_of(names)
        return Unreachable(name, f"nothing asks for {target} in the scope {scope!r}; did you mean {known}?")
    return Unreachable(name, f"every scope that asks for it has a value of its own: bind {_one_of(names)}")


def _that_work(
    selector: str, parameter: str, scopes: set[str], config: Mapping[Key, Mapping[str, Any]]
) -> list[str]:
    """The scopes in which a binding of this parameter takes effect."""
    found = {_effective(config, scope, selector).get(parameter, (scope,))[0] for scope in scopes}
    return sorted(found)


def _takers(name: str, asked: Mapping[str, set[str]]) -> list[str]:
    """Parameters of reached configurables that take a dataclass of this name."""
    found = []
    for selector in sorted(asked):
        made_of = _made_of(selector)
        if made_of is None or selector.startswith("gin."):
            continue
        for parameter in inspect.signature(made_of).parameters.values():
            if re.search(rf"\b{name}\b", str(parameter.annotation)):
                found.append(f"{selector.removeprefix('t5x_selfprog.')}.{parameter.name}")
    return found


def _one_of(names: list[str]) -> str:
    return " or ".join(names)
