"""Stage 5: what the model will learn from.

Reads:    4_verdicts (and 2_kept, 4_hindsight) of this iteration, or the train problems, by arm.
Writes:   RUN/iter_NNN/5_dataset, or RUN/controls/ARM/5_dataset: pairs of puzzle and solution as text.
Restart:  the whole stage, a pass over verdicts that takes seconds.
Left out: tokens; the trainer makes them.

Arms choose the content, nothing else:
  verified      solutions that the interpreter accepted, and pairs that hindsight made of others
  no_hindsight  the same without hindsight
  unverified    equally many attempts at the same puzzles, chosen blindly
  human         the train problems with their reference solutions
  seeds_only    the train problems without solutions, and the tutorial pairs
  any other     pairs from elsewhere, by their name in `sources`: the paper's released files, another run
"""

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import gin
from t5x_selfprog import hosts
from t5x_selfprog.bounds import Count, NotNegative, Share
from t5x_selfprog.evaluation.diversity import concepts
from t5x_selfprog.puzzles.behaviour import BehaviourCheck
from t5x_selfprog.puzzles.contamination import protected
from t5x_selfprog.puzzles.difficulty import learnability
from t5x_selfprog.puzzles.fixes import fixes
from t5x_selfprog.puzzles.prompts import (
    SolvePrompt,
    in_form,
    pair_text,
    puzzle_list,
    puzzle_of_pair,
    solution_key,
    tutorial_blocks,
)
from t5x_selfprog.puzzles.source import puzzle_id, short_hash
from t5x_selfprog.stages import hindsight
from t5x_selfprog.stages.context import Context
from t5x_selfprog.stages.filter_puzzles import like_held_out
from t5x_selfprog.stages.gate import let_through
from verifier.errors import UserError
from verifier.storage.records import PAIR
from verifier.storage.shards import is_finished

