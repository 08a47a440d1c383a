"""What golden files and the live comparison both check: our numbers for the texts given to torch."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from t5x_selfprog.model import network, store
from t5x_selfprog.sampling.sampler import Request, Sampler, SamplingConfig
from tests.model.tiny_models import VOCAB

TOLERANCE = 1e-4  # relative to the largest logit
QUICK = {"xla_backend_optimization_level": 0}


def close(actual: np.ndarray, expected: np.ndarray, what: str) -> None:
    np.testing.assert_allclose(
        actual, expected, rtol=TOLERANCE, atol=TOLERANCE * np.abs(expected).max(), err_msg=what
    )


def our_logits(model: store.LoadedModel, texts: list[list[int]]) -> dict[str, list[np.ndarray]]:
    """The logits of every text [length, V], by the name of the way they are computed."""
    total = sum(map(len, texts))
    tokens = np.full((len(texts) + 2, total + len(texts)), 7, np.int32)
    positions, segments = np.zeros_like(tokens), np.zeros_like(tokens)
    starts = np.cumsum([0, *map(len, texts)])
    ways = {  # (row, start) of each text
        "padded": [(i, 0) for i in range(len(texts))],
        "packed": [(len(texts), int(start)) for start in starts[:-1]],
        "packed in reverse, padding between": [
            (len(texts) + 1, int(total - end + len(texts) - 1 - i)) for i, end in enumerate(starts[1:])
        ],
    }
    for way in ways.values():
        for i, (row, start) in enumerate(way):
            part = slice(start, start + len(texts[i]))
            tokens[row, part], positions[row, part] = texts[i], np.arange(len(texts[i]))
            segments[row, part] = 1 + i

    def logits(params: network.Params) -> jax.Array:
        hidden = network.forward(
            model.config, params, jnp.asarray(tokens), jnp.asarray(positions), jnp.asarray(segments)
        )
        return network.bind(model.config, params).logits(hidden)

    with jax.default_matmul_precision("highest"):
        found = np.asarray(jax.jit(logits, compiler_options=QUICK)(model.params))
    return {
        name: [found[row, start : start + len(text)] for text, (row, start) in zip(texts, way, strict=True)]
        for name, way in ways.items()
    }


class Numbers:
    """Token ids as bytes, so that the sampler's output can be read back as ids."""

    vocab_size = VOCAB

    def __init__(self, eos_id: int):
        self.end_ids, self.holes, self.start_id = (eos_id,), (), None

    def encode(self, text: str) -> list[int]:
        return [ord(c) - 0x20 for c in text]

    def decode(self, ids: Iterable[int]) -> str:
        return as_text(list(ids))

    def token_bytes(self, token_id: int) -> bytes:
        return bytes([token_id + 0x20])


def sampler(
    model: store.LoadedModel, new: int, prefix: list[int], temperature: float, eos_id: int
) -> Sampler:
    config = SamplingConfig(
        prompts_in_flight=2, rows_per_prompt=2, max_new_tokens=new, prompt_buckets=(16,), prompts_per_load=1,
        chunk_steps=new, tail_prompts=0, temperature=temperature, stop="none",
    )  # fmt: skip
    return Sampler(
        model.config, model.params, Numbers(eos_id), config, checkpoint=model.identity, prefix=as_text(prefix)
    )


def as_text(ids: list[int]) -> str:
    return "".join(chr(i + 0x20) for i in ids)


def attempts(
    model: store.LoadedModel, prefix: list[int], prompt: list[int], new: int, count: int, temperature: float
) -> list[tuple[list[int], float]]:
    """The sampler's completion of prefix and prompt, through its caches: (ids, their log-probability)."""
    with jax.default_matmul_precision("highest"):
        ours = sampler(model, new, prefix, temperature, eos_id=0)
        (done,) = ours.sample([Request("x", as_text(prompt), count)], jax.random.key(3))
    numbers = Numbers(0)
    return [(numbers.encode(completion.text), completion.logprob) for completion in done]


def log_probability(logits: np.ndarray, ids: list[int], first: int) -> float:
    """The log-probability of `ids`, which begin at index `first` of a text with these logits [length, V]."""
    chosen = logits[first - 1 : first - 1 + len(ids)].astype(np.float64)
    top = chosen.max(-1, keepdims=True)
    normal = chosen - top - np.log(np.exp(chosen - top).sum(-1, keepdims=True))
    return float(normal[np.arange(len(ids)), ids].sum())


def load(folder: Path) -> store.LoadedModel:
    """The model computing in float32, whatever type it is stored in."""
    loaded = store.load(str(folder))
    return dataclasses.replace(loaded, config=dataclasses.replace(loaded.config, dtype="float32"))
