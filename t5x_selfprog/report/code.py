"""Python source as highlighted HTML, made at build time with the standard library's tokenizer."""

from __future__ import annotations

import builtins
import io
import itertools
import keyword
import tokenize

from t5x_selfprog.report.markup import Markup, element, escape, join

_BUILTINS = frozenset(name for name in dir(builtins) if not name.startswith("_"))
_STRINGS = {"STRING", "FSTRING_START", "FSTRING_MIDDLE", "FSTRING_END"}


def highlight(source: str) -> Markup:
    """<pre class="code"> with <i class="..."> around tokens; always escaped.

    Classes: keywords (k), builtins (b), defined names (d), strings (s), numbers (n), comments (c). Text that Python
    cannot tokenize stays plain.
    """
    source = source.expandtabs(4).rstrip()
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, SyntaxError, ValueError):
        return element("pre", element("code", source), class_="code")
    lines = source.split("\n")
    starts = [0, *itertools.accumulate(len(line) + 1 for line in lines)]
    parts: list[object] = []
    position, previous = 0, ""
    for token in tokens:
        kind = _class(token, previous)
        previous = token.string
        if kind and token.end[0] <= len(lines):
            start, end = (starts[row - 1] + column for row, column in (token.start, token.end))
            if position <= start < end:
                parts += [
                    source[position:start],
                    Markup(f'<i class="{kind}">{escape(source[start:end])}</i>'),
                ]
                position = end
    parts.append(source[position:])
    return element("pre", element("code", join(parts)), class_="code")


def _class(token: tokenize.TokenInfo, previous: str) -> str:
    name = tokenize.tok_name[token.type]
    if name in _STRINGS:
        return "s"
    if name == "NUMBER":
        return "n"
    if name == "COMMENT":
        return "c"
    if name != "NAME" or previous == ".":
        return ""
    if previous in ("def", "class"):
        return "d"
    if keyword.iskeyword(token.string):
        return "k"
    return "b" if token.string in _BUILTINS else ""
