"""Import and export of published weights: complete or not at all, faults reported by name, the same function."""

import dataclasses
import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from t5x_selfprog.main import main
from t5x_selfprog.model import hf, hf_export, hf_import, network, store, tensor_files
from t5x_selfprog.model.tensor_files import read_safetensors
from t5x_selfprog.model.torch_files import read_torch_file
from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.training.checkpoints import Checkpoints
from tests.model.tiny_models import CASES, copy_golden
from verifier.errors import UserError


@pytest.fixture
def pythia(tmp_path) -> Path:
    return copy_golden("pythia", tmp_path / "published")


def change_config(folder: Path, **changes) -> None:
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**said, **changes}))


def change_tensors(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def all_tensors(folder: Path) -> dict[str, np.ndarray]:
    return {name: tensor.open() for name, tensor in hf.find_tensors(str(folder)).items()}


@pytest.mark.parametrize("case", CASES)
def test_what_was_imported_is_exported_bit_for_bit(case, tmp_path):
    published = copy_golden(case, tmp_path / "published")
    hf_import.import_model(str(published), str(tmp_path / "ours"))
    done = hf_export.export_model(str(tmp_path / "ours"), str(tmp_path / "again"))
    assert done["family"] == CASES[case][0] and done["files"] == ["model.safetensors"]
    before, after = all_tensors(published), all_tensors(tmp_path / "again")
    kept = hf.open_published(str(published)).tensors
    assert set(after) == set(kept)
    for name in after:  # other names of old heads, masks and frequencies are not written
        np.testing.assert_array_equal(after[name], before.get(name, before.get("lm_head.weight")))
        assert after[name].dtype == kept[name].dtype
    said = [json.loads((folder / "config.json").read_text()) for folder in (published, tmp_path / "again")]
    for one in said:
        one.pop("dtype", None), one.pop("torch_dtype", None)
    assert said[0] == said[1]
    with safe_open(tmp_path / "again" / "model.safetensors", framework="numpy") as file:
        assert file.metadata() == {"format": "pt"}  # transformers refuses files without it


def test_an_identity_follows_the_values_whatever_they_are_stored_in(tmp_path, pythia):
    kept = hf_import.import_model(str(pythia), str(tmp_path / "kept"))
    wide = hf_import.import_model(str(pythia), str(tmp_path / "wide"), "float32")
    rounded = hf_import.import_model(str(pythia), str(tmp_path / "rounded"), "bfloat16")
    assert kept["identity"] == wide["identity"] != rounded["identity"]
    for done in (kept, rounded):
        loaded = store.load(done["model"])
        assert loaded.identity == done["identity"] == store.weights_identity(loaded.params)
    assert 2 * kept["bytes"] == wide["bytes"]


def test_an_imported_model_lands_in_the_shardings_of_its_mesh(tmp_path, pythia):
    hf_import.import_model(str(pythia), str(tmp_path / "ours"))
    alone = store.load(str(tmp_path / "ours"))
    spread = store.load(str(tmp_path / "ours"), Partitioner(MeshConfig(2, 2, 2).make()))
    for one, other in zip(
        store.flatten(alone.params).items(), store.flatten(spread.params).items(), strict=True
    ):
        np.testing.assert_array_equal(one[1], other[1])
    up = spread.params["blocks"]["mlp"]["up"]["kernel"]
    assert {shard.data.shape for shard in up.addressable_shards} == {(2, 16, 20)}


def test_a_models_dtype_is_what_it_computes_in(tmp_path):
    for case, dtype in (("qwen2", "bfloat16"), ("pythia", "float32")):  # float16 has too narrow a range
        published = copy_golden(case, tmp_path / case)
        assert hf.open_published(str(published)).config.dtype == dtype


def test_a_finished_training_run_is_exported_leaf_by_leaf(tmp_path):
    published = copy_golden("codegen", tmp_path / "published")
    hf_import.import_model(str(published), str(tmp_path / "ours"))
    model = store.load(str(tmp_path / "ours"))
    run = str(tmp_path / "run")
    store.describe(run, model.config, model.path)
    with Checkpoints(run) as checkpoints:
        checkpoints.save_final(3, model.params)
    (tmp_path / "run" / "done.json").write_text(json.dumps({"step": 3, "identity": model.identity}))
    done = hf_export.export_model(run, str(tmp_path / "again"), "float16")
    assert (
        done["family"] == "codegen"
    )  # not gptj, which has the same function, because its config.json was kept
    before, after = hf.open_published(str(published)).tensors, all_tensors(tmp_path / "again")
    for name, tensor in after.items():
        np.testing.assert_array_equal(tensor, before[name].open())


def test_the_model_that_ships_is_exported_as_llama_and_comes_back(tmp_path):
    done = hf_export.export_model("base", str(tmp_path / "out"))
    again = hf_import.import_model(str(tmp_path / "out"), str(tmp_path / "ours"))
    assert done["family"] == again["family"] == "llama"
    assert again["identity"] == store.load("base").identity
    said = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (said["eos_token_id"], said["pad_token_id"], said["torch_dtype"]) == (1, 0, "bfloat16")


def test_large_models_are_cut_into_files_with_an_index(tmp_path, monkeypatch):
    monkeypatch.setattr(hf_export, "SHARD_BYTES", 10_000)
    published = copy_golden("qwen2", tmp_path / "published")  # comes in three files itself
    hf_import.import_model(str(published), str(tmp_path / "ours"))
    done = hf_export.export_model(str(tmp_path / "ours"), str(tmp_path / "again"))
    assert len(done["files"]) > 2
    index = json.loads((tmp_path / "again" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == done["bytes"]
    for name in done["files"]:
        tensors, _ = read_safetensors(str(tmp_path / "again" / name))
        assert {index["weight_map"][tensor] for tensor in tensors} == {name}
    before, after = all_tensors(published), all_tensors(tmp_path / "again")
    assert all((after[name] == before[name]).all() for name in before) and set(before) == set(after)


def test_every_fault_of_the_tensors_is_listed_and_nothing_is_written(tmp_path, pythia):
    def spoil(tensors):
        del tensors["gpt_neox.layers.1.mlp.dense_4h_to_h.bias"]
        tensors["gpt_neox.layers.2.input_layernorm.weight"] = np.zeros(32, np.float16)
        tensors["gpt_neox.final_layer_norm.weight"] = np.zeros(31, np.float16)
        tensors["gpt_neox.final_layer_norm.bias"] = np.zeros(32, np.int8)
        tensors["gpt_neox.layers.0.attention.rotary_emb.inv_freq"] = np.zeros(4, np.float16)  # no fault

    change_tensors(pythia, spoil)
    with pytest.raises(UserError) as caught:
        hf_import.import_model(str(pythia), str(tmp_path / "ours"))
    lines = str(caught.value).splitlines()
    assert [line.strip() for line in lines[1:]] == [
        "gpt_neox.layers.1.mlp.dense_4h_to_h.bias: missing",
        "gpt_neox.layers.2.input_layernorm.weight: not part of this model",
        "gpt_neox.final_layer_norm.weight: shape (31,), config.json wants (32,)",
        "gpt_neox.final_layer_norm.bias: numbers of type I8; only floating point is supported",
    ]
    assert sorted(os.listdir(tmp_path)) == ["published"]


def test_an_import_that_dies_leaves_nothing_that_looks_like_a_model(tmp_path, pythia, monkeypatch):
    def die(*_):
        assert os.listdir(tmp_path / "ours.partial")
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "write_weights", die)
    with pytest.raises(KeyboardInterrupt):
        hf_import.import_model(str(pythia), str(tmp_path / "ours"))
    assert sorted(os.listdir(tmp_path)) == ["published"]
    monkeypatch.undo()
    (tmp_path / "ours.partial").mkdir()  # as if the process had been killed
    (tmp_path / "ours.partial" / "model.json").write_text("{")
    hf_import.import_model(str(pythia), str(tmp_path / "ours"))
    assert store.load(str(tmp_path / "ours")).config.num_layers == 2


def test_an_output_in_use_is_left_alone(tmp_path, pythia):
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "thesis.tex").write_text("all of it")
    with pytest.raises(UserError, match="ours already exists"):
        hf_import.import_model(str(pythia), str(tmp_path / "ours"))
    assert os.listdir(tmp_path / "ours") == ["thesis.tex"]


def test_a_disk_without_room_is_found_out_first(tmp_path, pythia, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(UserError, match=r"71,744 bytes are needed and 1,000 are free"):
        hf_import.import_model(str(pythia), str(tmp_path / "ours"), "float32")


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer here"),
        (lambda f: change_config(f, eos_token_id=7), "token 0 for the tokenizer and 7 in config.json"),
        (lambda f: (f / "config.json").unlink(), "config.json: no such file"),
        (lambda f: (f / "config.json").write_text("{"), "config.json: not JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "config.json: not a JSON object"),
        (lambda f: change_config(f, model_type="mamba"), "'mamba'.*llama"),
        (lambda f: (f / "model.safetensors").unlink(), "holds no weights"),
        (lambda f: (f / "model.safetensors").write_bytes(b"PK\3\4" * 9), "not a safetensors file"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "not a safetensors file"),
        (lambda f: os.truncate(f / "model.safetensors", 9000), r"cut short, it has 9,000 of \d\d,\d+ bytes"),
    ],
)  # fmt: skip
def test_bad_input_is_named(tmp_path, pythia, spoil, message):
    spoil(pythia)
    with pytest.raises(UserError, match=message):
        hf_import.import_model(str(pythia), str(tmp_path / "ours"))
    assert not (tmp_path / "ours").exists()


def test_a_tokenizer_with_more_tokens_than_the_model_has_rows_is_refused(tmp_path, pythia):
    shutil.copyfile(Path(store.SHIPPED) / "base" / "tokenizer.json", pythia / "tokenizer.json")
    with pytest.raises(UserError, match=r"4,096 tokens.*61 rows.*another model"):
        hf_import.import_model(str(pythia), str(tmp_path / "ours"))


def test_files_that_an_index_names_and_that_are_not_there_are_listed(tmp_path):
    published = copy_golden("qwen2", tmp_path / "published")
    for number in (1, 3):
        (published / f"model-0000{number}-of-00003.safetensors").unlink()
    with pytest.raises(UserError, match=r"model-00001-of-00003\.safetensors, model-00003-of-"):
        hf_import.import_model(str(published), str(tmp_path / "ours"))


def test_a_published_folder_given_as_a_model_says_how_to_make_it_one(pythia):
    with pytest.raises(UserError, match="selfprog import --model="):
        store.load(str(pythia))


def test_a_pickle_that_calls_anything_else_is_refused_and_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "broken_into"),))

    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": Evil()}))
    with pytest.raises(UserError, match=r"posix\.mkdir|nt\.mkdir"):
        read_torch_file(str(path))
    assert not (tmp_path / "broken_into").exists()


