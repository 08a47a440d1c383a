"""Sampling solutions as one stream over the shards of a ledger, for stage 3 and the evaluation."""

import collections
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from t5x_selfprog.progress import progress_bar
from t5x_selfprog.puzzles.asking import asking
from t5x_selfprog.puzzles.prompts import SolvePrompt
from t5x_selfprog.sampling.sampler import Completion, Request, Sampler, SamplingConfig
from t5x_selfprog.stages.allocation import Allocation, Asked, Stream, sample_in_rounds
from t5x_selfprog.stages.commits import Commits
from t5x_selfprog.stages.context import Context
from t5x_selfprog.stages.earlier_attempts import EarlierAttempts
from t5x_selfprog.stages.shard_stream import sample_shards
from t5x_selfprog.telemetry.shards import SamplingMeter
from verifier.storage.records import ATTEMPT

__all__ = ["Allocation", "Solving", "sample_attempts"]

NAMED = 5  # puzzles that a message lists
GRIDS_AHEAD = 2  # full grids of prompts sampled between two rounds of a puzzle, while it is judged


@dataclasses.dataclass(frozen=True)
class Solving:
    """How solutions are sampled.

    Attributes:
      attempts: at every puzzle; fewer with an allocation.
    """

    attempts: int
    sampling: SamplingConfig
    prompt: SolvePrompt = SolvePrompt()
    allocation: Allocation | None = None


def sample_attempts(
    context: Context,
    puzzles: Sequence[tuple[str, str]],
    path: str,
    solving: Solving,
    *,
    model: str,
    key: jax.Array,
    label: str,
    earlier: EarlierAttempts | None = None,
) -> None:
    """Samples solutions of every (puzzle_id, source) into the ledger at `path`.

    `earlier` attempts count as the first of them; an allocation ignores these and samples from the first attempt on.

    A puzzle whose prompt does not fit the model's context gets no attempts, is counted as `too_long`, and named on
    standard error.
    """
    ledger = context.ledger(path, "solutions", ATTEMPT)
    pending = context.pending(ledger)
    if pending:
        attempts, allocation = solving.attempts, solving.allocation
        together = attempts if allocation is None else attempts // allocation.rounds
        sampling = solving.sampling.fitted(max(1, together))
        context.require_room(model, sampling=sampling)
        loaded = context.model(model)
        way = asking(solving.prompt, loaded.tokenizer, model)
        sampling = way.sampling(sampling)
        sampler = context.sampler(model, sampling, way.prefix)
        meter = SamplingMeter(sampler, path)
        bar = progress_bar(total=len(puzzles) * attempts, desc=f"{label} solve", unit="attempt")
        too_long: list[list[str]] = [[] for _ in range(ledger.shard_count)]

        def ask(shard: int) -> Iterator[Asked]:
            """The puzzles of a shard whose prompts fit."""
            for puzzle_id, source in context.shard_of(list(puzzles), shard):
                asked = way.request(source)
                if sampler.fits(asked.text):
                    yield Asked(puzzle_id, source, asked)
                else:
                    too_long[shard].append(puzzle_id)
                if shard not in pending:
                    bar.update(attempts)

        commits = Commits(ledger)

        def answers(asked: Asked, completions: Sequence[Completion]) -> list[dict[str, Any]]:
            commits.check()
            bar.update(len(completions))
            return _records(sampler, asked, completions)

        stream = Stream(sampler, key, ledger, pending, ask, answers, attempts)
        if allocation is None or not attempts:
            found = _straight(stream, earlier)
        else:
            each = max(1, len(puzzles) // ledger.shard_count)
            ahead = -(-GRIDS_AHEAD * sampling.prompts_in_flight // each)
            found = sample_in_rounds(context, allocation, stream, ahead)
        with commits:
            for shard, records in found:
                fitting = len(context.shard_of(list(puzzles), shard)) - len(too_long[shard])
                context.commit(
                    commits,
                    shard,
                    records,
                    tokens=sum(r["n_tokens"] for r in records),
                    too_long=len(too_long[shard]),
                    spared=fitting * attempts - len(records),
                )
                meter.shard(shard, len(records))
        bar.close()
        named = [puzzle_id for shard in pending for puzzle_id in too_long[shard]]
        if named:
            print(
                f"{label}: {len(named)} of {len(puzzles)} puzzles get no attempts, their prompts exceed "
                f"{sampler.longest_prompt} tokens: {', '.join(named[:NAMED])}{' ...' * (len(named) > NAMED)}",
                file=sys.stderr,
            )
    context.finish(ledger)


def _straight(stream: Stream, earlier: EarlierAttempts | None) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Pending shards with their records: all attempts at every puzzle."""
    sampler, attempts = stream.sampler, stream.attempts
    # For pending shards: the puzzles asked, and the attempts that exist already.
    waiting: collections.deque[tuple[Asked, list[dict[str, Any]]]] = collections.deque()
    records: list[dict[str, Any]] = []

    def requests(shard: int) -> Iterator[Request]:
        there = earlier.of_shard(shard, sampler.checkpoint, attempts) if earlier else {}
        for asked in stream.ask(shard):
            made = there.get(asked.puzzle_id, [])
            if shard in stream.pending:
                waiting.append((asked, made))
            yield Request(asked.puzzle_id, asked.prompt.text, attempts - len(made), first_sample=len(made))

    def take(request: Request, completions: Sequence[Completion]) -> None:
        asked, made = waiting.popleft()
        records.extend([*made, *stream.answers(asked, completions)])

    for shard in sample_shards(sampler, stream.key, stream.ledger, stream.pending, requests, take):
        yield shard, records
        records = []


def _records(sampler: Sampler, asked: Asked, completions: Sequence[Completion]) -> list[dict[str, Any]]:
    return [
        {
            "puzzle_id": asked.puzzle_id,
            "puzzle": asked.source,
            "solution": asked.prompt.solution(completion.text).rstrip() + "\n",
            "sample_index": completion.sample_index,
            "logprob": completion.logprob,
            "n_tokens": completion.n_tokens,
            "stop_reason": completion.stop_reason,
            "checkpoint": sampler.checkpoint,
        }
        for completion in completions
    ]
