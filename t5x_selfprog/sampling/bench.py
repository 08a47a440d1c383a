"""How fast this machine samples: many attempts at prompts of one length, random weights of a published shape.

  python -m t5x_selfprog.sampling.bench --size 125m --prompt 512 --new 64 --attempts 64

Attempts run to their full length, so tokens are the same for whoever is compared. Time covers prefill,
decoding and turning tokens into text; compilation is reported apart. Prints one JSON line.
"""

import argparse
import json
import resource
import time
from collections.abc import Iterable

import jax
import numpy as np

from t5x_selfprog.model import network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.sampling.sampler import Request, Sampler, SamplingConfig


def _gpt_neo(vocab: int, width: int, layers: int, heads: int) -> ModelConfig:
    """Black et al. 2021."""
    return ModelConfig(
        vocab_size=vocab,
        context_length=2048,
        embed_dim=width,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=heads,
        head_dim=width // heads,
        mlp_dim=4 * width,
        norm="layer",
        norm_eps=1e-5,
        mlp="gelu_tanh",
        positions="learned",
        windows=(None, 256),
        attention_scale=1.0,
        biases=("out", "mlp"),
    )


SIZES = {
    "tiny": _gpt_neo(2048, 256, 4, 4),
    "11m": ModelConfig(4096, 1024, 384, 6, 6, 2, 64, 1024),
    "125m": _gpt_neo(50257, 768, 12, 12),
    "1p3b": _gpt_neo(50257, 2048, 24, 16),
    "2p7b": _gpt_neo(50257, 2560, 32, 20),
}

# Memory bandwidth in bytes a second, by the beginning of JAX's device_kind; from the makers' data sheets.
BANDWIDTH = {
    "NVIDIA H200": 4.8e12,
    "NVIDIA H100": 3.35e12,
    "NVIDIA A100": 2.0e12,
    "TPU v4": 1.2e12,
    "TPU v5 lite": 8.1e11,
    "TPU v5": 2.765e12,
    "TPU v6": 1.64e12,
}


class Numbers:
    """A vocabulary whose texts are token ids in decimal: enough to time a sampler without a tokenizer."""

    eos_id = -1  # never sampled

    def __init__(self, vocab_size: int):
        self.vocab_size = vocab_size

    def encode(self, text: str) -> list[int]:
        return [int(word) for word in text.split()]

    def decode(self, ids: Iterable[int]) -> str:
        return " ".join(map(str, ids))

    def token_bytes(self, token_id: int) -> bytes:
        return b" %d" % token_id


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", choices=SIZES, default="125m", help="shape (%(default)s)")
    parser.add_argument("--prompt", type=int, default=512, help="tokens of a prompt (%(default)s)")
    parser.add_argument("--new", type=int, default=64, help="tokens of an attempt (%(default)s)")
    parser.add_argument("--attempts", type=int, default=64, help="attempts at each prompt (%(default)s)")
    parser.add_argument("--prompts", type=int, default=1, help="prompts, all different (%(default)s)")
    parser.add_argument("--batch", type=int, help="rows decoded together (all attempts at one prompt)")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--cache_dtype", choices=["float32", "bfloat16"], help="of keys and values (--dtype)")
    parser.add_argument("--chunk_steps", type=int, default=16, help="steps between looks (%(default)s)")
    parser.add_argument("--repeat", type=int, default=1, help="timed runs; the median counts (%(default)s)")


def measure(args: argparse.Namespace) -> dict:
    """Times sampling; see the module. Keys are what `command` prints."""
    model = SIZES[args.size]
    rows = min(args.batch or args.attempts, args.attempts)
    config = SamplingConfig(
        prompts_in_flight=1,
        rows_per_prompt=rows,
        max_new_tokens=args.new,
        prompt_buckets=(args.prompt,),
        prompts_per_load=1,
        chunk_steps=min(args.chunk_steps, args.new),
        temperature=0.8,
        stop="none",
        weights_dtype=args.dtype,
        cache_dtype=args.cache_dtype or args.dtype,
    )
    params = jax.jit(lambda key: network.init(model, key))(jax.random.key(0))
    sampler = Sampler(model, params, Numbers(model.vocab_size), config, checkpoint="random weights")
    del params
    sampler.warm_up()
    random = np.random.default_rng(0)
    prompts = [
        " ".join(map(str, random.integers(1, model.vocab_size, args.prompt))) for _ in range(args.prompts)
    ]
    requests = [Request(str(i), prompt, args.attempts) for i, prompt in enumerate(prompts)]
    runs = []
    for repeat in range(args.repeat):
        before, start = sampler.stats(), time.perf_counter()
        tokens = sum(c.n_tokens for done in sampler.sample(requests, jax.random.key(repeat)) for c in done)
        seconds, after = time.perf_counter() - start, sampler.stats()
        runs.append((seconds, {name: after[name] - before[name] for name in after}))
    seconds, spent = sorted(runs, key=lambda run: run[0])[len(runs) // 2]
    steps = spent["row_steps"] / rows
    return {
        "device": jax.devices()[0].device_kind,
        "seconds": seconds,
        "new_tokens": tokens,
        "new_tokens_per_s": tokens / seconds,
        "completions_per_s": args.attempts * args.prompts / seconds,
        "prefill_s": spent["prefill_s"],
        "decode_s": spent["decode_s"],
        "host_s": spent["host_s"],
        "decode_steps_per_s": steps / spent["decode_s"],
        "row_occupancy": spent["tokens"] / spent["row_steps"],
        "compile_s": sampler.stats()["compile_s"],
        **_roofline(model, config, steps / spent["decode_s"]),
        **_memory(),
    }


def _roofline(model: ModelConfig, config: SamplingConfig, steps_per_s: float) -> dict:
    """The share of memory bandwidth that decoding uses: weights and caches are read once a step."""
    entry = 2 * model.num_kv_heads * model.head_dim * np.dtype(config.cache_dtype).itemsize
    entries = config.prompt_buckets[-1] + config.rows_per_prompt * config.max_new_tokens
    weights = network.num_params(model) * np.dtype(config.weights_dtype).itemsize
    moved = weights + model.num_layers * entry * entries
    kind = jax.devices()[0].device_kind
    bandwidth = next((b for name, b in BANDWIDTH.items() if kind.startswith(name)), None)
    share = None if bandwidth is None else moved * steps_per_s / bandwidth
    return {"bytes_per_step": moved, "bandwidth_share": share}


def _memory() -> dict:
    """Peak bytes: of the process, and of the device where it keeps count."""
    statistics = jax.devices()[0].memory_stats() or {}
    return {
        "peak_rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "peak_device_gb": statistics.get("peak_bytes_in_use", 0) / 2**30,
    }


def command(args: argparse.Namespace) -> dict:
    """`selfprog bench sample`: prints the settings and what was measured as one JSON line, and returns it."""
    names = [
        action.dest for action in _parser()._actions if action.dest != "help" and hasattr(args, action.dest)
    ]
    result = {"job": "sample", **{name: getattr(args, name) for name in names}, **measure(args)}
    print(json.dumps(result), flush=True)
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    return parser


if __name__ == "__main__":
    command(_parser().parse_args())
