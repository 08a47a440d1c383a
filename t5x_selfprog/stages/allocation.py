"""Attempts in rounds: a puzzle with enough accepted solutions gets no further round.

Rounds of different shards alternate in the stream: while a shard waits for verdicts, the next shards are sampled. Their
order is fixed, so what is sampled never depends on how quickly anything is judged.
"""

import collections
import dataclasses
import itertools
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax

from t5x_selfprog import hosts
from t5x_selfprog.puzzles.prompts import SolveRequest, solution_key
from t5x_selfprog.sampling.sampler import Completion, Request, Sampler
from t5x_selfprog.stages.context import Context
from t5x_selfprog.stages.shard_stream import known_lengths, require_as_many
from t5x_selfprog.telemetry import recorder
from verifier import Limits, Pool
from verifier.errors import UserError
from verifier.storage.shards import Ledger

Record = dict[str, Any]
TRACK = "rounds"


@dataclasses.dataclass(frozen=True)
class Allocation:
    """Attempts in rounds, so that a puzzle with enough accepted solutions gets no more of them.

    The attempts made are the first of those that every puzzle would have got, so a puzzle's n and c follow from its
    records. c / n is biased upwards for a puzzle that stopped early; over the first round alone it is not. Deciding
    takes verdicts, so solutions are judged here and, for the record, again in stage 4.

    Attributes:
      needed: distinct accepted solutions that are enough for a puzzle (as many as `Selection.max_solutions` keeps).
      rounds: nearly equal parts that the attempts are split into.
      limits: what a solution may use when judged here; stage 4 has its own.
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


class Asked(NamedTuple):
    """A puzzle, and the prompt that asks for its solution."""

    puzzle_id: str
    source: str
    prompt: SolveRequest


@dataclasses.dataclass(frozen=True)
class Stream:
    """Attempts at the puzzles of all shards of a ledger, in order.

    Attributes:
      key: of all draws.
      pending: the shards that the ledger lacks.
      ask: the puzzles of a shard.
      answers: the records of the completions for one puzzle.
      attempts: at each puzzle, at most.
    """

    sampler: Sampler
    key: jax.Array
    ledger: Ledger
    pending: Sequence[int]
    ask: Callable[[int], Iterator[Asked]]
    answers: Callable[[Asked, Sequence[Completion]], list[Record]]
    attempts: int


@dataclasses.dataclass
class _Shard:
    """What is known of a shard's puzzles, by their place in it."""

    asked: list[Asked]
    lengths: list[tuple[int, ...]] | None  # of all attempts, if the shard is committed
    records: list[list[Record]]
    accepted: list[int]
    sampled: int = 0  # rounds

    def short(self, first: int, needed: int) -> list[int]:
        """Puzzles that take part in the round that begins with sample `first`."""
        if self.lengths is not None:
            return [i for i, lengths in enumerate(self.lengths) if len(lengths) > first]
        return [i for i, accepted in enumerate(self.accepted) if accepted < needed]


def sample_in_rounds(
    context: Context, allocation: Allocation, stream: Stream, ahead: int
) -> Iterator[tuple[int, list[Record]]]:
    """Pending shards with the records of all their puzzles, in order.

    ahead: how many shards begin a round before the first of them begins the next.
    """
    ledger, pending = stream.ledger, stream.pending
    spans = allocation.spans(stream.attempts)
    shards: dict[int, _Shard] = {}
    left = set(pending)
    expected: collections.deque[tuple[int, int | None]] = (
        collections.deque()
    )  # shard, puzzle; None: a round ends
    through: collections.deque[int] = collections.deque()  # shards that have had their last round

    def opened(number: int) -> _Shard:
        asked, lengths = list(stream.ask(number)), None
        if number not in pending:
            lengths = known_lengths(ledger, number)
            require_as_many(ledger, number, len(lengths), len(asked))
        return _Shard(asked, lengths, [[] for _ in asked], [0] * len(asked))

    def settle() -> None:
        """Notes the rounds that are complete."""
        while expected and expected[0][1] is None:
            number, _ = expected.popleft()
            shards[number].sampled += 1
            if shards[number].lengths is None:
                judge.end(number)
            if shards[number].sampled == len(spans):
                through.append(number)

    def requests() -> Iterator[Request | None]:
        for number, round_number in _order(ledger.shard_count, len(spans), ahead):
            if not round_number:
                shards[number] = opened(number)
            shard, (first, count) = shards[number], spans[round_number]
            settle()
            while shard.sampled < round_number:
                yield None
                settle()
            if round_number and shard.lengths is None:
                shard.accepted = judge.accepted(number, len(shard.asked))
            for i in shard.short(first, allocation.needed):
                lengths = None if shard.lengths is None else shard.lengths[i][first : first + count]
                expected.append((number, i))
                asked = shard.asked[i]
                yield Request(asked.puzzle_id, asked.prompt.text, count, first, lengths)
            expected.append((number, None))

    def finished() -> Iterator[tuple[int, list[Record]]]:
        settle()
        while through:
            number = through.popleft()
            records = [record for found in shards.pop(number).records for record in found]
            if number in left:
                left.remove(number)
                yield number, records

    with context.pool(allocation.limits, track=TRACK) as pool, _Judge(pool, ledger.path) as judge:
        found = stream.sampler.sample(requests(), stream.key)
        for completions in found:
            yield from finished()
            number, i = expected.popleft()
            assert i is not None
            shard = shards[number]
            if shard.lengths is None:
                new = stream.answers(shard.asked[i], completions)
                shard.records[i] += new
                judge.put(number, i, new)
            yield from finished()
            if not left:
                found.close()  # committed shards after the last pending one need not end
        yield from finished()


