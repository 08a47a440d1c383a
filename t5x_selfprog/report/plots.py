"""The figures, drawn as inline SVG. Colours, fonts and the dark scheme come from page.css by class.

A panel is as wide as a phone; where there is room the page lays panels side by side, so that text keeps its size.
Coordinates are CSS pixels; shares lie in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from t5x_selfprog.interval import Interval
from t5x_selfprog.report.markup import Markup, count, element, join, percent

WIDTH = 344
_ROW = 26
_LABEL = 106  # width for the row names, at least
_LETTER = 7.0  # approximate width of one letter


@dataclass(frozen=True)
class IntervalRow:
    """One dot with its whisker; `style` is a class of page.css such as "verified"."""

    label: str
    style: str
    interval: Interval


@dataclass(frozen=True)
class Bar:
    """One bar; `note` follows its text in a muted colour; `style` only where it differs from the panel's."""

    label: str
    value: float
    text: str
    note: str = ""
    style: str = ""


@dataclass(frozen=True)
class Curve:
    """Pass@k over k, with its band where there is one."""

    label: str
    style: str
    ks: Sequence[int]
    values: Sequence[float]
    band: Sequence[Interval] = ()


@dataclass(frozen=True)
class Point:
    """One measurement: a size and a share."""

    x: float
    y: float
    style: str


def interval_panel(
    title: str, rows: Sequence[IntervalRow], references: Sequence[tuple[str, float]]
) -> Markup:
    """Estimates with 95% intervals, one row each, on a shared axis from zero.

    `references` are (style, share): vertical lines for comparison.
    """
    top, bottom = 8, 30
    height = top + _ROW * len(rows) + bottom
    largest = max([row.interval.high for row in rows] + [0.01])
    ticks = nice_ticks(largest, 4)
    left, right = _LABEL, WIDTH - 50
    scale = (right - left) / ticks[-1]
    parts: list[object] = [_share_axis(ticks, left, scale, top, height - bottom)]
    for style, share in references:
        x = left + share * scale
        parts.append(element("line", x1=x, x2=x, y1=top, y2=height - bottom, class_=f"reference {style}"))
    for i, row in enumerate(rows):
        y = top + _ROW * (i + 0.5)
        low, middle, high = (
            left + end * scale for end in (row.interval.low, row.interval.estimate, row.interval.high)
        )
        spoken = f"{row.label}: {percent(row.interval.estimate)}, {_between(row.interval)}"
        parts.append(
            element(
                "g",
                element("title", spoken),
                element("rect", x=0, y=y - _ROW / 2, width=WIDTH, height=_ROW, class_="hit"),
                element("text", row.label, x=left - 10, y=y + 4, class_="label end"),
                element("line", x1=low, x2=high, y1=y, y2=y, class_="whisker"),
                marker(row.style, middle, y),
                element("text", percent(row.interval.estimate), x=WIDTH, y=y + 4, class_="value end"),
                class_=f"row {row.style}",
            )
        )  # fmt: skip
    return as_figure(title, height, parts)


def bar_panel(title: str, bars: Sequence[Bar], style: str) -> Markup:
    """Horizontal bars from zero, each with its value; wider where names are long."""
    height = _ROW * len(bars) + 4
    largest = max([bar.value for bar in bars] + [1e-9])
    left = max([_LABEL, *(round(_LETTER * len(bar.label)) + 12 for bar in bars)])
    panel, full = WIDTH + left - _LABEL, WIDTH - _LABEL - 98
    parts = []
    for i, bar in enumerate(bars):
        y = _ROW * i + 2
        width = max(full * bar.value / largest, 1.5 if bar.value else 0.0)
        parts.append(
            element(
                "g",
                element("title", f"{bar.label}: {bar.text} {bar.note}".strip()),
                element("rect", x=0, y=y, width=panel, height=_ROW, class_="hit"),
                element("text", bar.label, x=left - 10, y=y + 17, class_="label end"),
                element("rect", x=left, y=y + 4, width=width, height=_ROW - 8, rx=1.5, class_="bar"),
                element(
                    "text",
                    element("tspan", bar.text, class_="value"),
                    element("tspan", bar.note, dx=6, class_="quiet") if bar.note else None,
                    x=left + width + 7,
                    y=y + 17,
                ),
                class_=f"row {bar.style or style}",
            )
        )
    return as_figure(title, height, parts, width=panel)


