"""Stage 2: which puzzles are worth solving.

Reads:    1_puzzles; train and held-out problems; the puzzles kept in earlier iterations.
Writes:   2_screened (what running a puzzle showed), 2_kept (puzzles), 2_rejected (puzzles with a reason),
          funnel.json's first half, RUN/probes.json.
Restart:  the shard of survivors; the static rules and the final comparison of behaviours depend on the order of
          puzzles and are applied again every time.
Left out: ranking; weights are the dataset's business.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice

import gin
from t5x_selfprog import hosts
from t5x_selfprog.bounds import Share, Whole
from t5x_selfprog.progress import progress_bar
from t5x_selfprog.puzzles.behaviour import BehaviourCheck, behaviours
from t5x_selfprog.puzzles.repair import Defaults, repaired
from t5x_selfprog.puzzles.rules import Kept, PuzzleFilter, PuzzleRules, Rejected
from t5x_selfprog.puzzles.source import short_hash
from t5x_selfprog.stages.context import Context
from t5x_selfprog.stages.funnel import REPAIRED, format_funnel, write_funnel
from t5x_selfprog.stages.same_behaviour import SameBehaviour, run_probes, screened_path
from t5x_selfprog.telemetry import recorder
from verifier import Limits, PuzzleReport
from verifier.errors import UserError
from verifier.storage.records import PUZZLE, REJECTION, Kind, Schema
from verifier.storage.shards import Ledger

TOGETHER = 8192  # puzzles screened before any of their shards is committed: seconds for many workers
REPAIRABLE = ("bad_signature", "no_parse", "arguments_unused")  # reasons for which a puzzle may be repaired

SCREENED: Schema = {
    "puzzle_id": Kind.TEXT,
    "ok": Kind.INT,
    "reason": Kind.TEXT,
    "detail": Kind.TEXT,
    "behaviour": Kind.TEXT,
}


@hosts.first_alone("puzzles filtered")
@gin.configurable(module="filter_puzzles")
def run(
    context: Context,
    iteration: int,
    rules: PuzzleRules = PuzzleRules(),
    limits: Limits = Limits(cpu_s=0.5),
    behaviour: BehaviourCheck | None = BehaviourCheck(),
    trivial_rate: Share = 1.0,
    min_kept: Whole = 0,
    repair: bool = False,
) -> None:
    """Raises UserError, showing the funnel, if fewer than `min_kept` puzzles survive.

    Without `behaviour`, puzzles are compared by their text alone. Of the puzzles that trivial answers solve, the share
    `trivial_rate` is refused (the paper: 0.95), chosen by their identity.
    With `repair`, a puzzle refused for its arguments gets defaults for them, as train problems have them, or loses
    those it never uses (puzzles/repair.py); it is then judged like any other, and counted separately.
    """
    kept_ledger = context.ledger(context.run.stage(iteration, "kept"), "kept", PUZZLE)
    # The last shard holds what the static rules refused, the others what running the puzzles refused.
    rejected_ledger = context.ledger(
        context.run.stage(iteration, "rejected"), "rejected", REJECTION, context.experiment.shards + 1
    )
    if kept_ledger.pending() or rejected_ledger.pending():
        survivors, refused = _apply_rules(context, iteration, rules, repair)
        rejected_ledger.commit(context.experiment.shards, refused)
        screened = _screen(context, iteration, survivors, limits, behaviour, trivial_rate)
        same = SameBehaviour(context, iteration, behaviour)
        for shard in range(context.experiment.shards):
            kept, refused = [], []
            for record, shown in zip(context.shard_of(survivors, shard), screened.read(shard), strict=True):
                fault = (shown["reason"], shown["detail"]) if not shown["ok"] else same.fault(record, shown)
                if fault is None:
                    kept.append(record)
                else:
                    refused.append(record | {"reason": fault[0], "detail": fault[1]})
            rejected_ledger.commit(shard, refused)
            kept_ledger.commit(shard, kept)
    kept_ledger.finish()
    rejected_ledger.finish()
    funnel = write_funnel(context, iteration)
    if funnel["stages"][-1]["count"] < min_kept:
        raise UserError(
            f"iteration {iteration}: {funnel['stages'][-1]['count']} puzzles are left, fewer than {min_kept}.\n"
            + format_funnel(funnel)
            + "\nSample more (sample_puzzles.run.prompts), or relax the rule that refuses most."
        )


def _screen(
    context: Context,
    iteration: int,
    survivors: list[dict],
    limits: Limits,
    behaviour: BehaviourCheck | None,
    trivial_rate: float,
) -> Ledger:
    """Runs every survivor against trivial answers, and those that pass against the probes."""
    ledger = context.ledger(screened_path(context, iteration), "screened", SCREENED)
    if ledger.pending():
        probes = run_probes(context, behaviour) if behaviour else None
        bar = progress_bar(total=len(survivors), desc=f"{iteration}.2 try trivial answers", unit="puzzle")
        with context.pool(limits) as pool, bar:
            for shards in _together(context, survivors, ledger.pending()):
                records = [record for shard in shards for record in context.shard_of(survivors, shard)]
                reports: list[PuzzleReport] = []
                for report in pool.screen_puzzles(record["source"] for record in records):
                    bar.update()
                    recorder.current().beat("puzzle screened", len(reports))
                    if report.reason == "trivial" and not _is_among(
                        records[len(reports)]["puzzle_id"], trivial_rate
                    ):
                        report = replace(report, ok=True, reason="", detail=f"trivial: {report.detail}")
                    reports.append(report)
                passed = [r for r, report in zip(records, reports, strict=True) if report.ok]
                shown: dict[str, str | None] = {}
                if behaviour and probes and passed:
                    asked = [(r["source"], r["answer_type"]) for r in passed]
                    found = behaviours(pool, asked, probes, behaviour.cpu_s)
                    shown = {r["puzzle_id"]: text for r, text in zip(passed, found, strict=True)}
                rows = iter(
                    {
                        "puzzle_id": record["puzzle_id"],
                        "ok": int(report.ok),
                        "reason": report.reason,
                        "detail": report.detail,
                        "behaviour": shown.get(record["puzzle_id"]),
                    }
                    for record, report in zip(records, reports, strict=True)
                )
                for shard in shards:
                    ledger.commit(shard, list(islice(rows, len(context.shard_of(survivors, shard)))))
    ledger.finish()
    return ledger


def _together(context: Context, survivors: list[dict], pending: Iterable[int]) -> Iterator[list[int]]:
    """Pending shards in runs of about TOGETHER puzzles: enough to keep many workers busy."""
    shards: list[int] = []
    puzzles = 0
    for shard in pending:
        shards.append(shard)
        puzzles += len(context.shard_of(survivors, shard))
        if puzzles >= TOGETHER:
            yield shards
            shards, puzzles = [], 0
    if shards:
        yield shards


def _is_among(puzzle_id: str, share: float) -> bool:
    """Whether a puzzle belongs to a share of all puzzles, by its identity alone."""
    return int(short_hash(f"trivial {puzzle_id}"), 16) < share * 16**16


def _apply_rules(
    context: Context, iteration: int, rules: PuzzleRules, repair: bool
) -> tuple[list[dict], list[dict]]:
    known = [record["source"] for earlier in range(iteration) for record in context.run.read(earlier, "kept")]
    puzzles = PuzzleFilter(rules, problems=context.problems, known=known)
    defaults = Defaults.of(problem.source for problem in context.train_problems) if repair else None
    survivors, refused = [], []
    for record in Ledger.open(context.run.stage(iteration, "puzzles")):
        result = puzzles.offer(record["source"])
        if defaults is not None and isinstance(result, Rejected) and result.reason in REPAIRABLE:
            mended = repaired(record["source"], defaults)
            if mended is not None:
                record |= {"source": mended, "origin": record["origin"] + REPAIRED}
                result = puzzles.offer(mended)
        if isinstance(result, Kept):
            survivors.append(
                record
                | {"puzzle_id": result.puzzle_id, "source": result.source, "answer_type": result.answer_type}
            )
        else:
            refused.append(record | {"reason": result.reason, "detail": result.detail})
    return survivors, refused
