"""Every family against torch itself, on fresh weights: import, sampling through our caches, and export.

Skipped where torch is not installed; `.ci/run` installs it where that is cheap. The regular suite uses golden files.
"""

import json
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # these models are not on the Hub; do not wait for it

import numpy as np
import pytest

from t5x_selfprog.model import hf_export, hf_import, network, store
from t5x_selfprog.model.families import table
from tests.model import parity, test_families
from tests.model.tiny_models import CASES, VOCAB, build, write_tokenizer

torch = pytest.importorskip("torch", reason="torch is not installed: pip install torch==2.13.0")
transformers = pytest.importorskip("transformers")
SEED = 1000


def torch_logits(model, text: list[int]) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor(text)[None]).logits[0].numpy()


def reload(folder) -> torch.nn.Module:
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        str(folder), dtype="float32", attn_implementation="eager", output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
    return model.eval()


@pytest.mark.parametrize("case", CASES)
def test_in_through_the_caches_and_out_again(case, tmp_path):
    model = build(case, SEED)
    published = tmp_path / "published"
    model.save_pretrained(published, max_shard_size="20KB")
    write_tokenizer(published)
    hf_import.import_model(str(published), str(tmp_path / "ours"))
    ours = parity.load(tmp_path / "ours")

    random = np.random.default_rng(SEED)
    texts = [random.integers(1, VOCAB, length).tolist() for length in (40, 17, 3)]
    for way, found in parity.our_logits(ours, texts).items():
        for text, logits in zip(texts, found, strict=True):
            parity.close(logits, torch_logits(model, text), f"{case}, {len(text)} tokens, {way}")

    # Sampled ids go through the caches of prefix, prompt and suffix, one at a time; torch scores them in one pass.
    prompt = texts[0][:11]
    for temperature, count in ((0.0, 1), (1.0, 4)):
        attempts = parity.attempts(ours, prompt[:4], prompt[4:], new=14, count=count, temperature=temperature)
        for ids, logprob in filter(lambda attempt: attempt[0], attempts):
            logits = torch_logits(model, prompt + ids)
            assert logprob == pytest.approx(parity.log_probability(logits, ids, 11), rel=1e-4)
            if temperature == 0.0:
                assert ids == logits[10 : 10 + len(ids)].argmax(-1).tolist()

    for kept in (True, False):  # with its own config.json, and with one that we write
        if not kept:
            os.remove(tmp_path / "ours" / "config.json")
        out = tmp_path / f"out_{kept}"
        hf_export.export_model(str(tmp_path / "ours"), str(out))
        again = reload(out)
        same_class = type(again) is type(model)
        assert same_class or (case == "codegen" and not kept)  # gptj has the same function, and comes first
        for text in texts:
            before, after = torch_logits(model, text), torch_logits(again, text)
            parity.close(after, before, f"{case} again, {kept}")
            assert not same_class or (after == before).all()
        assert transformers.AutoTokenizer.from_pretrained(str(out)).eos_token_id == 0


def test_a_state_dictionary_saved_by_torch_is_read_without_it(tmp_path):
    model = build("gptj", SEED)
    model.config.save_pretrained(tmp_path / "published")
    write_tokenizer(tmp_path / "published")
    state = model.state_dict()
    # Neither at the start of its storage nor stored row by row.
    whole = torch.cat([state["transformer.wte.weight"]] * 2).T.contiguous().T
    state["transformer.wte.weight"] = whole[VOCAB:]
    torch.save(state, tmp_path / "published" / "pytorch_model.bin")
    hf_import.import_model(str(tmp_path / "published"), str(tmp_path / "ours"))
    text = list(range(1, 30))
    (logits,) = parity.our_logits(parity.load(tmp_path / "ours"), [text])["padded"]
    parity.close(logits, torch_logits(model, text), "from a .bin file")


def test_the_model_that_ships_runs_in_torch(tmp_path):
    hf_export.export_model("base", str(tmp_path / "out"))
    ours, theirs = parity.load(store.resolve("base")), reload(tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "out"))
    text = ours.tokenizer.encode(
        "def f(x: int, a=3):\n    return x + a == 10\n\ndef g(a=3):\n    return 10 - a\n"
    )
    assert tokenizer.encode(ours.tokenizer.decode(text), add_special_tokens=False) == text
    (logits,) = parity.our_logits(ours, [text])["padded"]
    parity.close(logits, torch_logits(theirs, text), "the shipped base")


@pytest.mark.parametrize("path", test_families.SIZES, ids=lambda path: path.stem)
def test_torch_counts_as_many_weights_in_every_published_size(path):
    config = test_families.gin_config(path.stem)
    named = [f for f in table.FAMILIES if path.stem.startswith(f.model_type)]  # codegen, not gptj
    family = named[0] if named else table.of_config(config)
    assert family.fits(config)
    said = json.loads(json.dumps(family.published(config)))
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(**said))
    assert sum(p.numel() for p in model.parameters()) == network.num_params(config)