def column_panel(title: str, bars: Sequence[Bar], style: str, axis: str) -> Markup:
    """Vertical bars, the value above each and the label below; `axis` names the binned quantity."""
    top, plot, bottom = 20, 120, 40
    step, base = WIDTH / len(bars), top + plot
    largest = max([bar.value for bar in bars] + [1e-9])
    parts: list[object] = [
        element("line", x1=0, x2=WIDTH, y1=base, y2=base, class_="axis"),
        element("text", axis, x=WIDTH / 2, y=base + 36, class_="quiet middle"),
    ]
    for i, bar in enumerate(bars):
        x = step * (i + 0.5)
        tall = max(plot * bar.value / largest, 1.5 if bar.value else 0.0)
        parts.append(
            element(
                "g",
                element("title", f"{bar.label}: {bar.text} {bar.note}".strip()),
                element("rect", x=x - step / 2, y=0, width=step, height=base, class_="hit"),
                element("rect", x=x - step / 2 + 3, y=base - tall, width=step - 6, height=tall, rx=1.5, class_="bar"),
                element("text", bar.text, x=x, y=base - tall - 6, class_="value middle"),
                element("text", bar.label, x=x, y=base + 16, class_="tick middle"),
                class_=f"row {bar.style or style}",
            )
        )  # fmt: skip
    return as_figure(title, base + bottom, parts)


def curve_plot(title: str, curves: Sequence[Curve]) -> Markup:
    """Pass@k against k on a logarithmic axis; every curve is labelled at its end."""
    width, height = 860, 360
    left, right, top, bottom = 46, width - 118, 12, height - 44
    largest_k = max([k for curve in curves for k in curve.ks] + [2])
    highs = [interval.high for curve in curves for interval in curve.band]
    ticks = nice_ticks(max([value for curve in curves for value in curve.values] + highs + [0.01]), 5)

    def x(k: float) -> float:
        return left + (right - left) * math.log(k) / math.log(largest_k)

    def y(share: float) -> float:
        return bottom - (bottom - top) * share / ticks[-1]

    parts: list[object] = []
    for tick in ticks:
        parts.append(
            element("line", x1=left, x2=right, y1=y(tick), y2=y(tick), class_="grid" if tick else "axis")
        )
        parts.append(element("text", _tick(tick, ticks), x=left - 8, y=y(tick) + 4, class_="tick end"))
    for k in [k for k in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if k <= largest_k]:
        parts.append(element("line", x1=x(k), x2=x(k), y1=bottom, y2=bottom + 4, class_="axis"))
        parts.append(element("text", count(k), x=x(k), y=bottom + 18, class_="tick middle"))
    parts.append(element("text", "k, attempts", x=(left + right) / 2, y=height - 6, class_="quiet middle"))
    for curve in curves:
        if curve.band:
            upper = [(x(k), y(interval.high)) for k, interval in zip(curve.ks, curve.band, strict=True)]
            lower = [(x(k), y(interval.low)) for k, interval in zip(curve.ks, curve.band, strict=True)]
            parts.append(
                element("path", d=as_path([*upper, *lower[::-1]]) + "Z", class_=f"band {curve.style}")
            )
    places = spread([y(curve.values[-1]) for curve in curves], 16, top, bottom)
    for curve, place in zip(curves, places, strict=True):
        points = [(x(k), y(value)) for k, value in zip(curve.ks, curve.values, strict=True)]
        ends = (percent(curve.values[0]), percent(curve.values[-1]))
        spoken = f"{curve.label}: {ends[0]} at k = {curve.ks[0]}, {ends[1]} at k = {curve.ks[-1]}"
        end_x, end_y = points[-1]
        leader = as_path([(end_x + 6, end_y), (right + 14, place), (right + 18, place)])
        parts.append(
            element(
                "g",
                element("title", spoken),
                element("path", d=as_path(points), class_="curve"),
                marker(curve.style.split()[0], end_x, end_y),
                element("path", d=leader, class_="leader"),
                element("text", curve.label, x=right + 22, y=place + 4, class_="label"),
                class_=f"row {curve.style}",
            )
        )  # fmt: skip
    return as_figure(title, height, parts, width=width)


