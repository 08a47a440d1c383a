"""What to write instead of an unknown flag: the flag that was meant, or the gin parameter of that name."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable

from t5x_selfprog.commands.command import Command
from t5x_selfprog.nearest import nearest

# Names that other launchers use.
_ELSEWHERE = {
    "config": "--gin_file",
    "gin": "--gin_file",
    "gin_config": "--gin_file",
    "ginconfig": "--gin_file",
    "workdir": "--run_dir",
    "work_dir": "--run_dir",
    "output_dir": "--run_dir",
    "logdir": "--run_dir",
    "dir": "--run_dir",
    "out": "--output",
}
_FIRST = ("Experiment", "loop.run", "sample_puzzles.run", "finetune.run")  # shown first if several match
_SHOWN = 3


def advice(word: str, command: Command, flags: Iterable[str]) -> str:
    """One sentence about a word that the subcommand does not know, with what to write instead if that is clear.

    Args:
      flags: those that the subcommand knows.
    """
    known = {_plain(flag): flag for flag in flags if flag.startswith("--") and flag != "--gin.NAME"}
    if not word.startswith("-"):
        file = f": did you mean --gin_file={word}?" if "--gin_file" in known.values() else ""
        return f"{word!r} is no flag of {command.name}{file}"
    name, equals, value = word.lstrip("-").partition("=")
    said = f"{word}: {command.name} has no such flag"
    meant = known.get(_plain(name)) or _ELSEWHERE.get(name.lower().replace("-", "_"))
    if meant in known.values():
        return f"{said}; write {meant}{equals}{value}"
    parameters = _parameters(name.replace("-", "_"), value, command)
    if parameters:
        return f"{said}; write {' or '.join(parameters[:_SHOWN])}"
    guess = nearest(_plain(name), known)
    if guess:
        return f"{said}; did you mean {known[guess]}?"
    return f"{said}; `selfprog {command.name} --help` shows those that there are"


def _plain(flag: str) -> str:
    return flag.lstrip("-").lower().replace("-", "").replace("_", "")


def _parameters(name: str, value: str, command: Command) -> list[str]:
    """Complete flags that set gin parameters of this name, or else of the nearest one; the likeliest first."""
    if not command.configured_by:
        return []
    importlib.import_module(command.configured_by)
    from gin import config as gin_config
    from t5x_selfprog.gin_types import declared, fault

    found: dict[str, list[tuple[str, str]]] = {}
    for selector, configurable in gin_config._REGISTRY.items():
        if selector.startswith("gin."):
            continue
        short = selector.removeprefix("t5x_selfprog.")
        for parameter in inspect.signature(configurable.wrapped).parameters.values():
            if parameter.default is not inspect.Parameter.empty:  # the code passes the others
                found.setdefault(parameter.name, []).append((short, selector))
    exact = name if name in found else nearest(name, found)
    if exact is None:
        return []
    places = sorted(
        found[exact], key=lambda place: (_FIRST.index(place[0]) if place[0] in _FIRST else 99, place)
    )
    texts = []
    for short, selector in places:
        annotation = declared(selector).get(exact)
        quoted = value and annotation is not None and not fault(value, annotation)  # it fits as text
        written = f"'\"{value}\"'" if quoted else value or "..."
        texts.append(f"--gin.{short}.{exact}={written}")
    return texts
