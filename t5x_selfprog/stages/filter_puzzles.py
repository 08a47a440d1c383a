"""Stage 2: which puzzles are worth solving.

Reads:    1_puzzles; train and held-out problems; the puzzles kept in earlier iterations.
Writes:   2_screened (what running a puzzle showed), 2_kept (puzzles), 2_rejected (puzzles with a reason),
          funnel.json's first half, RUN/probes.json.
Restart:  the shard of survivors; the static rules and the final comparison of behaviours depend on the order of
          puzzles and are applied again every time.
Left out: ranking; weights are the dataset's business.
"""

import contextlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import gin
from t5x_selfprog import hosts
from t5x_selfprog.bounds import Share, Whole
from t5x_selfprog.progress import progress_bar
from t5x_selfprog.puzzles.behaviour import (
    BehaviourCheck,
    KnownBehaviours,
    Probes,
    behaviours,
    make_probes,
    of_problems,
)
from t5x_selfprog.puzzles.repair import Defaults, repaired
from t5x_selfprog.puzzles.rules import Kept, PuzzleFilter, PuzzleRules, Rejected
from t5x_selfprog.puzzles.source import short_hash
from t5x_selfprog.stages.context import Context
from t5x_selfprog.telemetry import recorder
from verifier import Limits, PuzzleError, PuzzleReport, parse_puzzle
from verifier.errors import UserError
from verifier.storage import files
from verifier.storage.records import PUZZLE, REJECTION, Kind, Schema
from verifier.storage.shards import Ledger, is_finished

# Rejection reasons by the funnel step that they count under.
UNPARSED = ("no_parse",)
DUPLICATES = ("duplicate", "contaminated")
BEHAVIOUR = ("same_behaviour", "contaminated")  # if found by running the puzzle
TOGETHER = 8192  # puzzles screened before any of their shards is committed: seconds for many workers
# Reasons for which a puzzle may be repaired, and the suffix of a repaired one's origin.
REPAIRABLE = ("bad_signature", "no_parse", "arguments_unused")
REPAIRED = "+repaired"


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


def screened_path(context: Context, iteration: int) -> str:
    return context.run.stage(iteration, "screened")


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
        probes = _probes(context, behaviour) if behaviour else None
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


class SameBehaviour:
    """Finds who behaves like a puzzle: held-out problems, train problems, puzzles kept earlier, in that order."""

    def __init__(self, context: Context, iteration: int, check: BehaviourCheck | None) -> None:
        self._against = check.against if check else ()
        self._problems, self._train, self._earlier = KnownBehaviours(), KnownBehaviours(), KnownBehaviours()
        if check is None:
            return
        for problem in _known_probes(context)["problems"]:
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
    probes = _probes(context, check)
    puzzles = []
    for source in dict.fromkeys(sources):
        with contextlib.suppress(PuzzleError):
            puzzles.append((source, parse_puzzle(source).answer_type))
    held_out = KnownBehaviours()
    for problem in _known_probes(context)["problems"]:
        if problem["split"] != "train":
            held_out.add(problem["answer_type"], problem["behaviour"], problem["name"])
    with context.pool(Limits()) as pool:
        found = behaviours(pool, puzzles, probes, check.cpu_s)
    return {
        source
        for (source, answer_type), said in zip(puzzles, found, strict=True)
        if held_out.match(answer_type, said) is not None
    }


def _probes(context: Context, check: BehaviourCheck) -> Probes:
    """The run's probes, made once and stored with the behaviour of every known problem."""
    if not files.exists(_probes_path(context)):
        with context.pool(Limits(cpu_s=1.0)) as pool:
            probes = make_probes(context.problems, pool, check.probes)
            known = [
                {
                    "name": problem.name,
                    "split": problem.split,
                    "answer_type": problem.answer_type,
                    "behaviour": behaviour,
                }
                for problem, behaviour in of_problems(pool, context.problems, probes, check.cpu_s)
            ]
        content = {"identity": probes.identity, "probes": probes.by_type, "problems": known}
        files.write_json(_probes_path(context), content)
    return Probes({name: tuple(literals) for name, literals in _known_probes(context)["probes"].items()})


def read_probes(context: Context) -> Probes:
    """The run's probes, as stage 2 stored them."""
    return Probes({name: tuple(literals) for name, literals in _known_probes(context)["probes"].items()})


def _known_probes(context: Context) -> dict:
    return files.read_json(_probes_path(context))


def _probes_path(context: Context) -> str:
    return files.join(context.run.root, "probes.json")


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
