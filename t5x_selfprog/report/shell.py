"""The page around every report: one file, self-contained.

Nothing on it comes from the network. Model text is escaped, and a content security policy admits only the page's own
script (by its hash), so that even a mistake in a report could not run a puzzle's HTML.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from t5x_selfprog.report.markup import Markup, element, escape, join


@dataclass(frozen=True)
class Heading:
    """The top of a page, as plain text.

    Attributes:
      title: the browser tab's.
      name: whose report it is.
      setting: what was measured on what, in one line.
      headline: what was found, in one sentence.
      subline: what supports it.
    """

    title: str
    name: str
    setting: str
    headline: str
    subline: str


def render(heading: Heading, body: Sequence[Markup | None], data: Markup, missing: Sequence[str] = ()) -> str:
    """The whole page as HTML.

    body: its sections; None is left out. data: `script_json` of what the plots show. missing: what is still to come.
    """
    script = _file("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    values = {
        "policy": f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:",
        "title": escape(heading.title),
        "name": escape(heading.name),
        "setting": escape(heading.setting),
        "headline": escape(heading.headline),
        "subline": escape(heading.subline),
        "missing": _missing(missing),
        "navigation": _navigation(body),
        "sections": join(body),
        "style": _file("page.css"),
        "data": data,
        "script": script,
    }
    # Every {{name}} in one pass: inserted text is not scanned again.
    return re.sub(r"\{\{(\w+)\}\}", lambda hole: values[hole[1]], _file("page.html"))


def script_json(data: dict[str, Any]) -> Markup:
    """JSON in which no HTML parser can see a tag."""
    text = json.dumps(data, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _missing(lines: Sequence[str]) -> Markup:
    if not lines:
        return Markup("")
    return element(
        "aside",
        element("h2", "Still missing"),
        element("ul", *(element("li", line) for line in lines)),
        class_="missing",
        aria_label="Still missing",
    )


def _navigation(body: Sequence[Markup | None]) -> Markup:
    found = [re.match(r'<section id="([^"]+)" aria-label="([^"]+)"', part) for part in body if part]
    links = [element("a", Markup(match[2]), href=f"#{match[1]}") for match in found if match]
    return join(links if len(links) > 2 else [])


def _file(name: str) -> str:
    return resources.files("t5x_selfprog.report").joinpath(name).read_text("utf-8")
