"""Judging on Apache Beam gives what the local pool gives."""

import glob

import pytest

from verifier import Limits, Pool
from verifier.storage.records import ATTEMPT, VERDICT, read_tfrecord, write_tfrecord

pytest.importorskip("apache_beam", reason="Apache Beam is an extra of its own: pip install '.[beam]'")

LIMITS = Limits(cpu_s=0.3, memory_mb=512)
PUZZLE = "def f(x: List[int], n={}):\n    return len(x) == n and sum(x) == 10"
SOLUTIONS = [
    "def g(n=3):\n    return [10] + [0] * (n - 1)",
    "def g(n=3):\n    return [1]",
    "def g(n=3):\n    return 'no'",
    "def g(n=3):\n    return [1 / 0]",
    "def g(n=3):\n    return [",
    "def g(n=3):\n    while True:\n        pass",
    "import os\n\ndef g(n=3):\n    return [10]",
    "def g(n=3):\n    return [0] * 10**9",
]


def key(record):
    return record["puzzle_id"], record["sample_index"]


def test_equal_to_the_local_pool(tmp_path):
    from verifier.fleet.beam import main

    attempts = [
        {
            "puzzle_id": str(n),
            "puzzle": PUZZLE.format(n),
            "solution": text,
            "sample_index": i,
            "logprob": -0.5,
        }
        for n in range(1, 30)
        for i, text in enumerate(SOLUTIONS)
    ]
    for shard in range(3):
        write_tfrecord(tmp_path / f"a-{shard}.tfrecord", attempts[shard::3], ATTEMPT)
    main(
        [
            f"--input={tmp_path}/a-*.tfrecord",
            f"--output={tmp_path}/v",
            "--workers=2",
            "--timeout_s=0.3",
            "--runner=DirectRunner",
        ]
    )
    found = [
        record for path in glob.glob(f"{tmp_path}/v*.tfrecord") for record in read_tfrecord(path, VERDICT)
    ]
    with Pool(2, LIMITS) as pool:
        local = {
            key(attempt): verdict for attempt, verdict in zip(attempts, pool.judge(attempts), strict=True)
        }
    assert len(found) == len(attempts) == len({key(record) for record in found})
    for record in found:
        verdict = local[key(record)]
        assert record["outcome"] == verdict.outcome, record
        assert record["answer"] == verdict.answer
        assert record["solution"] == attempts[[key(a) for a in attempts].index(key(record))]["solution"]
        assert record["isolation"] == verdict.isolation
    assert {record["outcome"] for record in found} >= {
        "accepted",
        "wrong",
        "wrong_type",
        "syntax",
        "cpu_limit",
    }
