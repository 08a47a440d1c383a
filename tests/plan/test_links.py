"""What collectives cost: who takes part, over how many links, and those that the compiler hides in fusions."""

import types

import pytest

from t5x_selfprog.plan.hlo_cost import cost_of
from t5x_selfprog.plan.links import Wires, first_group, rings
from t5x_selfprog.plan.slices import SLICES


def wires(kind: str, *sizes: int) -> Wires:
    """A slice whose devices are counted along the last dimension first."""
    places = [()]
    for size in sizes:
        places = [(*place, i) for place in places for i in range(size)]
    return Wires.of([types.SimpleNamespace(coords=place, device_kind=kind) for place in places])


@pytest.mark.parametrize(
    ("kind", "sizes", "links"),
    [
        ("TPU v5 lite", (2, 4), 2),  # v5e-8
        ("TPU v5 lite", (8, 8), 2),  # v5e-64: half of a chip's four
        ("TPU v6 lite", (8, 8), 2),
        ("TPU v5 lite", (8, 16), 3),  # closed along the side of a whole pod
        ("TPU v5 lite", (16, 16), 4),
        ("TPU v4", (2, 2, 1), 2),
        ("TPU v4", (2, 2, 4), 3),  # v4-32: half of six
        ("TPU v5", (2, 4, 4), 3),  # v5p-64
        ("TPU v5", (4, 4, 4), 6),
    ],
)
def test_a_slice_without_a_ring_has_half_the_links_in_its_corner(kind, sizes, links):
    slice_ = wires(kind, *sizes)
    assert slice_.links(range(len(slice_.places))) == links


def test_halves_of_a_chip_are_two_devices_at_one_place():
    """TPU7x: every collective between chips has the chip's links, one within a chip is at least not free."""
    kind = "TPU7x"
    places = [(x, y, z) for x in range(4) for y in range(4) for z in range(4) for _ in range(2)]
    cube = Wires.of([types.SimpleNamespace(coords=place, device_kind=kind) for place in places])
    assert cube.links(range(128)) == 6 and cube.links([0, 1]) == 1 and cube.links(range(0, 8, 2)) == 2
    assert SLICES["tpu7x_128"].chips == len(places) and SLICES["tpu7x_128"].hosts == 16
    assert SLICES["tpu7x_8"].chip.peak.flops_per_s * 2 == 2307e12  # a chip's, by its documentation


def test_a_group_along_one_dimension_has_that_dimensions_links_alone():
    assert wires("TPU v5 lite", 8, 8).links(range(8)) == 1  # a row, whose ends have one neighbour
    assert wires("TPU v5 lite", 16, 16).links(range(16)) == 2
    assert wires("TPU v5 lite", 16, 16).links(range(8)) == 1  # half a ring is a line
    assert wires("TPU v5", 4, 4, 4).links([0, 16]) == 1
    assert rings("TPU v4", (4, 4, 8)) == (True, True, True) and rings("TPU v4", (2, 4, 4)) == (False,) * 3


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("replica_groups={{0,2,4,6},{1,3,5,7}}", [0, 2, 4, 6]),
        ("replica_groups=[2,4]<=[8]", [0, 1, 2, 3]),
        ("replica_groups=[2,4]<=[4,2]T(1,0)", [0, 2, 4, 6]),
        ("replica_groups=mesh['data'=2,'fsdp'=4]{'fsdp'}", [0, 1, 2, 3]),
        ("replica_groups=mesh['data'=2,'fsdp'=4]{'data'}", [0, 4]),
        ("replica_groups=mesh['data'=2,'fsdp'=4]{'data','fsdp'}", list(range(8))),
        ("replica_groups=mesh['data'=2,'fsdp'=4]{'fsdp':(1)2}", [0, 2]),
        ("replica_groups=mesh['data'=2,'fsdp'=4]{'fsdp':(2)2}", [0, 1]),
        ("replica_groups=mesh['a'=2,'b'=4], device_ids=([2,4]<=[4,2]T(1,0)) {'b'}", [0, 2, 4, 6]),
        ("dimensions={0}", None),
    ],
)
def test_the_first_group_is_read_in_every_spelling(text, group):
    assert first_group(f"%x = f32[8] all-gather(%y), channel_id=1, {text}, dimensions={{0}}") == group


GROUPS = "replica_groups=[1,8]<=[8]"
HIDDEN = f"""
HloModule step

%async_collective_fusion.1 (p: f32[8]) -> f32[64] {{
  ROOT %ag = f32[64]{{0}} all-gather(%p), channel_id=3, {GROUPS}, dimensions={{0}}
}}

%all-reduce-scatter.2 (p: f32[64]) -> f32[8] {{
  %ar = f32[64]{{0}} all-reduce(%p), channel_id=4, {GROUPS}, to_apply=%add
  ROOT %mine = f32[8]{{0}} dynamic-slice(%ar, %i), dynamic_slice_sizes={{8}}
}}

ENTRY %main (a: f32[8]) -> f32[8] {{
  %begin = (f32[8]{{0}}, f32[64]{{0}}) fusion(%a), kind=kCustom, calls=%async_collective_fusion.1
  %end = f32[64]{{0}} fusion(%begin), kind=kCustom, calls=%async_collective_fusion.1
  %part = f32[8]{{0}} fusion(%end), kind=kCustom, calls=%all-reduce-scatter.2, backend_config={{"estimated_cycles":"5"}}
  %rs = f32[8]{{0}} reduce-scatter(%end), channel_id=5, {GROUPS}, dimensions={{0}}, to_apply=%add
  ROOT %whole = f32[8]{{0}} all-reduce(%rs), channel_id=6, replica_groups=[4,2]<=[8], to_apply=%add
}}
"""


def test_collectives_inside_fusions_count_once_and_a_reduce_scatter_as_what_comes_in():
    cost = cost_of(HIDDEN, links_of=lambda group: 2 if len(group) == 8 else 1)
    assert cost.cycles == 5
    assert cost.collective_bytes == {
        "all-gather": 7 / 8 * 64 * 4,  # begun and waited for: one
        "all-reduce": 7 / 8 * 64 * 4
        + 2 * 1 / 2 * 8 * 4,  # a half in the fusion, a whole one between two chips
        "reduce-scatter": 7 * 8 * 4,
    }
    assert cost.bytes_by_links == {2: 3 * 7 / 8 * 64 * 4, 1: 2 * 1 / 2 * 8 * 4}
