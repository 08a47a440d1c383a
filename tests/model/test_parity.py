"""Every family computes what torch computes: golden files made by scripts/make/golden_models.py, without torch."""

import functools

import numpy as np
import pytest
from safetensors.numpy import load_file

from t5x_selfprog.model import hf_import, store
from tests.model import parity
from tests.model.tiny_models import CASES, GOLDEN, copy_golden


@functools.cache
def golden(case: str) -> dict[str, np.ndarray]:
    return load_file(GOLDEN / case / "golden.safetensors")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Imports a golden model once for all tests."""

    @functools.cache
    def model(case: str) -> store.LoadedModel:
        folder = tmp_path_factory.mktemp(case)
        published = copy_golden(case, folder / "published")
        hf_import.import_model(str(published), str(folder / "ours"))
        return parity.load(folder / "ours")

    return model


@pytest.mark.parametrize("case", CASES)
def test_logits_are_torchs_padded_and_packed(case, models):
    expected = golden(case)
    texts = [expected["long"].tolist(), expected["short"].tolist()]
    for way, (long, short) in parity.our_logits(models(case), texts).items():
        parity.close(long, expected["long_logits"], f"{case}, long text, {way}")
        parity.close(short, expected["short_logits"], f"{case}, short text, {way}")


# Families whose caches differ from others'; the rest are slow. All give torch's logits above.
CACHES = {"gpt_neo", "gptj", "pythia", "llama3", "qwen2", "qwen3", "gemma"}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if case in CACHES else pytest.mark.slow) for case in CASES]
)
def test_the_likeliest_continuation_through_the_caches_is_torchs(case, models):
    """Token by token: every id and the sum of their log-probabilities."""
    expected = golden(case)
    prompt = expected["long"][:8].tolist()
    # The prompt is cut in two: its first part becomes the shared prefix, like the tutorial.
    ((ids, logprob),) = parity.attempts(
        models(case), prompt[:3], prompt[3:], new=12, count=1, temperature=0.0
    )
    assert ids == expected["greedy"].tolist()
    ours = parity.our_logits(models(case), [prompt + ids])["padded"][0]
    assert logprob == pytest.approx(parity.log_probability(ours, ids, 8), rel=parity.TOLERANCE)