Pair = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which solutions of a puzzle become pairs, and their weights.

    Attributes:
      max_solutions: distinct solutions per puzzle (the paper: 8).
      prefer: which come first: "short" (the paper); "general": those that hold on most resampled arguments, short
        ones first among equals; "diverse": the shortest, then always the one with most concepts not yet used.
      max_pairs: over all puzzles (the paper: 950,511).
      easy_rate: share of accepted attempts above which a puzzle begins to count less ...
      easy_weight: ... down to this weight if every attempt was accepted. 1 leaves all puzzles equal.
      learnability: exponent of a puzzle's expected 4 p (1 - p) (puzzles/difficulty.py), by which its pairs are
        weighted as well; 0 leaves it out.
      tutorial: whose five tutorial pairs the `seeds_only` arm adds.
      lists: documents that list puzzles as the prompts of stage 1 do, as a share of the number of pairs. A small
        model that learns pairs alone forgets how to write puzzles: ours fell from 40% to 16% well-formed.
      list_puzzles: how many puzzles such a document holds, at most.
      list_chars: how many characters they have together, at most, so that a list fits a training row of 512 tokens
        in every arm (900 of P3's train split are 470 of SmolLM2's tokens). Longer puzzles are in no list.
      hindsight: weight of a pair that hindsight made of a wrong answer, if that stage runs; 0 leaves them out.
      wrong: share of the verified arm's pairs that are wrong on purpose (stages/gate.py).
      fixes: documents of a wrong solution and its correction (puzzles/fixes.py), as a share of the number of pairs.
    """

    max_solutions: Count = 8
    prefer: Literal["short", "general", "diverse"] = "short"
    max_pairs: Count = 950_511
    easy_rate: Share = 0.5
    easy_weight: Share = 0.25
    learnability: NotNegative = 0.0
    tutorial: str = "seeds"
    lists: NotNegative = 0.0
    list_puzzles: Count = 8
    list_chars: Count = 900
    hindsight: NotNegative = 1.0
    wrong: Share = 0.0
    fixes: NotNegative = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.wrong <= 1:
            raise UserError(f"Selection.wrong={self.wrong}: must be a share from 0 to 1.")
        for name in ("hindsight", "lists", "fixes"):
            if getattr(self, name) < 0:
                raise UserError(f"Selection.{name}={getattr(self, name)}: must be 0 or more.")

    def weight(self, accepted: int, judged: int) -> float:
        """1 up to `easy_rate`, then falling linearly to `easy_weight`; times the learnability, if that counts."""
        rate = accepted / max(1, judged)
        learnable = learnability(accepted, judged) ** self.learnability
        if rate <= self.easy_rate or self.easy_rate >= 1:
            return learnable
        return learnable * (1.0 - (1.0 - self.easy_weight) * (rate - self.easy_rate) / (1.0 - self.easy_rate))


@hosts.first_alone("dataset built")
@gin.configurable(module="build_dataset")
def run(
    context: Context,
    iteration: int,
    selection: Selection = Selection(),
    prompt: SolvePrompt = SolvePrompt(),
) -> None:
    """Writes the verified pairs of one iteration, with headers as `prompt` asks for them; none if none was accepted."""
    pairs = list(_verified(context, iteration, selection))
    if selection.wrong:
        pairs = let_through(pairs, _wrong(context, iteration, selection), selection.wrong)
    documents = list(_fixes(context, iteration, round(selection.fixes * len(pairs))))
    _write(context, context.run.stage(iteration, "dataset"), pairs, selection, prompt, documents)


@hosts.first_alone("control dataset built")
@gin.configurable(module="control_dataset")
def run_control(
    context: Context,
    arm: str,
    iterations: int,
    selection: Selection = Selection(),
    sources: Mapping[str, str] = {},
    prompt: SolvePrompt = SolvePrompt(),
    behaviour: BehaviourCheck | None = BehaviourCheck(),
) -> None:
    """Writes the pairs of a control arm, matched to `iterations` iterations of the verified arm.

    `sources` names further arms: pairs of another run, or a file such as the paper's 125M_PAPER_1M_iter_2.txt.gz
    (data/sources.py). Pairs too similar to a held-out problem, in text or (unless `behaviour` is None) in behaviour,
    are left out and counted in the dataset's manifest.
    """
    path = context.run.control(arm, "dataset")
    if arm in sources:
        if not is_finished(path):  # reading a million pairs takes minutes
            pairs, contaminated = _external(context, sources[arm], behaviour)
            _write(context, path, pairs, selection, prompt, contaminated=contaminated)
        return
    if arm not in ARMS:
        known = ", ".join([*ARMS, *sources])
        raise UserError(
            f"loop.run.controls: unknown arm {arm!r}; choose from {known}, or say where its pairs are in "
            "control_dataset.run_control.sources."
        )
    _write(context, path, list(ARMS[arm](context, iterations, selection)), selection, prompt)


def _external(context: Context, source: str, behaviour: BehaviourCheck | None) -> tuple[list[Pair], int]:
    """The pairs of a source without those similar to a held-out problem, and the number of those."""
    from t5x_selfprog.data.sources import read_pairs, split_pair

    held_out = protected(tuple(problem for problem in context.problems if problem.split != "train"))
    puzzles: dict[str, str] = {}
    pairs = []
    for pair in read_pairs(source):
        parts = split_pair(pair["text"])
        if parts is not None:
            puzzles.setdefault(pair["puzzle_id"], parts[0])
            pairs.append({**pair, "weight": 1.0, "iteration": 0})
    alike = {puzzle for puzzle in set(puzzles.values()) if held_out.match(puzzle) is not None}
    if behaviour is not None and "held-out" in behaviour.against:
        alike |= like_held_out(context, sorted(set(puzzles.values()) - alike), behaviour)
    clean = [pair for pair in pairs if puzzles[pair["puzzle_id"]] not in alike]
    return clean, len(pairs) - len(clean)


def _write(
    context: Context,
    path: str,
    pairs: list[Pair],
    selection: Selection,
    prompt: SolvePrompt,
    others: Sequence[Pair] = (),
    **counters: int,
) -> None:
    ledger = context.ledger(path, "dataset", PAIR)
    pairs = [pair | {"text": in_form(pair["text"], prompt)} for pair in pairs]
    pairs = sorted(pairs, key=lambda pair: short_hash(pair["text"]))[: selection.max_pairs]
    documents = [*pairs, *_lists(pairs, selection), *others]
    for shard in ledger.pending():
        ledger.commit(shard, context.shard_of(documents, shard))
    ledger.finish(**counters)


def _lists(pairs: list[Pair], selection: Selection) -> Iterator[Pair]:
    """Documents that each list several of the pairs' puzzles, numbered as in a puzzle prompt.

    Every puzzle is listed in turn, and in another order each turn: few puzzles would otherwise give equal lists.
    """
    sources = (puzzle_of_pair(pair["text"]) for pair in pairs)
    puzzles = list(dict.fromkeys(source for source in sources if source and _is_listed([source], selection)))
    if not puzzles:
        return
    turns = (
        source
        for turn in itertools.count()
        for source in sorted(puzzles, key=lambda source: short_hash(f"list {turn} {source}"))
    )
    following = next(turns)
    for _ in range(round(selection.lists * len(pairs))):
        chosen: list[str] = []
        while following not in chosen and _is_listed([*chosen, following], selection):
            chosen.append(following)
            following = next(turns)
        yield _document(puzzle_list(chosen), pairs[0]["iteration"])


def _is_listed(sources: list[str], selection: Selection) -> bool:
    """Whether one list may hold these puzzles."""
    chars = sum(len(source) for source in sources)
    return len(sources) <= selection.list_puzzles and chars <= selection.list_chars


def _document(text: str, iteration: int) -> Pair:
    """A document among the pairs that is not itself a pair."""
    return {"puzzle_id": short_hash(text), "text": text, "weight": 1.0, "iteration": iteration}


def _fixes(context: Context, iteration: int, wanted: int) -> Iterator[Pair]:
    """Corrections of the model's own mistakes, chosen blindly."""
    if wanted:
        found = {text for verdicts in _by_puzzle(context, iteration) for text in fixes(verdicts)}
        for text in sorted(found, key=short_hash)[:wanted]:
            yield _document(text, iteration)


