"""Measures shards as they are sampled on the devices and judged on the host's cores.

The queue between the two holds what the sampler has committed and the verifier has not. While it stays short, verdicts
keep up.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax

from t5x_selfprog.telemetry import recorder
from t5x_selfprog.telemetry.compiles import compiles
from verifier.shards import Ledger

JUDGE = "judge"  # the track of the judging thread
EVERY_S = 10.0  # a shard takes minutes, so the queue is also recorded while it shrinks


class HasStats(Protocol):
    """A sampler."""

    def stats(self) -> dict[str, float]: ...


class SamplingMeter:
    """Reports each shard that the sampler serves from now on."""

    def __init__(self, sampler: HasStats, path: str):
        self._sampler, self._path = sampler, path
        self._before, self._began = sampler.stats(), time.monotonic()
        self._compiled = compiles().totals()

    def shard(self, shard: int, attempts: int) -> None:
        """After its commit."""
        now, stats, watch = time.monotonic(), self._sampler.stats(), recorder.current()
        spent = {name: stats[name] - before for name, before in self._before.items()}
        seconds = max(now - self._began, 1e-9)
        rate = spent["tokens"] / seconds
        watch.committed()
        watch.record(
            "sample",
            self._path,
            shard,
            {
                "attempts": attempts,
                "new_tokens": int(spent["tokens"]),
                "new_tokens_per_s": rate,
                "new_tokens_per_s_per_chip": rate / jax.device_count(),
                "row_occupancy": spent["tokens"] / max(spent["row_steps"], 1),
                "seconds": seconds,
                "prefill_s": spent["prefill_s"],
                "decode_s": spent["decode_s"],
                "host_s": spent["host_s"],
                **compiles().since(self._compiled),
            },
        )
        self._before, self._began, self._compiled = stats, now, compiles().totals()


class JudgingMeter:
    """Reports a shard while it is judged, and the queue behind it."""

    def __init__(self, source: Ledger, ledger: Ledger, shard: int, attempts: int):
        self._source, self._ledger, self._shard, self._attempts = source, ledger, shard, attempts
        self._began = self._told = time.monotonic()
        self._number = 0

    def verdict(self) -> None:
        """Called at each verdict, second looks included; records the queue every `EVERY_S`."""
        self._number += 1
        if time.monotonic() - self._told > EVERY_S:
            self._told = time.monotonic()
            in_pool = max(0, self._attempts - self._number)
            recorder.current().record("queue", self._ledger.path, self._shard, self._queue(in_pool))

    def committed(self, judged: Sequence[Mapping[str, Any]]) -> None:
        """Called after the shard's commit."""
        seconds = max(time.monotonic() - self._began, 1e-9)
        recorder.current().record(
            "judge",
            self._ledger.path,
            self._shard,
            {
                "verdicts": len(judged),
                "verdicts_per_s": len(judged) / seconds,
                "seconds": seconds,
                "cpu_s": float(sum(record["cpu_s"] for record in judged)),
                "accepted": sum(record["outcome"] == "accepted" for record in judged),
                **self._queue(0),
            },
        )

    def _queue(self, in_pool: int) -> dict[str, int]:
        """What is sampled but not judged: shards, their attempts, and those that the pool has or will get next."""
        waiting = set(self._source.committed()) & set(self._ledger.pending())
        rows = sum(int(self._source.entry(shard)["rows"]) for shard in waiting - {self._shard})
        return {"queue_shards": len(waiting), "queue_attempts": rows + in_pool, "in_pool": in_pool}
