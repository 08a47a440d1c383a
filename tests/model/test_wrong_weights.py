"""Wrong weights are never used silently.

Files that contradict each other are resolved as in transformers; weights that are not finite are refused by name.
"""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from t5x_selfprog.main import main
from t5x_selfprog.model import hf, hf_export, hf_import, store
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.sampling.sampler import Request, Sampler, SamplingConfig
from t5x_selfprog.tokenizer import Tokenizer
from t5x_selfprog.training.checkpoints import Checkpoints
from tests.model.tiny_models import copy_golden
from tests.sampling.byte_model import ByteTokenizer, random_params, tiny_config
from verifier.errors import UserError

TABLE, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def rewrite(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file({name: np.ascontiguousarray(x) for name, x in tensors.items()}, folder / "model.safetensors")


@pytest.fixture
def tied(tmp_path) -> Path:
    """A Llama whose config.json ties the head to the embedding table."""
    folder = copy_golden("llama3", tmp_path / "published")
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"]
    return folder


def leaf(model: str, name: str) -> np.ndarray:
    return np.asarray(store.leaves(model)[1][name].open(), np.float32)


@pytest.mark.parametrize("files", [["a.safetensors"], ["nowhere.safetensors"]])
def test_whole_weights_win_over_an_index_beside_them(files, tied, tmp_path):
    tensors = load_file(tied / "model.safetensors")
    save_file({name: x * 2 for name, x in tensors.items()}, tied / "a.safetensors")
    index = {"weight_map": dict.fromkeys(tensors, files[0])}
    (tied / "model.safetensors.index.json").write_text(json.dumps(index))
    hf_import.import_model(str(tied), str(tmp_path / "ours"))
    np.testing.assert_array_equal(
        leaf(str(tmp_path / "ours"), "embedding"), tensors[TABLE].astype(np.float32)
    )
    (tied / "model.safetensors").unlink()
    if files == ["a.safetensors"]:  # and without them the index counts
        hf_import.import_model(str(tied), str(tmp_path / "indexed"))
        np.testing.assert_array_equal(
            leaf(str(tmp_path / "indexed"), "embedding"), 2 * tensors[TABLE].astype(np.float32)
        )


def test_a_head_that_is_not_the_table_it_is_tied_to_is_kept_and_said(tied, tmp_path, capsys):
    rewrite(tied, lambda tensors: tensors.update({HEAD: tensors[TABLE][::-1]}))
    assert main(["import", f"--model={tied}", f"--output={tmp_path}/ours"]) == 0
    assert f"{HEAD} is kept: it differs from {TABLE}" in capsys.readouterr().out
    assert store.read_config(str(tmp_path / "ours")).head == "separate"
    tensors = load_file(tied / "model.safetensors")
    np.testing.assert_array_equal(leaf(str(tmp_path / "ours"), "head").T, tensors[HEAD].astype(np.float32))
    hf_export.export_model(str(tmp_path / "ours"), str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is False
    np.testing.assert_array_equal(load_file(tmp_path / "out" / "model.safetensors")[HEAD], tensors[HEAD])


@pytest.mark.parametrize("change", [lambda x: x, lambda x: x.astype(np.float32)], ids=["same", "wider"])
def test_a_head_that_is_the_table_stays_tied(change, tied, tmp_path):
    rewrite(tied, lambda tensors: tensors.update({HEAD: change(tensors[TABLE].copy())}))
    done = hf_import.import_model(str(tied), str(tmp_path / "ours"))
    assert done["notes"] == [] and store.read_config(str(tmp_path / "ours")).head == "tied"


def test_where_only_the_head_is_stored_it_is_the_table(tied, tmp_path):
    expected = hf_import.import_model(str(tied), str(tmp_path / "expected"))
    rewrite(tied, lambda tensors: tensors.update({HEAD: tensors.pop(TABLE)}))
    assert hf_import.import_model(str(tied), str(tmp_path / "ours"))["identity"] == expected["identity"]
    edit(tied / "config.json", tie_word_embeddings=False)
    with pytest.raises(UserError, match=r"model\.embed_tokens\.weight: missing"):
        hf_import.import_model(str(tied), str(tmp_path / "untied"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_by_name_on_import(value, tied, tmp_path):
    def spoil(tensors):
        tensors["model.layers.1.mlp.up_proj.weight"] = tensors["model.layers.1.mlp.up_proj.weight"].copy()
        tensors["model.layers.1.mlp.up_proj.weight"][-1, -1] = value

    rewrite(tied, spoil)
    with pytest.raises(
        UserError, match=r"published: model\.layers\.1\.mlp\.up_proj\.weight holds .* not finite"
    ):
        hf_import.import_model(str(tied), str(tmp_path / "ours"))
    assert not (tmp_path / "ours").exists()


def test_rounding_beyond_what_a_type_holds_is_refused(tied, tmp_path):
    rewrite(tied, lambda tensors: tensors.update({TABLE: tensors[TABLE].astype(np.float32) * 1e6}))
    with pytest.raises(UserError, match=r"embedding holds numbers that are not finite .* as float16"):
        hf_import.import_model(str(tied), str(tmp_path / "ours"), "float16")
    assert not (tmp_path / "ours").exists()


def test_what_is_not_finite_is_refused_on_loading(tied, tmp_path):
    hf_import.import_model(str(tied), str(tmp_path / "ours"))
    model = store.load(str(tmp_path / "ours"))
    data = bytearray((tmp_path / "ours" / store.WEIGHTS).read_bytes())
    data[-2:] = b"\xc0\x7f"  # the last bfloat16 becomes NaN
    (tmp_path / "ours" / store.WEIGHTS).write_bytes(data)
    with pytest.raises(UserError, match=r"ours: final_norm/scale holds numbers that are not finite"):
        store.load(str(tmp_path / "ours"))
    spoiled = {**model.params, "embedding": model.params["embedding"].at[3, 4].set(jnp.inf)}
    run = str(tmp_path / "run")
    store.describe(run, model.config, model.path)
    with Checkpoints(run) as checkpoints:
        checkpoints.save_final(3, spoiled)
    (tmp_path / "run" / "done.json").write_text(json.dumps({"step": 3, "identity": "x"}))
    with pytest.raises(UserError, match=r"run: embedding holds numbers that are not finite"):
        store.load(run)


def test_weights_that_a_pack_left_behind_are_missed_by_name(tied, tmp_path):
    hf_import.import_model(str(tied), str(tmp_path / "ours"))
    run = tmp_path / "run"
    store.describe(str(run), store.read_config(str(tmp_path / "ours")), str(tmp_path / "ours"))
    (run / "done.json").write_text(json.dumps({"step": 3, "identity": "x"}))
    for read in (store.load, store.leaves):
        with pytest.raises(UserError, match=r"run: .* its weights are not there; .* --go_on"):
            read(str(run))


def test_sampling_refuses_probabilities_that_are_no_numbers():
    config = tiny_config()
    params = random_params(config)
    params["final_norm"]["scale"] = params["final_norm"]["scale"].at[0].set(math.nan)
    sampling = SamplingConfig(
        prompts_in_flight=1, rows_per_prompt=1, max_new_tokens=4, prompt_buckets=(8,), prompts_per_load=1,
        chunk_steps=4, tail_prompts=0,
    )  # fmt: skip
    sampler = Sampler(config, params, ByteTokenizer(), sampling, checkpoint="0123456789abcdef")
    with pytest.raises(UserError, match="0123456789abcdef gives probabilities that are no numbers"):
        list(sampler.sample([Request("x", "ab", 1)], jax.random.key(0)))


def with_holes(folder: Path, shift: int) -> None:
    """Shifts the ids of all tokens but the first three by `shift`, and moves the end of text to the end."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = {token: i if i < 3 else i + shift for token, i in tokenizer["model"]["vocab"].items()}
    vocabulary.pop("<|endoftext|>")
    end = max(vocabulary.values()) + 1
    tokenizer["model"]["vocab"], tokenizer["added_tokens"][0]["id"] = vocabulary, end
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    edit(folder / "config.json", eos_token_id=end, bos_token_id=end)


def test_ids_that_no_token_has_are_counted_and_never_chosen(tmp_path):
    folder = copy_golden("qwen3", tmp_path / "published")
    rewrite(folder, lambda t: t.update({k: np.pad(t[k], ((0, 7), (0, 0))) for k in (TABLE, HEAD)}))
    edit(folder / "config.json", vocab_size=68)
    with_holes(folder, 4)
    hf_import.import_model(str(folder), str(tmp_path / "ours"))
    model = store.load(str(tmp_path / "ours"))
    tokenizer = model.tokenizer
    assert tokenizer.holes == (0, 3, 4, 5, 6) and tokenizer.eos_id == tokenizer.vocab_size - 1 == 65
    assert tokenizer.token_bytes(4) == b"" and tokenizer.decode([1, 4, 2]) == "ab"
    # All probability goes to holes and to rows beyond the vocabulary, which must never be sampled.
    liked = jnp.asarray([*tokenizer.holes, 66, 67])
    params = {**model.params, "head": model.params["head"].at[:, liked].mul(1e4)}
    sampling = SamplingConfig(
        prompts_in_flight=1, rows_per_prompt=8, max_new_tokens=6, prompt_buckets=(8,), prompts_per_load=1,
        chunk_steps=6, tail_prompts=0, stop="none",
    )  # fmt: skip
    sampler = Sampler(model.config, params, tokenizer, sampling, checkpoint="x")
    (done,) = sampler.sample([Request("x", "ab", 16)], jax.random.key(0))
    for completion in done:
        written = completion.n_tokens - (completion.stop_reason == "eos")
        assert len(completion.text) == written  # every token of this vocabulary is one character


def test_a_tokenizer_whose_ids_reach_beyond_the_model_is_refused(tmp_path):
    folder = copy_golden("qwen3", tmp_path / "published")
    with_holes(folder, 4)
    with pytest.raises(UserError, match=r"the tokenizer has 66 tokens, the model's embedding 61 rows"):
        hf_import.import_model(str(folder), str(tmp_path / "ours"))


WRONG_KINDS = [
    ("llama3", {"rope_scaling": "linear"}, "rope_scaling = 'linear' is not an object"),
    ("llama3", {"rope_parameters": ["llama3"]}, r"rope_parameters = \['llama3'\] is not an object"),
    ("llama3", {"rope_parameters": {"rope_type": "linear", "factor": "4"}}, "rope_parameters.factor = '4' is not"),
    ("llama3", {"rope_parameters": {"rope_type": "linear", "factor": None}}, "rope_type 'linear': factor missing"),
    ("llama3", {"rope_parameters": {"rope_type": "linear", "factor": -1}}, "factor = -1 is not a number above 0"),
    ("llama3", {"rms_norm_eps": -1e-5}, "rms_norm_eps = -1e-05 is not a number above 0"),
    ("llama3", {"rope_parameters": {"rope_type": 7}}, "rope_parameters.rope_type = 7 is not text"),
    ("llama3", {"hidden_size": "24"}, "hidden_size = '24' is not a whole number above 0"),
    ("llama3", {"hidden_size": [24]}, r"hidden_size = \[24\] is not"),
    ("llama3", {"num_attention_heads": 0}, "num_attention_heads = 0 is not"),
    ("llama3", {"num_key_value_heads": 1.5}, "num_key_value_heads = 1.5 is not"),
    ("llama3", {"rms_norm_eps": "1e-6"}, "rms_norm_eps = '1e-6' is not a number"),
    ("llama3", {"tie_word_embeddings": "false"}, "tie_word_embeddings = 'false' is not true or false"),
    ("llama3", {"eos_token_id": "0"}, "eos_token_id = '0' is not a token's id"),
    ("llama3", {"eos_token_id": ["0"]}, r"eos_token_id = \['0'\] is not"),
    ("llama3", {"torch_dtype": 16, "dtype": None}, "torch_dtype = 16 is not text"),
    ("llama3", {"model_type": ["llama"]}, r"model_type = \['llama'\] is not text"),
    ("llama3", {"architectures": "LlamaForCausalLM", "model_type": "x"}, "architectures = .* is not a list of words"),
    ("llama3", {"hidden_act": {"name": "silu"}}, "hidden_act = .* is not text"),
    ("llama3", {"head_dim": 8, "vocab_size": "61", "rms_norm_eps": None}, "vocab_size = '61'"),
    ("qwen2", {"layer_types": "sliding_attention"}, "layer_types = .* is not a list of words"),
    ("qwen2", {"layer_types": ["full_attention"]}, "layer_types names 1 layers, num_hidden_layers = 3"),
    ("qwen2", {"layer_types": ["full_attention", "other", "full_attention"]}, "other is not supported"),
    ("gpt_neo", {"attention_types": 3, "attention_layers": None}, "attention_types = 3 is not a list"),
    ("gpt_neo", {"attention_layers": ["global", "local"]}, "attention_layers names 2 layers, num_layers = 4"),
    ("gpt_neo", {"attention_layers": ["global", "locl"] * 2}, "attention locl is not supported"),
]  # fmt: skip


@pytest.mark.parametrize("case, changes, message", WRONG_KINDS)
def test_values_of_the_wrong_kind_are_named_with_their_file(case, changes, message, tmp_path):
    folder = copy_golden(case, tmp_path / "published")
    edit(folder / "config.json", **changes)
    with pytest.raises(UserError, match=rf"config\.json: .*{message}"):
        hf_import.import_model(str(folder), str(tmp_path / "ours"))
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize("said", [None, [], "a", {}, {"a": 1}, {"a": None}, {"a": "../b"}, {"a": ""}])
def test_an_index_that_is_none_is_named(said, tmp_path):
    folder = copy_golden("qwen2", tmp_path / "published")
    edit(folder / "model.safetensors.index.json", weight_map=said)
    with pytest.raises(
        UserError,
        match=r"model\.safetensors\.index\.json: (its weight_map does not map tensors to files|it names )",
    ):
        hf_import.import_model(str(folder), str(tmp_path / "ours"))


def test_a_tensor_that_two_files_hold_is_named(tied, tmp_path):
    tensors = load_file(tied / "model.safetensors")
    (tied / "model.safetensors").unlink()
    save_file(tensors, tied / "a.safetensors")
    save_file({TABLE: tensors[TABLE] * 2}, tied / "b.safetensors")  # left from an earlier version
    index = {"weight_map": {**dict.fromkeys(tensors, "a.safetensors"), "x": "b.safetensors"}}
    (tied / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=rf"b\.safetensors: {TABLE} is in a\.safetensors too"):
        hf_import.import_model(str(tied), str(tmp_path / "ours"))


def test_tensors_that_share_bytes_are_refused(tied, tmp_path):
    data = (tied / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    layers = [f"model.layers.{i}.mlp.up_proj.weight" for i in range(2)]
    header[layers[1]]["data_offsets"] = header[layers[0]]["data_offsets"]
    text = json.dumps(header).encode()
    (tied / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    with pytest.raises(UserError, match=r"model\.safetensors: .*up_proj\.weight overlap"):
        hf_import.import_model(str(tied), str(tmp_path / "ours"))


@pytest.mark.parametrize("layers", [10**9, 10**20])
def test_more_layers_than_tensors_are_refused_at_once(layers, tied, tmp_path):
    edit(tied / "config.json", num_hidden_layers=layers)
    with pytest.raises(UserError, match=r"config\.json.*(1,000,000,000 layers|num_hidden_layers = 1000)"):
        hf_import.import_model(str(tied), str(tmp_path / "ours"))


def test_two_tokens_with_one_id_are_named(tied, tmp_path):
    tokenizer = json.loads((tied / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["a"] = tokenizer["model"]["vocab"]["b"]
    (tied / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(UserError, match="published: 'a' and 'b' are both token"):
        hf_import.import_model(str(tied), str(tmp_path / "ours"))


@pytest.mark.parametrize(
    "name, content",
    [("config.json", None), ("config.json", b"[" * 10**5), ("model.safetensors", None),
     ("chat_template.jinja", b"\xff\xfe"), ("tokenizer_config.json", b'{"a":' + b"[" * 10**5),
     ("tokenizer_config.json", b'{"eos_token": "\\ud800"}')],
)  # fmt: skip
def test_files_that_cannot_be_read_are_named(name, content, tied, tmp_path):
    (tied / name).unlink(missing_ok=True)
    if content is None:
        (tied / name).mkdir()
    else:
        (tied / name).write_bytes(content)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        hf_import.import_model(str(tied), str(tmp_path / "ours"))


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("text", ["[]", "7", '{"eos_token": 0}', '{"eos_token": ["<|endoftext|>"]}', "{"])
def test_a_tokenizers_files_of_the_wrong_kind_are_named(name, text, tmp_path):
    folder = copy_golden("llama3", tmp_path / "published")
    (folder / name).write_text(text)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        Tokenizer.load(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"vocab_size": "4"}, {"norm": "batch"}, {"windows": "none"}, {"rope_theta": None}, {"rotary_dim": [4]},
        {"biases": [1]}, {"rope_scaling": "linear"}, {"rope_scaling": {"kind": "x"}}, {"num_layers": True},
        {"rope_scaling": {"kind": "linear", "factor": "2"}}, {"rope_scaling": {"by": 2}}, {"dtype": 32},
    ],
)  # fmt: skip
def test_a_model_json_of_the_wrong_kind_is_named(changes):
    fields = json.loads(tiny_config().to_json())
    assert ModelConfig.from_json(json.dumps(fields)) == tiny_config()
    with pytest.raises(UserError, match=next(iter(changes)) if "kind" not in str(changes) else "kind|factor"):
        ModelConfig.from_json(json.dumps({**fields, **changes}), "here/model.json")
    with pytest.raises(UserError, match=r"here/model\.json: not"):
        ModelConfig.from_json("[1", "here/model.json")


def test_a_gpt_neox_head_by_its_other_name_is_compared_too(tmp_path):
    folder = copy_golden("pythia", tmp_path / "published")
    edit(folder / "config.json", tie_word_embeddings=True)
    published = hf.open_published(str(folder))  # its embed_out was trained separately
    assert published.config.head == "separate" and "embed_out.weight is kept" in published.notes[0]
