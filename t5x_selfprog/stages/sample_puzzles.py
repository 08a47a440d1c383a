"""Stage 1: the model writes puzzles.

Reads:    train problems, the newest checkpoint before this iteration (or the base, by Experiment.writer); with an
          archive, the verdicts of earlier iterations.
Writes:   RUN/iter_NNN/1_puzzles, one record per completion, good or bad; stage 2 decides.
Restart:  the shard; prompt i is a function of (seed, iteration, i), and so are its completions.
Left out: any filter.
"""

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import gin
from t5x_selfprog.bounds import Count
from t5x_selfprog.progress import progress_bar
from t5x_selfprog.puzzles.archive import Archive
from t5x_selfprog.puzzles.asking import puzzle_chat
from t5x_selfprog.puzzles.difficulty import Difficulty, difficulties
from t5x_selfprog.puzzles.prompts import (
    Example,
    PuzzlePrompt,
    PuzzlePrompts,
    examples_of,
    puzzle_from_completion,
)
from t5x_selfprog.puzzles.signatures import AskedSignature, beginnings
from t5x_selfprog.puzzles.source import drop_return_annotation, returning_bool, short_hash
from t5x_selfprog.run_layout import iteration_name
from t5x_selfprog.sampling.sampler import Completion, Request, SamplingConfig
from t5x_selfprog.schedule import Schedule
from t5x_selfprog.stages.commits import Commits
from t5x_selfprog.stages.context import Context
from t5x_selfprog.stages.shard_stream import sample_shards
from t5x_selfprog.telemetry.shards import SamplingMeter
from verifier.errors import UserError
from verifier.storage.records import PUZZLE


@gin.configurable("run", module="sample_puzzles")
@dataclasses.dataclass(frozen=True)
class Settings:
    """How puzzles are asked for; `sample_puzzles.run` in gin.

    Attributes:
      prompts: few-shot prompts drawn in the first iteration.
      attempts: completions of each.
      prompt_tokens: of each prompt, at most.
      archive: prompts show the model's own puzzles beside train problems from the second iteration on.
      signature: a prompt ends within the signature of the puzzle it asks for, taken from a train problem.
      schedule: how many prompts are drawn after the first iteration.
      returns: the puzzles shown say that they return a bool, `-> bool`; those written are kept without it.
      chat: prompts are conversations in the model's own template, with its answer begun (asking.py).
    """

    sampling: SamplingConfig = gin.REQUIRED
    prompts: Count = 64
    attempts: Count = 64
    prompt_tokens: Count = 384
    archive: Archive | None = None
    signature: AskedSignature | None = None
    schedule: Schedule = Schedule()
    returns: bool = False
    chat: bool = False


def run(context: Context, iteration: int, settings: Settings | None = None) -> None:
    """Draws few-shot prompts and samples completions of each.

    settings: by default, as gin binds them.
    """
    settings = settings or Settings()
    attempts, prompt_tokens = settings.attempts, settings.prompt_tokens
    archive, signature = settings.archive, settings.signature
    ledger = context.ledger(context.run.stage(iteration, "puzzles"), "puzzles", PUZZLE)
    pending = context.pending(ledger)
    prompts = settings.schedule.prompts_of(context.run, iteration, settings.prompts)
    if pending:
        experiment = context.experiment
        newest = context.run.sampled_from(iteration, experiment.base)
        writer = newest if experiment.writer == "newest" else experiment.base
        sampling = settings.sampling.fitted(attempts)
        context.require_room(writer, sampling=sampling)
        tokenizer = context.model(writer).tokenizer
        layout = puzzle_chat(tokenizer, writer) if settings.chat else None
        if settings.chat:
            sampling = dataclasses.replace(sampling, document_start=False)
        sampler = context.sampler(writer, sampling)
        room = sampler.longest_prompt - sampler.prompt_tokens("")
        if prompt_tokens > room:
            raise UserError(
                f"sample_puzzles.run.prompt_tokens={prompt_tokens}: prompts have room for {room} tokens, by the "
                f"largest of puzzles/SamplingConfig.prompt_buckets={sampling.prompt_buckets} and by what the model's "
                f"context leaves beside max_new_tokens={sampling.max_new_tokens}. Lower it, or change these."
            )
        examples = _examples(context, iteration, archive)
        drawer = PuzzlePrompts(
            [_returning_bool(example) for example in examples] if settings.returns else examples,
            budget_tokens=prompt_tokens,
            count_tokens=lambda text: len(tokenizer.encode(text)),
            begun=_beginnings(context, signature) if signature else (),
            note=archive.asked_note if archive else "",
            layout=layout,
        )
        key, meter = context.key(iteration, "puzzles"), SamplingMeter(sampler, ledger.path)
        bar = progress_bar(total=prompts * attempts, desc=f"{iteration}.1 write puzzles", unit="puzzle")
        drawn: collections.deque[PuzzlePrompt] = collections.deque()  # prompts not completed yet
        records: list[dict[str, Any]] = []
        commits = Commits(ledger)

        def requests(shard: int) -> Iterator[Request]:
            for i in context.shard_of(list(range(prompts)), shard):
                prompt = drawer.draw((experiment.seed, iteration, i))
                if shard in pending:
                    drawn.append(prompt)
                else:
                    bar.update(attempts)
                yield Request(f"{iteration}/{i}", prompt.text, attempts)

        def take(request: Request, completions: Sequence[Completion]) -> None:
            commits.check()
            bar.update(len(completions))
            prompt = drawn.popleft()
            for completion in completions:
                source = puzzle_from_completion(prompt.number, completion.text, prompt.begun).rstrip()
                source = drop_return_annotation(source) if settings.returns else source
                records.append(
                    {
                        "puzzle_id": short_hash(source),
                        "source": source,
                        "answer_type": "",
                        "origin": f"{iteration_name(iteration)}/{completion.item_id}/{completion.sample_index}",
                        "prompt_puzzle_ids": list(prompt.puzzle_ids),
                        "sample_index": completion.sample_index,
                        "logprob": completion.logprob,
                        "n_tokens": completion.n_tokens,
                        "checkpoint": sampler.checkpoint,
                    }
                )

        with commits:
            for shard in sample_shards(sampler, key, ledger, pending, requests, take):
                context.commit(commits, shard, records, tokens=sum(r["n_tokens"] for r in records))
                meter.shard(shard, len(records))
                records = []
        bar.close()
    context.finish(ledger)


def _beginnings(context: Context, signature: AskedSignature) -> list[tuple[str, str]]:
    return beginnings(signature, [(problem.puzzle_id, problem.source) for problem in context.train_problems])


def _returning_bool(example: Example) -> Example:
    return dataclasses.replace(example, source=returning_bool(example.source))


def _examples(context: Context, iteration: int, archive: Archive | None) -> list[Example]:
    train = examples_of(context.train_problems)
    if archive is None:
        return train
    known: list[Difficulty] = []
    types: dict[str, str] = {}
    for earlier in range(iteration):
        known += difficulties(context.run.read(earlier, "verdicts"))
        types |= {record["puzzle_id"]: record["answer_type"] for record in context.run.read(earlier, "kept")}
    return archive.examples(known, types, train)
