"""Training documents of another kind: a wrong solution, what was wrong with it, and a correct one.

    def f(x: str, n=3): ...

    # assert f(g()): wrong_type
    # def g(n=3):
    #     return n
    def g(n=3):
        return str(n)

A model that reads the diagnosis of its own mistakes may make fewer of them. The wrong solution is a comment, so the
document as a whole is a program. It does not end with a check, so nothing mistakes it for a pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from t5x_selfprog.puzzles.prompts import BLANK_LINE
from t5x_selfprog.puzzles.source import short_hash

MAX_SAID = 100  # characters of the verifier's diagnosis


def fix_text(puzzle: str, wrong: str, outcome: str, detail: str, right: str) -> str:
    """One document; `outcome` and `detail` are those of the verdict on the wrong solution."""
    said = " ".join(f"assert f(g()): {outcome.removeprefix('error:')} {detail}".split())[:MAX_SAID].rstrip()
    commented = "\n".join(f"# {line}".rstrip() for line in (said, *wrong.strip("\n").split("\n")))
    return BLANK_LINE.join((puzzle.strip("\n"), f"{commented}\n{right.strip(chr(10))}"))


def fixes(verdicts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """From the verdicts on one puzzle, one document per kind of failure, with the shortest correct solution.

    A hash chooses among the failures of a kind. Yields nothing if no attempt was accepted.
    """
    accepted = [v for v in verdicts if v["outcome"] == "accepted"]
    if not accepted:
        return
    right = min((v["solution"] for v in accepted), key=lambda text: (len(text), text))
    failed: dict[str, Mapping[str, Any]] = {}
    for verdict in sorted(verdicts, key=lambda v: short_hash(f"fix {v['solution']}")):
        if verdict["outcome"] not in ("accepted", "infrastructure"):
            failed.setdefault(verdict["outcome"], verdict)
    for outcome in sorted(failed):
        wrong = failed[outcome]
        yield fix_text(wrong["puzzle"], wrong["solution"], outcome, wrong["detail"] or "", right)
