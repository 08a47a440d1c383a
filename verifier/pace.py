"""How many items a worker takes at a time, by how long the last ones took.

A batch has a price of its own, so it should be large; but its items come one after another, and an endless one holds up
those behind it for all of its second. So a batch is to last about a second. What a verdict says does not depend on
whom it was judged with (judging.py), and so the clock may decide here.
"""

BATCH_S = 1.0
LAST_S = 0.05  # the last ones, so that workers end together
MEMORY = 0.9  # of a batch's weight after the next one
UNKNOWN = 8  # of the largest batch, the part that is sent before anything is known


class Pace:
    """Of the items of one stream."""

    def __init__(self, most: int, least: int):
        self.most, self.least = most, least
        self._seconds = self._items = 0.0
        self._even: int | None = None  # everybody's part of the last ones

    def took(self, seconds: float, items: int) -> None:
        """A batch came back."""
        self._seconds = MEMORY * self._seconds + seconds
        self._items = MEMORY * self._items + items

    def size(self) -> int:
        """Items of the next batch."""
        return self._lasting(BATCH_S)

    def share(self, left: int, workers: int) -> int:
        """Items of the next batch where no more than `left` will come: ever smaller parts, but not too small. A single
        worker has nobody to end together with."""
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
