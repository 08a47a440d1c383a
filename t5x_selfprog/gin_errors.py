"""What went wrong in a gin file, in one message: file, line, and the nearest valid name.

gin raises ValueError, SyntaxError, tokenize.TokenError, OSError, ImportError and RuntimeError, mostly with
the line in the text. Each is turned into a UserError here; what gin calls in turn is left alone.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import logging
import re
import tokenize
import traceback
from collections.abc import Iterable, Iterator, Sequence

from gin import config as gin_config
from verifier import files
from verifier.errors import UserError


class GinError(UserError):
    """A configuration that cannot be used."""


@contextlib.contextmanager
def explain(what: str, gin_paths: Sequence[str] = ()) -> Iterator[None]:
    """Turns gin's complaints while parsing `what` (a flag; `gin_paths` its files) into GinError."""
    # gin also logs an unreadable include through the root logger; once is enough.
    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.CRITICAL)
    try:
        yield
    except SyntaxError as error:
        # A wrong indentation is found by Python's tokenizer, which does not know the file.
        file = gin_paths[0] if error.filename == "<tokenize>" and gin_paths else error.filename
        place = f"{file}, line {error.lineno}" if file else what
        raise GinError(f"{place}: {_reason(error)}{_line(error) if file else ''}") from error
    except tokenize.TokenError as error:
        place = next(filter(None, map(_unclosed, gin_paths)), what)
        raise GinError(f"{place}: a bracket or a string is opened here and not closed") from error
    except (ValueError, OSError, ImportError) as error:
        macro = re.match(r"No bindings specified for '(?P<name>.+)/gin\.macro'", str(error))
        if macro:
            lines = matching_lines(gin_paths, rf"%{re.escape(macro['name'])}\b")
            remedy = f"give it one, for example as --gin.{macro['name']}=..."
            raise GinError(f"%{macro['name']} is used, but has no value; {remedy}{lines}") from error
        # A flag is its own place; gin would show it a second time.
        message = str(error).partition("\n  In bindings string")[0]
        raise GinError(f"{what}: {_with_hint(message)}") from error
    finally:
        root.setLevel(level)


@contextlib.contextmanager
def explain_calls(gin_paths: Sequence[str] = ()) -> Iterator[None]:
    """Turns what shows only when a configurable is called into GinError.

    That is a required value that nobody gave, and one that a dataclass refuses in its `__post_init__`; the
    lines of `gin_paths` that set it are shown.
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
    except (ValueError, TypeError) as error:
        called = _CALLED.search(str(error))
        if isinstance(error, UserError) or called is None or not _is_refused_by_dataclass(error):
            raise
        lines = matching_lines(gin_paths, rf"\b{re.escape(called['name'])}\.\w+\s*=")
        raise GinError(f"{called['name']}: {str(error)[: called.start()]}{lines}") from error


_UNBOUND = re.compile(r"Required bindings for `(?P<name>[^`]+)` not provided in config: \[(?P<of>.*?)\]")
_CALLED = re.compile(r"\n  In call to configurable '(?P<name>[^']+)'")


def _is_refused_by_dataclass(error: BaseException) -> bool:
    return any(frame.f_code.co_name == "__post_init__" for frame, _ in traceback.walk_tb(error.__traceback__))


def matching_lines(gin_paths: Sequence[str], pattern: str) -> str:
    """The lines of the files in which `pattern` is found, each with its place, ready to be appended."""
    shown = []
    for path in gin_paths:
        text = files.read_bytes(path).decode("utf-8", "replace")
        for number, line in enumerate(text.splitlines(), start=1):
            if re.search(pattern, line.partition("#")[0]):
                shown.append(f"\n  {path}, line {number}: {line.strip()}")
    return "".join(shown)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The most similar of `names`, whatever its case, if one is similar at all."""
    lowered = {candidate.lower(): candidate for candidate in sorted(names, reverse=True)}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return lowered[close[0]] if close else None


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


def _reason(error: SyntaxError) -> str:
    text = str(error.msg)
    token = re.search(r"Failed to parse token '([^']*)'", text)
    if token:
        return (
            f"{token[1]!r} is no value: text needs quotes (on a command line --gin.NAME='\"{token[1]}\"'), "
            "another configurable an @, a macro a %"
        )
    return text.rstrip(".")


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
    """Registered names with as many dotted parts as `name`: gin takes any ending that is unambiguous."""
    parts = name.count(".") + 1
    return [".".join(selector.split(".")[-parts:]) for selector, _ in gin_config._REGISTRY.items()]


def _configurable_names() -> list[str]:
    """Every registered name in its shortest unambiguous form, gin's own left out."""
    registry = gin_config._REGISTRY
    complete = [selector for selector, _ in registry.items() if not selector.startswith("gin.")]
    return [registry.minimal_selector(selector) for selector in complete]


def _parameter_names(configurable: str) -> list[str]:
    found = gin_config._REGISTRY.get_match(configurable)
    if found is None:
        return []
    return [name for name in inspect.signature(found.wrapped).parameters if name != "self"]
