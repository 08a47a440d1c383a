"""What went wrong in a gin file, in one message: file, line, and the nearest valid name.

gin raises ValueError, SyntaxError, tokenize.TokenError, OSError, ImportError and RuntimeError, mostly with the line in
the text. Each becomes a UserError here; errors from what gin calls are left alone.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import re
import tokenize
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

from gin import config as gin_config
from t5x_selfprog.gin_moved import moved
from t5x_selfprog.gin_types import choices, declared, described, fault
from t5x_selfprog.nearest import nearest
from verifier.errors import UserError
from verifier.storage import files


class GinError(UserError):
    """A configuration that cannot be used."""


@contextlib.contextmanager
def explain(what: str, gin_paths: Sequence[str] = ()) -> Iterator[None]:
    """Turns gin's errors while parsing `what` (a flag; `gin_paths`: its files) into GinError."""
    # gin also logs an unreadable include through the root logger; once is enough.
    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.CRITICAL)
    try:
        yield
    except SyntaxError as error:
        # A wrong indentation is found by Python's tokenizer, which does not know the file.
        file = gin_paths[0] if error.filename == "<tokenize>" and gin_paths else error.filename
        place = f"{file}, line {error.lineno}" if file else what
        named = (error.text or "") if file else what.removeprefix("--gin.")
        raise GinError(f"{place}: {_reason(error, named)}{_line(error) if file else ''}") from error
    except tokenize.TokenError as error:
        place = next(filter(None, map(_unclosed, gin_paths)), what)
        raise GinError(f"{place}: a bracket or a string is opened here and not closed") from error
    except RecursionError as error:
        raise GinError(f"{what}: {' -> '.join(_circle(gin_paths)) or 'a file'} includes itself") from error
    except (ValueError, OSError, ImportError) as error:
        macro = re.match(r"No bindings specified for '(?P<name>.+)/gin\.macro'", str(error))
        if macro:
            lines = matching_lines(gin_paths, rf"%{re.escape(macro['name'])}\b")
            remedy = f"give it one, for example as --gin.{macro['name']}=..."
            raise GinError(f"%{macro['name']} is used, but has no value; {remedy}{lines}") from error
        # A flag is its own place, but gin shows it a second time.
        message = str(error).partition("\n  In bindings string")[0]
        raise GinError(f"{what}: {_with_hint(message)}") from error
    finally:
        root.setLevel(level)


@contextlib.contextmanager
def explain_calls(gin_paths: Sequence[str] = (), flags: Sequence[str] = ()) -> Iterator[None]:
    """Turns errors that appear only when a configurable is called into GinError.

    These are missing required values, and values that a dataclass refuses in its `__post_init__`. The lines of
    `gin_paths` and the `flags` (NAME=VALUE) that set the value are shown.
    """
    try:
        yield
    except RuntimeError as error:
        found = _UNBOUND.match(str(error))
        if found is None:
            raise
        names = [f"{found['name']}.{parameter}" for parameter in re.findall(r"'([^']+)'", found["of"])]
        flags = " ".join(f"--gin.{name}=..." for name in names)
        raise GinError(f"{', '.join(names)} must be given a value, in a gin file or as {flags}") from error
    except (ValueError, TypeError, UserError) as error:
        called = _CALLED.search(str(error))
        if called is None or not _is_refused_by_dataclass(error):
            raise
        said = str(error)[: called.start()]
        if not isinstance(error, UserError):  # those name what they are about
            said = f"{called['name']}: {said}"
        setting = rf"\b{re.escape(called['name'])}\.\w+\s*="
        given = "".join(f"\n  --gin.{flag}" for flag in flags if re.search(setting, flag))
        raise GinError(f"{said}{matching_lines(gin_paths, setting)}{given}") from error


_UNBOUND = re.compile(r"Required bindings for `(?P<name>[^`]+)` not provided in config: \[(?P<of>.*?)\]")
_CALLED = re.compile(r"\n  In call to configurable '(?P<name>[^']+)'")


def _is_refused_by_dataclass(error: BaseException) -> bool:
    return any(frame.f_code.co_name == "__post_init__" for frame, _ in traceback.walk_tb(error.__traceback__))


def matching_lines(gin_paths: Sequence[str], pattern: str) -> str:
    """The lines of the files that match `pattern`, each with its place, ready to be appended."""
    shown = []
    for path in gin_paths:
        text = files.read_bytes(path).decode("utf-8", "replace")
        for number, line in enumerate(text.splitlines(), start=1):
            if re.search(pattern, line.partition("#")[0]):
                shown.append(f"\n  {path}, line {number}: {line.strip()}")
    return "".join(shown)


