"""Planning: costs read from the compiler's text, what a plan refuses, and real slices where the TPU compiler is."""

import importlib.util
import json
import math
import re
from pathlib import Path

import jax
import pytest

import gin
from t5x_selfprog.main import main
from t5x_selfprog.model import network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.plan import hlo_cost, lowering, simulation, slices, workload
from t5x_selfprog.plan.lowering import Learner, SamplingPrograms
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.training.loop_config import LoopConfig
from t5x_selfprog.training.training_programs import TrainingPrograms
from verifier.errors import UserError

TINY = ModelConfig(256, 256, 64, 4, 4, 2, 16, 128)
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="no TPU compiler: pip install '.[plan]'"
)

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def optax_promotion():
    """optax raises a float to an integer step in its bias correction, so its code does not pass strict promotion."""
    # For the whole process: programs are compiled in threads, which a context of this one would not reach.
    before = jax.config.jax_numpy_dtype_promotion
    jax.config.update("jax_numpy_dtype_promotion", "standard")
    yield
    jax.config.update("jax_numpy_dtype_promotion", before)


@pytest.fixture(autouse=True)
def no_configuration():
    """gin stays locked after a command; other tests declare configurables."""
    yield
    gin.clear_config()


HLO = """
HloModule step

%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %fusion.1 = f32[8]{0} fusion(%x), kind=kLoop, calls=%fused, backend_config={"estimated_cycles":"100"}
  %ag = bf16[64,32]{1,0} all-gather(bf16[8,32]{1,0} %y), dimensions={0}
  ROOT %t = (s32[], f32[8]{0}) tuple(%i, %fusion.1)
}

%cond (p: (s32[], f32[8])) -> pred[] {
  ROOT %lt = pred[] compare(%i, %n), direction=LT
}

ENTRY %main (a: f32[8]) -> f32[8] {
  %loop = (s32[], f32[8]{0}) while(%init), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"24"}}
  %kernel = bf16[8]{0} custom-call(%z), custom_call_target="tpu_custom_call"
  %start = (f32[16]{0}, f32[16]{0}) all-reduce-start(f32[16]{0} %w), to_apply=%add
  %done = f32[16]{0} all-reduce-done(%start)
  %rs = f32[4]{0} reduce-scatter(f32[32]{0} %v), to_apply=%add
  ROOT %fusion.2 = f32[8]{0} fusion(%loop), kind=kLoop, calls=%f2, backend_config={"estimated_cycles":"7"}
}
"""


def test_cycles_and_bytes_are_summed_over_the_call_graph_with_trip_counts():
    cost = hlo_cost.cost_of(HLO)
    assert cost.cycles == 24 * 100 + 7
    assert cost.collective_bytes == {
        "all-gather": 24 * 64 * 32 * 2,
        "all-reduce": 2 * 16 * 4,
        "reduce-scatter": 32 * 4,
    }
    assert cost.custom_calls == {"tpu_custom_call": 1} and cost.unknown_loops == 0
    assert hlo_cost.cost_of(HLO.replace('"known_trip_count"', '"other"')).unknown_loops == 1
    bounded = HLO.replace('"known_trip_count"', '"other"').replace(
        "  ROOT %lt", "  %n = s32[]{:T(128)} constant(24)\n  ROOT %lt"
    )
    assert hlo_cost.cost_of(bounded) == cost


