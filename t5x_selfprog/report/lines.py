"""Quantities over steps, as lines in the style of the other figures (plots.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from t5x_selfprog.report.markup import Markup, count, element
from t5x_selfprog.report.plots import WIDTH, as_figure, as_path, spread

_TICKS = 4
_LETTERS = 14  # height of a label


@dataclass(frozen=True)
class Line:
    """(step, value) points in order of steps, or of batches; an empty label is not drawn."""

    label: str
    style: str
    points: Sequence[tuple[float, float]]


def line_panel(title: str, lines: Sequence[Line], axis: str = "step") -> Markup:
    """Lines on one axis that begins at zero, or below it where values are negative; `axis` names what they run over."""
    left, right, top, bottom = 54, WIDTH - 12, 10, 150
    drawn = [(line, [(x, y) for x, y in line.points if math.isfinite(y)]) for line in lines]
    xs = [x for _, points in drawn for x, _ in points] or [0.0]
    ys = [y for _, points in drawn for _, y in points] or [0.0]
    low, high = min(xs), max(max(xs), min(xs) + 1)
    ticks = _ticks(min(0.0, *ys), max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        up = (y - ticks[0]) / (ticks[-1] - ticks[0])
        return left + (right - left) * (x - low) / (high - low), bottom - (bottom - top) * up

    parts: list[object] = []
    for tick in ticks:
        _, y = place(low, tick)
        parts.append(
            element("line", x1=left, x2=right, y1=y, y2=y, class_="grid" if tick > ticks[0] else "axis")
        )
        parts.append(element("text", f"{tick:.3g}", x=left - 6, y=y + 4, class_="tick end"))
    for step, anchor in ((low, ""), (high, "end")):
        parts.append(
            element("text", count(step), x=place(step, 0)[0], y=bottom + 18, class_=f"tick {anchor}".strip())
        )
    parts.append(element("text", axis, x=(left + right) / 2, y=bottom + 18, class_="quiet middle"))
    shown = [(line, points) for line, points in drawn if points]
    labels = spread([place(*points[-1])[1] - 7 for _, points in shown], _LETTERS, top + 8, bottom - 4)
    for (line, points), label_y in zip(shown, labels, strict=True):
        spoken = f"{line.label or title}: {points[0][1]:.3g} at first, {points[-1][1]:.3g} at the end"
        end_x, _ = place(*points[-1])
        named = line.label and len(lines) > 1
        key = [(end_x - 14, label_y - 4), (end_x - 2, label_y - 4)]  # in the line's colour, beside its label
        parts.append(
            element(
                "g",
                element("title", spoken),
                element("path", d=as_path([place(*point) for point in points]), class_="curve"),
                element("path", d=as_path(key), class_="curve") if named else None,
                element("text", line.label, x=end_x - 18, y=label_y, class_="label end") if named else None,
                class_=f"row {line.style}",
            )
        )
    return as_figure(title, bottom + 26, parts)


def _ticks(low: float, high: float) -> list[float]:
    """From at most `low` to at least `high` in steps of 1, 2, 2.5 or 5 times a power of ten."""
    raw = (high - low if high > low else 1.0) / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, max(last, first + 1) + 1)]
