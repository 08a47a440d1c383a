"""What `selfprog bench` prints for people: one line per figure with its unit, and parts below their whole."""

from __future__ import annotations

from t5x_selfprog.bench_table import lines


def test_a_line_for_each_figure_with_its_unit() -> None:
    shown = lines(
        {"tokens_per_s": 1234.5678, "mfu": 0.25, "compile_s": 0.5, "peak_gb": None, "device": "cpu"}
    )
    assert [line.split() for line in shown] == [
        ["tokens", "1,235", "/s"],
        ["mfu", "25%"],
        ["compile", "0.5", "s"],
        ["device", "cpu"],
    ]


def test_a_share_that_a_device_does_not_tell_is_said_and_what_was_not_measured_is_left_out() -> None:
    assert [line.split() for line in lines({"mfu": None, "peak_gb": None})] == [["mfu", "unknown", "here"]]


def test_parts_stand_under_their_whole_and_columns_line_up() -> None:
    shown = lines({"parts": {"decode_s": 12.0, "wait_s": 3.25}, "attempts": 1_000_000})
    assert shown[0] == "parts:" and shown[1].startswith("  decode") and shown[2].startswith("  wait")
    ends = [line.rstrip(" s").rstrip() for line in shown[1:]]
    assert len({len(end) for end in ends}) == 1, shown
    assert ends[-1].endswith("1,000,000")


def test_nothing_measured_is_nothing_shown() -> None:
    assert lines({}) == []
