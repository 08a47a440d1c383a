"""How many of P3's test problems in disguise have the canonical form of the problem itself, and which do not.

    python results/firewall/canonical.py data/p3 "names, inlined" "names, helper" ... > results/firewall/canonical.txt

One line per kind of disguise: copies, found, and the names of the others. No runs of tokens and no behaviour.
"""

import sys

from t5x_selfprog.evaluation.disguises import disguise
from t5x_selfprog.puzzles.canonical import canonical_form
from t5x_selfprog.puzzles.p3 import in_split, load_problems
from t5x_selfprog.puzzles.source import SourceError


def forms(source: str) -> set[str]:
    try:
        return {canonical_form(source), canonical_form(source, constant_defaults=True)}
    except SourceError:
        return set()


problems = in_split(load_problems(sys.argv[1]), "test")
known = {form for problem in problems for form in forms(problem.source)}
for kind in sys.argv[2:]:
    copies = {p.name: copy for p in problems if (copy := disguise(p.source, kind)) is not None}
    missed = [name for name, copy in copies.items() if not forms(copy) & known]
    print(
        f"{kind}: {len(copies)} copies, {len(copies) - len(missed)} found; not: {', '.join(missed) or '-'}",
        flush=True,
    )
