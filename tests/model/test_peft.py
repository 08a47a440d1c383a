"""PEFT's files, without peft: against torch's formula written out on the published tensors, out and in again."""

import dataclasses
import json
import re

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from t5x_selfprog.model import hf, hf_import, low_rank, merge, peft, store
from t5x_selfprog.training.lora import Lora
from tests.model.tiny_models import CASES, copy_golden
from verifier.errors import UserError

LORA = Lora(rank=3, alpha=5.0)
# Modules as each family's users name them in target_modules.
TARGETS = {
    "gpt_neo": ("q_proj", "out_proj", "c_fc"),
    "gptj": ("v_proj", "fc_in"),
    "codegen": ("qkv_proj", "fc_out"),
    "pythia": ("query_key_value", "dense_4h_to_h"),
    "gpt_neox_serial": ("query_key_value", "dense"),
    "deepseek_coder": ("q_proj", "k_proj", "down_proj"),
    "llama3": ("o_proj", "gate_proj"),
    "qwen2": ("k_proj", "up_proj"),
    "qwen3": ("q_proj", "o_proj"),
    "starcoder2": ("c_proj", "v_proj"),
    "gemma": ("q_proj", "v_proj", "down_proj"),
}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A family's golden model, as a folder of `transformers`, with one file of weights, and as ours."""
    made = {}

    def get(case):
        if case not in made:
            folder = tmp_path_factory.mktemp(case)
            source = copy_golden(case, folder / "theirs")
            stored = hf.open_published(str(source)).tensors
            tensors = {name: np.array(tensor.open(), order="C") for name, tensor in stored.items()}
            for path in source.iterdir():
                if path.suffix in (".safetensors", ".bin") or path.name.endswith("index.json"):
                    path.unlink()
            save_file(tensors, source / "model.safetensors")
            hf_import.import_model(str(source), str(folder / "ours"))
            made[case] = source, folder / "ours", tensors
        return made[case]

    return get


def of_pattern(pattern, module, otherwise):
    """As peft's get_pattern_key finds it."""
    found = (value for key, value in (pattern or {}).items() if re.match(rf"(.*\.)?({key})$", module))
    return next(found, otherwise)


def write_peft(folder, tensors, targets, rank=2, alpha=3.0, seed=0, **said):
    """Adapters as peft would save them, and the published tensors with them added by its formula."""
    random = np.random.default_rng(seed)
    adapters, summed = {}, dict(tensors)
    for name, weight in tensors.items():
        module = name.removesuffix(".weight")
        if module.rpartition(".")[2] not in targets or weight.ndim != 2:
            continue
        r, scaled = (
            of_pattern(said.get(f"{n}_pattern"), module, v) for n, v in (("rank", rank), ("alpha", alpha))
        )
        a, b = (
            random.normal(0, 0.2, s).astype(np.float32) for s in ((r, weight.shape[1]), (weight.shape[0], r))
        )
        adapters |= {
            f"base_model.model.{module}.lora_A.weight": a,
            f"base_model.model.{module}.lora_B.weight": b,
        }
        scale = scaled / (r**0.5 if said.get("use_rslora") else r)
        summed[name] = (weight.astype(np.float64) + scale * b.astype(np.float64) @ a).astype(np.float32)
    folder.mkdir()
    save_file(adapters, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "target_modules": list(targets), **said}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return adapters, summed


def weights(folder):
    return {name: np.asarray(leaf.open(), np.float32) for name, leaf in store.leaves(str(folder))[1].items()}


BY_LAYER = {
    "rank_pattern": {"layers.1.self_attn.k_proj": 5, r"layers\.[02]\.mlp\.up_proj": 3, "^k_proj": 7},
    "alpha_pattern": {"model.layers.0.self_attn.k_proj": 9.0, "up_proj": 1},
    "init_lora_weights": "gaussian",
}


