"""The memory through which a sandboxed child reports: written by one child, read by us when it is gone.

A child appends records (an item's number and bytes) and notes which item it is at. No wake-up is needed
per record, and what was written before a child died is there. Each child has a fresh area, so nothing that
survives a child can reach what a later one writes.
"""

import contextlib
import mmap
import os
import struct
from collections.abc import Iterator

# bytes of records written, item in progress (-1: none), CPU seconds of the child when it began that item, and whether
# it is past the screen
_HEADER = struct.Struct("<Qqdq")
_RECORD = struct.Struct("<qI")  # item, length
_REPORT = struct.Struct("<dIHH")  # CPU seconds, peak in KiB, bytes of outcome, of detail; the rest is `shown`


class Area:
    """`capacity` bytes for records. Memory is used only as far as it is written.

    It is shared with children forked later, and with other processes that are given its `descriptor`.
    """

    def __init__(self, capacity: int, descriptor: int | None = None):
        self.capacity = capacity
        self.descriptor = os.memfd_create("area") if descriptor is None else descriptor
        if descriptor is None:
            os.ftruncate(self.descriptor, _HEADER.size + capacity)
        self._map = mmap.mmap(self.descriptor, _HEADER.size + capacity)
        self._view = memoryview(self._map)
        self._used = 0
        if descriptor is None:
            _HEADER.pack_into(self._map, 0, 0, -1, 0.0, 0)

    def __enter__(self) -> "Area":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def begin(self, item: int, cpu_s: float, *, screened: bool = False) -> None:
        _HEADER.pack_into(self._map, 0, self._used, item, cpu_s, screened)

    def has_room(self, size: int) -> bool:
        return self._used + _RECORD.size + size <= self.capacity

    def append(self, item: int, *parts: bytes) -> None:
        """Writes a record, its parts one after another; the item is thereby no longer in progress.

        Raises ValueError where there is no room; nothing is written then.
        """
        size = sum(map(len, parts))
        if not self.has_room(size):
            raise ValueError(f"no room for {size} bytes")
        at = _HEADER.size + self._used
        _RECORD.pack_into(self._map, at, item, size)
        at += _RECORD.size
        for part in parts:
            self._view[at : at + len(part)] = part
            at += len(part)
        self._used = at - _HEADER.size
        _HEADER.pack_into(self._map, 0, self._used, -1, 0.0, 0)

    def in_progress(self) -> tuple[int, float]:
        """The item the child is at (-1: none) and its CPU seconds then. A hostile child may write anything."""
        return _HEADER.unpack_from(self._map, 0)[1:3]

    def is_untouched(self) -> bool:
        """Whether no child has begun an item or written a record."""
        return _HEADER.unpack_from(self._map, 0)[:2] == (0, -1)

    @property
    def is_screened(self) -> bool:
        """Whether the program in progress had been found plain before it ran."""
        return bool(_HEADER.unpack_from(self._map, 0)[3])

    def records(self) -> Iterator[tuple[int, memoryview]]:
        """What was written, as far as it makes sense. The views are into the area itself, valid until it is closed."""
        used = min(_HEADER.unpack_from(self._map, 0)[0], self.capacity)
        at, end = _HEADER.size, _HEADER.size + used
        while at + _RECORD.size <= end:
            item, length = _RECORD.unpack_from(self._map, at)
            at += _RECORD.size
            if length > end - at:
                return
            yield item, self._view[at : at + length]
            at += length

    def close(self) -> None:
        """Gives the memory back; if views of it are in use, once the last of them is gone."""
        with contextlib.suppress(BufferError):
            self._view.release()
            self._map.close()
        os.close(self.descriptor)


class Progress:
    """How far the child writing an area has got, for its watcher, who sees not a byte of its records."""

    def __init__(self, descriptor: int):
        self._map = mmap.mmap(descriptor, _HEADER.size)

    def in_progress(self) -> tuple[int, float]:
        """As Area's."""
        return _HEADER.unpack_from(self._map, 0)[1:3]

    def is_untouched(self) -> bool:
        """As Area's."""
        return _HEADER.unpack_from(self._map, 0)[:2] == (0, -1)

    def close(self) -> None:
        self._map.close()


def pack_report(outcome: str, detail: str, cpu_s: float, peak_kb: int, shown: str = "") -> bytes:
    """What became of an item, as the bytes of a record."""
    texts = [text.encode("utf-8", "surrogatepass") for text in (outcome, detail, shown)]
    return _REPORT.pack(cpu_s, peak_kb, len(texts[0]), len(texts[1])) + b"".join(texts)


def unpack_report(data: memoryview) -> tuple[str, str, float, int, str] | None:
    """The inverse of `pack_report`; None for bytes that it does not write."""
    try:
        cpu_s, peak_kb, *lengths = _REPORT.unpack_from(data)
        middle = _REPORT.size + lengths[0]
        end = middle + lengths[1]
        if end > len(data) or not 0.0 <= cpu_s < 1e9:
            return None
        parts = data[_REPORT.size : middle], data[middle:end], data[end:]
        outcome, detail, shown = (str(part, "utf-8", "surrogatepass") for part in parts)
    except (struct.error, UnicodeDecodeError):
        return None
    return outcome, detail, cpu_s, peak_kb, shown
