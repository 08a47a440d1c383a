"""Text in, text out: many attempts at each of many prompts.

The device works through a grid of prompts and rows in chunks of a few steps (`engine.py`); between chunks the host
(`scheduler.py`) collects finished attempts and loads the next prompts into idle groups.
"""

import collections
import functools
import time
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator

import jax
import numpy as np

from t5x_selfprog import preemption
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.network import Params
from t5x_selfprog.partitioning import Partitioner
from t5x_selfprog.sampling import stop
from t5x_selfprog.sampling.blueprint import Room, blueprint_of, compile_ahead
from t5x_selfprog.sampling.decode import Events
from t5x_selfprog.sampling.device import Chunk, Device
from t5x_selfprog.sampling.engine import Engine
from t5x_selfprog.sampling.grid import IDLE
from t5x_selfprog.sampling.interface import Completion, Request, SamplingConfig
from t5x_selfprog.sampling.replay import Remembered
from t5x_selfprog.sampling.scheduler import Job, Scheduler, Share
from t5x_selfprog.sampling.stop import StopRule, Vocabulary
from t5x_selfprog.telemetry import recorder
from verifier.errors import UserError

__all__ = ["Completion", "Request", "Sampler", "SamplingConfig"]

ENCODED = 4096  # prompts whose tokens are kept
NO_TOKENS, NO_LOGPROBS = np.zeros(0, np.int32), np.zeros(0, np.float32)


