"""A short text for a plain value of any size, in time that does not grow with the value."""

import re
from typing import Any

LIMIT = 200  # characters
SMALL_BYTES = 1000  # an encoded value up to this is printed whole, then cut
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
LONG_INT_BITS = 4096  # longer integers take too long to print


def shown(value: Any, size_bytes: int) -> str:
    """At most LIMIT characters of repr(value), without addresses; `size_bytes` is the value's encoded size."""
    return without_addresses(repr(value) if size_bytes <= SMALL_BYTES else _start(value, LIMIT))[:LIMIT]


def without_addresses(text: str) -> str:
    """`<generator object at 0x...>`: an address differs in every process, and says nothing."""
    return _ADDRESS.sub(" at 0x...", text) if " at 0x" in text else text


def _start(value: Any, room: int) -> str:
    """The start of the value's repr; may go on a little past `room`."""
    kind = type(value)
    if kind is int and value.bit_length() > LONG_INT_BITS:
        return f"<int of {value.bit_length()} bits>"
    if kind is str or kind is bytes:
        return repr(value[:room])
    if kind is dict:
        items = (f"{_start(k, room)}: {_start(v, room)}" for k, v in value.items())
        return "{" + _joined(items, room) + "}"
    if kind in (list, tuple, set, frozenset):
        left, right = "[]" if kind is list else "()" if kind is tuple else "{}"
        return left + _joined((_start(item, room) for item in value), room) + right
    return repr(value)


def _joined(items: Any, room: int) -> str:
    text = ""
    for item in items:
        if len(text) > room:
            return text + "..."
        text += (", " if text else "") + item
    return text
