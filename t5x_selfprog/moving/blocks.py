"""Writes an xz file on all cores: independent blocks of the input, compressed in parallel and joined in order.

The result is a concatenation of xz streams, which `lzma`, `tarfile` and the `xz` command read as one file. Its bytes do
not depend on the number of cores.
"""

import collections
import io
import lzma
import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO

BLOCK_BYTES = 16 << 20  # large enough to exploit that a stage's records repeat each other
PRESET = 2  # measured on verdicts: a third of the default's time for 8% more bytes


class BlockWriter(io.RawIOBase):
    """A writable stream over `raw`; closing it writes the remainder and leaves `raw` open."""

    def __init__(self, raw: IO[bytes]):
        self._raw, self._buffer = raw, bytearray()
        workers = os.cpu_count() or 1
        self._threads = ThreadPoolExecutor(workers)  # lzma releases the GIL
        self._waiting: collections.deque[Future[bytes]] = collections.deque()
        self._most = 2 * workers

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:  # type: ignore[no-untyped-def]
        self._buffer += data
        while len(self._buffer) >= BLOCK_BYTES:
            self._submit(bytes(self._buffer[:BLOCK_BYTES]))
            del self._buffer[:BLOCK_BYTES]
        return len(data)

    def close(self) -> None:
        if self.closed:
            return
        try:
            if self._buffer:
                self._submit(bytes(self._buffer))
            self._drain(0)
        finally:
            self._threads.shutdown(cancel_futures=True)
            super().close()

    def _submit(self, block: bytes) -> None:
        self._waiting.append(self._threads.submit(lzma.compress, block, preset=PRESET))
        self._drain(self._most)

    def _drain(self, most: int) -> None:
        while len(self._waiting) > most:
            self._raw.write(self._waiting.popleft().result())
