"""Which meshes are tried and which is named best, and what is proposed to a run that does not fit a slice."""

import json

import jax
import pytest

import gin
from t5x_selfprog.main import main
from t5x_selfprog.model import device_room, network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.plan import lowering, meshes, slices, ways_out
from t5x_selfprog.plan.hlo_cost import Cost
from t5x_selfprog.plan.lowering import Learner, Program, SamplingPrograms
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.training.lora import Lora
from t5x_selfprog.training.optimizers import OptimizerConfig
from t5x_selfprog.training.train_loop import LoopConfig

GPT_NEO_2P7B = ModelConfig(50304, 2048, 2560, 32, 20, 20, 128, 10240)
QWEN_7B = ModelConfig(152064, 32768, 3584, 28, 28, 4, 128, 18944)
FULL = LoopConfig(remat="full")


@pytest.fixture(autouse=True)
def no_configuration():
    yield
    gin.clear_config()


def tried(name: str, config: ModelConfig, batch: int = 64, lora: Lora | None = None) -> set[str]:
    found = meshes.candidates(slices.named(name), config, Learner(FULL, lora), batch)
    return {f"{mesh.data}x{mesh.fsdp}x{mesh.tensor}" for mesh in found}


def test_candidates_have_room_for_the_state_and_a_row_for_every_chip():
    some = tried("v5e_64", GPT_NEO_2P7B)
    assert {"1x64x1", "8x8x1", "2x16x2"} <= some and "64x1x1" not in some
    # 42 GB of weights, gradients and moments: four chips of 15.75 GiB, filled to four fifths.
    assert all(
        int(name.split("x")[1]) * int(name.split("x")[2]) >= 4 for name in tried("v5e_8", GPT_NEO_2P7B)
    )
    assert all(name.endswith("x4") for name in tried("v5e_256", GPT_NEO_2P7B))  # 64 rows for 256 chips
    assert not any(
        name.endswith("x4") for name in tried("v5e_64", ModelConfig(256, 256, 64, 4, 12, 2, 16, 128))
    )
    joined = meshes.candidates(slices.named("v5e_64_x2"), GPT_NEO_2P7B, Learner(FULL), 128)
    assert joined and all(mesh.data % 2 == 0 for mesh in joined)


@pytest.fixture
def compiler(monkeypatch):
    """Stands for the TPU compiler: the thinner the split, the more the links carry; two chips' worth does not fit."""
    real = lowering.partitioner_for
    monkeypatch.setattr(lowering, "partitioner_for", lambda wanted, mesh: Partitioner(mesh.make()))

    def train_step(partitioner, config, learner, rows, length):
        fsdp = partitioner.mesh.shape["fsdp"]
        if fsdp < 4:
            return Program("train step", 1.0, {}, Cost(), "RESOURCE_EXHAUSTED: Used 16.1G of 15.75G hbm.")
        return Program(
            "train step", 1.0, {"arguments": 2**30}, Cost(cycles=1e9, bytes_by_links={2: fsdp * 1e9})
        )

    monkeypatch.setattr(lowering, "train_step", train_step)
    return real


def test_the_mesh_that_is_fastest_with_nothing_hidden_is_named(compiler, tmp_path, capsys):
    saved = tmp_path / "meshes.json"
    flags = ["--model=pythia_14m", "--slice=v5e_8", f"--save={saved}"]
    asked = "--meshes=1x8x1,2x4x1,4x2x1"
    assert main(["plan", "--gin_file=paper_gpt_neo_125m", *flags, asked]) == 0
    said = capsys.readouterr().out
    assert "Best, with nothing of the communication hidden: MeshConfig.data = 2, MeshConfig.fsdp = 4" in said
    assert "the configuration has 1 x 8 x 1" in said and "does not fit" in said
    (found,) = json.loads(saved.read_text())["plans"]
    assert [line["name"] for line in found["meshes"]] == ["2 x 4 x 1", "1 x 8 x 1", "4 x 2 x 1"]
    assert found["best"] == "2 x 4 x 1" and not found["meshes"][2]["fits"]
    low, high = found["meshes"][0]["tokens_per_s_per_chip"]
    assert low < high
    for bad in ("8x8", "2x8x1"):
        assert main(["plan", "--gin_file=paper_gpt_neo_125m", *flags, f"--meshes={bad}"]) == 2
        assert f"--meshes={bad}: give data x fsdp x tensor" in capsys.readouterr().err


