"""Measures shards as they are sampled on the devices. (verifier/fleet/beside.py reports what judging took.)"""

import time
from typing import Protocol

import jax

from t5x_selfprog.telemetry import recorder
from t5x_selfprog.telemetry.compiles import compiles

JUDGE = "judge"  # the tracks of judging processes begin with this


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
        """After its last attempt."""
        now, stats, watch = time.monotonic(), self._sampler.stats(), recorder.current()
        spent = {name: stats[name] - before for name, before in self._before.items()}
        seconds = max(now - self._began, 1e-9)
        rate = spent["tokens"] / seconds
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
