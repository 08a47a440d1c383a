"""A benchmark's figures as lines for people; `--json` prints them for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_UNITS = (
    ("_per_s", "/s"),
    ("_s", "s"),
    ("_gb", "GiB"),
    ("_mb", "MB"),
    ("_bytes", "bytes"),
    ("_per_minute", "/min"),
)
_SHARES = ("share", "mfu", "goodput", "occupancy", "worst")  # suffixes of names of fractions


def lines(result: Mapping[str, Any]) -> list[str]:
    """`new tokens            1,234 /s`, one line per figure, with its parts indented below it."""
    rows = list(_rows(result, ""))
    width = max((len(name) for name, _, _ in rows), default=0)
    numbers = max((len(value) for _, value, _ in rows if len(value) < 20), default=0)
    return [f"{name:<{width}}  {value:>{numbers}} {unit}".rstrip() for name, value, unit in rows]


def _rows(values: Mapping[str, Any], indent: str) -> Iterator[tuple[str, str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield f"{indent}{name.replace('_', ' ')}:", "", ""
            yield from _rows(value, indent + "  ")
        elif isinstance(value, list):
            for number, item in enumerate(value):
                nested = item if isinstance(item, Mapping) else {str(number): item}
                yield f"{indent}{name.replace('_', ' ')} {number + 1}:", "", ""
                yield from _rows(nested, indent + "  ")
        elif value not in ("", None) or name.endswith(_SHARES):
            word, unit = _unit(name)
            yield (
                f"{indent}{word.replace('_', ' ')}",
                _written(name, value),
                unit if value is not None else "",
            )


def _unit(name: str) -> tuple[str, str]:
    if name == "seconds":
        return name, "s"
    ending = next(((end, unit) for end, unit in _UNITS if name.endswith(end)), ("", ""))
    return name.removesuffix(ending[0]), ending[1]


def _written(name: str, value: Any) -> str:
    if value is None:
        return "unknown here"
    if isinstance(value, bool | str):
        return str(value)
    if name.endswith(_SHARES):
        return f"{100 * value:.3g}%"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{round(value):,}"
    return f"{value:.3g}"
