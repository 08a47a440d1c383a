"""One stream of requests over all shards of a ledger, for all stages that sample.

Shards are committed one by one as they end, but the grid is not drained between them. Committed shards stay in the
stream with the lengths of their attempts, so that the others get the same bits as in a run that was never killed
(`Sampler.sample`).
"""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax

from t5x_selfprog.sampling.interface import Completion, Request
from t5x_selfprog.sampling.sampler import Sampler
from verifier.errors import UserError
from verifier.storage.shards import Ledger


def sample_shards(
    sampler: Sampler,
    key: jax.Array,
    ledger: Ledger,
    pending: Sequence[int],
    requests: Callable[[int], Iterable[Request]],
    take: Callable[[Request, Sequence[Completion]], None],
) -> Iterator[int]:
    """Samples the requests of all pending shards as one stream; yields each pending shard after its last request.

    Args:
      requests: those of a shard, drawn one by one shortly before their turn. Sample indices in the ledger count from 0;
        a request whose first sample is later asks for the rest.
      take: receives the completions of each request of a pending shard, in order.
    """
    asked: collections.deque[Request | None] = collections.deque()  # None marks the end of a shard
    shards = iter(range(ledger.shard_count))
    last = max(pending, default=-1)

    def stream() -> Iterator[Request]:
        for shard in range(ledger.shard_count):
            known = shard not in pending
            for request in _with_lengths(ledger, shard, requests(shard)) if known else requests(shard):
                asked.append(request)
                yield request
            asked.append(None)

    def ended() -> Iterator[int]:
        while asked and asked[0] is None:
            asked.popleft()
            yield next(shards)

    found = sampler.sample(stream(), key)
    for completions in found:
        yield from (shard for shard in ended() if shard in pending)
        request = asked.popleft()
        assert request is not None
        if request.lengths is None:
            take(request, completions)
        for shard in ended():
            if shard in pending:
                yield shard
            if shard == last:
                found.close()  # committed shards after it need not end
                return
    yield from (shard for shard in ended() if shard in pending)


def known_lengths(ledger: Ledger, shard: int) -> list[tuple[int, ...]]:
    """n_tokens of the attempts at each request of a committed shard, in order; sample indices must count from 0."""
    found: list[list[int]] = []
    for record in ledger.read(shard):
        if record["sample_index"] == 0:
            found.append([])
        found[-1].append(record["n_tokens"])
    return [tuple(lengths) for lengths in found]


def require_as_many(ledger: Ledger, shard: int, held: int, asked: int) -> None:
    """Raises UserError if a committed shard holds attempts at a different number of prompts than the run asks for."""
    if held != asked:
        raise UserError(
            f"{ledger.shard_path(shard)} holds attempts at {held} prompts where this run asks for {asked}: another "
            "version of this program or of the model's tokenizer made it. Delete it and run the same command again: it "
            "alone is recomputed."
        )


def _with_lengths(ledger: Ledger, shard: int, requests: Iterable[Request]) -> Iterator[Request]:
    known, number = known_lengths(ledger, shard), 0
    for request in requests:
        if not request.attempts:
            yield request
            continue
        require_as_many(ledger, shard, len(known), max(number + 1, len(known)))
        yield dataclasses.replace(request, lengths=known[number][request.first_sample :])
        number += 1
    require_as_many(ledger, shard, len(known), number)