def test_the_plan_of_memory_is_what_a_run_holds():
    """On virtual CPU devices: the compiled arguments per device equal the arrays that a run places there."""
    partitioner = Partitioner(MeshConfig(2, 2, 2).make())
    planned = lowering.train_step(partitioner, TINY, Learner(LoopConfig(remat="full")), 8, 128)
    programs = TrainingPrograms(LoopConfig(), TINY, partitioner, 1)
    state = programs.fresh().jitted(jax.random.key(0))
    first = jax.devices()[0]
    held = sum(
        s.data.nbytes for x in jax.tree.leaves(state) for s in x.addressable_shards if s.device == first
    )
    batch = 5 * 4 * (8 // 4) * 128  # five fields, a quarter of the rows
    assert planned.bytes["arguments"] == pytest.approx(held + batch, rel=0.1)
    assert planned.bytes["temporaries"] > 0 and not planned.error


def test_sampling_programs_compile_from_shapes_alone():
    partitioner = Partitioner(MeshConfig(2, 2, 2).make()).for_sampling(2)
    assert dict(partitioner.mesh.shape) == {"data": 4, "fsdp": 1, "tensor": 2}
    config = SamplingConfig(prompts_in_flight=8, rows_per_prompt=2, max_new_tokens=8, prompts_per_load=4)
    sampler = SamplingPrograms(partitioner, TINY, config, prefix_tokens=16, bucket=64)
    for program in (sampler.decode(), sampler.prefill()):
        assert not program.error and program.bytes["arguments"] > 0


def test_a_mesh_that_does_not_divide_names_what_does():
    partitioner = Partitioner(MeshConfig(8, 1, 1).make())
    with pytest.raises(
        UserError, match=r"sampling_tensor=3 does not divide the mesh's 8 devices: choose one of 1, 2, 4, 8"
    ):
        partitioner.for_sampling(3)


def test_every_slice_has_its_gin_file_whose_mesh_is_its_size(repository):
    for found in slices.SLICES.values():
        text = (repository / "gin" / f"{found.gin_file}.gin").read_text()
        sizes = dict(re.findall(r"^MeshConfig\.(data|fsdp|tensor) = (\d+)", text, re.MULTILINE))
        assert math.prod(map(int, sizes.values())) == found.chips and {"data", "fsdp"} <= sizes.keys()
    with pytest.raises(UserError, match=r"--slice=v9_8: no such slice; choose v4_8"):
        slices.named("v9_8")


@pytest.mark.parametrize(
    ("place", "says"), [("", "is a folder"), ("file/plan.json", "is no folder that you")]
)
def test_a_place_where_the_plan_cannot_be_saved_is_refused_before_anything_is_compiled(
    place, says, tmp_path, capsys
):
    from t5x_selfprog.main import main

    (tmp_path / "file").touch()
    command = ["plan", "--gin_file=quickstart", "--slice=v5e_8", f"--save={tmp_path / place}"]
    assert main(command) == 2 and says in capsys.readouterr().err


def test_a_workload_is_what_the_configuration_asks_for():
    import t5x_selfprog.loop  # noqa: F401 (declares the stages to gin)
    from t5x_selfprog import gin_files

    gin_files.load(["quickstart"], ["sample_puzzles.run.prompts=10", "sample_puzzles.run.attempts=20"])
    work = workload.read(workload.Yields(kept=0.5, pairs_per_kept=3.0), test_problems=228)
    assert work.puzzle_attempts == 200 and work.puzzles_kept == 100 and work.pairs == 300
    assert work.solution_attempts == 100 * 20 and work.eval_attempts == 60 * 100 and work.evaluations == 6
    # two iterations (300, then 600 pairs) and three controls of 600, two epochs
    assert work.pairs_trained() == 2 * 300 * (1 + 2 + 3 * 2)


PLAN = {
    "slice": "v5e_8",
    "chips": 8,
    "rates": {"train": [800.0, 900.0], "puzzle decode": [50.0, 60.0], "decode": [100.0, 100.0]},
    "run": {
        "slice_hours": {
            "1 sample puzzles": 1.0,
            "3 sample solutions": 2.0,
            "6 fine-tune": 3.0,
            "7 evaluate": 1.0,
        },
        "verdicts": 1000.0,
        "verifier_core_hours": 0.5,
    },
}
GOODPUT = {
    "devices": 8,
    "goodput": 0.75,
    "stages": {
        "iteration 0: puzzles": {"decode": 900.0, "compile": 900.0},
        "iteration 1: puzzles": {"decode": 1800.0},
        "iteration 0: training": {"train": 3600.0},
        "human: training and evaluation": {"train": 7200.0},
        "base: evaluation": {"decode": 3600.0},
    },
}
METRICS = [
    {"kind": "train", "stage": "6_checkpoints", "tokens_per_s_per_chip": 400.0},
    {"kind": "sample", "stage": "1_puzzles", "new_tokens_per_s_per_chip": 100.0},
    {"kind": "sample", "stage": "7_eval/attempts", "new_tokens_per_s_per_chip": 9.0},
    {"kind": "judge", "verdicts": 400, "cpu_s": 1800.0},
    {"kind": "judge", "verdicts": 100, "cpu_s": 0.0},
]


def test_a_saved_plan_is_compared_with_what_a_run_did(tmp_path, capsys):
    (tmp_path / "plan.json").write_text(json.dumps({"plans": [PLAN]}))
    run = tmp_path / "run"
    run.mkdir()
    flags = ["plan", f"--saved={tmp_path}/plan.json", f"--against={run}"]
    assert main(flags) == 2 and "no goodput.json" in capsys.readouterr().err
    (run / "goodput.json").write_text(json.dumps(GOODPUT))
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in METRICS) + '{"kind": "tr')
    assert main([*flags, "--json"]) == 0
    *said, last = capsys.readouterr().out.strip().splitlines()
    ratios = {row["what"]: row["ratio"] for row in json.loads(last)["rows"]}
    assert ratios == {
        "devices": 1.0,
        "train": 0.5,
        "puzzle decode": 2.0,
        "decode": None,
        "1 sample puzzles": 1.0,
        "3 sample solutions": None,
        "6 fine-tune and 7 evaluate": 1.0,
        "goodput": 0.75,
        "verdicts": 0.5,
        "verifier": 1.0,
    }
    assert any("train, tokens/s/chip" in line and "0.50" in line for line in said)
    for half in (flags[:2], ["plan", "--slice=v5e_8", *flags[1:]], ["plan"]):
        assert main(half) == 2
    assert "--against=RUN or --simulate, and no --slice" in capsys.readouterr().err


