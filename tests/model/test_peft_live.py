"""Adapters against peft itself: what we write it computes with, what it saves we compute with."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here is on the Hub; do not wait for it

import dataclasses

import jax
import numpy as np
import pytest

from t5x_selfprog.model import hf_import, low_rank, merge, peft, store
from t5x_selfprog.training.lora import Lora
from tests.model import parity
from tests.model.test_peft import TARGETS
from tests.model.tiny_models import CASES, VOCAB, build, write_tokenizer

torch = pytest.importorskip("torch", reason="torch is not installed: pip install torch==2.13.0 peft")
theirs = pytest.importorskip("peft", reason="peft is not installed: pip install torch==2.13.0 peft")
pytestmark = pytest.mark.slow
SEED = 1000


def torch_logits(model, text):
    with torch.no_grad():
        return model(torch.tensor(text)[None]).logits[0].numpy()


@pytest.mark.parametrize("case", CASES)
def test_both_ways(case, tmp_path):
    model = build(case, SEED)
    model.save_pretrained(tmp_path / "published")
    write_tokenizer(tmp_path / "published")
    hf_import.import_model(str(tmp_path / "published"), str(tmp_path / "ours"))
    ours = parity.load(tmp_path / "ours")
    random = np.random.default_rng(SEED)
    text = random.integers(1, VOCAB, 25).tolist()
    before = torch_logits(model, text)

    # Ours, in peft.
    lora = Lora(rank=3, alpha=5.0, targets=("query", "value", "out", "down"))
    adapters = jax.tree.map(
        lambda leaf: random.normal(0, 0.2, leaf.shape).astype(np.float32), lora.abstract(ours.config)
    )
    family = peft.family_of(str(tmp_path / "ours"), ours.config)
    peft.write(
        str(tmp_path / "adapter"), family, ours.config, adapters, rank=3, alpha=5.0, base=str(tmp_path / "published"),
        base_identity=ours.identity,
    )  # fmt: skip
    loaded = theirs.PeftModel.from_pretrained(build(case, SEED), str(tmp_path / "adapter")).eval()
    adapted = dataclasses.replace(ours, params=low_rank.adapted(ours.params, adapters, lora.scale))
    (found,) = parity.our_logits(adapted, [text])["padded"]
    wanted = torch_logits(loaded, text)
    parity.close(found, wanted, f"{case}: ours in peft")
    assert np.abs(wanted - before).max() > 10 * parity.TOLERANCE * np.abs(before).max()

    # Theirs, merged into ours.
    config = theirs.LoraConfig(
        r=2,
        lora_alpha=3.0,
        target_modules=list(TARGETS[case]),
        init_lora_weights=False,
        use_rslora=case == "llama3",
    )
    torch.manual_seed(SEED)
    trained = theirs.get_peft_model(model, config).eval()
    trained.save_pretrained(str(tmp_path / "trained"))
    merge.merge(str(tmp_path / "ours"), str(tmp_path / "trained"), str(tmp_path / "merged"), "float32")
    (found,) = parity.our_logits(parity.load(tmp_path / "merged"), [text])["padded"]
    parity.close(found, torch_logits(trained, text), f"{case}: theirs, merged")
    assert store.stored_identity(str(tmp_path / "merged")) != ours.identity
