"""One pool of sandboxes for all rollouts of a process, each of which asks for one attempt at a time.

A pool judges one stream at a time, so attempts that arrive meanwhile wait and are then judged together.
"""

import asyncio
import atexit
import contextlib
import os
import threading
from concurrent.futures import Future, InvalidStateError
from queue import SimpleQueue

from verifier import Limits, Pool
from verifier.verdict import Verdict

_Asked = tuple[dict[str, str], Future[Verdict]]


class Judge:
    """workers: processes that judge; None for one per core."""

    def __init__(self, limits: Limits, workers: int | None = None):
        self._limits, self._workers = limits, workers
        self._asked: SimpleQueue[_Asked | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    async def verdict(self, puzzle: str, solution: str) -> Verdict:
        """Raises PoolError where workers cannot be started, ValueError for a number of them that cannot be."""
        answer: Future[Verdict] = Future()
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="selfprog judge", daemon=True)
                self._thread.start()
                atexit.register(self.close)
        self._asked.put(({"puzzle": puzzle, "solution": solution}, answer))
        return await asyncio.wrap_future(answer)

    def close(self) -> None:
        """Ends the pool's processes once pending attempts are judged. They end with this process in any case."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._asked.put(None)
            thread.join()

    def _run(self) -> None:
        pool: Pool | None = None
        with contextlib.ExitStack() as open_pool:
            while (first := self._asked.get()) is not None:
                try:
                    pool = pool or open_pool.enter_context(Pool(self._workers, self._limits))
                except Exception as error:  # this rollout gets it; the next one tries again
                    with contextlib.suppress(InvalidStateError):
                        first[1].set_exception(error)
                    continue
                batch, ends = [first], False
                while not self._asked.empty():
                    more = self._asked.get()
                    if more is None:
                        ends = True
                        break
                    batch.append(more)
                self._answer(pool, batch)
                if ends:
                    return

    @staticmethod
    def _answer(pool: Pool, batch: list[_Asked]) -> None:
        waiting = iter(batch)
        try:
            for verdict, (_, answer) in zip(pool.judge([item for item, _ in batch]), waiting, strict=True):
                with contextlib.suppress(InvalidStateError):  # a rollout that was cancelled meanwhile
                    answer.set_result(verdict)
        except Exception as error:  # each unanswered rollout of the batch gets it; the thread goes on
            for _, answer in batch:
                with contextlib.suppress(InvalidStateError):
                    answer.set_exception(error)


_judges: dict[tuple[int, Limits, int | None], Judge] = {}
_judges_lock = threading.Lock()


def shared_judge(limits: Limits, workers: int | None) -> Judge:
    """The judge of this process; a forked one gets its own."""
    with _judges_lock:
        return _judges.setdefault((os.getpid(), limits, workers), Judge(limits, workers))


def close_shared_judges() -> None:
    """Ends the processes of this process's judges. A judge that is asked again starts new ones."""
    with _judges_lock:
        judges = [judge for (owner, *_), judge in _judges.items() if owner == os.getpid()]
    for judge in judges:
        judge.close()
