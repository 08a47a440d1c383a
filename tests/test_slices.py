"""A slice describes a machine: nothing that is learnt follows from it, and what was bound last counts everywhere."""

from importlib import import_module
from pathlib import Path

import pytest

import gin
from t5x_selfprog import gin_files, run_dir
from t5x_selfprog.partitioning import MeshConfig
from t5x_selfprog.plan import slices
from verifier.errors import UserError

GIN = gin_files.GIN_FOLDER
SLICES = sorted((GIN / "slices").glob("*.gin"))
RUNS = [path for path in sorted((GIN / "runs").glob("*.gin")) if not path.stem.startswith("pretrain")]
STAND_INS = {"Experiment.base": "'base'", "Experiment.problems": "'seeds'"}
NUMBER_TYPES = (
    "dtype",
    "weights_dtype",
    "cache_dtype",
)  # of a device's arithmetic: results are equal to rounding
SAMPLERS = ("puzzles", "solutions", "evaluation")


@pytest.fixture(autouse=True)
def _configurables():
    import_module("t5x_selfprog.loop")
    yield
    gin.clear_config()


def learnt(*paths: object) -> dict[str, str]:
    """What determines a run's results, apart from rounding."""
    required = [f"{name}={value}" for name, value in STAND_INS.items()]
    gin_files.load([str(path) for path in paths], required)
    bound = run_dir.counted(gin_files.bindings())
    return {name: value for name, value in bound.items() if name.rpartition(".")[2] not in NUMBER_TYPES}


@pytest.mark.parametrize("piece", SLICES, ids=lambda path: path.stem)
def test_a_slice_changes_nothing_that_a_run_learns(piece: Path) -> None:
    for run in RUNS:
        assert learnt(run, piece) == learnt(piece, run) == learnt(run), run.name


def test_a_slice_that_binds_what_is_learnt_would_be_seen(tmp_path: Path) -> None:
    own = tmp_path / "gin" / "slices"
    own.mkdir(parents=True)
    (own / "mine.gin").write_text("MeshConfig.data = 1\nfinetune.run.batch_size = 3\n")
    assert learnt(RUNS[0], own / "mine.gin") != learnt(RUNS[0])


def test_a_slice_does_not_change_which_of_two_files_counts(tmp_path: Path) -> None:
    """The second file includes defaults that bind what the first one says, so they count: with a slice as without."""
    (tmp_path / "first.gin").write_text("solutions/SamplingConfig.temperature = 0.25\n")
    (tmp_path / "second.gin").write_text("include 'runs/quickstart.gin'\nevaluate.run.attempts = 7\n")
    files = [tmp_path / "first.gin", tmp_path / "second.gin"]
    without = learnt(*files)
    assert without["solutions/SamplingConfig.temperature"] == "0.9"
    for piece in ("slices/cpu8", "slices/v5e_8"):
        assert learnt(*files, piece) == learnt(piece, *files) == without


@pytest.mark.parametrize("piece", SLICES, ids=lambda path: path.stem)
def test_what_a_slice_says_is_not_beaten_by_what_a_file_includes(piece: Path, tmp_path: Path) -> None:
    """Also where the slice has no scope and the included file has one."""
    gin_files.load([str(piece)], [])
    said = {name: value for name, value in gin_files.bindings().items() if "SamplingConfig" in name}
    for run in RUNS:
        mine = tmp_path / f"{run.stem}_mine.gin"
        mine.write_text(f"include 'runs/{run.name}'\n")
        learnt(mine, piece)
        for name, value in said.items():
            scope, _, rest = name.rpartition("/")
            for sampler in [scope] if scope else SAMPLERS:
                made = gin.get_configurable(f"{sampler}/SamplingConfig")()
                own = said.get(f"{sampler}/{rest}", value)
                assert repr(getattr(made, rest.rpartition(".")[2])) == own, (run.name, sampler, rest)


LATER = "SamplingConfig.chunk_steps"  # the earlier file binds it for puzzles alone


@pytest.mark.parametrize(
    ("included", "own", "flags"),
    [
        ("puzzles/{0} = 8\n", "{0} = 4\n", []),
        ("puzzles/{0} = 8\n", "", ["{0}=4"]),
        ("", "puzzles/{0} = 8\n", ["{0}=4"]),
        ("puzzles/t5x_selfprog.{0} = 8\n", "t5x_selfprog.{0} = 4\n", []),
    ],
)
def test_what_an_earlier_file_binds_more_narrowly_is_named(included, own, flags, tmp_path: Path) -> None:
    """gin would take the narrower scope, and the later binding would count in the other scopes alone."""
    (tmp_path / "base.gin").write_text("include 'runs/quickstart.gin'\n" + included.format(LATER))
    mine = tmp_path / "mine.gin"
    mine.write_text(f"include '{tmp_path}/base.gin'\n" + own.format(LATER))
    with pytest.raises(UserError) as refused:
        gin_files.load([str(mine)], [flag.format(LATER) for flag in flags])
    said = str(refused.value)
    place = mine if "puzzles" in own else tmp_path / "base.gin"
    assert f"{place}, line 2" in said and f"binds puzzles/{LATER}" in said
    assert (f"--gin.{LATER}=4: " in said) == bool(flags)


@pytest.mark.parametrize(
    ("included", "own", "flags"),
    [
        ("puzzles/{0} = 8\n", "{0} = 4\npuzzles/{0} = 2\n", []),  # both are the later file's
        ("puzzles/{0} = 8\n", "{0} = 4\n", ["puzzles/{0}=2"]),  # the narrower one comes last
        ("{0} = 8\n", "puzzles/{0} = 4\n", []),
        ("puzzles/{0} = 8\n{0} = 4\n", "", []),  # the author of one file
    ],
)
def test_what_is_bound_last_for_a_scope_or_by_one_author_is_taken(
    included, own, flags, tmp_path: Path
) -> None:
    (tmp_path / "base.gin").write_text("include 'runs/quickstart.gin'\n" + included.format(LATER))
    mine = tmp_path / "mine.gin"
    mine.write_text(f"include '{tmp_path}/base.gin'\n" + own.format(LATER))
    gin_files.load([str(mine)], [flag.format(LATER) for flag in flags])


@pytest.mark.parametrize(
    "piece, split",
    [("v5e_64", (2, 32, 1)), ("v6e_64", (2, 32, 1)), ("v5e_256", (2, 32, 4)), ("v4_32", (1, 16, 1))],
)
def test_a_run_says_how_thinly_its_weights_may_be_split_on_any_slice(
    piece: str, split: tuple[int, ...]
) -> None:
    gin_files.load([f"slices/{piece}", "paper_gpt_neo_2p7b"], [])
    mesh = gin.get_configurable("MeshConfig")()
    assert tuple(mesh.sizes(slices.named(piece).chips).values()) == split


def test_a_split_that_is_limited_still_uses_every_device() -> None:
    for at_most in range(1, 14):
        sizes = MeshConfig(1, 12, 2, fsdp_at_most=at_most).sizes(24)
        assert sizes["fsdp"] <= at_most and sizes["data"] * sizes["fsdp"] == 12 and sizes["tensor"] == 2
    assert MeshConfig(fsdp=-1, data=1, fsdp_at_most=2).sizes(8) == {"data": 4, "fsdp": 2, "tensor": 1}
    with pytest.raises(UserError, match="does not fit 6 devices"):
        MeshConfig(1, 4, fsdp_at_most=2).sizes(6)
