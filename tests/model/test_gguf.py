"""Importing GGUF files: the result equals the published folder, and damage is reported before anything is written."""

import dataclasses
import hashlib
import json
import os
import random
from pathlib import Path

import gguf
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from t5x_selfprog.main import main
from t5x_selfprog.model import hf_import, store
from t5x_selfprog.model.gguf.architectures import ARCHITECTURES
from t5x_selfprog.model.gguf.container import QuantizedTensor, in_order, undoable
from tests.model import gguf_files
from tests.model.tiny_models import CASES, VOCAB, copy_golden
from verifier.errors import UserError

# All golden models whose architecture is supported in GGUF files.
NAMES = {architecture.model_type for architecture in ARCHITECTURES.values()}
GGUF_CASES = [case for case, (family, _) in CASES.items() if family in NAMES]


def golden(case: str, folder: Path) -> Path:
    """A golden model as a folder, without what GGUF cannot express."""
    folder = copy_golden(case, folder)
    said = json.loads((folder / "config.json").read_text())
    if case == "qwen2":
        said |= {"use_sliding_window": False, "layer_types": None}
    if case == "gpt_neox_serial":
        said |= {"hidden_act": "gelu"}
    (folder / "config.json").write_text(json.dumps(said))
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["ab"] = vocabulary.pop("7")  # so that there is a merge
    tokenizer["model"]["merges"] = [["a", "b"]]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


@pytest.fixture
def llama(tmp_path) -> Path:
    """A tiny Llama as a GGUF file."""
    folder = golden("llama3", tmp_path / "published")
    return gguf_files.convert(folder, tmp_path / "llama.gguf")


def metadata_of(folder: Path) -> dict:
    said = json.loads((folder / "config.json").read_text())
    return gguf_files.shape(said) | gguf_files.byte_level(json.loads((folder / "tokenizer.json").read_text()))


def test_there_is_a_case_for_every_architecture():
    assert {CASES[case][0] for case in GGUF_CASES} == NAMES


@pytest.mark.parametrize("case", GGUF_CASES)
def test_a_gguf_file_is_the_model_that_the_folder_is(case, tmp_path):
    folder = golden(case, tmp_path / "published")
    path = gguf_files.convert(folder, tmp_path / "model.gguf")
    expected = hf_import.import_model(str(folder), str(tmp_path / "expected"), "float32")
    done = hf_import.import_gguf([str(path)], str(tmp_path / "ours"))
    one, other = store.load(done["model"]), store.load(expected["model"])
    assert dataclasses.replace(one.config, dtype=other.config.dtype) == other.config
    assert one.tokenizer.vocab_size == other.tokenizer.vocab_size
    assert one.tokenizer.encode("abcA6") == other.tokenizer.encode("abcA6")
    if case == "gemma":  # its norms had one added and subtracted again
        for (name, a), b in zip(
            store.flatten(one.params).items(), store.flatten(other.params).values(), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7, err_msg=name)
    else:
        assert done["identity"] == expected["identity"]


def test_it_is_exported_as_any_other_model_is(tmp_path, llama):
    hf_import.import_gguf([str(llama)], str(tmp_path / "ours"))
    assert main(["export", f"--model={tmp_path}/ours", f"--output={tmp_path}/out"]) == 0
    before, after = (
        load_file(tmp_path / "published" / "model.safetensors"),
        load_file(tmp_path / "out/model.safetensors"),
    )
    for name, tensor in after.items():
        np.testing.assert_array_equal(tensor, before[name].astype(np.float32))


def test_the_origin_of_a_file_stays_with_the_model(tmp_path, llama, capsys):
    digest = hashlib.sha256(llama.read_bytes()).hexdigest()
    command = [
        "import",
        f"--model={llama}",
        f"--output={tmp_path}/ours",
        f"--sha256={digest.upper()}",
        "--json",
    ]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert digest in shown.splitlines()[0]
    said = json.loads((tmp_path / "ours" / "origin.json").read_text())
    assert said["files"] == [{"name": "llama.gguf", "sha256": digest, "bytes": llama.stat().st_size}]
    assert json.loads(shown.splitlines()[-1])["origin"] == said


