"""A tiny random model over bytes: no assets needed."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from t5x_selfprog.model import network
from t5x_selfprog.model.config import ModelConfig


class ByteTokenizer:
    """Ids 0 (padding), 1 (end of text), one per byte, and a few longer tokens that only decoding meets."""

    LONGER = (b"\n    ", b"\n\n", b"\nx", b"  \n", b"\n\ndef", b"ab", b" a", b"return")
    pad_id, eos_id, start_id = 0, 1, None
    end_ids, holes = (eos_id,), ()

    def __init__(self):
        self._bytes = [b"<pad>", b"<eos>", *(bytes([i]) for i in range(256)), *self.LONGER]
        self.vocab_size = len(self._bytes)

    def encode(self, text: str) -> list[int]:
        return [byte + 2 for byte in text.encode()]

    def decode(self, ids: Iterable[int]) -> str:
        return b"".join(self._bytes[i] for i in ids if i > 1).decode("utf-8", errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        return self._bytes[token_id]


def tiny_config(**changes) -> ModelConfig:
    fields = {
        "vocab_size": 272,
        "context_length": 160,
        "embed_dim": 32,
        "num_layers": 2,
        "num_heads": 4,
        "num_kv_heads": 2,
        "head_dim": 8,
        "mlp_dim": 48,
    }
    return ModelConfig(**(fields | changes))


def random_params(config: ModelConfig, seed: int = 0) -> network.Params:
    """Weights large enough that logits differ, and biases that are not zero.

    Drawn by NumPy: `network.init` would compile a program for every shape, which takes most of a small test's time.
    """
    random = np.random.default_rng(seed)

    def draw(path, shape):
        is_scale, is_kernel = path[-1].key == "scale", len(shape.shape) > 2
        values = random.normal(size=shape.shape) * (0.12 if is_kernel else 0.1) + float(is_scale)
        return jnp.asarray(values, jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, network.abstract_params(config))
