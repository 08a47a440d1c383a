"""Selects what to pack of a run directory: everything that cannot be recreated from the rest.

Weights are left behind if training can recreate them (`Experiment.start = 'base'`), and so are files that only show or
measure a run. What a policy gradient sampled is kept: from it, training goes the same way again. Attempts are left
behind if their verdicts repeat them; `restore_attempts` recreates their bytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from t5x_selfprog.run_layout import IN_USE, RunDir, stage_folder
from verifier.storage import files
from verifier.storage.records import ATTEMPT, encode_all
from verifier.storage.shards import Ledger
from verifier.storage.tfrecord import write_frames

# Folders of attempts and of their verdicts: stages 3 and 4, and an evaluation.
JUDGED = ((stage_folder("solutions"), stage_folder("verdicts")), ("attempts", "verdicts"))
# A shard of attempts that is rebuilt, as `pack` lists it.
REBUILT = re.compile(rf"(.*/)?({'|'.join(attempts for attempts, _ in JUDGED)})/part-\d+-of-\d+\.tfrecord")
CHECKPOINTS = re.compile(rf"(.*/)?({stage_folder('checkpoints')}|steps_\d+)/")
# Of a training on verdicts: attempts that no training on another machine would make again.
SAMPLED = re.compile(rf"(.*/)?{stage_folder('checkpoints')}/(rollouts|programs)/")
_SHOWN = ("events", "profile", "report")  # folders at the root that no stage reads
DONE, PACKED_DONE = "done.json", "packed_done.json"


def members(root: str, start: str) -> tuple[list[str], list[str]]:
    """The files to pack, and the shards of attempts to rebuild from verdicts; both relative to `root`, sorted.

    Args:
      start: Experiment.start. From "previous", the newest weights are needed by the next iteration's training.
    """
    rebuilt = set(_rebuilt(root))
    kept_weights = _newest_checkpoints(root) if start == "previous" else ""
    kept = []
    for path in _files(root):
        if path in rebuilt or path.partition("/")[0] in _SHOWN or path.startswith("stuck-"):
            continue
        name = os.path.basename(path)
        if ".claim-" in path or name.endswith(files.TEMPORARY_SUFFIX) or name.startswith(IN_USE):
            continue
        checkpoints = None if SAMPLED.match(path) else CHECKPOINTS.match(path)
        if checkpoints and checkpoints[0] != kept_weights and not _describes_training(root, path):
            continue
        kept.append(path)
    return kept, sorted(rebuilt)


def restore_attempts(root: str, shard: str) -> None:
    """Writes one shard of attempts, named as in `members`, from the verdicts on them.

    Raises OSError, or the error of a damaged ledger. The caller must check that the bytes are the original ones.
    """
    folder, name = os.path.split(shard)
    parent, attempts = os.path.split(folder)
    verdicts = Ledger.open(os.path.join(root, parent, dict(JUDGED)[attempts]))
    number = int(name.split("-")[1])
    with files.open_atomic(os.path.join(root, shard)) as file:
        rows = ({name: record[name] for name in ATTEMPT} for record in verdicts.read(number))
        write_frames(file, encode_all(rows, ATTEMPT))


def _rebuilt(root: str) -> Iterator[str]:
    """Shards of attempts whose verdicts are complete and contain every attempt."""
    for folder, _, _ in os.walk(root):
        for attempts, verdicts in JUDGED:
            paths = [os.path.join(folder, name) for name in (attempts, verdicts)]
            if not all(files.exists(os.path.join(path, "manifest.json")) for path in paths):
                continue
            asked, judged = (Ledger.open(path) for path in paths)
            for shard in range(asked.shard_count):
                if asked.schema == ATTEMPT and asked.entry(shard)["rows"] == judged.entry(shard)["rows"]:
                    yield os.path.relpath(asked.shard_path(shard), root)


def _describes_training(root: str, path: str) -> bool:
    """Whether a file in a folder of checkpoints describes a finished training."""
    folder = os.path.dirname(path)
    return CHECKPOINTS.fullmatch(folder + "/") is not None and os.path.exists(
        os.path.join(root, folder, DONE)
    )


def _newest_checkpoints(root: str) -> str:
    newest = newest_trained(root)
    return "" if newest is None else f"{RunDir('').stage(newest, 'checkpoints')}/"


def newest_trained(root: str) -> int | None:
    """The last iteration that finished training and learnt something: those that learn nothing have no weights."""
    run = RunDir(root)
    trained = (n for n in run.iterations() if files.exists(files.join(run.stage(n, "checkpoints"), DONE)))
    return max((n for n in trained if not run.learnt_nothing(n)), default=None)


def _files(root: str) -> Iterator[str]:
    found = (os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names)
    return iter(sorted(os.path.relpath(path, root) for path in found))