def wide(tmp_path: Path, head: str) -> Path:
    """A Llama with rows long enough to be quantised; head: "tied", "separate" or "again" (the table, stored twice)."""
    numbers = np.random.default_rng(0)
    sizes = {"hidden_size": 256, "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2}
    said = {
        "model_type": "llama", "vocab_size": VOCAB, "num_hidden_layers": 1, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5, **sizes, "tie_word_embeddings": False,
    }  # fmt: skip
    folder = golden("llama3", tmp_path / "wide")
    draw = lambda *shape: numbers.normal(size=shape).astype(np.float32)  # noqa: E731
    layer = "model.layers.0"
    tensors = {
        "model.embed_tokens.weight": draw(VOCAB, 256), "model.norm.weight": draw(256),
        f"{layer}.input_layernorm.weight": draw(256), f"{layer}.post_attention_layernorm.weight": draw(256),
        f"{layer}.self_attn.q_proj.weight": draw(256, 256), f"{layer}.self_attn.k_proj.weight": draw(128, 256),
        f"{layer}.self_attn.v_proj.weight": draw(128, 256), f"{layer}.self_attn.o_proj.weight": draw(256, 256),
        f"{layer}.mlp.gate_proj.weight": draw(256, 256), f"{layer}.mlp.up_proj.weight": draw(256, 256),
        f"{layer}.mlp.down_proj.weight": draw(256, 256),
    }  # fmt: skip
    if head == "again":
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    elif head == "separate":
        tensors["lm_head.weight"] = draw(VOCAB, 256)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**said, "eos_token_id": 0}))
    return folder


def test_quantised_weights_come_as_bfloat16_or_as_they_are_in_float32(tmp_path):
    folder = wide(tmp_path, "separate")
    path = gguf_files.convert(folder, tmp_path / "q4.gguf", "Q4_1")
    for dtype, kept in ((None, ml_dtypes.bfloat16), ("float32", np.float32)):
        output = str(tmp_path / f"ours_{dtype}")
        hf_import.import_gguf([str(path)], output, dtype)
        leaf = store.leaves(output)[1]["blocks/mlp/down/kernel"].open()
        reader = gguf.GGUFReader(path)
        (stored,) = (tensor for tensor in reader.tensors if tensor.name == "blk.0.ffn_down.weight")
        expected = gguf.dequantize(stored.data, stored.tensor_type).astype(kept)
        np.testing.assert_array_equal(leaf[0], expected.T)
        assert leaf.dtype == kept


@pytest.mark.parametrize(
    "table, head, kept",
    [
        ("Q4_0", "Q8_0", "output.weight"),
        ("Q8_0", "Q4_0", "token_embd.weight"),
        ("F16", "F16", "output.weight"),
    ],
)
def test_a_head_stored_again_is_the_table_and_the_finer_of_both_is_kept(table, head, kept, tmp_path):
    folder = wide(tmp_path, "again")
    path = gguf_files.convert(
        folder, tmp_path / "q.gguf", {"token_embd.weight": table, "output.weight": head}
    )
    hf_import.import_gguf([str(path)], str(tmp_path / "ours"), "float32")
    assert store.read_config(str(tmp_path / "ours")).head == "tied"
    found = store.leaves(str(tmp_path / "ours"))[1]["embedding"].open()
    (stored,) = (tensor for tensor in gguf.GGUFReader(path).tensors if tensor.name == kept)
    np.testing.assert_array_equal(found, gguf.dequantize(stored.data, stored.tensor_type))