@pytest.mark.parametrize("content", [b"", b"not a zip", pickle.dumps({"a": 1})])
def test_other_files_by_the_name_of_a_checkpoint_are_refused(tmp_path, content):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"pytorch_model\.bin.*safetensors"):
        read_torch_file(str(path))


def test_the_command_line_imports_exports_and_reports_as_json(tmp_path, pythia, capsys):
    assert main(["import", f"--model={pythia}", f"--output={tmp_path}/ours", "--json"]) == 0
    done = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert done["family"] == "gpt_neox" and len(done["identity"]) == 16
    assert main(["export", f"--model={tmp_path}/ours", f"--output={tmp_path}/out", "--dtype=float64"]) == 2
    assert "float32, bfloat16, float16" in capsys.readouterr().err
    assert main(["export", f"--model={tmp_path}/ours", f"--output={tmp_path}/out", "--dtype=bfloat16"]) == 0
    head = load_raw(tmp_path / "out" / "model.safetensors", "embed_out.weight")
    expected = hf.open_published(str(pythia)).tensors["embed_out.weight"].open()
    np.testing.assert_array_equal(head, expected.astype(ml_dtypes.bfloat16))


def load_raw(path: Path, name: str) -> np.ndarray:
    return read_safetensors(str(path))[0][name].open()


