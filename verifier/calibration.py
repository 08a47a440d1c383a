"""How fast this host is: CPU seconds for a fixed piece of work, stored beside results because limits are CPU seconds.

A limit of one second means more on a quick host than on a slow one. Two results are comparable if their limits,
divided by their hosts' figures, agree.
"""

import time

ROUNDS = 5


def calibrate() -> float:
    """CPU seconds of the fixed work: the best of a few rounds, which other load on the host hardly changes."""
    return min(_timed() for _ in range(ROUNDS))


def _timed() -> float:
    start = time.thread_time()
    _work()
    return time.thread_time() - start


def _work() -> int:
    """Work typical of programs: integers, lists, dictionaries, text and calls; about 20 ms in 2026."""
    counts: dict[str, int] = {}
    total = 0
    for i in range(20_000):
        word = str(i * i % 977)
        counts[word] = counts.get(word, 0) + 1
        total += sum(divmod(i, 7))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return total + sum(len(word) * count for word, count in ordered) + pow(3, total, 1 << 61)