def test_a_head_of_its_own_stays_one(tmp_path):
    folder = wide(tmp_path, "separate")
    path = gguf_files.convert(
        folder, tmp_path / "q.gguf", {"token_embd.weight": "Q4_0", "output.weight": "Q8_0"}
    )
    hf_import.import_gguf([str(path)], str(tmp_path / "ours"))
    assert store.read_config(str(tmp_path / "ours")).head == "separate"
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] * np.float32(
        1.01
    )  # trained a little, not quantised
    save_file(tensors, folder / "model.safetensors")
    path = gguf_files.convert(folder, tmp_path / "f.gguf", "F32")
    hf_import.import_gguf([str(path)], str(tmp_path / "trained"))
    assert store.read_config(str(tmp_path / "trained")).head == "separate"


@pytest.mark.parametrize("kind", [kind for kind in undoable() if kind != "F64"])
def test_rows_undone_in_pieces_are_the_tensor(kind, monkeypatch):
    monkeypatch.setattr("t5x_selfprog.model.gguf.container.PIECE_BYTES", 5000)
    named = gguf.GGMLQuantizationType[kind]
    block, size = gguf.GGML_QUANT_SIZES[named]
    columns = 256 if block <= 256 else block
    data = np.random.default_rng(1).integers(0, 256, (23, columns // block * size), np.uint8)
    if kind in ("F32", "F16"):
        data = data.view(np.float32 if kind == "F32" else np.float16)
    with np.errstate(all="ignore"):
        expected = gguf.dequantize(data, named)
        order = np.random.default_rng(2).permutation(23)
        tensor = QuantizedTensor(
            data,
            (23, columns),
            np.dtype(np.float32),
            kind,
            lambda rows: gguf.dequantize(rows, named),
            order,
            2.0,
        )
        np.testing.assert_array_equal(tensor.open(), expected[order] + np.float32(2))


def test_a_model_split_into_files_is_one_whichever_is_given(tmp_path):
    folder = golden("qwen3", tmp_path / "published")
    whole = gguf_files.convert(folder, tmp_path / "whole.gguf")
    reader = gguf.GGUFReader(whole)
    tensors = {t.name: (np.array(t.data).reshape(t.shape[::-1]), "F32") for t in reader.tensors}
    gguf_files.write(tmp_path / "split.gguf", metadata_of(folder), tensors, split_max_tensors=7)
    parts = sorted(tmp_path.glob("split-*.gguf"))
    assert len(parts) == 4
    expected = hf_import.import_gguf([str(whole)], str(tmp_path / "expected"))
    for i, given in enumerate(([parts[0]], [parts[2]], parts)):
        done = hf_import.import_gguf([str(path) for path in given], str(tmp_path / f"ours{i}"))
        assert done["identity"] == expected["identity"] and len(done["origin"]["files"]) == 4
    contents = [part.read_bytes() for part in parts]
    parts[1].write_bytes(contents[2])
    with pytest.raises(
        UserError, match=r"00002-of-00004\.gguf: it is part 3 of 4 by what it says, and part 2 of 4"
    ):
        hf_import.import_gguf([str(parts[0])], str(tmp_path / "x"))
    (tmp_path / "alone.gguf").write_bytes(contents[0])
    with pytest.raises(UserError, match=r"alone\.gguf: it is part 1 of 4 by what it says"):
        hf_import.import_gguf([str(tmp_path / "alone.gguf")], str(tmp_path / "x"))
    parts[1].unlink()
    with pytest.raises(UserError, match=r"one of 4 files; absent or damaged: .*split-00002-of-00004\.gguf$"):
        hf_import.import_gguf([str(parts[0])], str(tmp_path / "x"))


@pytest.mark.parametrize("name", ["{stem}.{i:02}", "part{i}.bin"])
def test_pieces_of_bytes_are_joined_by_their_numbers(name, tmp_path, llama):
    expected = hf_import.import_gguf([str(llama)], str(tmp_path / "expected"))
    size, digest = llama.stat().st_size, hashlib.sha256(llama.read_bytes()).hexdigest()
    pieces = [str(piece) for piece in gguf_files.cut(llama, [size * i // 12 for i in range(1, 12)], name)]
    done = hf_import.import_gguf(
        sorted(pieces), str(tmp_path / "ours"), None, digest
    )  # part1, part10, part11, part2
    assert done["identity"] == expected["identity"]
    assert [file["sha256"] for file in done["origin"]["files"]] == [digest]
    before = set(os.listdir(tmp_path))
    for wrong, message in (
        (pieces[:-1], "cut short or damaged"),
        ([*pieces[:5], *pieces[6:]], "sha256|cut short"),
        ([*pieces, pieces[-1]], "bytes more than the model"),
        ([pieces[1], pieces[0]], "sha256|not a GGUF file|cut short"),
        ([*pieces[:-1], str(tmp_path / "nowhere")], "nowhere: no such file"),
    ):
        with pytest.raises(UserError, match=message):
            hf_import.import_gguf(wrong, str(tmp_path / "x"))
    with pytest.raises(UserError, match=r"sha256 .*, --sha256 says 00ff: fetch it again"):
        hf_import.import_gguf(pieces, str(tmp_path / "x"), None, "00ff")
    assert set(os.listdir(tmp_path)) == before


def test_names_that_count_nothing_are_joined_as_given():
    assert in_order(["b", "a"]) == ["b", "a"]
    assert in_order(["x.10", "x.9", "x.1"]) == ["x.1", "x.9", "x.10"]


def test_a_file_cut_short_anywhere_is_refused_and_nothing_is_written(tmp_path, llama):
    data, draw = llama.read_bytes(), random.Random(0)
    short = tmp_path / "short.gguf"
    for length in [0, 3, 4, 7, 8, 23, 24, 100, *(draw.randrange(len(data) - 40) for _ in range(60))]:
        short.write_bytes(data[:length])
        with pytest.raises(UserError, match=r"short\.gguf: (cut short|not a GGUF)"):
            hf_import.import_gguf([str(short)], str(tmp_path / "ours"))
    assert sorted(os.listdir(tmp_path)) == ["llama.gguf", "published", "short.gguf"]


def test_damage_in_the_description_is_named_or_does_not_matter(tmp_path, llama):
    """Any wrong byte of metadata gives a UserError or a model, never a traceback or half a folder."""
    data, draw = bytearray(llama.read_bytes()), random.Random(1)
    start = gguf.GGUFReader(llama).data_offset
    damaged, refused = tmp_path / "damaged.gguf", 0
    for i in range(150):
        place = draw.randrange(4, start)
        spoiled = bytearray(data)
        spoiled[place] ^= 1 << draw.randrange(8)
        damaged.write_bytes(spoiled)
        try:
            hf_import.import_gguf([str(damaged)], str(tmp_path / f"ours{i}"))
        except UserError as error:
            assert "damaged.gguf" in str(error)
            assert not (tmp_path / f"ours{i}").exists()
            refused += 1
    assert refused > 50


UNKNOWN = [
    (
        {"general__architecture": "mamba"},
        "architecture 'mamba' is not supported; there are gemma, gptneox, llama",
    ),
    (
        {"tokenizer__ggml__model": "bert"},
        "tokenizer.ggml.model 'bert' is not supported; there are gpt2 .* and llama",
    ),
    (
        {"tokenizer__ggml__pre": "deepseek-coder"},
        "pre 'deepseek-coder' is not supported; there are gpt-2, llama-bpe, qwen2",
    ),
    ({"tokenizer__ggml__tokens": None}, "no tokenizer.ggml.tokens"),
    ({"tokenizer__ggml__merges": ["a zz"]}, "the merge 'a zz' uses tokens that are not"),
    ({"tokenizer__ggml__token_type": [3, 1]}, "61 tokens but 2 entries in tokenizer.ggml.token_type"),
    ({"tokenizer__ggml__tokens": ["a"] * VOCAB}, "the token 'a' occurs twice"),
    ({"llama__expert_count": 8}, "models with llama.expert_count = 8 are not supported"),
    ({"llama__attention__head_count": None}, "llama.attention.head_count is absent"),
    ({"llama__feed_forward_length": [40, 48]}, r"feed_forward_length is \[40, 48\], not one number"),
    ({"llama__rope__scaling__type": "yarn"}, "rope.scaling.type 'yarn' is not supported"),
    ({"llama__embedding_length": 32}, "shape .*its metadata wants"),
    ({"llama__block_count": 3}, r"model\.layers\.2\.input_layernorm\.weight: missing"),
]


@pytest.mark.parametrize(
    "changes, message", UNKNOWN, ids=lambda x: "-".join(x) if isinstance(x, dict) else ""
)
def test_what_is_not_known_is_refused_by_name(changes, message, tmp_path):
    folder = golden("llama3", tmp_path / "published")
    path = tmp_path / "odd.gguf"
    if changes == {"general__architecture": "mamba"}:
        metadata = {**metadata_of(folder), "general.architecture": "mamba"}
        gguf_files.write(path, metadata, {"token_embd.weight": (np.ones((VOCAB, 24), np.float32), "F32")})
    else:
        gguf_files.convert(folder, path, **changes)
    with pytest.raises(UserError, match=message) as caught:
        hf_import.import_gguf([str(path)], str(tmp_path / "ours"))
    assert "odd.gguf" in str(caught.value) and not (tmp_path / "ours").exists()


WRONG_KINDS = [
    ({"tokenizer__chat_template": 7}, "tokenizer.chat_template = 7 is not text"),
    ({"tokenizer__ggml__pre": ["qwen2"]}, r"tokenizer.ggml.pre = \['qwen2'\] is not text"),
    ({"tokenizer__ggml__eos_token_id": "0"}, "tokenizer.ggml.eos_token_id = '0' is not a whole number"),
    ({"tokenizer__ggml__eos_token_id": True}, "tokenizer.ggml.eos_token_id = True is not a whole number"),
    (
        {"tokenizer__ggml__eos_token_id": VOCAB},
        f"eos_token_id is {VOCAB}, which is none of its {VOCAB} tokens",
    ),
    ({"tokenizer__ggml__bos_token_id": [0, 1]}, r"bos_token_id = \[0, 1\] is not a whole number"),
    ({"tokenizer__ggml__merges": [1, 2]}, r"tokenizer.ggml.merges = \[1, 2\] is not a list of texts"),
    (
        {"tokenizer__ggml__token_type": "x" * 10**6},
        r"token_type = 'xxxxx[x.]{,40}' is not a list of whole numbers",
    ),
    ({"tokenizer__ggml__add_bos_token": "yes"}, "add_bos_token = 'yes' is not true or false"),
    (
        {"tokenizer__ggml__model": "llama", "tokenizer__ggml__scores": [0.5, 0.5]},
        f"{VOCAB} tokens but 2 entries in tokenizer.ggml.scores",
    ),
    ({"llama__rope__scaling__factor": "4"}, "rope.scaling.factor = '4' is not a number"),
    ({"llama__rope__scaling__factor": 4.0}, "rope_freqs.weight and a linear factor of 4.0 together"),
    ({"llama__rope__dimension_count": [8, 8]}, "rope.dimension_count = .* is not a whole number"),
    ({"llama__rope__freq_base": 0.0}, "rope.freq_base is 0.0, no number above 0"),
    ({"llama__attention__layer_norm_rms_epsilon": -1e-5}, "epsilon is -.*, no number above 0"),
    ({"llama__attention__head_count": 3}, "num_heads=3 is not a multiple of num_kv_heads=2"),
    ({"llama__block_count": 2**31 - 1}, "2,147,483,647 layers, and it holds 34 tensors"),
]


@pytest.mark.parametrize("changes, message", WRONG_KINDS)
def test_values_of_the_wrong_kind_are_named_with_their_file(changes, message, tmp_path):
    folder = golden("llama3", tmp_path / "published")
    gguf_files.convert(folder, tmp_path / "odd.gguf", **changes)
    with pytest.raises(UserError, match=message) as caught:
        hf_import.import_gguf([str(tmp_path / "odd.gguf")], str(tmp_path / "ours"))
    said = str(caught.value)
    assert "odd.gguf" in said and "/selfprog-" not in said and len(said) < 500
    assert not (tmp_path / "ours").exists()


def spoil(path: Path, before: bytes, after: bytes) -> Path:
    data = path.read_bytes()
    assert data.count(before) == 1 and len(before) == len(after)
    path.write_bytes(data.replace(before, after))
    return path


def test_a_tensor_of_an_unknown_type_is_named_with_the_types_there_are(tmp_path, llama):
    name = b"blk.1.ffn_up.weight" + (2).to_bytes(4, "little")
    begin = llama.read_bytes().index(name) + len(name) + 16
    data = bytearray(llama.read_bytes())
    data[begin : begin + 4] = (99).to_bytes(4, "little")
    llama.write_bytes(data)
    with pytest.raises(
        UserError, match=r"llama\.gguf: blk\.1\.ffn_up\.weight is of type 99, .* there are F64, .*Q4_K"
    ):
        hf_import.import_gguf([str(llama)], str(tmp_path / "ours"))


def test_tensors_that_overlap_are_refused(tmp_path, llama):
    data = bytearray(llama.read_bytes())
    places = []
    for name in (b"blk.0.ffn_up.weight", b"blk.1.ffn_up.weight"):
        begin = data.index(name) + len(name) + 4 + 16 + 4
        places.append(slice(begin, begin + 8))
    data[places[1]] = data[places[0]]
    llama.write_bytes(data)
    with pytest.raises(UserError, match=r"llama\.gguf: .*blk\.[01]\.ffn_up\.weight overlap"):
        hf_import.import_gguf([str(llama)], str(tmp_path / "ours"))


def test_text_that_is_no_utf8_is_named_by_its_key(tmp_path):
    path = gguf_files.convert(
        golden("llama3", tmp_path / "published"), tmp_path / "odd.gguf", general__name="tiny llama"
    )
    spoil(path, b"tiny llama", b"tiny \xff\xfe\xfd\xfc\xfb")
    with pytest.raises(UserError, match=r"odd\.gguf: general\.name is not UTF-8"):
        hf_import.import_gguf([str(path)], str(tmp_path / "ours"))


@pytest.mark.parametrize("key", ["rope__scaling__factor", "rope__scale_linear"])
def test_a_factor_without_a_type_is_linear_as_in_llama_cpp(key, tmp_path):
    path = gguf_files.convert(
        golden("qwen3", tmp_path / "published"), tmp_path / "q.gguf", **{f"qwen3__{key}": 4.0}
    )
    hf_import.import_gguf([str(path)], str(tmp_path / "ours"))
    scaling = store.read_config(str(tmp_path / "ours")).rope_scaling
    assert scaling is not None and (scaling.kind, scaling.factor) == ("linear", 4.0)


def test_a_number_format_that_cannot_be_undone_is_named(tmp_path, monkeypatch, llama):
    monkeypatch.setattr("t5x_selfprog.model.gguf.container.undoable", lambda: ("F16", "Q8_0"))
    folder = wide(tmp_path, "tied")
    path = gguf_files.convert(folder, tmp_path / "odd.gguf", "Q5_1")
    with pytest.raises(
        UserError,
        match=r"odd\.gguf: .*weight is of type Q5_1, which cannot be dequantised; there are F16, Q8_0",
    ):
        hf_import.import_gguf([str(path)], str(tmp_path / "ours"))


def test_without_the_package_the_extra_is_named(tmp_path, llama, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(UserError, match=r"pip install '\.\[gguf\]'"):
        hf_import.import_gguf([str(llama)], str(tmp_path / "ours"))


def test_folders_and_files_do_not_mix(tmp_path, llama, capsys):
    assert main(["import", "--model", str(llama), str(tmp_path), f"--output={tmp_path}/x"]) == 2
    assert f"--model={tmp_path}: no such file" in capsys.readouterr().err
    assert main(["import", "--model", str(llama), str(llama), f"--output={tmp_path}/x"]) == 2
    assert "several complete GGUF files" in capsys.readouterr().err
