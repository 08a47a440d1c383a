"""Expiring claims: how several hosts that share a folder divide its shards without talking.

Each claim on an item is one small file, `<item>.claim-<generation>`, made exclusively. Whoever finds the
newest generation expired or released makes the next one; of all who try, one succeeds. A holder rewrites only
its own generation, so no claim is ever taken by deleting somebody else's file.

Clocks of the hosts should agree to well within the time to live. If they do not, an item is worked on twice,
which costs time and changes no result: the ledger keeps one.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from typing import Any

from verifier.storage import files


def prolonging(prolong: Callable[[], object], ttl_s: float) -> Callable[[], None]:
    """A function that a holder may call as often as it likes: every third of `ttl_s`, it calls `prolong`."""
    last = time.monotonic()

    def beat() -> None:
        nonlocal last
        if time.monotonic() - last > ttl_s / 3:
            last = time.monotonic()
            prolong()

    return beat


class Claims:
    """The claims on the items of one folder, as seen by this process."""

    def __init__(self, folder: files.Path) -> None:
        self._folder = folder
        self._held: dict[str, tuple[int, str, float]] = {}  # item -> generation, owner, ttl_s

    def claim(self, item: str, owner: str, ttl_s: float) -> bool:
        """True if `owner` now holds `item` for `ttl_s` seconds; its own live claim is prolonged."""
        generation, holder = self._newest(item)
        if holder is not None and holder["expires_at"] > time.time():
            if holder["owner"] != owner:
                return False
            self._write(item, generation, owner, ttl_s)
            if self._newest(item)[0] != generation:
                return False  # it ran out while we were writing and somebody was quicker
            self._held[item] = generation, owner, ttl_s
        else:
            generation += 1
            before = self._held.get(item)
            self._held[item] = generation, owner, ttl_s  # first: if we are stopped now, it can be released
            if not files.create_exclusive(self._path(item, generation), _content(owner, ttl_s)):
                # A claim held before is lost, and stays on record as lost: see `holds`.
                del self._held[item]
                if before is not None:
                    self._held[item] = before
                return False
        return True

    def holds(self, item: str) -> bool:
        """False once the claim made through this object ran out or was taken over; prolongs it otherwise.

        True for an item never claimed here: a single host needs no claims.
        """
        if item not in self._held:
            return True
        generation, owner, ttl_s = self._held[item]
        newest, holder = self._newest(item)
        live = newest == generation and holder is not None and holder["expires_at"] > time.time()
        return live and self.claim(item, owner, ttl_s)

    def release(self, item: str) -> None:
        """Gives up the claim made through this object, if there is one, so that others need not wait."""
        held = self._held.pop(item, None)
        if held is None:
            return
        generation, holder = self._newest(item)
        if generation == held[0] and holder is not None and holder["owner"] == held[1]:
            self._write(item, generation, held[1], ttl_s=0.0)

    def forget(self, item: str) -> None:
        """Removes every claim on an item that is done."""
        self._held.pop(item, None)
        for name in files.listdir(self._folder):
            if name.startswith(f"{item}.claim-"):
                files.remove(files.join(self._folder, name))

    def forget_all(self) -> None:
        """Removes every claim in the folder: all of its items are done."""
        self._held.clear()
        for name in files.listdir(self._folder):
            if ".claim-" in name:
                files.remove(files.join(self._folder, name))

    def _newest(self, item: str) -> tuple[int, dict[str, Any] | None]:
        """The newest generation (0: never claimed) and what it says; None if it has gone since."""
        prefix = f"{item}.claim-"
        names = [name for name in files.listdir(self._folder) if name.startswith(prefix)]
        if not names:
            return 0, None
        generation = max(int(name.removeprefix(prefix)) for name in names)
        try:
            return generation, json.loads(files.read_bytes(self._path(item, generation)))
        except FileNotFoundError:
            return generation, None

    def _path(self, item: str, generation: int) -> str:
        return files.join(self._folder, f"{item}.claim-{generation:06d}")

    def _write(self, item: str, generation: int, owner: str, ttl_s: float) -> None:
        files.write_atomic(self._path(item, generation), _content(owner, ttl_s))


def _content(owner: str, ttl_s: float) -> bytes:
    # `by` is drawn anew each time, so that nobody takes another's claim for their own (see files.create_exclusive).
    content = {"owner": owner, "expires_at": time.time() + ttl_s, "by": secrets.token_hex(8)}
    return json.dumps(content, sort_keys=True).encode()