class Sampler:
    """A model ready to sample.

    Attributes:
      checkpoint: the identity of the weights, for records.
      longest_prompt: the most tokens a prompt may have, including the start of the document.
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
          partitioner: lays out weights and caches; None keeps all on the default device. Its rules should not split
            weights along `embed`: every step would have to gather them.

        Raises:
          UserError: no checkpoint identity, or no room for prompts in the model's context.
        """
        _require_restored(checkpoint)
        self._tokenizer, self._config = tokenizer, config
        self._texts = stop.token_texts(tokenizer)
        self._stop = StopRule(config.stop)  # type: ignore[arg-type]  # checked by SamplingConfig
        self._room = Room.of(model_config, tokenizer, config, prefix)
        self.longest_prompt = self._room.buckets[-1]
        compile_ahead(model_config, tokenizer, config, prefix, partitioner)
        self._plan = blueprint_of(model_config, tokenizer, config, self._room, partitioner)
        self._shape, self._tables = model_config, self._stop.tables(self._texts, model_config.vocab_size)
        self.take(params, checkpoint)
        self._stats = dict.fromkeys(("tokens", "completions", "prompts", "prompt_tokens", "row_steps"), 0)
        self._seconds = dict.fromkeys(("prefill_s", "decode_s", "host_s"), 0.0)
        self._chunks = 0
        # Cached because stages ask whether a prompt fits before they ask for attempts at it.
        # A method of this object would keep it, and its weights, alive until the next collection of garbage.
        self._encode = functools.lru_cache(maxsize=ENCODED)(
            functools.partial(_encoded, tokenizer, self._room.start)
        )

    def take(self, params: Params, checkpoint: str) -> None:
        """Goes on with other weights of the same shapes; those before them are let go first."""
        _require_restored(checkpoint)
        self.let_go()
        self.checkpoint = checkpoint
        self._engine = Engine(self._plan, self._shape, params, self._config, self._tables, self._room.prefix)

    def let_go(self) -> None:
        """Releases what it holds of a device, until `take`; what it knows of prompts stays."""
        self.__dict__.pop("_engine", None)

    def prompt_tokens(self, prompt: str) -> int:
        """Length of a prompt in tokens, with the start of the document but without the prefix."""
        return len(self._encode(prompt))

    def document(self, prompt: str) -> list[int]:
        """All tokens that an attempt at this prompt follows: the start of the document, the prefix, the prompt."""
        return [*self._room.prefix, *self._encode(prompt)]

    def fits(self, prompt: str) -> bool:
        """Whether `sample` accepts this prompt."""
        return bool(prompt) and self.prompt_tokens(prompt) <= self.longest_prompt

    def sample(
        self, requests: Iterable[Request | None], key: jax.Array
    ) -> Generator[list[Completion], None, None]:
        """Samples all attempts of all requests, which are drawn as groups become free.

        An attempt depends on the key, its item's id, its sample index, its prompt and the weights, not on what else
        is sampled with it. Its exact bits also depend on the list of requests, because sums round differently
        elsewhere in the grid. To resume, give the same list again, with the lengths of the attempts that exist: these
        are not sampled again, and the others get the same bits as in an unbroken run (on the same kind of device).

        Args:
          requests: None among them says that the next one depends on what has not been yielded yet: it is asked
            for again after some decoding.
          key: the stage's key, threefry.

        Yields:
          The completions of one request, by sample index (none if it came with lengths); requests in their order.

        Raises:
          UserError: a prompt is empty or too long, or memory does not suffice.
        """
        finished: dict[int, list[Completion]] = {}
        following = 0
        for job in self._jobs_done(requests, _threefry_words(key)):
            finished[job.number] = [] if job.lengths is not None else self._completions(job)
            while following in finished:
                yield finished.pop(following)
                following += 1

    def warm_up(self) -> None:
        """Compiles every program that `sample` may need."""
        engine, scheduler = self._engine, self._scheduler()
        stage_key = np.zeros(2, np.uint32)
        grid = engine.empty()
        for bucket in self._plan.buckets:
            for each in self._plan.batches():
                job = Job(0, "", [0] * bucket, False, 0, 0, 0)
                grid = engine.load(grid, [(job, group) for group in range(each)], each, stage_key)
        if self._config.prompts_in_flight > 1:
            grid = engine.share(grid, [Share(source=0, target=1, middle=0)])
        sizes, parts = self._plan.tails, self._plan.parts
        for size in sizes:
            compaction = scheduler.compacted([size], parts)
            assert compaction is not None
            smaller = engine.compact(grid, compaction)
            for least in (other for other in sizes if other < size):
                again = compaction.scheduler.compacted([least], parts)
                assert again is not None
                engine.compact(smaller, again)
            engine.decode(smaller)
        engine.decode(grid)[1].get()

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

    def _jobs_done(self, requests: Iterable[Request | None], stage_key: np.ndarray) -> Iterator[Job]:
        """Jobs with all their attempts, in the order in which they end.

        The next chunk starts before the previous one's jobs are yielded, so that the caller and the device work at the
        same time.
        """
        scheduler, c = self._scheduler(), self._config
        device: Remembered | Device = Remembered(c.prompts_in_flight, c.rows_per_prompt, c.chunk_steps)
        queue, done = _Queue(self._job, requests, c.prompts_in_flight), list[Job]()
        while True:
            idle = len(scheduler.idle_groups())
            ready = idle >= c.groups_per_load() or not scheduler.busy()
            drawn = queue.take(idle if ready else 0)
            done += (job for job in drawn if not job.missing)  # no attempts asked for
            jobs = [job for job in drawn if job.missing]
            ending = ready and len(drawn) < idle and queue.is_over()
            if isinstance(device, Remembered) and ending and all(job.lengths is not None for job in jobs):
                done += [*scheduler.collect(), *jobs]  # nothing is left to sample
                done += {id(job): job for job in scheduler.jobs if job is not None}.values()
                yield from done
                return
            if isinstance(device, Remembered) and any(job.lengths is None for job in jobs):
                done += scheduler.collect()
                device, scheduler, given_up = self._caught_up(device, scheduler, stage_key)
                done += given_up
            self._load(device, scheduler, jobs)
            if ending and isinstance(device, Device):
                done += scheduler.collect()
                scheduler = self._end(device, scheduler)
            if not scheduler.busy():
                done += scheduler.collect()
                yield from done
                queue.fill()
                if queue.is_over():
                    return
                if not (done or queue):
                    raise RuntimeError("the next request waits for others, and all of them are done")
                done = []
            elif isinstance(device, Remembered):
                done += scheduler.collect()
                yield from done
                queue.fill()
                scheduler.record(device.decode())
                done = []
            else:
                chunk = Chunk(device.decode, lambda: self._engine.programs.compile_s)
                try:
                    for job in [*done, *scheduler.collect()]:
                        yield job
                        chunk.look()
                    queue.fill()
                    chunk.look()
                    events = chunk.wait()
                finally:
                    chunk.end()
                self._record(scheduler, events, chunk.device_s)
                done = []

    def _caught_up(
        self, known: Remembered, scheduler: Scheduler, stage_key: np.ndarray
    ) -> tuple[Device, Scheduler, list[Job]]:
        """A device in the state of `known`, its scheduler, and the known jobs whose replay is abandoned.

        If the device ends attempts differently than recorded (it is of another kind), it starts with an empty grid;
        what follows then equals the unbroken run only up to rounding.
        """
        first, loads = known.since()
        device = Device(self._engine, stage_key, first * self._config.chunk_steps)
        for chunk in range(first, known.chunks):
            for load in loads:
                if load.chunk == chunk:
                    device.load(load.placed, load.each)
            device.decode()
        if known.chunks == first or known.agrees(*device.rows()):
            return device, scheduler, []
        under_way = {id(job): job for job in scheduler.jobs if job is not None}
        return Device(self._engine, stage_key), self._scheduler(), list(under_way.values())

    def _end(self, device: Device, scheduler: Scheduler) -> Scheduler:
        """No more requests: idle groups take over waiting attempts, and the last rows move to a smaller grid."""
        device.share(scheduler.shares())
        compaction = scheduler.compacted(self._plan.tails, self._plan.parts)
        if compaction is None:
            return scheduler
        device.compact(compaction)
        return compaction.scheduler

    def _job(self, number: int, request: Request) -> Job:
        tokens = self._encode(request.prompt)
        if not request.prompt or len(tokens) > self.longest_prompt:
            raise UserError(
                f"The prompt of {request.item_id} has {len(tokens)} tokens; it must be text "
                f"of at most {self.longest_prompt} ({self._room.limits})."
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
            lengths=self._lengths(request),
        )

    def _lengths(self, request: Request) -> np.ndarray | None:
        if request.lengths is None:
            return None
        lengths = np.asarray(request.lengths, np.int32).reshape(-1)
        longest = self._config.max_new_tokens
        if len(lengths) != request.attempts or ((lengths < 1) | (lengths > longest)).any():
            raise UserError(
                f"{request.item_id}: lengths of attempts that cannot be: {request.attempts} were asked for, each of "
                f"1 to {longest} tokens, and the records say {request.lengths}."
            )
        return lengths

    def _scheduler(self) -> Scheduler:
        c = self._config
        return Scheduler(c.prompts_in_flight, c.rows_per_prompt, c.max_new_tokens)

    def _load(self, device: Remembered | Device, scheduler: Scheduler, jobs: list[Job]) -> None:
        """Places jobs in idle groups, several at a time if enough wait for the same bucket."""
        if not jobs:
            return
        start, compiled = time.perf_counter(), self._engine.programs.compile_s
        with recorder.current().part("prefill"):
            for bucket in self._plan.buckets:
                alike = [job for job in jobs if self._engine.bucket(job) == bucket]
                while alike:
                    groups, each = scheduler.places(len(alike), self._plan.parts, self._plan.batches())
                    placed = list(zip(alike, groups, strict=False))
                    alike = alike[len(placed) :]
                    for job, group in placed:
                        scheduler.place(job, group)
                    device.load(placed, each)
        if isinstance(device, Device):
            self._stats["prompts"] += len(jobs)
            self._stats["prompt_tokens"] += sum(len(job.tokens) for job in jobs)
            compiling = self._engine.programs.compile_s - compiled
            self._seconds["prefill_s"] += time.perf_counter() - start - compiling

    def _record(self, scheduler: Scheduler, events: Events, device_s: float) -> None:
        """Records and counts a chunk. Raises Preempted when the run must stop."""
        preemption.check()
        start = time.perf_counter()
        if not np.isfinite(events.logprob[events.sample != IDLE]).all():
            raise UserError(
                f"The model {self.checkpoint} gives probabilities that are no numbers: its weights, or what it "
                "computes with them, are not finite. Take an earlier checkpoint, or sample in float32."
            )
        self._chunks += 1
        recorder.current().step("decoding chunk", self._chunks, events)
        self._stats["tokens"] += int(np.count_nonzero(events.sample != IDLE))
        self._stats["row_steps"] += events.sample.size
        self._stats["completions"] += int(np.count_nonzero(events.reason))
        scheduler.record(events)
        self._seconds["decode_s"] += device_s
        self._seconds["host_s"] += time.perf_counter() - start

    def _completions(self, job: Job) -> list[Completion]:
        start = time.perf_counter()
        found: list[Completion] = []
        attempts = sorted(job.finished)  # sample indices are distinct, so nothing else is compared
        # Of all attempts, one after the other. Arrays of Python's, since they compare as lists do.
        chosen = np.concatenate([NO_TOKENS, *(attempt.tokens for attempt in attempts)])
        texts = [*map(self._texts.__getitem__, chosen.tolist())]
        tokens = array("i", chosen.tobytes())
        logprobs = array("f", np.concatenate([NO_LOGPROBS, *(a.logprobs for a in attempts)]).tobytes())
        end = 0
        for attempt in attempts:
            begin, end = end, end + len(attempt.tokens)
            text = b"".join(texts[begin:end])
            if attempt.reason == stop.UNINDENTED:
                text = self._stop.cut(text, job.at_line_start)
            found.append(
                Completion(
                    job.item_id, attempt.sample, text.decode("utf-8", "replace"), end - begin, attempt.logprob,
                    stop.REASONS[attempt.reason], tokens[begin:end], logprobs[begin:end],
                )
            )  # fmt: skip
        self._seconds["host_s"] += time.perf_counter() - start
        return found


