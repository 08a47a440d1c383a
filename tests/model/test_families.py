"""The table of families: the meaning of published config.json files; every entry reads what it writes."""

import dataclasses
import re

import numpy as np
import pytest

import gin
import t5x_selfprog.configurables  # noqa: F401 (declares ModelConfig to gin)
from t5x_selfprog import gin_files, model_shapes
from t5x_selfprog.model import hf, network
from t5x_selfprog.model.config import ModelConfig, RopeScaling
from t5x_selfprog.model.families import table
from t5x_selfprog.model.families.family import same
from t5x_selfprog.model.layers import rotary_frequencies
from tests.model.tiny_models import CASES, GOLDEN
from verifier.errors import UserError

MODELS = gin_files.GIN_FOLDER / "models"
# Sizes of published models; each file states the source of its number.
SIZES = sorted(
    path for path in MODELS.glob("*.gin") if re.match(r"# [\d,.]+[BM]? weights, ", path.read_text())
)


def gin_config(name: str) -> ModelConfig:
    try:
        gin_files.load([str(MODELS / f"{name}.gin")], [])
        return gin.get_configurable(ModelConfig)()
    finally:
        gin.clear_config()


# config.json of published models, in the spelling of their day, without keys that do not affect the function.
PUBLISHED = {
    "gpt_neo_125m": {
        "model_type": "gpt_neo", "activation_function": "gelu_new", "attention_types": [[["global", "local"], 6]],
        "hidden_size": 768, "intermediate_size": None, "layer_norm_epsilon": 1e-05, "max_position_embeddings": 2048,
        "num_heads": 12, "num_layers": 12, "vocab_size": 50257, "window_size": 256,
    },
    "codegen_350m_mono": {
        "model_type": "codegen", "activation_function": "gelu_new", "layer_norm_epsilon": 1e-05, "n_ctx": 2048,
        "n_embd": 1024, "n_head": 16, "n_inner": None, "n_layer": 20, "n_positions": 2048, "rotary_dim": 32,
        "tie_word_embeddings": False, "torch_dtype": "float16", "vocab_size": 51200,
    },
    "pythia_70m": {
        "model_type": "gpt_neox", "hidden_act": "gelu", "hidden_size": 512, "intermediate_size": 2048,
        "layer_norm_eps": 1e-05, "max_position_embeddings": 2048, "num_attention_heads": 8, "num_hidden_layers": 6,
        "rotary_emb_base": 10000, "rotary_pct": 0.25, "tie_word_embeddings": False, "torch_dtype": "float16",
        "use_parallel_residual": True, "vocab_size": 50304,
    },
    "smollm2_135m": {
        "model_type": "llama", "attention_bias": False, "hidden_act": "silu", "hidden_size": 576,
        "intermediate_size": 1536, "max_position_embeddings": 8192, "num_attention_heads": 9, "num_hidden_layers": 30,
        "num_key_value_heads": 3, "rms_norm_eps": 1e-05, "rope_theta": 100000, "rope_scaling": None,
        "tie_word_embeddings": True, "torch_dtype": "bfloat16", "vocab_size": 49152,
    },
    "qwen2p5_coder_0p5b": {
        "model_type": "qwen2", "hidden_act": "silu", "hidden_size": 896, "intermediate_size": 4864,
        "max_position_embeddings": 32768, "max_window_layers": 24, "num_attention_heads": 14,
        "num_hidden_layers": 24, "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
        "sliding_window": 32768, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "use_sliding_window": False, "vocab_size": 151936,
    },
}  # fmt: skip
LLAMA = {
    "model_type": "llama", "vocab_size": 100, "max_position_embeddings": 64, "hidden_size": 32,
    "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40, "rms_norm_eps": 1e-6,
}  # fmt: skip


def read(published: dict) -> ModelConfig:
    return table.of_published(published, "config.json").config(published, "config.json")


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_configuration_is_our_gin_file(name):
    assert same(read(PUBLISHED[name]), gin_config(name))


@pytest.mark.parametrize("path", SIZES, ids=lambda path: path.stem)
def test_every_size_has_the_published_number_of_weights(path):
    number, source = re.search(r"([\d,.]+[BM]?) weights, (\S.*)", path.read_text()).groups()
    assert source
    counted = network.num_params(gin_config(path.stem))
    if number[-1] in "BM":  # published rounded
        unit = {"B": 1e9, "M": 1e6}[number[-1]]
        digits = len(number.partition(".")[2]) - 1 if "." in number else 0
        assert round(counted / unit, digits) == float(number[:-1])
    else:
        assert counted == int(number.replace(",", ""))


@pytest.mark.parametrize("path", SIZES, ids=lambda path: path.stem)
def test_a_shape_read_alone_is_what_gin_binds(path):
    assert model_shapes.named(path.stem) == gin_config(path.stem)


@pytest.mark.parametrize("name", ["gpt_neo", "gpt_neo_3b", "../models/gpt_neo_125m", ""])
def test_what_is_no_whole_shape_is_named_with_those_that_are(name):
    with pytest.raises(UserError, match=r"no shape in gin/models;.* gpt_neo_125m, gpt_neo_1p3b"):
        model_shapes.named(name)