def test_a_name_that_cannot_be_looked_up_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True, raising=False)
    assert main(["import", "--model=nobody/nothing-here", f"--output={tmp_path}/x"]) == 2
    assert "could not be reached" in (shown := capsys.readouterr().err) and "hf download" in shown
    assert main(["import", "--model=no such folder", f"--output={tmp_path}/x"]) == 2
    assert "nor a name of the form owner/model" in capsys.readouterr().err


def test_weights_saved_in_pieces_are_the_weights(tmp_path):
    model = store.load("base")
    config = dataclasses.replace(model.config, dtype="bfloat16")
    store.save(str(tmp_path), config, model.params, model.path, "float32")
    again = store.load(str(tmp_path))
    assert again.identity == model.identity and again.config == config
    assert network.num_params(config) == sum(x.size for x in store.flatten(again.params).values())


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2), (2, 1, 0), (0, 2, 1)])
def test_chunks_in_any_direction_are_the_array(axes, monkeypatch):
    monkeypatch.setattr(tensor_files, "CHUNK_BYTES", 40_000)
    array = np.random.default_rng(0).normal(size=(150, 3, 131)).astype(np.float32).transpose(axes)
    chunks = list(tensor_files.in_chunks(array, np.dtype(np.float16)))
    assert len(chunks) > 1 and all(chunk.flags.c_contiguous for chunk in chunks)
    np.testing.assert_array_equal(np.concatenate(chunks), array.astype(np.float16))
