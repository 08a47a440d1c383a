"""Shards are committed in a thread of their own, so that devices need not wait for encoding and for storage."""

import queue
import threading
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from t5x_selfprog.telemetry import recorder
from verifier.storage.shards import Ledger


class _Shard(NamedTuple):
    """One to be committed; sampled: the clock's reading when its last attempt was sampled."""

    number: int
    records: Iterable[Mapping[str, Any]]
    counters: dict[str, int | float]
    sampled: dict[str, dict[str, float]]


class Commits:
    """Commits shards of a ledger beside the caller, one after the other in the order in which they are given.

    A context manager: once its block is left, by whatever exception, every shard that was given is committed, or the
    error that prevented it is raised. After an error, no later shard is committed. Where the process is killed, shards
    not committed yet are pending, as they are where sampling was killed.
    """

    def __init__(self, ledger: Ledger):
        self._ledger = ledger
        # One may wait while another is written: more would only hold memory.
        self._given: queue.Queue[_Shard | None] = queue.Queue(maxsize=1)
        self._error: BaseException | None = None
        # A daemon, because an interrupt while the block is left must end the process, even if storage hangs.
        self._thread = threading.Thread(target=self._work, name="commits", daemon=True)

    def __enter__(self) -> "Commits":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._given.put(None)
        self._thread.join()
        self.check()

    def commit(self, number: int, records: Iterable[Mapping[str, Any]], **counters: int | float) -> None:
        """Hands a shard over; the caller must not change its records any more. Waits while another one waits.

        Raises what `check` raises.
        """
        self.check()
        self._given.put(_Shard(number, records, counters, recorder.current().clock.read()))

    def check(self) -> None:
        """Raises what prevented a commit, if anything did. Costs nothing."""
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (shard := self._given.get()) is not None:
            if self._error is None:  # otherwise taken away, so that nobody waits
                self._commit(shard)
            del shard  # not to be kept until the next one comes

    def _commit(self, shard: _Shard) -> None:
        try:
            self._ledger.commit(shard.number, shard.records, **shard.counters)
        except BaseException as error:  # `check` raises it
            self._error = error
        else:
            recorder.current().committed(shard.sampled)