def test_all_published_sizes_are_there():
    names = {path.stem for path in SIZES}
    assert {f"gpt_neo_{size}" for size in ("125m", "1p3b", "2p7b")} <= names
    assert {f"codegen_{size}_mono" for size in ("350m", "2b", "6b", "16b")} <= names
    pythia = ("14m", "31m", "70m", "160m", "410m", "1b", "1p4b", "2p8b", "6p9b", "12b")
    assert {f"pythia_{size}" for size in pythia} <= names
    assert {f"qwen2p5_coder_{size}" for size in ("0p5b", "1p5b", "3b", "7b", "14b", "32b")} <= names
    assert {f"smollm2_{size}" for size in ("135m", "360m", "1p7b")} <= names


@pytest.mark.parametrize("path", SIZES, ids=lambda path: path.stem)
def test_every_size_has_a_family_that_expresses_it(path):
    config = gin_config(path.stem)
    family = table.of_config(config)
    assert path.stem.startswith({"gptj": "codegen", "gpt_neox": "pythia", "qwen2": "qwen2p5", "llama": "smollm2"}.get(
        family.model_type, family.model_type
    ))  # fmt: skip
    assert same(family.config(family.published(config), "config.json"), config)


@pytest.mark.parametrize("case", CASES)
def test_a_weight_map_covers_every_weight_once(case):
    said = hf.read_json(str(GOLDEN / case / "config.json"))
    config = read(said)
    covered = [leaf for weight in table.of_published(said, "").weights(config) for leaf in weight.ours]
    leaves = hf.layer_shapes(config)
    assert sorted(covered) == sorted(leaves)


@pytest.mark.parametrize("case", CASES)
def test_joining_what_was_split_gives_the_tensor_back(case):
    said = hf.read_json(str(GOLDEN / case / "config.json"))
    config, shapes = read(said), hf.layer_shapes(read(said))
    for weight in table.of_published(said, "").weights(config):
        tensor = np.arange(np.prod(weight.shape(shapes))).reshape(weight.shape(shapes))
        leaves = [weight.split(tensor, leaf, shapes) for leaf in weight.ours]
        assert [x.shape for x in leaves] == [shapes[leaf] for leaf in weight.ours]
        np.testing.assert_array_equal(weight.join(leaves, shapes), tensor)


def test_both_spellings_of_dtype_and_rope_mean_the_same():
    old = {
        **LLAMA,
        "torch_dtype": "bfloat16",
        "rope_theta": 5.0,
        "rope_scaling": {"type": "linear", "factor": 4},
    }
    rope = {"rope_type": "linear", "rope_theta": 5.0, "factor": 4.0}
    new = {**LLAMA, "dtype": "bfloat16", "rope_parameters": rope}
    assert read(old) == read(new)
    assert read(old).dtype == "bfloat16" and read(old).rope_scaling == RopeScaling("linear", 4.0)
    assert read({**LLAMA, "torch_dtype": "float16"}).dtype == "float32"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, r"'yarn'.*default, linear and llama3"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 4.0}}, "low_freq_factor.*missing"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1.0}}}, "by layer type"),
        ({"hidden_act": "relu"}, "'relu'.*silu"),
        ({"hidden_size": None, "rms_norm_eps": None}, "hidden_size, rms_norm_eps"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"num_key_value_heads": 3}, "num_kv_heads=3"),
    ],
)
def test_what_a_model_has_and_we_have_not_is_named(changes, message):
    with pytest.raises(UserError, match=message):
        read({**LLAMA, **changes})


def test_an_unknown_architecture_gets_the_supported_list():
    with pytest.raises(UserError, match=r"'mamba'.*MambaLM.*llama \(LlamaForCausalLM\).*gpt_neox"):
        table.of_published({"model_type": "mamba", "architectures": ["MambaLM"]}, "config.json")


def test_a_style_that_no_family_has_is_refused_for_export():
    config = dataclasses.replace(read(LLAMA), mlp="geglu")
    with pytest.raises(UserError, match="No published family"):
        table.of_config(config)


def test_a_configuration_with_stretched_frequencies_survives_json():
    config = dataclasses.replace(read(LLAMA), rope_scaling=RopeScaling("llama3", 8.0))
    assert ModelConfig.from_json(config.to_json()) == config
    with pytest.raises(UserError, match="'yarn'"):
        RopeScaling("yarn")


def test_llama3_leaves_fast_frequencies_and_slows_slow_ones():
    plain = rotary_frequencies(read({**LLAMA, "hidden_size": 256}))
    scaling = RopeScaling("llama3", 8.0, original_context=64)
    config = dataclasses.replace(read({**LLAMA, "hidden_size": 256}), rope_scaling=scaling)
    ratio = plain / rotary_frequencies(config)
    assert ratio[0] == 1.0 and np.isclose(ratio[-1], 8.0, rtol=1e-6) and (np.diff(ratio) >= -1e-6).all()
    assert ((ratio > 1.01) & (ratio < 7.9)).any(), "a ramp between"
