"""What the sections of a page are made of: the section itself, tables, folded numbers, captioned panels."""

from __future__ import annotations

from collections.abc import Sequence

from t5x_selfprog.report.markup import Markup, element
from t5x_selfprog.report.plots import Bar, bar_panel


def section(anchor: str, title: str, lead: str, *parts: object, half: bool = False) -> Markup:
    """`half`: on a wide page, another section fits beside it."""
    return element(
        "section",
        element("h2", title),
        element("p", lead, class_="lead") if lead else None,
        *parts,
        id=anchor,
        aria_label=title,
        class_="half" if half else None,
    )


def table(head: Sequence[object], body: Sequence[Sequence[object]]) -> Markup:
    """A plain table. The first cell names the row; a row of one cell is a heading over the rows below it."""
    rows = []
    for first, *cells in body:
        if cells:
            rows.append(
                element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in cells))
            )
        else:
            heading = element("th", first, scope="rowgroup", colspan=len(head))
            rows.append(element("tr", heading, class_="family"))
    return element(
        "table",
        element("thead", element("tr", *(element("th", cell, scope="col") for cell in head))),
        element("tbody", *rows),
    )


def fallback(summary: str, content: Markup) -> Markup:
    """The numbers behind a plot, folded away."""
    return element("details", element("summary", summary), element("div", content, class_="wide", tabindex=0))


def captioned(caption: str, content: Markup) -> Markup:
    return element("figure", element("figcaption", caption), content)


def bars_or_nothing(caption: str, title: str, bars: Sequence[Bar], style: str) -> Markup:
    """A panel of bars, or a line of text where all are zero."""
    if not any(bar.value for bar in bars):
        return element("p", f"{caption}: nothing.", class_="note")
    return captioned(caption, bar_panel(title, bars, style))


def pair(*panels: Markup | None) -> Markup:
    """Panels that belong together: side by side where the page has room, else stacked."""
    return element("div", *panels, class_="pair")
