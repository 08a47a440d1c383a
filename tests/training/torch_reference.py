"""Fifty AdamW steps of a small GPT-Neo in torch and transformers, from the same weights on the same documents.

  python -m tests.training.torch_reference      needs torch; writes golden/loss_curve.json for the regular suite

Torch sees each document in a row of its own, we see them packed: equal losses show that packing changes nothing.
"""

import json
from pathlib import Path

import jax
import numpy as np

from t5x_selfprog.model import network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.training.batches import Batch, PackedDocuments
from t5x_selfprog.training.optimizers import OptimizerConfig

STEPS = 50
GOLDEN = Path(__file__).parent / "golden" / "loss_curve.json"
CONFIG = ModelConfig(
    97, 48, 32, 2, 4, 4, 8, 64, norm="layer", norm_eps=1e-5, mlp="gelu_tanh", positions="learned",
    windows=(None, 7), attention_scale=1.0, biases=("out", "mlp"),
)  # fmt: skip
OPTIMIZER = OptimizerConfig("adamw", 6e-3, "linear", warmup_steps=5, weight_decay=0.1, clip_norm=1.0)


def initial_params() -> network.Params:
    """Drawn by NumPy, so that neither side needs the other's package."""
    random = np.random.default_rng(0)

    def draw(path, leaf):
        center = float(path[-1].key == "scale")
        return (center + 0.08 * random.normal(size=leaf.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, network.abstract_params(CONFIG))


def source() -> PackedDocuments:
    """Repeating texts of 4 to 40 tokens with weights of their own."""
    random = np.random.default_rng(1)
    documents = [
        np.tile(random.integers(0, 97, random.integers(2, 5)), 12)[: random.integers(4, 41)]
        for _ in range(150)
    ]
    return PackedDocuments(documents, random.uniform(0.5, 1.5, 150), batch_size=4, length=48, seed=3)


def documents_of(batch: Batch) -> tuple[np.ndarray, ...]:
    """tokens, targets, weights of every document in a row of its own, [documents, longest]; padding at the end."""
    places = [np.nonzero(row == i)[0] for row in batch.segment_ids for i in range(1, row.max() + 1)]
    rows = [r for r, row in enumerate(batch.segment_ids) for _ in range(row.max())]
    found = []
    for field in (batch.tokens, batch.targets, batch.weights):
        out = np.zeros((len(rows), max(map(len, places))), field.dtype)
        for line, row, place in zip(out, rows, places, strict=True):
            line[: len(place)] = field[row, place]
        found.append(out)
    return tuple(found)


def torch_model():
    """Our initial weights in transformers' GPT-Neo."""
    import torch
    from transformers import GPTNeoConfig, GPTNeoForCausalLM

    c, params = CONFIG, initial_params()
    model = GPTNeoForCausalLM(
        GPTNeoConfig(
            vocab_size=c.vocab_size, max_position_embeddings=c.context_length, hidden_size=c.embed_dim,
            num_layers=c.num_layers, num_heads=c.num_heads, attention_types=[[["global", "local"], 1]],
            window_size=7, intermediate_size=c.mlp_dim, attn_implementation="eager", bos_token_id=0, eos_token_id=0,
        )
    )  # fmt: skip
    blocks, d = params["blocks"], c.embed_dim
    tensors = {
        "transformer.wte.weight": params["embedding"],
        "transformer.wpe.weight": params["position_embedding"],
        "transformer.ln_f.weight": params["final_norm"]["scale"],
        "transformer.ln_f.bias": params["final_norm"]["bias"],
        "lm_head.weight": params["embedding"],
    }
    for i in range(c.num_layers):
        attention, mlp, at = blocks["attention"], blocks["mlp"], f"transformer.h.{i}"
        for theirs, ours in (("ln_1", "attention_norm"), ("ln_2", "mlp_norm")):
            tensors[f"{at}.{theirs}.weight"] = blocks[ours]["scale"][i]
            tensors[f"{at}.{theirs}.bias"] = blocks[ours]["bias"][i]
        for theirs, ours in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")):
            tensors[f"{at}.attn.attention.{theirs}.weight"] = attention[ours]["kernel"][i].reshape(d, -1).T
        tensors[f"{at}.attn.attention.out_proj.weight"] = attention["out"]["kernel"][i].reshape(-1, d).T
        tensors[f"{at}.attn.attention.out_proj.bias"] = attention["out"]["bias"][i]
        for theirs, ours in (("c_fc", "up"), ("c_proj", "down")):
            tensors[f"{at}.mlp.{theirs}.weight"] = mlp[ours]["kernel"][i].T
            tensors[f"{at}.mlp.{theirs}.bias"] = mlp[ours]["bias"][i]
    tensors = {name: torch.tensor(np.ascontiguousarray(value)) for name, value in tensors.items()}
    missing, surplus = model.load_state_dict(tensors, strict=False)
    assert not surplus and all(name.endswith((".bias", ".masked_bias")) for name in missing), (
        missing,
        surplus,
    )
    return model.train()


def torch_losses() -> list[float]:
    """The mean loss before each update."""
    import torch

    from t5x_selfprog.training.optimizers import make_schedule

    model, schedule, data = torch_model(), make_schedule(OPTIMIZER, STEPS), source()
    matrices = [p for name, p in model.named_parameters() if ".h." in name and p.ndim == 2]
    rest = [p for p in model.parameters() if all(p is not m for m in matrices)]
    decay = OPTIMIZER.weight_decay
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}],
        betas=(OPTIMIZER.b1, OPTIMIZER.b2),
    )
    losses = []
    for step in range(STEPS):
        tokens, targets, weights = (torch.tensor(x) for x in documents_of(data.batch(step)))
        logits = model(input_ids=tokens.long()).logits
        nll = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets.long(), reduction="none")
        loss = (weights * nll).sum() / weights.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIMIZER.clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = float(schedule(step))
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


if __name__ == "__main__":
    import torch
    import transformers

    made_with = {"torch": torch.__version__, "transformers": transformers.__version__}
    GOLDEN.write_text(json.dumps({"made_with": made_with, "losses": torch_losses()}, indent=1) + "\n")