def scatter_panel(
    title: str, drawn: Sequence[Point], curve: Sequence[tuple[float, float]], axis: str
) -> Markup:
    """Shares against sizes on a logarithmic axis, with a curve where there is one; `axis` names the size."""
    left, right, top, bottom = 40, WIDTH - 14, 10, 170
    xs = [point.x for point in drawn]
    low, high = min(xs), max(xs)
    wide = math.log(high / low) or 1.0
    ticks = nice_ticks(max([point.y for point in drawn] + [y for _, y in curve] + [0.01]), 4)

    def place(x: float, y: float) -> tuple[float, float]:
        along = math.log(x / low) / wide if high > low else 0.5
        return left + 8 + (right - left - 16) * along, bottom - (bottom - top) * y / ticks[-1]

    parts: list[object] = []
    for tick in ticks:
        _, y = place(low, tick)
        parts.append(element("line", x1=left, x2=right, y1=y, y2=y, class_="grid" if tick else "axis"))
        parts.append(element("text", _tick(tick, ticks), x=left - 6, y=y + 4, class_="tick end"))
    for x, anchor in ((low, "tick"), (high, "tick end")):
        parts.append(element("text", f"{x:.3g}", x=place(x, 0)[0], y=bottom + 17, class_=anchor))
    parts.append(element("text", axis, x=(left + right) / 2, y=bottom + 34, class_="quiet middle"))
    if curve:
        parts.append(
            element("path", d=as_path([place(x, y) for x, y in curve]), class_=f"curve {drawn[0].style}")
        )
    for point in drawn:
        x, y = place(point.x, point.y)
        spoken = element("title", f"{point.x:g}: {percent(point.y)}")
        parts.append(element("g", spoken, marker(point.style, x, y), class_=f"row {point.style}"))
    return as_figure(title, bottom + 44, parts)


def arm_style(arm: str) -> str:
    """The style of an arm: `human_best` is drawn as `human`, an unknown arm as "refused"."""
    known = ("base", "verified", "unverified", "human", "seeds_only", "enumerator")
    return arm if arm in known else next((name for name in known if arm.startswith(name)), "refused")


def marker(style: str, x: float, y: float) -> Markup:
    """A shape for each arm, so that colour is never the only difference."""
    size = 5.0
    shapes = {
        "unverified": [(0, -1.25), (1.15, 0.85), (-1.15, 0.85)],
        "human": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        "seeds_only": [(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)],
        "enumerator": [(-1.2, -0.35), (1.2, -0.35), (1.2, 0.35), (-1.2, 0.35)],
    }
    if style in shapes:
        corners = [(x + size * dx, y + size * dy) for dx, dy in shapes[style]]
        return element("path", d=as_path(corners) + "Z", class_="mark")
    return element("circle", cx=x, cy=y, r=size, class_="mark")


def nice_ticks(largest: float, about: int) -> list[float]:
    """About `about` ticks from 0 to at least `largest`, in steps of 1, 2, 2.5 or 5 times a power of ten; at most 1."""
    raw = largest / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    number = math.ceil(largest / step - 1e-9)
    return [round(min(i * step, 1.0), 10) for i in range(number + 1)]


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Moves labels apart: same order, at least `gap` between neighbours, within low..high if they fit."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = [0.0] * len(places)
    previous = -math.inf
    for i in order:
        previous = moved[i] = max(places[i], previous + gap, low)
    limit = math.inf
    for i in reversed(order):
        limit = moved[i] = min(moved[i], limit - gap, high)
    return moved


def _share_axis(ticks: Sequence[float], left: float, scale: float, top: float, bottom: float) -> Markup:
    parts = []
    for tick in ticks:
        x = left + tick * scale
        parts.append(element("line", x1=x, x2=x, y1=top, y2=bottom, class_="grid" if tick else "axis"))
        parts.append(element("text", _tick(tick, ticks), x=x, y=bottom + 18, class_="tick middle"))
    return join(parts)


def _tick(tick: float, ticks: Sequence[float]) -> str:
    fine = any(abs(100 * t - round(100 * t)) > 1e-9 for t in ticks)
    return percent(tick, 1 if fine else 0)


def _between(interval: Interval) -> str:
    return f"95% interval {percent(interval.low)} to {percent(interval.high)}"


def as_path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)


def as_figure(title: str, height: float, parts: Sequence[object], width: int = WIDTH) -> Markup:
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {width} {height:.0f}",
        width=width,
        height=f"{height:.0f}",
        role="img",
        aria_label=title,
    )
