"""Sampling solutions, shard by shard into a ledger: what stage 3 and the evaluation have in common."""

import collections
import dataclasses
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from t5x_selfprog import hosts
from t5x_selfprog.progress import progress_bar
from t5x_selfprog.puzzles.prompts import (
    BLANK_LINE,
    SolvePrompt,
    SolveRequest,
    clean_solution,
    solution_key,
    solve_prompt,
    tutorial_blocks,
)
from t5x_selfprog.sampling.sampler import Request, Sampler, SamplingConfig
from t5x_selfprog.stages.context import Context
from t5x_selfprog.telemetry import recorder
from t5x_selfprog.telemetry.shards import SamplingMeter
from verifier import Limits, Pool
from verifier.errors import UserError
from verifier.records import ATTEMPT

NAMED = 5  # puzzles that a message lists


@dataclasses.dataclass(frozen=True)
class Allocation:
    """Attempts in rounds, so that a puzzle with enough accepted solutions gets no more of them.

    The attempts made are the first of those that all puzzles would have got, so n and c of a puzzle follow from its
    records. c / n leans upwards where it ended a puzzle; over the first round, which nothing ends, it does not.
    Deciding takes verdicts, so solutions are judged here and again, for the record, in stage 4.

    Attributes:
      needed: distinct accepted solutions after which a puzzle has enough (what `Selection.max_solutions` keeps).
      rounds: nearly equal parts that the attempts come in.
      limits: what a solution may use while this decides; stage 4 has its own.
    """

    needed: int = 8
    rounds: int = 4
    limits: Limits = Limits(cpu_s=1.0)

    def __post_init__(self):
        for name in ("needed", "rounds"):
            if getattr(self, name) < 1:
                raise UserError(f"Allocation.{name}={getattr(self, name)}: must be at least 1.")

    def spans(self, attempts: int) -> list[tuple[int, int]]:
        """First sample and number of attempts of each round."""
        edges = [attempts * i // self.rounds for i in range(self.rounds + 1)]
        return [(a, b - a) for a, b in itertools.pairwise(edges) if a < b]


# A puzzle's id, its source, and the prompt that asks for its solution.
Asked = tuple[str, str, SolveRequest]


def sample_attempts(
    context: Context,
    puzzles: Sequence[tuple[str, str]],
    path: str,
    *,
    model: str,
    key: jax.Array,
    attempts: int,
    sampling: SamplingConfig,
    prompt: SolvePrompt,
    label: str,
    allocation: Allocation | None = None,
) -> None:
    """Samples `attempts` solutions of every (puzzle_id, source) into the ledger at `path`; fewer by `allocation`.

    A puzzle whose prompt does not fit the model's context is left without attempts, counted as `too_long`, and
    named on standard error.
    """
    ledger = context.ledger(path, "solutions", ATTEMPT)
    pending = context.pending(ledger)
    if pending:
        loaded = context.model(model)
        blocks = tutorial_blocks(prompt.tutorial, typed=prompt.typed)
        prefix = BLANK_LINE.join([*blocks, ""]) if blocks else ""
        sampler = context.sampler(model, sampling, prefix)
        meter = SamplingMeter(sampler, path)
        bar = progress_bar(total=len(puzzles) * attempts, desc=f"{label} solve", unit="attempt")
        too_long: list[str] = []
        for shard in range(ledger.shard_count):
            mine = context.shard_of(list(puzzles), shard)
            if shard not in pending:
                bar.update(len(mine) * attempts)
                continue
            asked = [
                (*puzzle, solve_prompt(puzzle[1], encode=loaded.tokenizer.encode, typed=prompt.typed))
                for puzzle in mine
            ]
            fitting = [item for item in asked if sampler.fits(item[2].text)]
            too_long += [item[0] for item in asked if not sampler.fits(item[2].text)]
            records: list[dict[str, Any]] = []
            if allocation is None:
                for found in _sample(sampler, fitting, key, 0, attempts):
                    bar.update(len(found))
                    records += found
            else:
                with context.pool(allocation.limits) as pool:
                    records = _sample_in_rounds(sampler, pool, fitting, key, attempts, allocation)
                bar.update(len(fitting) * attempts)
            context.commit(
                ledger,
                shard,
                records,
                tokens=sum(r["n_tokens"] for r in records),
                too_long=len(asked) - len(fitting),
                spared=len(fitting) * attempts - len(records),
            )
            meter.shard(shard, len(records))
        bar.close()
        if too_long:
            print(
                f"{label}: {len(too_long)} of {len(puzzles)} puzzles get no attempts, their prompts exceed "
                f"{sampler.longest_prompt} tokens: {', '.join(too_long[:NAMED])}{' ...' * (len(too_long) > NAMED)}",
                file=sys.stderr,
            )
    context.finish(ledger)


def _sample(
    sampler: Sampler, asked: Sequence[Asked], key: jax.Array, first: int, attempts: int
) -> Iterator[list[dict[str, Any]]]:
    """The records of attempts `first` and on at each puzzle."""
    requests = [Request(item[0], item[2].text, attempts, first) for item in asked]
    for (puzzle_id, source, request), completions in zip(asked, sampler.sample(requests, key), strict=True):
        yield [
            {
                "puzzle_id": puzzle_id,
                "puzzle": source,
                "solution": clean_solution(request.header, completion.text).rstrip() + "\n",
                "sample_index": completion.sample_index,
                "logprob": completion.logprob,
                "n_tokens": completion.n_tokens,
                "stop_reason": completion.stop_reason,
                "checkpoint": sampler.checkpoint,
            }
            for completion in completions
        ]


def _sample_in_rounds(
    sampler: Sampler,
    pool: Pool,
    asked: Sequence[Asked],
    key: jax.Array,
    attempts: int,
    allocation: Allocation,
) -> list[dict[str, Any]]:
    """The records of all puzzles; workers judge what a round has brought while the rest of it is sampled."""
    records: list[list[dict[str, Any]]] = [[] for _ in asked]
    tried: list[set[str]] = [set() for _ in asked]
    accepted, watch = [0] * len(asked), recorder.current()
    for first, count in allocation.spans(attempts):
        short = [i for i, so_far in enumerate(accepted) if so_far < allocation.needed]
        judged: list[int] = []  # whose puzzle each candidate is
        sampled: list[float] = []  # when the last one was

        def candidates(
            short=short, judged=judged, first=first, count=count, sampled=sampled
        ) -> Iterator[dict[str, Any]]:
            found = _sample(sampler, [asked[i] for i in short], key, first, count)
            for i, new in zip(short, found, strict=True):
                records[i] += new
                for record in new:
                    text = solution_key(record["solution"])
                    if text is not None and text not in tried[i]:
                        tried[i].add(text)
                        judged.append(i)
                        yield record
            sampled.append(time.monotonic())

        if hosts.is_first():
            for number, verdict in enumerate(pool.judge(candidates())):
                accepted[judged[number]] += verdict.accepted
            watch.clock.move(time.monotonic() - sampled[0], "host", "verdicts")
        else:
            collections.deque(candidates(), maxlen=0)  # sampling is everybody's, judging is not
        accepted = hosts.agree(accepted)
    return [record for found in records for record in found]
