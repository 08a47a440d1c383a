"""How many items go out at a time: by the clock, and in ever smaller parts towards the end of a stream."""

import pytest

from verifier.pace import Pace


def test_batches_last_a_second_whatever_is_in_them():
    pace = Pace(most=1024, least=16)
    assert pace.size() == 128  # nobody knows yet
    for _ in range(50):
        pace.took(0.001 * pace.size(), pace.size())
    assert 990 <= pace.size() <= 1000
    for _ in range(50):  # a tenth of a second each
        pace.took(0.1 * pace.size(), pace.size())
    assert pace.size() == 16
    for _ in range(50):
        pace.took(1e-6 * pace.size(), pace.size())
    assert pace.size() == 1024


@pytest.mark.parametrize("workers", [1, 2, 16, 300])
def test_the_last_batches_cover_what_is_left_and_get_smaller(workers):
    pace, left, sizes = Pace(most=1024, least=16), 5000, []
    pace.took(1.0, 1000)
    while left:
        sizes.append(min(left, pace.size(), pace.share(left, workers)))
        left -= sizes[-1]
    assert sum(sizes) == 5000 and sizes == sorted(sizes, reverse=True)
    assert max(sizes) <= max(1000, 5000 // workers) and len(sizes) <= 100 + 2 * workers


@pytest.mark.parametrize(("items", "workers"), [(10, 2), (100, 16), (3, 8), (1, 1)])
def test_few_items_are_everybodys(items, workers):
    pace, left, batches = Pace(most=1024, least=16), items, 0
    while left > 0:
        left -= min(pace.size(), pace.share(left, workers))
        batches += 1
    assert batches >= min(items, workers) - 1 and batches <= workers


def test_a_single_worker_has_nobody_to_end_together_with():
    pace = Pace(most=1024, least=16)
    pace.took(0.1, 100)
    assert pace.share(600, 1) == 600
