"""The pieces of the page: nothing unescaped, nothing lost in highlighting, axes and labels that make sense."""

import html
import itertools
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t5x_selfprog.interval import Interval
from t5x_selfprog.report.code import highlight
from t5x_selfprog.report.markup import element, escape, percent, plural, points
from t5x_selfprog.report.plots import (
    Bar,
    Curve,
    IntervalRow,
    bar_panel,
    column_panel,
    curve_plot,
    interval_panel,
    nice_ticks,
    spread,
)

ANY_TEXT = st.text(st.characters(), max_size=80)  # surrogates included


def text_of(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", markup))


# Escaping.


@given(ANY_TEXT)
def test_text_adds_no_elements_and_fits_utf8(text):
    made = element("p", text, title=text)
    made.encode("utf-8")
    assert len(ElementTree.fromstring(made)) == 0


def test_what_cannot_be_seen_is_written_out():
    assert escape("a\u202eb\x00\ud800\r") == r"a\u202eb\u0000\ud800\u000d"
    assert escape("é\t\n雪") == "é\t\n雪"


# Code.


@given(ANY_TEXT)
def test_any_text_can_be_highlighted(text):
    highlight(text).encode("utf-8")


@pytest.mark.parametrize(
    "source",
    [
        "def f(x: int, a='<b>'):\n    return x == 1 and a  # & done",
        'def g():\n    """Two\n    lines."""\n    return f"{1 + 2:>3} {{x}}"',
        "def g():\n\treturn [\n\t\t1e-6,\n\t]",
        "def g():\n    return 'é雪🙂' + \"\\x00\"",
        "not python at all (",
        "  indented\n unindented",
        "",
    ],
)
def test_highlighting_changes_no_character(source):
    assert text_of(highlight(source)) == source.expandtabs(4).rstrip()


def test_classes_of_tokens():
    made = highlight("def f(x: int):\n    return len('a') == 10  # why")
    assert re.findall(r'<i class="(\w)">([^<]*)</i>', made) == [
        ("k", "def"),
        ("d", "f"),
        ("b", "int"),
        ("k", "return"),
        ("b", "len"),
        ("s", "&#x27;a&#x27;"),
        ("n", "10"),
        ("c", "# why"),
    ]


def test_a_method_is_no_builtin():
    assert '<i class="b">' not in highlight("x.index(y.max)")


# Numbers.


def test_numbers_read_well():
    assert [percent(0.1234), percent(1), percent(None), percent(0.5, 0)] == ["12.3%", "100.0%", "–", "50%"]
    assert [points(0.1234), points(-0.05), points(-0.0001), points(0)] == ["+12.3", "−5.0", "+0.0", "+0.0"]
    assert [plural(1, "puzzle"), plural(12345, "puzzle")] == ["1 puzzle", "12,345 puzzles"]


# Plots.


@given(st.floats(1e-6, 1.0), st.integers(2, 8))
def test_ticks_start_at_zero_and_hold_the_largest(largest, about):
    ticks = nice_ticks(largest, about)
    assert ticks[0] == 0 and ticks == sorted(ticks) and len(ticks) <= about + 2
    assert largest - 1e-6 <= ticks[-1] <= 1


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8))
def test_labels_keep_apart_and_inside(places):
    moved = spread(places, 10, 0, 100)
    ordered = [moved[i] for i in sorted(range(len(places)), key=lambda i: places[i])]
    assert all(b - a >= 10 - 1e-6 for a, b in itertools.pairwise(ordered))
    assert min(moved) >= -1e-6 and max(moved) <= 100 + 1e-6


def test_panels_draw_every_row_to_scale():
    rows = [
        IntervalRow("<base>", "base", Interval(0.1, 0.05, 0.2)),
        IntervalRow("b", "verified", Interval(0, 0, 0.4)),
    ]
    drawn = ElementTree.fromstring(interval_panel("t", rows, [("base", 0.1)]))
    whiskers = [line for line in drawn.iter("line") if line.get("class") == "whisker"]
    lengths = [float(line.get("x2")) - float(line.get("x1")) for line in whiskers]
    assert lengths[1] / lengths[0] == pytest.approx(0.4 / 0.15, rel=0.01)
    assert "<base>: 10.0%, 95% interval 5.0% to 20.0%" in "".join(drawn.itertext())


@pytest.mark.parametrize("value", [0, 1, 10**9])
def test_bars_survive_any_count(value):
    for panel in (
        bar_panel("t", [Bar("a", value, str(value)), Bar("b", 0, "0", "x")], "verified"),
        column_panel("t", [Bar("a", value, str(value)), Bar("b", 0, "0")], "verified", "axis"),
    ):
        widths = [
            float(r.get("width"))
            for r in ElementTree.fromstring(panel).iter("rect")
            if r.get("class") == "bar"
        ]
        assert all(0 <= width <= 344 for width in widths)


def test_curves_at_zero_are_drawn():
    made = curve_plot("t", [Curve("a", "base", [1, 2], [0.0, 0.0]), Curve("b", "base", [1, 2], [0.0, 0.0])])
    assert "NaN" not in made and "inf" not in made
