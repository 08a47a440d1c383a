#!/usr/bin/env python
"""Makes tests/model/golden: a tiny random model of each published family, and what torch computes with it.

  pip install torch transformers        (beside this project's own packages; the everyday suite needs neither)
  scripts/make/golden_models.py --output tests/model/golden

Each folder holds what a published model's folder does, in one of the ways in which they are stored, and
golden.safetensors:
  long, short       [24] and [13] int32   two texts, the long one longer than every attention window
  long_logits, short_logits  [.., V]      float32 logits of each text alone
  greedy            [12] int32            the likeliest continuation of the long text's first 8 tokens
"""

import argparse
import json
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from safetensors.numpy import save_file

from tests.model.tiny_models import CASES, VOCAB, build

LONG, SHORT, PROMPT, NEW = 24, 13, 8, 12
# How each is stored: (dtype, layout).
STORED = {
    "gpt_neo": ("float32", "old"),
    "codegen": ("float16", "old"),
    "qwen2": ("bfloat16", "sharded"),
    "pythia": ("float16", "safetensors"),
}


def golden(model: torch.nn.Module, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    texts = {"long": random.integers(1, VOCAB, LONG), "short": random.integers(1, VOCAB, SHORT)}
    found = {name: text.astype(np.int32) for name, text in texts.items()}
    with torch.no_grad():
        for name, text in texts.items():
            found[f"{name}_logits"] = model(torch.tensor(text)[None]).logits[0].numpy()
        ids = torch.tensor(texts["long"][:PROMPT])[None]
        for _ in range(NEW):  # end of text (0) is left out: sampling would stop there
            following = model(ids).logits[:, -1, 1:].argmax(-1, keepdim=True) + 1
            ids = torch.cat([ids, following], 1)
    return {**found, "greedy": ids[0, PROMPT:].numpy().astype(np.int32)}


def save(model: torch.nn.Module, folder: pathlib.Path, dtype: str, layout: str) -> None:
    """Saves in `dtype`, which the model's weights fit exactly."""
    model = model.to(getattr(torch, dtype))
    if layout == "old":  # with the buffers that files of that time held
        model.config.save_pretrained(folder)
        state = {name: weight for name, weight in model.state_dict().items() if name != "lm_head.weight"}
        if not model.config.tie_word_embeddings:
            state["lm_head.weight"] = model.lm_head.weight.data
        state["transformer.h.0.attn.attention.bias"] = torch.tril(torch.ones(1, 1, 8, 8)).bool()
        state["transformer.h.1.attn.masked_bias"] = torch.tensor(-1e9)
        state["transformer.h.1.attn.causal_mask"] = torch.tril(torch.ones(1, 1, 8, 8, dtype=torch.uint8))
        torch.save(state, folder / "pytorch_model.bin")
    else:
        model.save_pretrained(folder, max_shard_size="15KB" if layout == "sharded" else "5GB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=pathlib.Path, required=True)
    args = parser.parse_args()
    for number, case in enumerate(CASES):
        folder = args.output / case
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        dtype, layout = STORED.get(case, ("bfloat16", "safetensors"))
        model = build(case, seed=number, dtype=dtype)
        save_file(golden(model, seed=number), folder / "golden.safetensors")
        save(model, folder, dtype, layout)
        (folder / "generation_config.json").unlink(missing_ok=True)
        config = json.loads((folder / "config.json").read_text())
        config.pop("_attn_implementation_autoset", None)
        (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
        print(case, sum(path.stat().st_size for path in folder.iterdir()), "bytes")


if __name__ == "__main__":
    main()
