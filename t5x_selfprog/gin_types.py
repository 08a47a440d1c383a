"""The annotations of a configurable's parameters, whether a value fits, and what to write if it does not."""

from __future__ import annotations

import collections.abc
import contextlib
import inspect
import math
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from gin import config as gin_config
from t5x_selfprog.bounds import Bound, OneOf
from t5x_selfprog.nearest import nearest

Reference = gin_config.ConfigurableReference
_LISTS = (tuple, list, collections.abc.Sequence, collections.abc.Collection, collections.abc.Iterable)
_MAPPINGS = (dict, collections.abc.Mapping)


def declared(selector: str) -> dict[str, Any]:
    """The annotations of a configurable's parameters, by name; {} if there is no such configurable."""
    found = gin_config._REGISTRY.get_match(selector)
    if found is None:
        return {}
    with contextlib.suppress(NameError, TypeError):  # names that only a type checker imports
        return typing.get_type_hints(found.wrapped, include_extras=True)
    return {}


def fault(value: Any, annotation: Any) -> str:
    """What is wrong with a value, and what to write instead; "" if it fits, or if that cannot be known."""
    if _fits(value, annotation):
        return ""
    said = f"must be {described(annotation)}"
    remedy = _remedy(value, annotation)
    return f"{said}; {remedy}" if remedy else said


def described(annotation: Any) -> str:
    """`a whole number of at least 1`, `'each' or 'last'`, `a list of texts`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        texts = [argument for argument in arguments[1:] if isinstance(argument, OneOf)]
        if texts:
            return _either([repr(choice) for choice in texts[0].choices])
        bounds = [argument for argument in arguments[1:] if isinstance(argument, Bound)]
        return " ".join([described(arguments[0]), *map(str, bounds)])
    if origin is Literal:
        return _either([repr(choice) for choice in arguments])
    if origin in (Union, types.UnionType):
        return _either([described(one) for one in arguments])
    if annotation in (None, type(None)):
        return "None"
    names = {int: "a whole number", float: "a number", str: "text", bool: "True or False"}
    if annotation in names:
        return names[annotation]
    if origin in _LISTS:
        kind = arguments[0] if arguments else Any
        plural = {int: "whole numbers", float: "numbers", str: "texts"}
        return (
            f"a list of {plural.get(kind) or 'items, each ' + described(kind)}"
            if kind is not Any
            else "a list"
        )
    if origin in _MAPPINGS or annotation in _MAPPINGS:
        return "a mapping, as {'name': value}"
    if inspect.isclass(annotation):
        return f"a {annotation.__name__}, as @{annotation.__name__}()"
    return str(annotation)


def _fits(value: Any, annotation: Any) -> bool:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any or annotation is inspect.Parameter.empty or isinstance(annotation, typing.TypeVar):
        return True
    if origin is Annotated:
        if not _fits(value, arguments[0]):
            return False
        if isinstance(value, Reference):
            return True
        return all(
            bound.holds(value) if isinstance(bound, Bound) else value in bound.choices
            for bound in arguments[1:]
            if isinstance(bound, Bound | OneOf)
        )
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in arguments)
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in arguments)
    if isinstance(value, Reference):
        return _reference_fits(value, annotation)
    if annotation in (None, type(None)):
        return value is None
    if annotation is bool:
        return type(value) is bool
    if annotation is int:
        return type(value) is int
    if annotation is float:
        return type(value) in (int, float) and not math.isnan(value)
    if annotation is str:
        return type(value) is str
    if origin in _LISTS:
        return _items_fit(value, origin, arguments)
    if origin in _MAPPINGS:
        return isinstance(value, dict) and all(
            _fits(key, arguments[0]) and _fits(item, arguments[1]) for key, item in value.items()
        )
    if (
        inspect.isclass(annotation)
        and annotation.__module__ != "builtins"
        and not typing.is_typeddict(annotation)
    ):
        return not isinstance(value, bool | int | float | str | tuple | list | dict | None)
    return True


def _items_fit(value: Any, origin: Any, arguments: tuple[Any, ...]) -> bool:
    if not isinstance(value, tuple | list):
        return False
    if not arguments:
        return True
    if origin is tuple and arguments[-1] is not Ellipsis:
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    return all(_fits(item, arguments[0]) for item in value)


def _reference_fits(value: Any, annotation: Any) -> bool:
    """Whether a reference yields what is wanted: an instance for a dataclass, the function for a callable."""
    if repr(value).startswith("%"):
        return True  # a macro without a value, which gin reports
    made = value.configurable.wrapped
    if annotation in (bool, int, float, str, None, type(None)) or get_origin(annotation) in (
        *_LISTS,
        *_MAPPINGS,
    ):
        return value.evaluate and not inspect.isclass(made)
    if get_origin(annotation) is collections.abc.Callable:
        return not value.evaluate
    if inspect.isclass(annotation):
        return value.evaluate and (not inspect.isclass(made) or issubclass(made, annotation))
    return True


def _remedy(value: Any, annotation: Any) -> str:
    """What to write instead, if that is clear; it fits the annotation."""
    if (
        isinstance(value, Reference)
        and not value.evaluate
        and _reference_fits(Reference(value.scoped_selector, True), annotation)
    ):
        return f"write {value!r}()"
    if isinstance(value, Reference) or value is None:
        return ""
    for other in _near(value, annotation):
        if _fits(other, annotation):
            return f"write {other!r}"
    return ""


def _near(value: Any, annotation: Any) -> Iterator[Any]:
    """Values that may have been meant."""
    if isinstance(value, str):
        word = value.strip()
        named = {"true": True, "false": False, "none": None, "yes": True, "no": False, "": ()}
        if word.lower() in named:
            yield named[word.lower()]
        with contextlib.suppress(ValueError):
            yield int(word)
        with contextlib.suppress(ValueError):
            yield float(word)
        guess = nearest(word, choices(annotation))
        if guess:
            yield guess
    elif isinstance(value, float) and math.isfinite(value) and value == int(value):
        yield int(value)
    elif type(value) is int and value in (0, 1):
        yield bool(value)
    if isinstance(value, str | int | float):
        yield (value,)
    if isinstance(value, tuple | list):
        guesses = [nearest(item, choices(annotation)) if isinstance(item, str) else None for item in value]
        yield tuple(guess or item for guess, item in zip(guesses, value, strict=True))
        yield from value[:1] if len(value) == 1 else ()


def choices(annotation: Any) -> list[str]:
    """The texts that an annotation allows."""
    if get_origin(annotation) is Literal:
        return [choice for choice in get_args(annotation) if isinstance(choice, str)]
    if isinstance(annotation, OneOf):
        return list(annotation.choices)
    return [choice for argument in get_args(annotation) for choice in choices(argument)]


def _either(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"
