"""A pool of workers that judges streams of attempts, in order, with bounded look-ahead.

One generator drives everything by `poll`; there are no threads. A worker that dies, hangs or floods is replaced, and
its batch is judged once more, item by item; what fails twice is reported as `infrastructure`. Identical attempts are
judged once: those with the same text here, whenever they come; those with the same syntax tree by the worker, within a
batch.
"""

import os
import select
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from verifier.errors import UserError
from verifier.language import literal, policy
from verifier.outcomes import MEMORY_LIMIT
from verifier.pace import Pace
from verifier.reuse import Reuse
from verifier.sandbox import host_limits
from verifier.sandbox.isolation import LAYERS
from verifier.tiers import judge_in_tiers
from verifier.verdict import Limits, PuzzleReport, Verdict, infrastructure
from verifier.windows import text_size
from verifier.worker.handle import Worker

JOBS_AHEAD = 2  # per worker: one at work, one queued, so that it never waits for the pool
MOST_IN_BATCH = 1024  # a batch's own cost, half a dozen forks, is then 2% of it
LEAST_IN_BATCH = 16  # fewer only at the end of a stream
MOST_ABROAD = 1 << 16  # attempts at one batch per worker
MOST_CHARACTERS = 1 << 24  # of text in a batch, but for its last item: several copies must fit in memory
MOST_HELD = 1 << 27  # characters of text in items not given back yet
LONGEST_TEXT = 1 << 22  # characters of one program; nobody writes more, and compiling it exhausts memory
KEPT = 1 << 16  # verdicts, for repeated attempts
HELLO_S = 60.0
SILENCE_S = 60.0  # a busy worker sends something every second
MAX_FAILED_STARTS = 3


class PoolError(UserError, RuntimeError):
    """The pool cannot work: its workers do not start, or the required isolation is not available."""


@dataclass
class Job:
    """Items in flight. `attempt` counts the workers lost over them."""

    items: list[tuple[int, Any]]  # (place in the stream, item)
    attempt: int
    deliver: Callable[[int, Any], None] | None  # None once the results are no longer wanted
    pace: Pace


