#!/usr/bin/env python
"""What the firewall sees through: held-out problems in disguise, and false alarms.

  scripts/measure/measure_firewall.py --problems data/p3 --run runs/mine --output results/firewall/p3.jsonl

Writes one JSON line for the problems, for each kind of disguise and for each set of puzzles that are not copies. Lines
already in the output are not measured again, so that it can be made in pieces; about two minutes of CPU, and a quarter
of a minute for each line.

For each kind of disguise (evaluation/disguises.py): the copies made, one of each test problem that it applies to, and
how many each level of the firewall finds, levels before it included; `before` is the firewall up to version 3 of the
verifier: exact, names and constants abstracted, 13 tokens. Behaviour is compared with the problem's own, where the
copy is the same puzzle. False alarms: the train problems, our seeds, and what models wrote (--run, repeatable: the
run's puzzles that pass the rules, before any firewall).
"""

import argparse
import json
import os
import sys
from collections import Counter
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
if Path(sys.prefix).resolve() != (REPOSITORY / ".venv").resolve() and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), "-W", "ignore", __file__, *sys.argv[1:]])
sys.path.insert(0, str(REPOSITORY))

from t5x_selfprog.evaluation.disguises import KINDS, disguise
from t5x_selfprog.puzzles.behaviour import (
    BehaviourCheck,
    KnownBehaviours,
    Probes,
    behaviours,
    is_telling,
    make_probes,
    of_problems,
)
from t5x_selfprog.puzzles.contamination import LEVELS, Protected
from t5x_selfprog.puzzles.p3 import in_split, load_problems
from t5x_selfprog.puzzles.rules import Kept, PuzzleFilter, PuzzleRules
from verifier import Limits, Pool
from verifier.storage.shards import Ledger

NEVER = 1 << 30  # tokens in a row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", required=True)
    parser.add_argument("--run", action="append", default=[])
    parser.add_argument("--output", required=True)
    parser.add_argument(
        "--page", action="store_true", help="on the page alone, without behaviours: minutes less"
    )
    options = parser.parse_args()
    lines = Lines(options.output)
    problems = load_problems(options.problems)
    held_out = [problem for problem in problems if problem.split != "train"]
    test, train = in_split(problems, "test"), in_split(problems, "train")
    protected, old = Protected(held_out), Protected(held_out, outline=NEVER)
    check = BehaviourCheck()
    with Pool(limits=Limits(cpu_s=1.0)) as pool:
        probes = Probes({}) if options.page else make_probes(problems, pool, check.probes)
        known = KnownBehaviours()
        telling: Counter[str | None] = Counter()
        for problem, said in of_problems(pool, held_out, probes, check.cpu_s):
            known.add(problem.answer_type, said, problem.name)
            telling[problem.split] += is_telling(said)
        lines.add("problems", "test", {"problems": len(test), "known_by_behaviour": telling["test"]})

        def found(puzzles: list[tuple[str, str]], names: list[str]) -> dict[str, object]:
            figures, missed = Counter(puzzles=len(puzzles)), []
            shown = behaviours(pool, puzzles, probes, check.cpu_s)
            for (source, kind), said, name in zip(puzzles, shown, names, strict=True):
                if not _count(figures, protected, old, source, known.match(kind, said) is not None):
                    missed.append(name)
            return {**figures, "missed": missed}

        for kind in KINDS:
            if not lines.has("disguise", kind):
                copies = [(problem, disguise(problem.source, kind)) for problem in test]
                made = [(problem, copy) for problem, copy in copies if copy is not None]
                puzzles = [(copy, problem.answer_type) for problem, copy in made]
                lines.add("disguise", kind, found(puzzles, [problem.name for problem, _ in made]))
        for name, of in {"train problems": train, "our seeds": load_problems("seeds")}.items():
            if not lines.has("no copies", name):
                puzzles = [(problem.source, problem.answer_type) for problem in of]
                lines.add("no copies", name, found(puzzles, [""] * len(puzzles)))
        for run in options.run:
            if not lines.has("no copies", name := os.path.basename(os.path.normpath(run))):
                rules = PuzzleFilter(PuzzleRules(test_match=None, train_match=None))
                offered = (
                    rules.offer(record["source"]) for record in Ledger.open(f"{run}/iter_000/1_puzzles")
                )
                puzzles = [(kept.source, kept.answer_type) for kept in offered if isinstance(kept, Kept)]
                lines.add("no copies", name, found(puzzles, [""] * len(puzzles)))


class Lines:
    """The output: the lines that are there, and new ones. The names in `missed` only go to standard error."""

    def __init__(self, path: str) -> None:
        self._path = path
        there = Path(path).read_text().splitlines() if os.path.exists(path) else []
        self._there = {(line["what"], line["name"]) for line in map(json.loads, there)}

    def has(self, what: str, name: str) -> bool:
        return (what, name) in self._there

    def add(self, what: str, name: str, figures: dict) -> None:
        if self.has(what, name):
            return
        missed = figures.pop("missed", [])
        print(what, name, figures, "not found:", [one for one in missed if one], file=sys.stderr, flush=True)
        with open(self._path, "a") as file:
            file.write(json.dumps({"what": what, "name": name, **figures}) + "\n")


def _count(
    figures: Counter, protected: Protected, old: Protected, source: str, seen_by_behaviour: bool
) -> bool:
    """Adds one puzzle: found at a level or one before it, by behaviour, by either; and by the levels as they were.

    Returns whether it is found at all.
    """
    match = protected.match(source)
    for level in LEVELS:
        figures[level] += match is not None and LEVELS.index(match.level) <= LEVELS.index(level)
    figures["behaviour"] += seen_by_behaviour
    figures["any"] += match is not None or seen_by_behaviour
    figures["before"] += any(found.level != "canonical" for found in old.matches(source))
    return match is not None or seen_by_behaviour


if __name__ == "__main__":
    main()
