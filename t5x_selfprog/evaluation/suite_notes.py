"""Notes beside the figures of a suite: its base tests, and what it shares with a run's own problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from t5x_selfprog.evaluation.compare import ALL
from t5x_selfprog.evaluation.table import label, share
from t5x_selfprog.interval import Interval


def base_tests_notes(evaluations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Pass@k by the tests without evalplus' additions, for which the table has no column."""
    said = []
    for evaluation in evaluations:
        found = evaluation.get("base_tests", {}).get("pass_at_k", {}).get(ALL, {})
        shares = [
            f"Pass@{k} {share(Interval(entry['estimate'], entry['low'], entry['high']))}"
            for k, entry in found.items()
        ]
        if shares:
            said.append(f"{label([evaluation])} by the base tests alone: {', '.join(shares)}.")
    return said


def too_long_notes(evaluations: Sequence[Mapping[str, Any]], tasks: int) -> list[str]:
    """Tasks that a model fails because it cannot read them."""
    return [
        f"{label([evaluation])} fails {evaluation['too_long']} of the {tasks} tasks unasked: their prompts are too "
        "long for its context, or for evaluate_suite.run.prompt_buckets."
        for evaluation in evaluations
        if evaluation.get("too_long")
    ]


def overlap_note(suite: str, shared: int, held: int) -> list[str]:
    """Whether a published suite is independent of the `held` problems of a run, `shared` of which are HumanEval's."""
    if suite == "mbpp_plus":
        return ["MBPP+ is none of P3's sources: of the two suites it is the independent one."]
    if suite != "humaneval_plus":
        return []
    if shared:
        return [
            f"HumanEval is not independent here: {shared} of this run's {held} held-out problems are P3's versions of "
            "HumanEval's. MBPP+ is the independent one."
        ]
    return [
        "150 of the 228 problems in P3's test split are versions of HumanEval's; this run is measured on none."
    ]
