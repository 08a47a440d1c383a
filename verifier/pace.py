"""How many items a worker takes at a time, given how long the last ones took.

A batch has a cost of its own, so it should be large; but its items run one after another, and an endless one holds up
those behind it for all of its second. So a batch should last about a second. A verdict does not depend on what else
was in the batch (worker/judge.py), so the clock may decide here.
"""

BATCH_S = 1.0
LAST_S = 0.05  # for the last batches, so that workers end together
MEMORY = 0.9  # the factor by which each new batch reduces the weight of earlier ones
UNKNOWN = 8  # before anything is timed, a batch is the largest one divided by this


class Pace:
    """The sizes of the batches of one stream."""

    def __init__(self, most: int, least: int):
        self.most, self.least = most, least
        self._seconds = self._items = 0.0
        self._even: int | None = None  # an equal share of the last items for each worker

    def took(self, seconds: float, items: int) -> None:
        """A batch came back."""
        self._seconds = MEMORY * self._seconds + seconds
        self._items = MEMORY * self._items + items

    def size(self) -> int:
        """Items of the next batch."""
        return self._lasting(BATCH_S)

    def share(self, left: int, workers: int) -> int:
        """Items of the next batch when only `left` remain: ever smaller shares, but not too small.

        A single worker takes all: it has no others to end together with.
        """
        if workers == 1:
            return left
        if self._even is None:
            self._even = -(-left // workers)
        return max(-(-left // (2 * workers)), min(self._lasting(LAST_S), self._even))

    def _lasting(self, seconds: float) -> int:
        if not self._items:
            return max(self.least, self.most // UNKNOWN)
        fitting = seconds * self._items / max(self._seconds, 1e-9)
        return max(self.least, min(self.most, int(fitting)))
