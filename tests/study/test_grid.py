"""The grid of a study: its cells, their order, and what is no grid."""

import pytest

from t5x_selfprog.study.grid import axes_of, cells
from verifier.errors import UserError

AXES = {"base": {"a": [], "b": [], "c": []}, "data": {"all": [], "50": ["Selection.max_pairs=50"]}}


def test_one_seed_of_everything_comes_first_and_ends_before_middles():
    names = [cell.name for cell in cells(AXES, (3, 4))]
    assert len(names) == len(set(names)) == 12
    assert all(name.endswith("seed-3") for name in names[:6])
    assert all("base-b" not in name for name in names[:4])
    last = cells(AXES, (3, 4), ["a.b=1"])[-1]
    assert last.bindings[0] == "a.b=1" and last.bindings[-1] == "Experiment.seed=4"


@pytest.mark.parametrize(
    ("axes", "seeds", "words"),
    [
        ({"a": {}}, (0,), "has no levels"),
        ({"a": {"x/y": []}}, (0,), "'x/y' must be letters"),
        ({"seed": {"0": []}}, (0,), "study.run.seeds"),
        ({"a": {"x": []}}, (), "at least one"),
    ],
)
def test_what_is_no_grid_is_refused(axes, seeds, words):
    with pytest.raises(UserError, match=words):
        cells(axes, seeds)


def test_axes_are_written_as_pairs_or_mappings():
    pairs = (("data", (("all", ()), ("50", ("Selection.max_pairs=50",)))),)
    assert axes_of(pairs) == axes_of(dict(pairs)) == {"data": {"all": (), "50": ("Selection.max_pairs=50",)}}
    with pytest.raises(UserError, match="must be pairs"):
        axes_of(("data", "all"))
