"""Stage 2: which puzzles are worth solving.

Reads:    1_puzzles; train and held-out problems; the puzzles kept in earlier iterations.
Writes:   2_kept (puzzles), 2_rejected (puzzles with a reason), funnel.json's first half.
Restart:  the shard of survivors; the rules that run nothing are applied again, in order, every time.
Left out: nothing is ranked here; weights are the dataset's business.
"""

import json
from collections import Counter

import gin
from t5x_selfprog.progress import progress_bar
from t5x_selfprog.puzzles.rules import Kept, PuzzleFilter, PuzzleRules
from t5x_selfprog.stages.context import Context
from verifier import Limits
from verifier.errors import UserError
from verifier.records import PUZZLE, REJECTION
from verifier.shards import Ledger, atomic_write

# Rejection reasons by the step of the funnel that they fall under.
UNPARSED = ("no_parse",)
DUPLICATES = ("duplicate", "contaminated")


@gin.configurable(module="filter_puzzles")
def run(
    context: Context,
    iteration: int,
    rules: PuzzleRules = PuzzleRules(),
    limits: Limits = Limits(cpu_s=0.5),
    min_kept: int = 1,
) -> None:
    """Raises UserError, after printing the funnel, if fewer than `min_kept` puzzles survive."""
    kept_ledger = context.ledger(context.run.stage(iteration, "kept"), "kept", PUZZLE)
    # The last shard holds what the static rules refused, the others what the trivial answers solved.
    rejected_ledger = context.ledger(
        context.run.stage(iteration, "rejected"), "rejected", REJECTION, context.experiment.shards + 1
    )
    if kept_ledger.pending() or rejected_ledger.pending():
        survivors, refused = _apply_rules(context, iteration, rules)
        rejected_ledger.commit(context.experiment.shards, refused)
        bar = progress_bar(total=len(survivors), desc=f"{iteration}.2 try trivial answers", unit="puzzle")
        with context.pool(limits) as pool, bar:
            for shard in range(context.experiment.shards):
                records = context.shard_of(survivors, shard)
                if shard in kept_ledger.pending() or shard in rejected_ledger.pending():
                    kept, refused = [], []
                    reports = pool.screen_puzzles([record["source"] for record in records])
                    for record, report in zip(records, reports, strict=True):
                        bar.update()
                        if report.ok:
                            kept.append(record)
                        else:
                            refused.append(record | {"reason": report.reason, "detail": report.detail})
                    rejected_ledger.commit(shard, refused)
                    kept_ledger.commit(shard, kept)
                else:
                    bar.update(len(records))
    kept_ledger.finish()
    rejected_ledger.finish()
    funnel = write_funnel(context, iteration)
    if funnel["stages"][-1]["count"] < min_kept:
        raise UserError(
            f"iteration {iteration}: {funnel['stages'][-1]['count']} puzzles are left, fewer than {min_kept}.\n"
            + format_funnel(funnel)
            + "\nSample more (sample_puzzles.run.prompts), or relax the rule that refuses most."
        )


def _apply_rules(context: Context, iteration: int, rules: PuzzleRules) -> tuple[list[dict], list[dict]]:
    known = [record["source"] for earlier in range(iteration) for record in context.run.read(earlier, "kept")]
    puzzles = PuzzleFilter(rules, problems=context.problems, known=known)
    survivors, refused = [], []
    for record in Ledger.open(context.run.stage(iteration, "puzzles")):
        result = puzzles.offer(record["source"])
        if isinstance(result, Kept):
            survivors.append(
                record
                | {"puzzle_id": result.puzzle_id, "source": result.source, "answer_type": result.answer_type}
            )
        else:
            refused.append(record | {"reason": result.reason, "detail": result.detail})
    return survivors, refused


def write_funnel(context: Context, iteration: int, **later: int) -> dict:
    """How many puzzles passed each step so far; `later` adds the steps after filtering."""
    reasons = Counter(record["reason"] for record in context.run.read(iteration, "rejected"))
    sampled = context.run.read(iteration, "puzzles").manifest()["rows"]
    kept = context.run.read(iteration, "kept").manifest()["rows"]
    static = Ledger.open(context.run.stage(iteration, "rejected"))
    refused_by_rules = Counter(record["reason"] for record in static.read(context.experiment.shards))
    unparsed = sum(refused_by_rules[reason] for reason in UNPARSED)
    doubled = sum(refused_by_rules[reason] for reason in DUPLICATES)
    malformed = refused_by_rules.total() - unparsed - doubled
    steps = {
        "sampled": sampled,
        "parsed": sampled - unparsed,
        "well_formed": sampled - unparsed - malformed,
        "new": sampled - unparsed - malformed - doubled,
        "non_trivial": kept,
    } | later
    funnel = {
        "stages": [{"name": name, "count": count} for name, count in steps.items()],
        "rejections": dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
    }
    atomic_write(context.run.funnel(iteration), json.dumps(funnel, indent=1) + "\n")
    return funnel


def format_funnel(funnel: dict) -> str:
    """The funnel as lines of text: each step with its share of the first, then the commonest reasons."""
    first = max(1, funnel["stages"][0]["count"])
    lines = [
        f"  {step['name']:<12} {step['count']:>8,}  {100 * step['count'] / first:5.1f}%"
        for step in funnel["stages"]
    ]
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in list(funnel["rejections"].items())[:6])
    return "\n".join([*lines, f"  refused: {reasons or 'none'}"])