def test_a_saved_plan_is_simulated_anew_without_a_compiler(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(simulation, "RUNS", 4)
    saved = REPOSITORY / "results" / "plans" / "gpt_neo_2p7b.v5e_64.json"
    flags = [
        "plan",
        f"--saved={saved}",
        "--simulate",
        "--preemptions_per_hour=0.1",
        f"--save={tmp_path}/p.json",
    ]

    def simulated(*more: str) -> dict:
        assert main([*flags, *more]) == 0
        (plan,) = json.loads((tmp_path / "p.json").read_text())["plans"]
        return plan["simulated"]

    plenty, short, beside = (
        simulated(),
        simulated("--host_cores=2"),
        simulated("--host_cores=2", "--fleet=8x30"),
    )
    assert short["waiting_s"] > 100 * plenty["waiting_s"] and beside["waiting_s"] < short["waiting_s"] / 20
    assert plenty["cores_a_host_needed"] > 2 == short["cores_a_host"] and beside["fleet"] == [8, 30]
    times = [step["total_s"] for step in plenty["growth"]]
    assert times == sorted(times, reverse=True) and len(times) > 3
    said = capsys.readouterr().out
    assert "cores of a host judge" in said and "beside a fleet of 8 x 30" in said and "growth" in said
    for bad, says in (("--fleet=8", "--fleet=8: give machines x cores"), ("--host_cores=113", "has 112")):
        assert main([*flags, bad]) == 2 and says in capsys.readouterr().err


@needs_libtpu
@pytest.mark.parametrize("name", ["v5e_8", "v4_8"])
def test_a_small_run_compiles_for_a_real_slice(name, tmp_path, capsys, monkeypatch):
    saved = tmp_path / "plan.json"
    flags = ["--model=pythia_14m", f"--slice={name}", f"--save={saved}", "--gin.finetune.run.length=512"]
    assert main(["plan", "--gin_file=paper_gpt_neo_125m", *flags]) == 0
    (plan,) = json.loads(saved.read_text())["plans"]
    assert all(plan["fits"].values()) and plan["chips"] == {"v5e_8": 8, "v4_8": 4}[name]
    low, high = plan["rates"]["mfu"]
    assert 0.02 < low <= high < 1.0
    assert plan["times"]["decode"]["compute_s"] > 0.5 * plan["times"]["decode"]["roofline_s"]
    said = capsys.readouterr().out
    assert "chip-hours" in said and "GiB a chip" in said


@needs_libtpu
def test_slices_joined_by_the_network_cross_it_with_gradients_alone():
    pair = slices.Slice("v5e_8_x2", "v5e", "2x4", 4, 112, count=2)
    with pytest.raises(UserError, match=r"MeshConfig.data=1 must be a multiple of the 2 slices"):
        lowering.partitioner_for(pair, MeshConfig(1, 16, 1))
    partitioner = lowering.partitioner_for(pair, MeshConfig(2, 8, 1))
    assert [{d.slice_index for d in part.flat} for part in partitioner.mesh.devices] == [{0}, {1}]
    train = lowering.train_step(partitioner, TINY, Learner(LoopConfig(remat="full")), 32, 128)
    whole = 4 * network.num_params(TINY)
    # Every chip exchanges its eighth of the gradients; what is too small to split, and scalars, are whole.
    assert whole / 8 <= train.cost.dcn_bytes <= whole / 4
    config = SamplingConfig(prompts_in_flight=16, rows_per_prompt=2, max_new_tokens=8, prompts_per_load=1)
    sampler = SamplingPrograms(partitioner.for_sampling(1), TINY, config, prefix_tokens=16, bucket=64)
    assert sampler.prefill().cost.dcn_bytes == 0
    assert sampler.decode().cost.dcn_bytes <= 16 * 2 * 8 * 16  # the events, which hosts read


@needs_libtpu
def test_what_does_not_fit_says_by_how_much_and_two_ways_out(capsys):
    flags = ["--model=pythia_14m", "--slice=v5e_8", "--batch=65536", "--gin.finetune.run.length=512"]
    assert main(["plan", "--gin_file=paper_gpt_neo_125m", *flags]) == 0
    said = capsys.readouterr().out
    assert "does not fit" in said and "Ways out:" in said
