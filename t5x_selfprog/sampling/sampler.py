"""Text in, text out: many attempts at each of many prompts.

The device works through a grid of prompts and rows in chunks of a few steps (`engine.py`); between chunks the
host (`scheduler.py`) collects what ended and loads the next prompts into groups that are through.
"""

import itertools
import time
from collections.abc import Iterable, Iterator

import jax
import numpy as np

from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.network import Params
from t5x_selfprog.partitioning import Partitioner
from t5x_selfprog.sampling import stop
from t5x_selfprog.sampling.engine import Engine
from t5x_selfprog.sampling.grid import IDLE, Grid
from t5x_selfprog.sampling.interface import Completion, Request, SamplingConfig
from t5x_selfprog.sampling.scheduler import Attempt, Job, Scheduler, Share
from t5x_selfprog.sampling.stop import StopRule, Vocabulary
from t5x_selfprog.telemetry import recorder
from verifier.errors import UserError

__all__ = ["Completion", "Request", "Sampler", "SamplingConfig"]


class Sampler:
    """A model made ready to sample.

    Attributes:
      checkpoint: the identity of the weights, for records.
      longest_prompt: the most tokens a prompt may have, the start of the document included.
    """

    def __init__(
        self,
        model_config: ModelConfig,
        params: Params,
        tokenizer: Vocabulary,
        config: SamplingConfig,
        *,
        checkpoint: str,
        prefix: str = "",
        partitioner: Partitioner | None = None,
    ):
        """Prepares weights and computes the prefix.

        Args:
          checkpoint: the identity of the checkpoint that `params` were restored from.
          prefix: text before every prompt; should end where a token ends, as in a blank line.
          partitioner: lays out weights and caches; None keeps all on the default device. Rules that split
            weights along `embed` make every step gather them: give sampling rules without.

        Raises:
          UserError: no checkpoint identity, or no room for prompts in the model's context.
        """
        if not checkpoint:
            raise UserError(
                "The sampler was given weights without a checkpoint identity: restore them from a checkpoint."
            )
        self.checkpoint = checkpoint
        self._tokenizer, self._config = tokenizer, config
        self._texts = stop.token_texts(tokenizer)
        self._stop = StopRule(config.stop)  # type: ignore[arg-type]  # checked by SamplingConfig
        start = [tokenizer.start_id] if config.document_start and tokenizer.start_id is not None else []
        prefix_tokens = [*start, *tokenizer.encode(prefix)] if prefix else []
        self._start = [] if prefix else start  # of every prompt
        room = model_config.context_length - len(prefix_tokens) - config.max_new_tokens
        self._limits = (
            f"largest prompt bucket {config.prompt_buckets[-1]}; context {model_config.context_length}, of "
            f"which the prefix takes {len(prefix_tokens)} and max_new_tokens {config.max_new_tokens}"
        )
        if room < 1:
            raise UserError(f"No room for prompts: {self._limits}.")
        buckets = tuple(sorted({min(bucket, room) for bucket in config.prompt_buckets}))
        self.longest_prompt = buckets[-1]
        self._engine = Engine(
            model_config,
            params,
            config,
            self._stop.tables(self._texts, model_config.vocab_size),
            prefix_tokens,
            buckets,
            tokenizer.vocab_size,
            tuple(tokenizer.end_ids),
            partitioner,
        )
        self._stats = dict.fromkeys(("tokens", "completions", "prompts", "prompt_tokens", "row_steps"), 0)
        self._seconds = dict.fromkeys(("prefill_s", "decode_s", "host_s"), 0.0)
        self._chunks = 0

    def prompt_tokens(self, prompt: str) -> int:
        """Length of a prompt in tokens, the start of the document included, the prefix not."""
        return len(self._encode(prompt))

    def fits(self, prompt: str) -> bool:
        """Whether `sample` takes this prompt."""
        return bool(prompt) and self.prompt_tokens(prompt) <= self.longest_prompt

    def sample(self, requests: Iterable[Request], key: jax.Array) -> Iterator[list[Completion]]:
        """Samples all attempts of all requests, which are drawn as groups become free.

        An attempt depends on the key, its item's id, its sample index, its prompt and the weights, not on
        what else is sampled with it. Bit for bit the outcome follows from the list of requests (elsewhere in
        the grid sums round differently), so whoever resumes should start with the same request again.

        Args:
          key: of the stage, threefry.

        Yields:
          The completions of one request, by sample index; requests in their order.

        Raises:
          UserError: a prompt is empty or too long, or memory does not suffice.
        """
        finished: dict[int, list[Completion]] = {}
        following = 0
        for job in self._jobs_done(requests, _threefry_words(key)):
            finished[job.number] = self._completions(job)
            while following in finished:
                yield finished.pop(following)
                following += 1

    def warm_up(self) -> None:
        """Compiles every program that `sample` can need."""
        engine, scheduler = self._engine, self._scheduler()
        stage_key = np.zeros(2, np.uint32)
        grid = engine.empty()
        for bucket in engine.buckets:
            for each in {1, self._together()}:
                job = Job(0, "", [0] * bucket, False, 0, 0, 0)
                grid = engine.load(grid, [(job, group) for group in range(each)], each, stage_key)
        if self._config.prompts_in_flight > 1:
            grid = engine.share(grid, Share(source=0, target=1, middle=0))
        narrowing = scheduler.narrowed(self._config.tail_prompts)
        if narrowing is not None:
            engine.decode(engine.narrow(grid, narrowing))
        jax.block_until_ready(engine.decode(grid)[0])

    def stats(self) -> dict[str, float]:
        """Counts and seconds since construction.

        row_occupancy is the share of decoded rows that held an attempt; compilations counts programs.
        """
        programs = self._engine.programs
        return {
            **self._stats,
            **self._seconds,
            "row_occupancy": self._stats["tokens"] / max(self._stats["row_steps"], 1),
            "compilations": programs.compilations,
            "compile_s": programs.compile_s,
        }

    def _jobs_done(self, requests: Iterable[Request], stage_key: np.ndarray) -> Iterator[Job]:
        """Jobs with all their attempts, in the order in which they end."""
        engine, scheduler, watch = self._engine, self._scheduler(), recorder.current()
        grid = engine.empty()
        waiting = (self._job(number, request) for number, request in enumerate(requests))
        while True:
            idle = len(scheduler.idle_groups())
            ready = idle >= self._config.groups_per_load() or not scheduler.busy()
            drawn = list(itertools.islice(waiting, idle if ready else 0))
            yield from (job for job in drawn if not job.missing)  # nothing asked, nothing to wait for
            jobs = [job for job in drawn if job.missing]
            with watch.part("prefill"):
                grid = self._load(grid, scheduler, jobs, stage_key)
            if ready and len(drawn) < idle:  # no more requests
                if not scheduler.busy():
                    return
                for share in scheduler.shares():
                    grid = engine.share(grid, share)
                narrowing = scheduler.narrowed(self._config.tail_prompts)
                if narrowing is not None:
                    grid, scheduler = engine.narrow(grid, narrowing), narrowing.scheduler
            if scheduler.busy():
                grid, done = self._decode(grid, scheduler)
                yield from done

    def _job(self, number: int, request: Request) -> Job:
        tokens = self._encode(request.prompt)
        if not request.prompt or len(tokens) > self.longest_prompt:
            raise UserError(
                f"The prompt of {request.item_id} has {len(tokens)} tokens; it must be text "
                f"of at most {self.longest_prompt} ({self._limits})."
            )
        if request.attempts < 0 or request.first_sample < 0:
            raise UserError(f"{request.item_id}: negative attempts or first_sample in {request}.")
        return Job(
            number=number,
            item_id=request.item_id,
            tokens=tokens,
            at_line_start=request.prompt.endswith("\n"),
            first_sample=request.first_sample,
            end_sample=request.first_sample + request.attempts,
            missing=request.attempts,
        )

    def _encode(self, prompt: str) -> list[int]:
        return [*self._start, *self._tokenizer.encode(prompt)]

    def _scheduler(self) -> Scheduler:
        c = self._config
        return Scheduler(c.prompts_in_flight, c.rows_per_prompt, c.max_new_tokens)

    def _together(self) -> int:
        """Prompts that a part of the grid can take at once."""
        return min(self._config.prompts_per_load, self._config.prompts_in_flight // self._engine.parts)

    def _load(self, grid: Grid, scheduler: Scheduler, jobs: list[Job], stage_key: np.ndarray) -> Grid:
        """Places jobs in idle groups, several at a time where enough wait for the same bucket."""
        start, compiled = time.perf_counter(), self._engine.programs.compile_s
        for bucket in self._engine.buckets:
            alike = [job for job in jobs if self._engine.bucket(job) == bucket]
            while alike:
                groups, each = scheduler.places(len(alike), self._engine.parts, self._together())
                placed = list(zip(alike, groups, strict=False))
                alike = alike[len(placed) :]
                for job, group in placed:
                    scheduler.place(job, group)
                grid = self._engine.load(grid, placed, each, stage_key)
        if jobs:
            jax.block_until_ready(grid)
            self._stats["prompts"] += len(jobs)
            self._stats["prompt_tokens"] += sum(len(job.tokens) for job in jobs)
            compiling = self._engine.programs.compile_s - compiled
            self._seconds["prefill_s"] += time.perf_counter() - start - compiling
        return grid

    def _decode(self, grid: Grid, scheduler: Scheduler) -> tuple[Grid, list[Job]]:
        start, compiled = time.perf_counter(), self._engine.programs.compile_s
        watch = recorder.current()
        with watch.part("decode"):
            grid, wait = self._engine.decode(grid)
            events = wait()
        self._chunks += 1
        watch.step("decoding chunk", self._chunks, events)
        middle = time.perf_counter()
        done = scheduler.record(events)
        self._stats["tokens"] += int(np.sum(events.sample != IDLE))
        self._stats["row_steps"] += events.sample.size
        self._stats["completions"] += int(np.sum(events.reason > 0))
        self._seconds["decode_s"] += middle - start - (self._engine.programs.compile_s - compiled)
        self._seconds["host_s"] += time.perf_counter() - middle
        return grid, done

    def _completions(self, job: Job) -> list[Completion]:
        start = time.perf_counter()
        attempts = sorted(job.finished, key=lambda attempt: attempt.sample)
        completions = [self._completion(job, attempt) for attempt in attempts]
        self._seconds["host_s"] += time.perf_counter() - start
        return completions

    def _completion(self, job: Job, attempt: Attempt) -> Completion:
        text = b"".join(self._texts[token] for token in attempt.tokens)
        if attempt.reason == stop.UNINDENTED:
            text = self._stop.cut(text, job.at_line_start)
        return Completion(
            item_id=job.item_id,
            sample_index=attempt.sample,
            text=text.decode("utf-8", errors="replace"),
            n_tokens=len(attempt.tokens),
            logprob=attempt.logprob,
            stop_reason=stop.REASONS[attempt.reason],
        )


def _threefry_words(key: jax.Array) -> np.ndarray:
    """The key's two words. Raises ValueError for other generators: their draws depend on the batch."""
    if jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key):
        if str(jax.random.key_impl(key)) != "threefry2x32":
            raise ValueError(
                f"sampling needs a threefry2x32 key, got {jax.random.key_impl(key)}: make it with "
                "jax.random.key(seed, impl='threefry2x32')"
            )
        key = jax.random.key_data(key)
    words = np.asarray(key)
    if words.shape != (2,):
        raise ValueError(f"sampling needs one threefry key, got an array of shape {words.shape}")
    return words