def _unclosed(path: str) -> str | None:
    """The place of the first bracket or string of a file that is never closed, if there is one."""
    opened: list[int] = []
    try:
        with files.open_read(path) as file:
            for token in tokenize.tokenize(file.readline):
                if token.string in ("(", "[", "{") and token.type == tokenize.OP:
                    opened.append(token.start[0])
                elif token.string in (")", "]", "}") and token.type == tokenize.OP:
                    opened.pop()
    except tokenize.TokenError as error:
        return f"{path}, line {opened[0] if opened else error.args[1][0]}"
    return None


def _reason(error: SyntaxError, binding: str) -> str:
    """`binding` is the line, or the flag, as NAME = VALUE."""
    text = str(error.msg)
    token = re.search(r"Failed to parse token '([^']*)'", text)
    if token is None:
        return text.rstrip(".")
    word, name = token[1], binding.partition("=")[0].strip()
    said = f"{word!r} is no value"
    annotation = _annotation_of(name)
    if annotation is not None and fault(word, annotation):  # in quotes it would be refused too
        remedy = fault(word, annotation).partition("; ")[2] or nearest(word, choices(annotation))
        return f"{said}: {name} must be {described(annotation)}{f'; {remedy}' if remedy else ''}"
    if annotation is not None:
        return f"{said}: text needs quotes, {name} = {word!r} (on a command line --gin.{name}='\"{word}\"')"
    return (
        f"{said}: text needs quotes (on a command line --gin.NAME='\"{word}\"'), "
        "another configurable an @, a macro a %"
    )


def _annotation_of(name: str) -> Any:
    """The parameter's annotation; None if it is unknown."""
    selector, _, parameter = name.rpartition("/")[2].rpartition(".")
    try:
        return declared(selector).get(parameter) if selector else None
    except (ValueError, KeyError):  # several of this name
        return None


_INCLUDE = re.compile(r"^\s*include\s+['\"]([^'\"]+)['\"]", re.MULTILINE)


def _circle(gin_paths: Sequence[str]) -> list[str]:
    """The circle of includes, found from the first file that leads into one."""

    def search(path: str, before: tuple[str, ...]) -> list[str]:
        if path in before:
            return [*before[before.index(path) :], path]
        try:
            text = files.read_bytes(path).decode("utf-8", "replace")
        except OSError:
            return []
        return next(
            (found for name in _INCLUDE.findall(text) if (found := search(name, (*before, path)))), []
        )

    return next((found for path in gin_paths if (found := search(path, ()))), [])


def _line(error: SyntaxError) -> str:
    return f"\n    {error.text.strip()}" if error.text and error.text.strip() else ""


def _with_hint(message: str) -> str:
    unknown = re.match(r"No configurable matching (?:reference )?'@?(?P<name>[^'\n]+?)(?:\(\))?'", message)
    if unknown:
        name = unknown["name"].rpartition("/")[2]
        return _insert(message, _did_you_mean(name, _configurable_names(), _names_as_long_as(name)))
    parameter = re.match(
        r"Configurable '(?P<of>[^']+)' doesn't have a parameter named '(?P<name>[^']+)'", message
    )
    if parameter:
        new_name = moved(parameter["of"].removeprefix("t5x_selfprog."), parameter["name"])
        if new_name:
            return _insert(message, new_name)
        valid = _parameter_names(parameter["of"])
        return _insert(message, _did_you_mean(parameter["name"], valid, valid))
    return message


def _insert(message: str, hint: str) -> str:
    first, newline, rest = message.partition("\n")
    return f"{first} {hint}{newline}{rest}"


def _did_you_mean(name: str, names: list[str], spellings: list[str]) -> str:
    guess = nearest(name, spellings)
    if guess:
        return f"Did you mean {guess!r}?"
    return f"There are: {', '.join(sorted(names))}."


def _names_as_long_as(name: str) -> list[str]:
    """Registered names, shortened to as many dotted parts as `name`: gin accepts any unambiguous ending."""
    parts = name.count(".") + 1
    return [".".join(selector.split(".")[-parts:]) for selector, _ in gin_config._REGISTRY.items()]


def _configurable_names() -> list[str]:
    """Every registered name except gin's own, in its shortest unambiguous form."""
    registry = gin_config._REGISTRY
    complete = [selector for selector, _ in registry.items() if not selector.startswith("gin.")]
    return [registry.minimal_selector(selector) for selector in complete]


def _parameter_names(configurable: str) -> list[str]:
    found = gin_config._REGISTRY.get_match(configurable)
    if found is None:
        return []
    return [name for name in inspect.signature(found.wrapped).parameters if name != "self"]