def _order(shards: int, rounds: int, ahead: int) -> Iterator[tuple[int, int]]:
    """(shard, round): round r of a shard follows round r - 1 of the shard `ahead` places later, if there is one."""
    ahead = max(1, min(ahead, shards))
    for place in range(shards + (rounds - 1) * ahead):
        for round_number in range(rounds):
            shard = place - round_number * ahead
            if 0 <= shard < shards:
                yield shard, round_number


@dataclasses.dataclass(frozen=True)
class _End:
    shard: int


class _Judge:
    """Counts each puzzle's distinct accepted solutions in a thread beside the sampler, on host 0. A context manager."""

    def __init__(self, pool: Pool, path: str):
        self._pool, self._path = pool, path
        self._queue: queue.SimpleQueue[tuple[int, int, list[Record]] | _End | None] = queue.SimpleQueue()
        self._tried: dict[tuple[int, int], set[str]] = collections.defaultdict(set)
        self._accepted: collections.Counter[tuple[int, int]] = collections.Counter()
        self._given: collections.Counter[int] = collections.Counter()  # rounds, by shard
        self._judged: collections.Counter[int] = collections.Counter()
        self._turn = threading.Condition()
        self._raised: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="rounds")

    def __enter__(self) -> "_Judge":
        if hosts.is_first():  # all hosts sample, but only one judges
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._queue.put(None)
        if hosts.is_first():
            self._thread.join()

    def put(self, shard: int, puzzle: int, records: list[Record]) -> None:
        if hosts.is_first():
            self._queue.put((shard, puzzle, records))

    def end(self, shard: int) -> None:
        """Reports that a round of this shard is complete; its rounds end one after the other."""
        if hosts.is_first():
            self._given[shard] += 1
            self._queue.put(_End(shard))

    def accepted(self, shard: int, puzzles: int) -> list[int]:
        """How many solutions of each puzzle were accepted in the rounds that ended; waits for verdicts. Collective."""
        found = [0] * puzzles
        if hosts.is_first():
            with recorder.current().part("verdicts"), self._turn:
                self._turn.wait_for(
                    lambda: self._raised is not None or self._judged[shard] == self._given[shard]
                )
            if self._raised is not None:
                raise self._raised
            found = [self._accepted[shard, i] for i in range(puzzles)]
        return hosts.agree(found)

    def _work(self) -> None:
        try:
            with recorder.current().track(TRACK, self._path):
                while self._judge_round():
                    pass
        except BaseException as error:  # the next call of `accepted` raises it
            self._raised = error
        finally:
            with self._turn:
                self._turn.notify_all()

    def _judge_round(self) -> bool:
        """Judges records until a round ends; False once no more will come."""
        whose: list[tuple[int, int]] = []
        last: list[_End | None] = []

        def candidates() -> Iterator[Record]:
            while isinstance(entry := self._queue.get(), tuple):
                shard, puzzle, records = entry
                for record in records:
                    text = solution_key(record["solution"])
                    if text is not None and text not in self._tried[shard, puzzle]:
                        self._tried[shard, puzzle].add(text)
                        whose.append((shard, puzzle))
                        yield record
            last.append(entry)

        for number, verdict in enumerate(self._pool.judge(candidates())):
            self._accepted[whose[number]] += verdict.accepted
        (ended,) = last
        if ended is None:
            return False
        with self._turn:
            self._judged[ended.shard] += 1
            self._turn.notify_all()
        return True
