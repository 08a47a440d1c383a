"""How many of an iteration's puzzles passed each step, and why the others were refused: RUN/iter_NNN/funnel.json."""

from collections import Counter
from collections.abc import Collection

from t5x_selfprog import hosts
from t5x_selfprog.stages.context import Context
from verifier.storage import files
from verifier.storage.shards import Ledger, is_finished

# Rejection reasons by the funnel step that they count under.
UNPARSED = ("no_parse",)
DUPLICATES = ("duplicate", "contaminated")
BEHAVIOUR = ("same_behaviour", "contaminated")  # if found by running the puzzle
REPAIRED = "+repaired"  # the suffix of a repaired puzzle's origin


def write_funnel(
    context: Context, iteration: int, solved: Collection[str] | None = None, **later: int
) -> dict:
    """How many puzzles passed each step so far; `later` adds the steps after filtering and solving.

    Repaired puzzles count in every step they passed, and again under "repaired" if there are any.
    """
    reasons = Counter(record["reason"] for record in context.run.read(iteration, "rejected"))
    sampled = context.run.read(iteration, "puzzles").manifest()["rows"]
    kept = context.run.read(iteration, "kept").manifest()["rows"]
    static = Ledger.open(context.run.stage(iteration, "rejected"))
    refused_by_rules = Counter(record["reason"] for record in static.read(context.experiment.shards))
    unparsed = sum(refused_by_rules[reason] for reason in UNPARSED)
    doubled = sum(refused_by_rules[reason] for reason in DUPLICATES)
    malformed = refused_by_rules.total() - unparsed - doubled
    by_behaviour = sum(reasons[reason] - refused_by_rules[reason] for reason in BEHAVIOUR)
    steps = {
        "sampled": sampled,
        "parsed": sampled - unparsed,
        "well_formed": sampled - unparsed - malformed,
        "new": sampled - unparsed - malformed - doubled,
        "non_trivial": kept + by_behaviour,
        "distinct": kept,
    }
    if solved is not None:
        steps["solved"] = len(solved)
    steps |= later
    funnel = {
        "stages": [{"name": name, "count": count} for name, count in steps.items()],
        "rejections": dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
    }
    hindsight = _of_hindsight(context, iteration)
    if hindsight:
        funnel["hindsight"] = hindsight
    if mended := _of_repaired(context, iteration, solved):
        funnel["repaired"] = mended
    if hosts.is_first():
        files.write_json(context.run.funnel(iteration), funnel)
    return funnel


def _of_hindsight(context: Context, iteration: int) -> dict[str, int]:
    """What became of wrong answers; empty if stage hindsight did not run."""
    path = context.run.stage(iteration, "hindsight")
    if not is_finished(path):
        return {}
    counters = Ledger.open(path).manifest()["stage_counters"]
    return dict(sorted(counters.items(), key=lambda item: -item[1]))  # each step keeps fewer


def _of_repaired(context: Context, iteration: int, solved: Collection[str] | None) -> dict[str, int]:
    """How many puzzles were repaired, how many of them kept, and solved; empty if none was repaired."""
    kept = [r for r in context.run.read(iteration, "kept") if r["origin"].endswith(REPAIRED)]
    refused = sum(r["origin"].endswith(REPAIRED) for r in context.run.read(iteration, "rejected"))
    if not kept and not refused:
        return {}
    found = {"tried": len(kept) + refused, "kept": len(kept)}
    if solved is not None:
        found["solved"] = sum(record["puzzle_id"] in solved for record in kept)
    return found


def format_funnel(funnel: dict) -> str:
    """The funnel as lines: puzzles by step with their share of the first step, pairs, the commonest reasons."""
    steps = {step["name"]: step["count"] for step in funnel["stages"]}
    pairs = steps.pop("kept", None)
    first = max(1, next(iter(steps.values())))
    lines = [
        f"  puzzles {name:<12} {number:>8,}  {100 * number / first:5.1f}%" for name, number in steps.items()
    ]
    if pairs is not None:
        lines.append(f"  pairs   {'kept':<12} {pairs:>8,}  of a puzzle and a solution, to train on")
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in list(funnel["rejections"].items())[:6])
    lines.append(f"  refused: {reasons or 'none'}")
    for apart in ("repaired", "hindsight"):
        if apart in funnel:
            counts = ", ".join(f"{name} {n:,}" for name, n in funnel[apart].items())
            lines.append(f"  {apart}: {counts}")
    return "\n".join(lines)
