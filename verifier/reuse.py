"""Verdicts kept for attempts with the same text: a model writes the same solution many times over.

An attempt identical to one still being judged waits for that one's verdict. A verdict that may be the host's doing
(an infrastructure failure, a wall limit) is given to those that waited, but not kept for later ones.
"""

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

from verifier.outcomes import INFRASTRUCTURE, WALL_LIMIT
from verifier.verdict import Verdict


class Reuse:
    """The latest `capacity` verdicts, keyed by what they depend on."""

    def __init__(self, capacity: int):
        self.capacity = capacity
        self._kept: dict[bytes, Verdict] = {}  # the most recently used last

    def begin(self, ready: dict[int, Verdict], limits: tuple) -> Callable[[int, Verdict], None]:
        """Begins a stream, whose verdicts go to `ready` by place. Returns the function that delivers a fresh
        verdict."""
        self._ready = ready
        self._limits = repr(limits).encode()
        self._waiting: dict[bytes, list[int]] = {}
        self._keys: dict[int, bytes] = {}
        return self._deliver

    def is_first(self, place: int, item: Mapping[str, Any]) -> bool:
        """Whether the attempt at this place must be judged; if not, its verdict is, or will be, in `ready`."""
        key = self._key(item)
        verdict = self._kept.pop(key, None)
        if verdict is not None:
            self._kept[key] = verdict
            self._ready[place] = verdict
            return False
        if key in self._waiting:
            self._waiting[key].append(place)
            return False
        self._waiting[key] = []
        self._keys[place] = key
        return True

    def _deliver(self, place: int, verdict: Verdict) -> None:
        key = self._keys.pop(place)
        for other in [place, *self._waiting.pop(key)]:
            self._ready[other] = verdict
        if verdict.outcome not in (INFRASTRUCTURE, WALL_LIMIT):
            self._kept[key] = verdict
            if len(self._kept) > self.capacity:
                del self._kept[next(iter(self._kept))]

    def _key(self, item: Mapping[str, Any]) -> bytes:
        puzzle, solution = (item[name].encode("utf-8", "surrogatepass") for name in ("puzzle", "solution"))
        head = self._limits + len(puzzle).to_bytes(8, "little")
        return blake2b(head + puzzle + solution, digest_size=16).digest()
