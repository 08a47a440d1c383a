"""The ledger of a stage: numbered shards, a small entry for each, and a manifest. The only way stages write.

    ledger.json                            what the stage is: name, schema, shard count, seed, fingerprint
    part-00000-of-00008.tfrecord           a shard, never half a file
    part-00000-of-00008.json               its entry (rows, bytes, sha256, counters), which commits it
    part-00000-of-00008.claim-000001       who works on it, until when (only where hosts share a folder)
    manifest.json                          all entries together, once every shard is committed

A shard is committed when its entry exists; each has its own, so that hosts do not race for one file. Killed
at any moment, the ledger opens again with what was committed, and the pending shards are made again. The same
records give the same bytes of every file here except claims.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from verifier.errors import UserError
from verifier.storage import files
from verifier.storage.claims import Claims
from verifier.storage.files import write_atomic as atomic_write
from verifier.storage.records import Kind, Schema, encode_all, read_tfrecord
from verifier.storage.tfrecord import CorruptRecordError, read_frames, write_frames

__all__ = ["Ledger", "LedgerIncomplete", "LedgerMismatch", "MissingStage", "atomic_write"]

_HEADER = "ledger.json"
_MANIFEST = "manifest.json"
_FORMAT = 1


def is_finished(path: files.Path) -> bool:
    """Whether a stage has finished a ledger at this path; nothing of it is read."""
    return files.exists(files.join(path, _MANIFEST))


class LedgerMismatch(UserError):
    """A stage directory that was made with another configuration."""


class LedgerIncomplete(UserError):
    """A stage whose shards are not all there yet, read or finished as if they were."""


class MissingStage(UserError):
    """No ledger where a reader expected one."""


class Ledger:
    """One stage directory. `Ledger(...)` creates or reopens it for writing, `Ledger.open` for reading."""

    def __init__(
        self, path: files.Path, *, stage: str, schema: Schema, shard_count: int, seed: int, fingerprint: str
    ) -> None:
        """Raises LedgerMismatch, naming each differing value, where the directory is another stage's."""
        if shard_count < 1:
            raise ValueError(f"shard_count must be at least 1, got {shard_count}")
        header = {
            "format": _FORMAT,
            "stage": stage,
            "schema": {name: kind.value for name, kind in schema.items()},
            "shard_count": shard_count,
            "seed": seed,
            "fingerprint": fingerprint,
        }
        files.makedirs(path)
        # Exclusive, so that of two hosts with different settings one is refused, whoever comes first.
        files.create_exclusive(files.join(path, _HEADER), _json(header))
        files.remove_leftovers(path)
        self._set(path, _read_json(files.join(path, _HEADER)))
        differing = [
            f"{name}: the directory has {self._header.get(name)!r}, this run has {header[name]!r}"
            for name in header
            if self._header.get(name) != header[name]
        ]
        if differing:
            raise LedgerMismatch(
                f"{self.path} was made by another configuration:\n  "
                + "\n  ".join(differing)
                + "\nUse another directory, or the settings it was made with; or delete it to start anew."
            )

    @classmethod
    def open(cls, path: files.Path, *, made_by: str = "") -> Ledger:
        """Opens what another stage wrote, whole or in progress; writes nothing.

        Raises MissingStage, naming the path and `made_by` (the command that makes it).
        """
        header_path = files.join(path, _HEADER)
        if not files.exists(header_path):
            remedy = f"`{made_by}` makes it" if made_by else "run the stage that writes it first"
            raise MissingStage(f"{path}: there is no stage output here ({_HEADER} is missing); {remedy}.")
        ledger = cls.__new__(cls)
        ledger._set(path, _read_json(header_path))
        return ledger

    def _set(self, path: files.Path, header: dict[str, Any]) -> None:
        self.path = files.join(path)
        self._header = header
        self.stage: str = header["stage"]
        self.schema: Schema = {name: Kind(value) for name, value in header["schema"].items()}
        self.shard_count: int = header["shard_count"]
        self.seed: int = header["seed"]
        self.fingerprint: str = header["fingerprint"]
        self._claims = Claims(path)

    # What is there.

    def shard_path(self, i: int) -> str:
        return files.join(self.path, f"{self._name(i)}.tfrecord")

    def committed(self) -> list[int]:
        """Shards with both their entry and their file; deleting either makes a shard pending again."""
        names = set(files.listdir(self.path))
        numbered = ((i, self._name(i)) for i in range(self.shard_count))
        return [i for i, name in numbered if f"{name}.json" in names and f"{name}.tfrecord" in names]

    def pending(self) -> list[int]:
        return sorted(set(range(self.shard_count)) - set(self.committed()))

    def is_complete(self) -> bool:
        """Every shard is committed and `finish` was called: nothing is left to do."""
        return is_finished(self.path) and not self.pending()

    def entry(self, i: int) -> dict[str, Any]:
        """The entry of a committed shard: rows, bytes, sha256, counters."""
        return _read_json(self._entry_path(i))

    def counters(self) -> dict[str, int | float]:
        """Each counter summed over the committed shards, in order of shards."""
        return _sum_counters(self.entry(i) for i in self.committed())

    # Writing.

    def commit(self, i: int, records: Iterable[Mapping[str, Any]], **counters: int | float) -> bool:
        """Writes shard `i`, then its entry. `records` may be a generator; if it raises, nothing is left.

        False if the shard was there already or the claim made on it ran out: what is committed never changes.
        """
        for name, value in counters.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"counter {name!r} must be an int or a float, got {value!r}")
        if self._is_committed(i):
            return False
        try:
            with files.open_atomic(self.shard_path(i)) as file:
                info = write_frames(file, encode_all(records, self.schema))
                # Asked last, since writing may take long: from here to the entry there are two renames, or in a bucket
                # two uploads, for which the claim has just been prolonged.
                if self._is_committed(i) or not self._claims.holds(self._name(i)):
                    raise _Superseded
        except _Superseded:
            return False
        except FileNotFoundError:
            if self._is_committed(i):  # by another host; the ledger was completed and swept while we wrote
                return False
            raise
        entry = {"rows": info.rows, "bytes": info.bytes, "sha256": info.sha256, "counters": counters}
        atomic_write(self._entry_path(i), _json(entry))
        self._claims.forget(self._name(i))
        return True

    def finish(self, **counters: int | float) -> dict[str, Any]:
        """Writes the manifest once every shard is committed, and returns it; repeating this is harmless.

        `counters` are the stage's own, kept apart from those of its shards. Raises LedgerIncomplete.
        """
        self._require_all("finished")
        entries = [self.entry(i) for i in range(self.shard_count)]
        manifest = {
            **self._header,
            "rows": sum(entry["rows"] for entry in entries),
            "bytes": sum(entry["bytes"] for entry in entries),
            "counters": _sum_counters(entries),
            "stage_counters": counters,
            "shards": entries,
        }
        atomic_write(files.join(self.path, _MANIFEST), _json(manifest))
        files.remove_leftovers(self.path, everything=True)
        self._claims.forget_all()
        return manifest

    # Sharing the work between hosts.

    def claim(self, i: int, owner: str, ttl_s: float) -> bool:
        """True if `owner` may make shard `i` during the next `ttl_s` seconds; claim again to prolong.

        False where another host holds it or it is committed. A commit after the claim ran out is dropped.
        """
        if self._is_committed(i) or not self._claims.claim(self._name(i), owner, ttl_s):
            return False
        if self._is_committed(i):  # by the previous holder, while we took over
            self._claims.forget(self._name(i))
            return False
        return True

    def release(self, i: int) -> None:
        """Gives up a claim made through this object before it expires."""
        self._claims.release(self._name(i))

    # Reading.

    def manifest(self) -> dict[str, Any]:
        """What `finish` wrote. Raises LedgerIncomplete before that."""
        path = files.join(self.path, _MANIFEST)
        if not files.exists(path):
            raise LedgerIncomplete(
                f"{self.path} is not finished: {_MANIFEST} is missing; run its stage again."
            )
        return _read_json(path)

    def read(self, i: int) -> Iterator[dict[str, Any]]:
        """The records of a committed shard, after its size and digest were checked against its entry.

        Raises LedgerIncomplete for a pending shard, CorruptRecordError for one that changed since.
        """
        if not self._is_committed(i):
            raise LedgerIncomplete(f"{self.path}: shard {i} is not committed yet; run its stage again.")
        self._verify(i)
        yield from read_tfrecord(self.shard_path(i), self.schema)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """All records in order of shards. Raises LedgerIncomplete if a shard is missing."""
        self._require_all("read as a whole")
        for i in range(self.shard_count):
            yield from self.read(i)

    # Details.

    def _name(self, i: int) -> str:
        if not 0 <= i < self.shard_count:
            raise IndexError(f"shard {i} of {self.shard_count} in {self.path}")
        return f"part-{i:05d}-of-{self.shard_count:05d}"

    def _entry_path(self, i: int) -> str:
        return files.join(self.path, f"{self._name(i)}.json")

    def _is_committed(self, i: int) -> bool:
        return files.exists(self._entry_path(i)) and files.exists(self.shard_path(i))

    def _require_all(self, what: str) -> None:
        pending = self.pending()
        if pending:
            shown = ", ".join(map(str, pending[:8])) + (", ..." if len(pending) > 8 else "")
            raise LedgerIncomplete(
                f"{self.path} cannot be {what}: {len(pending)} of {self.shard_count} shards are missing "
                f"({shown}); run its stage again."
            )

    def _verify(self, i: int) -> None:
        path, entry = self.shard_path(i), self.entry(i)
        size, digest = files.size(path), hashlib.sha256()
        with files.open_read(path) as file:
            while block := file.read(1 << 20):
                digest.update(block)
        if (size, digest.hexdigest()) == (entry["bytes"], entry["sha256"]):
            return
        for _ in read_frames(path):  # raises at the damaged record, if one is
            pass
        raise CorruptRecordError(
            path,
            min(size, entry["bytes"]),
            f"{size} whole bytes, but not the {entry['bytes']} that were committed",
        )


class _Superseded(Exception):
    """Another host committed the shard first."""


def _sum_counters(entries: Iterable[Mapping[str, Any]]) -> dict[str, int | float]:
    total: Counter[str] = Counter()
    for entry in entries:
        for name, value in entry["counters"].items():
            total[name] += value
    return dict(sorted(total.items()))


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=1) + "\n").encode()


def _read_json(path: str) -> dict[str, Any]:
    data = files.read_bytes(path)
    try:
        return json.loads(data)
    except ValueError as error:
        raise CorruptRecordError(path, getattr(error, "pos", 0), f"not JSON: {error}") from error
