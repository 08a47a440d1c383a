"""Windows of a stream of attempts, bounded in number and in text so that a window fits in memory."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

Row = TypeVar("Row", bound=Mapping[str, Any])
MOST_CHARACTERS = 1 << 26  # of puzzles and solutions in one window, not counting the last


def text_size(item: Any) -> int:
    """Characters of an attempt, of a puzzle's source, or of the source in a question."""
    if isinstance(item, tuple):
        item = item[0]
    return len(item) if isinstance(item, str) else len(item["puzzle"]) + len(item["solution"])


def take_window(source: Iterator[Row], count: int) -> list[Row]:
    """The next items, none at the end of the stream. How many depends on the items alone."""
    window: list[Row] = []
    characters = 0
    while len(window) < count and characters < MOST_CHARACTERS:
        item = next(source, None)
        if item is None:
            break
        window.append(item)
        characters += text_size(item)
    return window
