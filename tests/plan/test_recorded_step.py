"""A train step that the TPU compiler made, read again: cycles and bytes as an independent reading of the same text.

recorded/train_step.v5e_8.hlo.gz is of a model of four layers, 256 channels and 1,024 tokens in its vocabulary,
eight rows of 256, on v5e-8 as 2 x 4 (data, fsdp), compiled by libtpu 0.0.42.1 through `plan.lowering.train_step`;
names of source lines are cut. The figures were read from it by a script that shares no line with ours; the full text of
GPT-Neo 2.7B's step on v5e-64 (36,807,314,630 bytes, 237,460,570 cycles) gave the same in both as well.
"""

import gzip
from pathlib import Path

import pytest

from t5x_selfprog.plan.hlo_cost import cost_of
from t5x_selfprog.plan.links import Wires

TEXT = gzip.decompress((Path(__file__).parent / "recorded" / "train_step.v5e_8.hlo.gz").read_bytes()).decode()
# Of the mesh's devices in its order, as the compiler has them.
PLACES = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (1, 3, 0), (0, 3, 0), (1, 2, 0), (0, 2, 0)]


def test_cycles_and_bytes_are_those_of_another_reading():
    cost = cost_of(TEXT)
    assert cost.cycles == 1_673_508 and cost.unknown_loops == 0
    assert sum(cost.collective_bytes.values()) == pytest.approx(34_746_644)
    assert set(cost.collective_bytes) == {"all-gather", "all-reduce", "all-to-all"}


def test_a_chip_in_a_corner_has_half_of_its_links_and_a_line_of_chips_one_each_way():
    cost = cost_of(TEXT, Wires(PLACES, (2, 4, 1), (False,) * 3).links)
    assert dict(cost.bytes_by_links) == pytest.approx({2: 30_290_196, 1: 4_456_448})
    closed = cost_of(TEXT, Wires(PLACES, (2, 4, 1), (True,) * 3).links)
    assert sum(size / links for links, size in closed.bytes_by_links.items()) < sum(
        size / links for links, size in cost.bytes_by_links.items()
    )


def test_what_lies_in_fusions_is_most_of_it():
    """Without them the plan was too kind: they hold the exchanges that run beside the arithmetic."""
    entered = sum(cost_of(TEXT).collective_bytes.values())
    outside = "\n".join(line for line in TEXT.splitlines() if " fusion(" not in line)
    assert sum(cost_of(outside).collective_bytes.values()) < 0.5 * entered