def _pair(puzzle: str, solution: str, weight: float, iteration: int) -> Pair:
    text = pair_text(puzzle, solution)
    return {"puzzle_id": puzzle_id(puzzle), "text": text, "weight": weight, "iteration": iteration}


def _by_puzzle(context: Context, iteration: int) -> Iterator[list[dict[str, Any]]]:
    """The verdicts of one iteration: one list per puzzle, in order."""
    return _grouped(context.verdicts(iteration))


def _grouped(verdicts: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    grouped: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in verdicts:
        grouped[record["puzzle_id"]].append(record)
    yield from grouped.values()


def distinct(verdicts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One verdict for each solution that differs by more than layout, in its shortest form; short ones first."""
    texts: dict[str, dict[str, Any]] = {}
    for verdict in verdicts:  # most of a model's attempts at a puzzle are repetitions
        texts.setdefault(verdict["solution"], verdict)
    best: dict[str, dict[str, Any]] = {}
    for verdict in sorted(texts.values(), key=lambda v: (len(v["solution"]), v["solution"])):
        key = solution_key(verdict["solution"])
        if key is not None:
            best.setdefault(key, verdict)
    return list(best.values())


def by_novelty(ranked: list[dict[str, Any]], wanted: int) -> list[dict[str, Any]]:
    """At most `wanted`: the first, then always the one with most concepts not yet used; ties by order."""
    left, seen = list(ranked), set[str]()
    chosen: list[dict[str, Any]] = []
    while left and len(chosen) < wanted:
        best = max(left, key=lambda v: len(concepts(v["solution"]) - seen))
        best = left[0] if not chosen else best
        left.remove(best)
        chosen.append(best)
        seen |= concepts(best["solution"])
    return chosen


def _verified(context: Context, iteration: int, selection: Selection) -> Iterator[Pair]:
    for verdicts in _by_puzzle(context, iteration):
        judged = [v for v in verdicts if v["outcome"] != "infrastructure"]
        accepted = [v for v in judged if v["outcome"] == "accepted"]
        weight = selection.weight(len(accepted), len(judged))
        ranked = distinct(accepted)
        if selection.prefer == "general":
            ranked.sort(key=lambda v: -(v["generality"] if v["generality"] is not None else 1.0))
        elif selection.prefer == "diverse":
            ranked = by_novelty(ranked, selection.max_solutions)
        for verdict in ranked[: selection.max_solutions]:
            yield _pair(verdict["puzzle"], verdict["solution"], weight, iteration)
    if selection.hindsight > 0:
        for verdicts in _grouped(hindsight.of_iteration(context, iteration) or ()):
            for verdict in distinct(verdicts)[: selection.max_solutions]:
                yield _pair(verdict["puzzle"], verdict["solution"], selection.hindsight, iteration)


def _wrong(context: Context, iteration: int, selection: Selection) -> Iterator[Pair]:
    """Pairs of attempts that the verifier refused, at most `max_solutions` per puzzle, as for accepted ones."""
    for verdicts in _by_puzzle(context, iteration):
        refused = [v for v in verdicts if v["outcome"] not in ("accepted", "infrastructure")]
        for verdict in sorted(distinct(refused), key=_blind)[: selection.max_solutions]:
            yield _pair(verdict["puzzle"], verdict["solution"], 1.0, iteration)


def _no_hindsight(context: Context, iterations: int, selection: Selection) -> Iterator[Pair]:
    for iteration in range(iterations):
        yield from _verified(context, iteration, dataclasses.replace(selection, hindsight=0.0))


def _unverified(context: Context, iterations: int, selection: Selection) -> Iterator[Pair]:
    """As many pairs per iteration as the verified arm has, from all puzzles tried, chosen blindly."""
    for iteration in range(iterations):
        wanted = len(list(_verified(context, iteration, selection)))
        chosen = itertools.islice(_drawn(context.verdicts(iteration), selection.max_solutions), wanted)
        yield from (_pair(verdict["puzzle"], verdict["solution"], 1.0, iteration) for verdict in chosen)


def _drawn(verdicts: Iterable[dict[str, Any]], most: int) -> Iterator[dict[str, Any]]:
    """Distinct attempts in blind order, at most so many at a puzzle.

    Only what is taken is parsed: at the end of a run, parsing hundreds of thousands of attempts would take minutes.
    """
    texts: dict[tuple[str, str], dict[str, Any]] = {}
    for verdict in verdicts:
        texts.setdefault((verdict["puzzle_id"], verdict["solution"]), verdict)
    taken: dict[str, set[str]] = defaultdict(set)
    for verdict in sorted(texts.values(), key=_blind):
        of_puzzle = taken[verdict["puzzle_id"]]
        if len(of_puzzle) < most:
            key = solution_key(verdict["solution"])
            if key is not None and key not in of_puzzle:
                of_puzzle.add(key)
                yield verdict


def _blind(verdict: dict[str, Any]) -> str:
    """A sort key that does not depend on the outcome."""
    return short_hash(verdict["puzzle_id"] + verdict["solution"])


def _human(context: Context, iterations: int, selection: Selection) -> Iterator[Pair]:
    for problem in context.train_problems:
        for solution in problem.solutions[: selection.max_solutions]:
            yield _pair(problem.source, solution, 1.0, 0)


def _seeds_only(context: Context, iterations: int, selection: Selection) -> Iterator[Pair]:
    for problem in context.train_problems:
        yield {
            "puzzle_id": problem.puzzle_id,
            "text": problem.source.strip("\n"),
            "weight": 1.0,
            "iteration": 0,
        }
    for text in tutorial_blocks(SolvePrompt(selection.tutorial)):
        yield _document(text, 0)


ARMS: dict[str, Callable[[Context, int, Selection], Iterable[Pair]]] = {
    "unverified": _unverified,
    "no_hindsight": _no_hindsight,
    "human": _human,
    "seeds_only": _seeds_only,
}
