"""Stage 2: which puzzles are worth solving.

Reads:    1_puzzles, as its shards appear (screening.py); train and held-out problems; the puzzles kept in earlier
          iterations.
Writes:   2_screened (what running a puzzle showed), 2_kept (puzzles), 2_rejected (puzzles with a reason),
          funnel.json's first half, RUN/probes.json.
Restart:  the shard of sampled puzzles; the static rules and the final comparison of behaviours depend on the order of
          puzzles and are applied again every time.
Left out: ranking; weights are the dataset's business.
"""

import contextlib
from collections import Counter
from collections.abc import Collection, Sequence

from t5x_selfprog import hosts
from t5x_selfprog.puzzles.behaviour import BehaviourCheck, KnownBehaviours, behaviours
from t5x_selfprog.stages.context import Context
from t5x_selfprog.stages.probes import known_behaviours, require_probes
from t5x_selfprog.stages.screening import REPAIRED, Screening, screened_path
from verifier import Limits, PuzzleError, parse_puzzle
from verifier.errors import UserError
from verifier.storage import files
from verifier.storage.records import PUZZLE, REJECTION
from verifier.storage.shards import Ledger, is_finished

# Rejection reasons by the funnel step that they count under.
UNPARSED = ("no_parse",)
DUPLICATES = ("duplicate", "contaminated")
BEHAVIOUR = ("same_behaviour", "contaminated")  # if found by running the puzzle


@hosts.first_alone("puzzles filtered")
def run(context: Context, iteration: int, screening: Screening | None = None) -> None:
    """Decides on every sampled puzzle.

    screening: what a thread beside stage 1 has done already, and the stage's settings.

    Raises UserError, showing the funnel, if fewer than `min_kept` puzzles survive.
    """
    screening = screening or Screening(context, iteration)
    settings = screening.settings
    kept_ledger = context.ledger(context.run.stage(iteration, "kept"), "kept", PUZZLE)
    # The last shard holds what the static rules refused, the others what running the puzzles refused.
    rejected_ledger = context.ledger(
        context.run.stage(iteration, "rejected"), "rejected", REJECTION, context.experiment.shards + 1
    )
    if kept_ledger.pending() or rejected_ledger.pending():
        screening.run()
        rejected_ledger.commit(context.experiment.shards, screening.refused)
        shown = screening.shown()
        same = SameBehaviour(context, iteration, settings.behaviour)
        for shard in range(context.experiment.shards):
            kept, refused = [], []
            for record in context.shard_of(screening.survivors, shard):
                said = shown[record["puzzle_id"]]
                fault = (said["reason"], said["detail"]) if not said["ok"] else same.fault(record, said)
                if fault is None:
                    kept.append(record)
                else:
                    refused.append(record | {"reason": fault[0], "detail": fault[1]})
            rejected_ledger.commit(shard, refused)
            kept_ledger.commit(shard, kept)
    kept_ledger.finish()
    rejected_ledger.finish()
    funnel = write_funnel(context, iteration)
    if funnel["stages"][-1]["count"] < settings.min_kept:
        raise UserError(
            f"iteration {iteration}: {funnel['stages'][-1]['count']} puzzles are left, fewer than "
            f"{settings.min_kept}.\n"
            + format_funnel(funnel)
            + "\nSample more (sample_puzzles.run.prompts), or relax the rule that refuses most."
        )


class SameBehaviour:
    """Finds who behaves like a puzzle: held-out problems, train problems, puzzles kept earlier, in that order."""

    def __init__(self, context: Context, iteration: int, check: BehaviourCheck | None) -> None:
        self._against = check.against if check else ()
        self._problems, self._train, self._earlier = KnownBehaviours(), KnownBehaviours(), KnownBehaviours()
        if check is None:
            return
        for problem in known_behaviours(context):
            side = self._train if problem["split"] == "train" else self._problems
            side.add(problem["answer_type"], problem["behaviour"], problem["name"])
        for earlier in range(iteration):
            types = {r["puzzle_id"]: r["answer_type"] for r in context.run.read(earlier, "kept")}
            for shown in Ledger.open(screened_path(context, earlier)):
                if shown["puzzle_id"] in types:
                    self._earlier.add(types[shown["puzzle_id"]], shown["behaviour"], shown["puzzle_id"])

    def fault(self, record: dict, shown: dict) -> tuple[str, str] | None:
        """Reason and detail of a rejection; a puzzle without a fault is remembered."""
        answer_type, behaviour = record["answer_type"], shown["behaviour"]
        for known, whose in ((self._problems, "held-out"), (self._train, "train")):
            if whose in self._against and (name := known.match(answer_type, behaviour)):
                return "contaminated", f"behaviour match with {name} ({whose})"
        if "earlier" in self._against and (name := self._earlier.match(answer_type, behaviour)):
            return "same_behaviour", f"as puzzle {name}"
        self._earlier.add(answer_type, behaviour, record["puzzle_id"])
        return None


def like_held_out(context: Context, sources: Sequence[str], check: BehaviourCheck) -> set[str]:
    """Those of the puzzles that behave like a held-out problem; for puzzles that did not pass through stage 2."""
    probes = require_probes(context, check)
    puzzles = []
    for source in dict.fromkeys(sources):
        with contextlib.suppress(PuzzleError):
            puzzles.append((source, parse_puzzle(source).answer_type))
    held_out = KnownBehaviours()
    for problem in known_behaviours(context):
        if problem["split"] != "train":
            held_out.add(problem["answer_type"], problem["behaviour"], problem["name"])
    with context.pool(Limits()) as pool:
        found = behaviours(pool, puzzles, probes, check.cpu_s)
    return {
        source
        for (source, answer_type), said in zip(puzzles, found, strict=True)
        if held_out.match(answer_type, said) is not None
    }


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