class Pool:
    """Judges attempts and screens puzzles in sandboxed worker processes.

    workers: how many; None is one for each CPU this process may use.
    limits: for each attempt.
    isolation: "auto" (all layers the host allows), "namespaces", "landlock" or "rlimits".
    require: refuse to work (PoolError) below this level.
    imports: "wide" or "paper", a key of policy.IMPORTS.
    batch_size: the most attempts a worker takes at a time; None is 1024, less for hundreds of workers (the pool holds
        about twice as many for each). Where attempts are slow, a batch is what lasts a second (pace.py).
    hash_seed: of the interpreters that run candidates; the order of sets of strings depends on it.
    recycle_after: verdicts after which a worker is replaced by a fresh one.
    reuse: how many verdicts to keep for repeated attempts; 0 judges every attempt by itself.

    `counters` holds counts so far: verdicts given; of these, `same_text` and `same_tree`, not judged because an
    identical attempt was, and `alone`, run in a process of their own; workers started and lost.
    """

    def __init__(
        self,
        workers: int | None = None,
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        *,
        isolation: str = "auto",
        require: str = "rlimits",
        imports: str = "wide",
        batch_size: int | None = None,
        hash_seed: int = 0,
        recycle_after: int = 100_000,
        reuse: int = KEPT,
    ):
        count = len(os.sched_getaffinity(0)) if workers is None else workers
        if count < 1:
            raise ValueError(f"workers must be at least 1, got {workers!r}")
        if batch_size is None:
            batch_size = max(MOST_IN_BATCH // 8, min(MOST_IN_BATCH, MOST_ABROAD // count))
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size!r}")
        if isolation not in ("auto", *LAYERS) or require not in LAYERS:
            raise ValueError(
                f"isolation must be auto or one of {', '.join(LAYERS)}, require one of them; "
                f"got {isolation!r} and {require!r}"
            )
        if isolation != "auto" and LAYERS.index(isolation) < LAYERS.index(require):
            raise ValueError(f"isolation={isolation} is weaker than require={require}")
        if imports not in policy.IMPORTS:
            raise ValueError(f"imports must be one of {', '.join(policy.IMPORTS)}, got {imports!r}")
        obstacles = host_limits.too_low(limits)
        if obstacles:
            raise PoolError("; ".join(obstacles))
        self.limits = limits
        self._batch_size, self._recycle_after = batch_size, recycle_after
        self._worker = partial(Worker, isolation, require, imports, hash_seed, once=reuse > 0)
        self._kept = Reuse(reuse)
        self.counters: Counter[str] = Counter()
        self._workers: list[Worker] = []
        self._numbers = iter(range(1 << 62))
        self._failed_starts = 0
        self._busy = False
        self._finalizer = weakref.finalize(self, _end_workers, self._workers, os.getpid())
        for _ in range(count):
            self._workers.append(self._start())

    # --- life

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all workers and whatever they are running. The pool cannot be used afterwards."""
        self._finalizer()

    @property
    def isolation(self) -> str:
        """The layers that are on, as "rlimits+seccomp+landlock+namespaces". Waits for the first worker to start."""
        while True:
            for worker in self._workers:
                if worker.isolation is not None:
                    return worker.isolation
            self._pump(block=True)

    @property
    def notes(self) -> list[str]:
        """Why layers are off, as "landlock: not supported". Known once `isolation` is."""
        return next((worker.notes for worker in self._workers if worker.isolation is not None), [])

    def _start(self) -> Worker:
        self.counters["workers_started"] += 1
        return self._worker()

    def pids(self) -> list[int]:
        """The workers' process ids."""
        return [worker.pid for worker in self._workers]

    # --- work

    def judge(self, items: Iterable[Mapping[str, Any]]) -> Iterator[Verdict]:
        """One Verdict for each item, a mapping with at least "puzzle" and "solution" (str), in order, as they come.

        Raises TypeError for an item that is no such mapping, PoolError if workers do not start.
        """
        if self.limits.tiers is None:
            return self._judge_within(items, self.limits.cpu_s)
        return judge_in_tiers(self._judge_within, items, self.limits.tiers, self.limits.cpu_s)

    def _judge_within(self, items: Iterable[Mapping[str, Any]], cpu_s: float) -> Iterator[Verdict]:
        allowance = self._allowance(cpu_s)
        message = partial(_judge_message, allowance)
        return self._stream(items, _check_attempt, _too_long, message, self._batch_size, allowance)

    def screen_puzzles(self, sources: Iterable[str]) -> Iterator[PuzzleReport]:
        """One PuzzleReport for each puzzle's source: whether it is well formed and no trivial answer solves it."""
        message = partial(_screen_message, self._allowance(self.limits.cpu_s))
        batch_size = max(1, self._batch_size // 16)
        return self._stream(sources, _check_source, _too_long_source, message, batch_size, None)

    def ask(
        self, puzzles: Iterable[tuple[str, Sequence[Any]]], *, each_s: float, total_s: float, ends: int
    ) -> Iterator[str]:
        """What each puzzle says to the plain values that come with it: a letter for each, in their order.

        1 accepted, 0 refused, e raised, ! reached a limit or died, ? could not be judged (infrastructure). There are
        fewer letters if the puzzle was given up, after `ends` times ! or `total_s` CPU seconds, none for what is no
        puzzle, and a single ? where its worker was lost. An answer may take `each_s` CPU seconds. Many questions may
        share one sequence of values.
        """
        message = partial(_ask_message, self._allowance(each_s), (float(total_s), ends))
        batch_size = max(1, self._batch_size // 16)
        return self._stream(puzzles, _check_question, _too_long_question, message, batch_size, None)

    def answers(self, solutions: Iterable[str], most_bytes: int = 1 << 16) -> Iterator[tuple[Any] | None]:
        """What each solution returns, whole, as a tuple of that one plain value.

        None if it returns none in time, or one that takes more than `most_bytes` in the verifier's encoding.
        """
        message = partial(_answers_message, self._allowance(self.limits.cpu_s), most_bytes)
        batch_size = max(1, self._batch_size // 16)
        items = ((solution,) for solution in solutions)
        for data in self._stream(items, _check_solution, _too_long_question, message, batch_size, None):
            yield (literal.decode(data),) if type(data) is bytes and data else None

    def _allowance(self, cpu_s: float) -> tuple[float, float, int, int]:
        limits = self.limits
        return float(cpu_s), float(limits.effective_wall_s), limits.memory_mb, limits.output_bytes

    def _stream(
        self,
        items: Iterable[Any],
        check: Callable[[int, Any], None],
        refuse: Callable[[Any], Any],
        message: Callable[[int, Sequence[Any]], tuple],
        batch_size: int,
        reuse_under: tuple | None,
    ) -> Iterator[Any]:
        """Sends items out in batches and yields their results in order.

        What `refuse` returns for an item, if not None, is its result.
        Results are reused for identical items under the same limits `reuse_under`; None reuses none.
        """
        if self._busy:
            raise RuntimeError("this pool is already judging another stream; use one pool for each")
        if not self._finalizer.alive:
            raise RuntimeError("this pool is closed")
        self._busy = True
        waiting: deque[Job] = deque()  # those of lost workers
        fresh: deque[tuple[int, Any]] = deque()
        ready: dict[int, Any] = {}
        kept = self._kept if reuse_under is not None and self._kept.capacity else None
        deliver = kept.begin(ready, reuse_under or ()) if kept else ready.__setitem__
        source, exhausted, pulled, given = iter(items), False, 0, 0
        pace = Pace(batch_size, min(LEAST_IN_BATCH, batch_size))
        sizes: deque[int] = deque()  # characters of each item pulled and not yet given
        held = 0
        look_ahead = batch_size * (JOBS_AHEAD * len(self._workers) + 2)
        for worker in self._workers:
            worker.excuse()
        self._lost = waiting.append
        try:
            while True:
                while given in ready:
                    yield ready.pop(given)
                    given += 1
                    held -= sizes.popleft()
                    self.counters["verdicts"] += 1
                room = batch_size
                while not exhausted and room > 0 and pulled - given < look_ahead and held < MOST_HELD:
                    try:
                        item = next(source)
                    except StopIteration:
                        exhausted = True
                        break
                    check(pulled, item)
                    sizes.append(text_size(item))
                    held += sizes[-1]
                    refusal = refuse(item)
                    if refusal is not None:
                        ready[pulled] = refusal
                    elif kept is None or kept.is_first(pulled, item):
                        fresh.append((pulled, item))
                    else:
                        self.counters["same_text"] += 1
                    pulled, room = pulled + 1, room - 1
                if exhausted and given == pulled:
                    return
                full = exhausted or pulled - given >= look_ahead or held >= MOST_HELD
                self._dispatch(waiting, fresh, deliver, message, pace, exhausted, full)
                self._pump(block=given not in ready and full)
        finally:
            self._busy = False
            for worker in self._workers:
                for job in worker.jobs.values():
                    job.deliver = None

    def _dispatch(
        self,
        waiting: deque[Job],
        fresh: deque[tuple[int, Any]],
        deliver: Callable[[int, Any], None],
        message: Callable[[int, Sequence[Any]], tuple],
        pace: Pace,
        exhausted: bool,
        full: bool,
    ) -> None:
        """Gives work to started workers with room for it: batches of a second, smaller towards the end."""
        while waiting or fresh:
            # no worker gets a second job before all have started and have one
            worker = min(self._workers, key=lambda worker: (len(worker.jobs), worker.isolation is None))
            if worker.isolation is None or len(worker.jobs) >= JOBS_AHEAD:
                return
            size = pace.size()
            if waiting:
                job = waiting.popleft()
            elif exhausted:
                job = _cut(fresh, min(size, pace.share(len(fresh), len(self._workers))), deliver, pace)
            elif len(fresh) < size and not full and any(worker.jobs for worker in self._workers):
                return  # while workers are busy, more items will come
            else:
                job = _cut(fresh, size, deliver, pace)
            number = next(self._numbers)
            if not worker.jobs:
                worker.excuse()
                worker.since = time.monotonic()
            worker.jobs[number] = job
            worker.send(message(number, [item for _, item in job.items]))

    def _pump(self, *, block: bool) -> None:
        """Moves bytes to and from the workers once; with `block`, waits up to a second for some to move."""
        poller = select.poll()
        by_descriptor = {}
        for worker in self._workers:
            poller.register(worker.fileno(), select.POLLIN)
            by_descriptor[worker.fileno()] = worker
            if worker.has_outgoing:
                poller.register(worker.input_fileno(), select.POLLOUT)
                by_descriptor[worker.input_fileno()] = worker
        ready = {
            by_descriptor[descriptor].pid: by_descriptor[descriptor]
            for descriptor, _ in poller.poll(1000 * block)
        }
        for worker in ready.values():
            worker.flush()
            messages = worker.receive()
            for message in messages or ():
                self._take(worker, message)
            if messages is None:
                self._replace(worker, "ended")
        for worker in list(self._workers):
            allowed_s = HELLO_S if worker.isolation is None else SILENCE_S
            if (worker.jobs or worker.isolation is None) and worker.silent_s() > allowed_s:
                self._replace(worker, f"said nothing for {allowed_s:.0f} s")
            elif worker.judged >= self._recycle_after and not worker.jobs:
                self._swap(worker)

    def _take(self, worker: Worker, message: Any) -> None:
        """One message from a worker."""
        kind = message[0]
        if kind == "hello":
            worker.isolation, worker.notes = message[1:3]
            self._failed_starts = 0
        elif kind == "refused":
            raise PoolError(message[1])
        elif kind in _RESULTS:
            job = worker.jobs.pop(message[1])
            worker.judged += len(job.items)
            now = time.monotonic()
            job.pace.took(now - worker.since, len(job.items))
            worker.since = now
            if kind == "judged":
                self.counters.update(message[-1])
            if job.deliver is None:
                return
            results = _RESULTS[kind](message, worker.isolation or "")
            for (place, _), result in zip(job.items, results, strict=True):
                job.deliver(place, result)

    def _replace(self, worker: Worker, what: str) -> None:
        """Replaces a worker that is lost, and requeues its jobs or reports them as lost."""
        self.counters["workers_lost"] += 1
        if worker.isolation is None:
            self._failed_starts += 1
        words = worker.last_words()
        worker.end()
        if self._failed_starts >= MAX_FAILED_STARTS:
            raise PoolError(f"workers do not start: the last one {what}. It wrote: {words or 'nothing'}")
        self._workers[self._workers.index(worker)] = self._start()
        for position, job in enumerate(worker.jobs.values()):
            if job.deliver is None:
                continue
            if position > 0:  # it had not begun this one
                self._lost(job)
            elif job.attempt == 0:
                for item in job.items:
                    self._lost(Job([item], 1, job.deliver, job.pace))
            else:
                for place, item in job.items:
                    job.deliver(place, _lost_result(item, f"the worker {what}, twice. {words}"[:200]))

    def _swap(self, worker: Worker) -> None:
        worker.end(1.0)
        self._workers[self._workers.index(worker)] = self._start()


def _cut(fresh: deque[tuple[int, Any]], size: int, deliver: Callable[[int, Any], None], pace: Pace) -> Job:
    items: list[tuple[int, Any]] = []
    characters = 0
    while fresh and len(items) < size and characters < MOST_CHARACTERS:
        items.append(fresh.popleft())
        characters += text_size(items[-1][1])
    return Job(items, 0, deliver, pace)


def _end_workers(workers: list[Worker], owner: int) -> None:
    if os.getpid() != owner:  # a forked copy of the pool's process owns nothing
        return
    for worker in workers:
        worker.hang_up()
    for worker in workers:
        worker.end(0.0 if worker.jobs else 0.5)
    workers.clear()


def _judge_message(allowance: tuple, number: int, items: Sequence[Mapping[str, Any]]) -> tuple:
    puzzles: dict[str, int] = {}
    which = [puzzles.setdefault(item["puzzle"], len(puzzles)) for item in items]
    return "judge", number, allowance, list(puzzles), [item["solution"] for item in items], which


def _screen_message(allowance: tuple, number: int, items: Sequence[str]) -> tuple:
    return "screen", number, allowance, list(items)


def _ask_message(
    allowance: tuple, patience: tuple, number: int, items: Sequence[tuple[str, Sequence[Any]]]
) -> tuple:
    lists = {id(values): values for _, values in items}
    places = {name: place for place, name in enumerate(lists)}
    encoded = [[literal.encode(value) for value in values] for values in lists.values()]
    which = [places[id(values)] for _, values in items]
    return "ask", number, allowance, [source for source, _ in items], encoded, which, patience


def _check_attempt(place: int, item: Any) -> None:
    for name in ("puzzle", "solution"):
        if not isinstance(item, Mapping) or not isinstance(item.get(name), str):
            raise TypeError(f"item {place} needs a text {name!r}; got {str(item)[:100]}")


def _check_source(place: int, item: Any) -> None:
    if not isinstance(item, str):
        raise TypeError(f"puzzle {place} must be source text, got {type(item).__name__}")


def _too_long(item: Mapping[str, Any]) -> Verdict | None:
    """The verdict on an attempt too long to try: the one that the judge gives if compiling exhausts memory."""
    if len(item["puzzle"]) > LONGEST_TEXT:
        return Verdict("error:PuzzleError", f"puzzle: too_large: {len(item['puzzle'])} characters")
    if len(item["solution"]) > LONGEST_TEXT:
        return Verdict(
            MEMORY_LIMIT, f"a text of {len(item['solution'])} characters; {LONGEST_TEXT} are compiled"
        )
    return None


def _too_long_source(source: str) -> PuzzleReport | None:
    return (
        PuzzleReport(False, "too_large", f"{len(source)} characters") if len(source) > LONGEST_TEXT else None
    )


def _answers_message(allowance: tuple, most_bytes: int, number: int, items: Sequence[tuple[str]]) -> tuple:
    return "answer", number, allowance, [solution for (solution,) in items], most_bytes


def _check_solution(place: int, item: Any) -> None:
    if not isinstance(item[0], str):
        raise TypeError(f"solution {place} must be source text, got {type(item[0]).__name__}")


def _check_question(place: int, item: Any) -> None:
    if not isinstance(item, tuple) or len(item) != 2 or not isinstance(item[0], str):
        raise TypeError(f"question {place} must be a puzzle's source and values, got {str(item)[:100]}")


def _too_long_question(item: tuple[str, Any]) -> str | None:
    return "" if len(item[0]) > LONGEST_TEXT else None


def _verdicts(message: tuple, isolation: str) -> Iterator[Verdict]:
    _, _, outcomes, details, cpu_s, peak_mb, answers, without, _ = message
    for place in without:
        answers[place] = None
    for fields in zip(outcomes, details, cpu_s, peak_mb, answers, strict=True):
        yield Verdict(*fields, isolation=isolation)


def _reports(message: tuple, isolation: str) -> Iterator[PuzzleReport]:
    for row in message[2]:
        yield PuzzleReport(*row)


def _said(message: tuple, isolation: str) -> Iterator[Any]:
    yield from message[2]


_RESULTS: dict[str, Callable[[tuple, str], Iterator[Any]]] = {
    "judged": _verdicts,
    "screened": _reports,
    "asked": _said,
    "answered": _said,
}


def _lost_result(item: Any, why: str) -> Any:
    if isinstance(item, str):
        return PuzzleReport(False, "infrastructure", why)
    if isinstance(item, tuple):
        return "?"
    return infrastructure(why)