def test_adapters_need_less_and_more_meshes_are_worth_it():
    """A 7B model fits no v5e_8 whole; its adapters do, where base and merged weights lie split over all chips."""
    assert not tried("v5e_8", QWEN_7B)
    for dtype in ("float32", "int8"):
        found = tried("v5e_8", QWEN_7B, lora=Lora(base_dtype=dtype))
        assert "1x8x1" in found and "8x1x1" not in found
    one = Partitioner(MeshConfig(1, 1, 1).make(jax.devices()[:1]))
    held = {
        dtype: meshes.held_bytes(QWEN_7B, FULL, Lora(base_dtype=dtype), one) for dtype in ("float32", "int8")
    }
    whole = meshes.held_bytes(QWEN_7B, FULL, None, one)
    count = network.num_params(QWEN_7B)
    assert whole > 16 * count - 1e9 and max(held.values()) < 0.52 * whole
    # Merging holds the loaded weights and the merged ones, whatever the base was rounded to in between.
    assert held["int8"] >= 8 * count


def test_a_mesh_on_which_adapters_train_but_cannot_be_merged_does_not_fit(
    compiler, tmp_path, capsys, monkeypatch
):
    flags = ["--gin_file=paper_gpt_neo_125m", "--model=pythia_14m", "--slice=v5e_8", "--meshes=1x8x1"]
    flags += ["--gin.finetune.run.lora=@Lora()", "--gin.Lora.base_dtype='int8'"]
    asked = []
    real = lowering.train_step
    monkeypatch.setattr(lowering, "train_step", lambda *given: asked.append(given[2].lora) or real(*given))
    assert main(["plan", *flags, f"--save={tmp_path / 'a.json'}"]) == 0
    assert [lora.base_dtype for lora in asked] == ["int8"]
    said = capsys.readouterr().out
    assert "meshes for training adapters of rank" in said and "does not fit" not in said
    monkeypatch.setattr(meshes, "largest", lambda *_: [device_room.Part("merged weights", 2**40)])
    assert main(["plan", *flags, f"--save={tmp_path / 'b.json'}"]) == 0
    assert "does not fit" in capsys.readouterr().out


def test_what_a_seven_billion_model_is_told_on_eight_chips():
    wanted, partitioner = slices.named("v5e_8"), Partitioner(MeshConfig(1, 8, 1).make())
    training = ways_out.of_training(wanted, partitioner, QWEN_7B, FULL)
    assert training[0].startswith("OptimizerConfig.name = 'adafactor'") and "--slice=v5e_16" in training
    already = LoopConfig(OptimizerConfig("adafactor"), remat="full")
    assert not any("adafactor" in way for way in ways_out.of_training(wanted, partitioner, QWEN_7B, already))
    few = SamplingConfig(
        prompts_in_flight=32, rows_per_prompt=16, weights_dtype="bfloat16", cache_dtype="bfloat16"
    )
    sampler = SamplingPrograms(partitioner.for_sampling(1), QWEN_7B, few, 512, 256)
    first, *_ = ways_out.of_sampling(wanted, "solutions", sampler)
    assert first == "MeshConfig.sampling_tensor = 4: 4 chips share a copy of the weights"


def test_rows_are_lowered_first_where_they_are_what_fills_a_chip():
    wanted, partitioner = slices.named("v5e_8"), Partitioner(MeshConfig(8, 1, 1).make())
    small = ModelConfig(256, 256, 64, 4, 4, 2, 16, 128)
    first, second, _ = ways_out.of_training(wanted, partitioner, small, LoopConfig(remat="none"))
    assert first.startswith("LoopConfig.remat = 'full'") and second.startswith(
        "MeshConfig.fsdp = 8, data = 1"
    )
    few = SamplingConfig(prompts_in_flight=32, rows_per_prompt=16)
    sampler = SamplingPrograms(partitioner.for_sampling(1), small, few, 16, 64)
    assert (
        ways_out.of_sampling(wanted, "puzzles", sampler)[1] == "puzzles/SamplingConfig.prompts_in_flight = 16"
    )


def test_the_end_of_a_shard_holds_two_grids():
    partitioner = Partitioner(MeshConfig(8, 1, 1).make()).for_sampling(1)
    config = SamplingConfig(prompts_in_flight=32, rows_per_prompt=4, tail_prompts=(16, 8))
    held = (
        SamplingPrograms(partitioner, ModelConfig(256, 256, 64, 4, 4, 2, 16, 128), config, 16, 64)
        .narrowing()
        .bytes
    )
    assert held["smaller grid"] == pytest.approx(held["grid"] / 2, abs=1) and held["weights"] > 0
    assert jax.devices()[0].platform == "cpu"  # counted from shapes, wherever