@pytest.mark.parametrize(("case", "said"), [*((case, {}) for case in CASES), ("qwen2", BY_LAYER)])
def test_adapters_from_peft_merge_to_the_sums_of_the_published_tensors(case, said, published, tmp_path):
    source, ours, tensors = published(case)
    said = {"use_rslora": case == "qwen2", **said}
    adapters, summed = write_peft(tmp_path / "adapters", tensors, TARGETS[case], **said)
    assert len(adapters) >= 4
    done = merge.merge(str(ours), str(tmp_path / "adapters"), str(tmp_path / "merged"), "float32")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for path in source.iterdir():
        if path.suffix != ".safetensors":
            (theirs / path.name).write_bytes(path.read_bytes())
    save_file(summed, theirs / "model.safetensors")
    hf_import.import_model(str(theirs), str(tmp_path / "wanted"))
    found, wanted, before = weights(tmp_path / "merged"), weights(tmp_path / "wanted"), weights(ours)
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        np.testing.assert_allclose(value, wanted[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert any(np.abs(found[name] - before[name]).max() > 0.01 for name in found)
    assert done["identity"] == store.stored_identity(str(tmp_path / "merged"))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("targets", [("query", "value"), low_rank.PROJECTIONS])
def test_ours_go_out_and_come_in_as_the_same_function(case, targets, published, tmp_path):
    _, ours, _ = published(case)
    config = store.read_config(str(ours))
    lora = dataclasses.replace(LORA, targets=targets)
    random = np.random.default_rng(1)
    adapters = jax.tree.map(
        lambda leaf: random.normal(0, 0.2, leaf.shape).astype(np.float32), lora.abstract(config)
    )
    family = peft.family_of(str(ours), config)
    peft.write(str(tmp_path), family, config, adapters, rank=3, alpha=5.0, base="x", base_identity="y")
    again = peft.read(str(tmp_path), family, config)
    assert again.base_identity == "y"
    for part, name in low_rank.projections(again.adapters):
        found = np.asarray(low_rank.whole(*(again.adapters[part][name][which] for which in "ab")))
        if name in adapters.get(part, {}):
            pair = adapters[part][name]
            wanted = lora.scale * np.asarray(low_rank.whole(pair["a"], pair["b"]))
        else:  # of a module that several share, one had no adapter
            wanted = np.zeros_like(found)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6, err_msg=name)
    assert set(low_rank.projections(adapters)) <= set(low_rank.projections(again.adapters))


def damage(folder, change=None, **said):
    config = json.loads((folder / "adapter_config.json").read_text()) | said
    (folder / "adapter_config.json").write_text(json.dumps(config))
    if change:
        save_file(
            change(load_file(folder / "adapter_model.safetensors")), folder / "adapter_model.safetensors"
        )


def without(tensors, end):
    return {name: value for name, value in tensors.items() if not name.endswith(end)}


@pytest.mark.parametrize(
    ("said", "change", "words"),
    [
        ({"r": 4}, None, r"0.self_attn.k_proj.lora_A: shape \(2, 24\), where rank 4 and this base make \(4, 24\)"),
        ({"r": 0}, None, "r=0 must be"),
        ({"lora_alpha": None}, None, "lora_alpha=None must be a number"),
        ({"peft_type": "IA3"}, None, "peft_type 'IA3'; only LORA"),
        ({"use_dora": True}, None, "use_dora=True is not supported"),
        ({"bias": "all"}, None, "bias='all' is not supported"),
        ({"modules_to_save": ["lm_head"]}, None, "modules_to_save"),
        ({"use_qalora": True}, None, "use_qalora=True is not supported"),
        ({"init_lora_weights": "pissa_niter_4"}, None, "'pissa_niter_4': the adapters are of a base whose weights"),
        ({"rank_pattern": {"k_proj": 0}}, None, r"rank_pattern\['k_proj'\]=0 must be"),
        ({"alpha_pattern": {"k_proj": "8"}}, None, r"alpha_pattern\['k_proj'\]='8' must be a number"),
        ({"alpha_pattern": {"(k_proj": 8}}, None, r"'\(k_proj' is no regular expression"),
        ({"rank_pattern": ["k_proj"]}, None, "must be an object"),
        ({"lora_alpha": float("nan")}, None, "lora_alpha=nan must be"),
        ({}, lambda t: without(t, "1.mlp.up_proj.lora_B.weight"), "layers.1.mlp.up_proj.lora_B: missing"),
        ({}, lambda t: {**t, "base_model.model.lm_head.lora_A.weight": np.zeros((2, 24), np.float32)}, "lm_head"),
        ({}, lambda t: {n.replace("layers.2", "layers.9"): v for n, v in t.items()}, "layers.9.self_attn.k_proj"),
        ({}, lambda t: {n: v * np.float32("nan") for n, v in t.items()}, "not finite"),
        ({}, lambda t: {}, "holds no adapters"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_and_nothing_is_written(said, change, words, published, tmp_path):
    _, ours, tensors = published("qwen2")
    write_peft(tmp_path / "adapters", tensors, TARGETS["qwen2"])
    damage(tmp_path / "adapters", change, **said)
    with pytest.raises(UserError, match=words):
        merge.merge(str(ours), str(tmp_path / "adapters"), str(tmp_path / "merged"))
    assert not (tmp_path / "merged").exists()


def test_adapters_of_another_base_are_refused_though_they_fit(published, tmp_path):
    _, ours, _ = published("qwen2")
    config = store.read_config(str(ours))
    adapters = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), LORA.abstract(config))
    family = peft.family_of(str(ours), config)
    peft.write(
        str(tmp_path / "a"), family, config, adapters, rank=3, alpha=5.0, base="x", base_identity="f" * 16
    )
    with pytest.raises(UserError, match=f"identity {'f' * 16}; .* is {store.stored_identity(str(ours))}"):
        merge.merge(str(ours), str(tmp_path / "a"), str(tmp_path / "merged"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no adapter_config"):
        merge.merge(str(ours), str(tmp_path / "empty"), str(tmp_path / "merged"))
