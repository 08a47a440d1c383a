"""`python -m verifier tests`: samples judged by the tests of their tasks."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import comb
from typing import Any

from verifier.storage.rows import JUDGED, out_of_the_way
from verifier.unit_tests.suites import Suite

COUNTS = (1, 10, 100)


def judge_samples(
    samples: Iterable[Mapping[str, Any]],
    tasks: Mapping[str, Suite],
    judge: Callable[[Iterable[dict]], Iterator[Any]],
) -> Iterator[dict[str, Any]]:
    """Each sample (`task_id`, `solution`) with `passed` and the fields of its verdict, in order."""
    held: list[Mapping[str, Any]] = []

    def attempts() -> Iterator[dict[str, str]]:
        for sample in samples:
            held.append(sample)
            yield tasks[str(sample["task_id"])].attempt(sample["solution"])

    for verdict in judge(attempts()):
        sample = out_of_the_way(held.pop(0), JUDGED | {"passed"}, "sample")
        yield verdict.as_record(sample) | {"passed": verdict.accepted}


def pass_at(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """pass@k over the tasks that have at least k samples, for k of COUNTS.

    The unbiased estimate of Chen et al. 2021, arXiv:2107.03374. Samples that could not be judged do not count.
    """
    tried: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        if row["outcome"] != "infrastructure":
            tried[str(row["task_id"])][0] += 1
            tried[str(row["task_id"])][1] += bool(row["passed"])
    found = {}
    for k in COUNTS:
        each = [1 - comb(n - c, k) / comb(n, k) for n, c in tried.values() if n >= k]
        if each:
            found[f"pass@{k}"] = round(sum(each) / len(each), 6)
    return found