class _Queue:
    """Requests prepared ahead of their turn, so that the device does not wait for tokenization."""

    def __init__(self, ready: Callable[[int, Request], Job], requests: Iterable[Request | None], ahead: int):
        self._ready, self._requests, self._ahead = ready, iter(requests), ahead
        self._jobs: collections.deque[Job] = collections.deque()
        self._number, self._exhausted = 0, False
        self.fill()

    def __len__(self) -> int:
        return len(self._jobs)

    def is_over(self) -> bool:
        """Whether nothing is left and nothing will come."""
        return self._exhausted and not self._jobs

    def fill(self) -> None:
        """Draws requests until there are enough, or the next one must wait."""
        while len(self._jobs) < self._ahead and not self._exhausted:
            try:
                request = next(self._requests)
            except StopIteration:
                self._exhausted = True
                return
            if request is None:
                return
            self._jobs.append(self._ready(self._number, request))
            self._number += 1

    def take(self, count: int) -> list[Job]:
        """The next jobs, `count` at most."""
        return [self._jobs.popleft() for _ in range(min(count, len(self._jobs)))]


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


def _require_restored(checkpoint: str) -> None:
    if not checkpoint:
        raise UserError(
            "The sampler was given weights without a checkpoint identity: restore them from a checkpoint."
        )


def _encoded(tokenizer: Vocabulary, start: tuple[int, ...], prompt: str) -> list[int]:
    return [*start, *tokenizer.encode(prompt)]
