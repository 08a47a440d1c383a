"""HTML and SVG elements as text, everything escaped, and numbers formatted for people."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

# Shown as escapes: control characters, characters that reorder text on screen (one solution could look like another),
# and lone surrogates, which UTF-8 cannot encode.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


class Markup(str):
    """Text that is HTML already."""


def escape(text: object) -> Markup:
    """Text made safe for content and attributes; Markup passes unchanged."""
    return text if isinstance(text, Markup) else Markup(html.escape(visible(str(text))))


def visible(text: str) -> str:
    """Characters that would be invisible or harmful on a page, written as \\uXXXX."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def element(tag: str, *children: object, **attributes: object) -> Markup:
    """<tag attribute="...">children</tag>; children are escaped, `class_` is class and `_` in names is `-`.

    Attributes that are None or False are left out, True is written bare.
    """
    written = []
    for name, value in attributes.items():
        name = name.rstrip("_").replace("_", "-") if name not in _CAMEL else name
        if value is True:
            written.append(f" {name}")
        elif value is not None and value is not False:
            written.append(f' {name}="{escape(_plain(value))}"')
    body = join(children)
    close = "" if tag in _VOID else f"</{tag}>"
    return Markup(f"<{tag}{''.join(written)}>{body}{close}")


def join(parts: Iterable[object]) -> Markup:
    return Markup("".join(escape(part) for part in parts if part is not None))


_CAMEL = frozenset({"viewBox", "preserveAspectRatio"})
_VOID = frozenset({"input", "br", "meta", "hr"})


def _plain(value: object) -> object:
    """Rounds coordinates to two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


# Numbers.

MINUS = "\N{MINUS SIGN}"
EN_DASH = "\N{EN DASH}"


def count(number: float) -> str:
    """12345 as "12,345"; fractions with one decimal."""
    return f"{number:,.0f}" if float(number).is_integer() else f"{number:,.1f}"


def percent(share: float | None, digits: int = 1) -> str:
    """0.1234 as "12.3%", None as a dash."""
    return EN_DASH if share is None else f"{round(100 * share, digits) + 0.0:.{digits}f}%"


def points(share: float | None) -> str:
    """A difference of shares with its sign, in percentage points: "+12.3"."""
    if share is None:
        return EN_DASH
    rounded = round(100 * share, 1) + 0.0
    return f"{rounded:+.1f}".replace("-", MINUS)


def plural(number: int, noun: str, ending: str = "s") -> str:
    return f"{count(number)} {noun}" + ("" if number == 1 else ending)
