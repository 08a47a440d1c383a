"""Attempts that a run made before it was asked for more of them: they are not sampled again.

An attempt is a function of (seed, iteration, puzzle, sample index), so existing attempts are the first of the larger
number. `growth` sets their ledger aside; this module finds it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from t5x_selfprog.growth import EARLIER
from verifier.storage import files
from verifier.storage.shards import Ledger, is_finished

Records = list[dict[str, Any]]


class EarlierAttempts:
    """Attempts at the puzzles of one iteration, from the newest finished ledger; none if there is none.

    Args:
      root: the run's directory.
      path: where the run samples these attempts now, under `root`.
    """

    def __init__(self, root: files.Path, path: str):
        self._ledger: Ledger | None = None
        inside = path.removeprefix(files.join(root)).strip("/")
        folder = files.join(root, EARLIER)
        for part in sorted(files.listdir(folder) if files.is_folder(folder) else []):
            place = files.join(folder, part, inside)
            if is_finished(place):
                self._ledger = Ledger.open(place)

    def of_shard(self, shard: int, checkpoint: str, fewer_than: int) -> Mapping[str, Records]:
        """Attempts by the model `checkpoint`, by puzzle, in the order of their sample indices.

        A puzzle that has `fewer_than` attempts or more is omitted: all its attempts are sampled again.
        """
        found: dict[str, Records] = {}
        if self._ledger is None or shard >= self._ledger.shard_count:
            return found
        for record in self._ledger.read(shard):
            if record["checkpoint"] == checkpoint:
                found.setdefault(record["puzzle_id"], []).append(record)
        return {
            puzzle_id: records
            for puzzle_id, records in found.items()
            if [record["sample_index"] for record in records] == list(range(len(records)))
            and len(records) < fewer_than
        }
