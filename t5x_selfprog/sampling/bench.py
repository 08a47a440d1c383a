"""`selfprog bench sample`: times many attempts at prompts of one length, with random weights of a published shape.

Attempts run to their full length, so all contestants sample equally many tokens. Time covers prefill, decoding and
detokenization; compilation is reported separately.
"""

import argparse
import dataclasses
import time
from collections.abc import Iterable

import jax
import numpy as np

from t5x_selfprog import machine, model_shapes, profile
from t5x_selfprog.model import network, store
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.sampling.sampler import Request, Sampler, SamplingConfig
from verifier.errors import UserError

SHOWN = 12  # operations of the profile that the result lists
SETTINGS = (
    "size", "model", "prompt", "new", "attempts", "prompts", "prompts_in_flight", "batch", "dtype", "weights_dtype",
    "cache_dtype", "row_attention", "chunk_steps", "repeat",
)  # fmt: skip


SIZES = {  # short names of files in gin/models
    "tiny": "gpt_neo_tiny",
    "11m": "base_11m",
    "125m": "gpt_neo_125m",
    "0p5b": "qwen2p5_coder_0p5b",
    "1p3b": "gpt_neo_1p3b",
    "2p7b": "gpt_neo_2p7b",
}
LANES = 128  # vocabularies are padded to a multiple of this for matrix units, as peers' are


class Numbers:
    """A vocabulary whose texts are token ids in decimal: enough to time a sampler without a tokenizer."""

    holes: tuple[int, ...] = ()
    end_ids: tuple[int, ...] = ()  # so that every attempt reaches its full length
    start_id = None

    def __init__(self, vocab_size: int):
        self.vocab_size = vocab_size

    def encode(self, text: str) -> list[int]:
        return [int(word) for word in text.split()]

    def decode(self, ids: Iterable[int]) -> str:
        return " ".join(map(str, ids))

    def token_bytes(self, token_id: int) -> bytes:
        return b" %d" % token_id


def shape(args: argparse.Namespace) -> ModelConfig:
    """The decoder that is measured, always with random weights: speed does not depend on them.

    Raises UserError naming an unknown size, or a folder without a model.
    """
    if args.model:
        return store.read_config(store.resolve(args.model))
    return sized(args.size)


def sized(size: str) -> ModelConfig:
    """The shape of a short name, or of a file in gin/models, that computes in float32. Raises UserError."""
    if size not in SIZES and "_" not in size:
        raise UserError(
            f"--size={size}: choose from {', '.join(SIZES)}, a file of gin/models, or give --model=DIR."
        )
    found = model_shapes.named(SIZES.get(size, size), f"--size={size}")
    return dataclasses.replace(found, vocab_size=-(-found.vocab_size // LANES) * LANES, dtype="float32")


def measure(args: argparse.Namespace) -> dict:
    """Times sampling, see the module; the keys are what `command` prints."""
    model = shape(args)
    if args.prompt + args.new > model.context_length:
        raise UserError(
            f"--prompt={args.prompt} and --new={args.new} exceed the model's context of {model.context_length}."
        )
    groups = args.prompts_in_flight
    rows = rows_of_a_prompt(args.batch or args.attempts * groups, args.attempts, groups)
    config = SamplingConfig(
        prompts_in_flight=groups,
        rows_per_prompt=rows,
        max_new_tokens=args.new,
        prompt_buckets=(args.prompt,),
        prompts_per_load=1,
        chunk_steps=min(args.chunk_steps, args.new),
        temperature=0.8,
        stop="none",
        weights_dtype=args.weights_dtype or args.dtype,
        cache_dtype=args.cache_dtype or args.dtype,
        attention=args.row_attention,
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
    if args.profile:
        with profile.capture(args.profile):
            list(sampler.sample(requests, jax.random.key(args.repeat)))
    seconds, spent = sorted(runs, key=lambda run: run[0])[len(runs) // 2]
    steps = spent["row_steps"] / (groups * rows)
    return {
        "device": jax.devices()[0].device_kind,
        "parameters": network.num_params(model),
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
        **roofline(model, config, steps / spent["decode_s"]),
        **({"profile": profile.by_operation(args.profile)[:SHOWN]} if args.profile else {}),
        **machine.memory(),
    }


def rows_of_a_prompt(batch: int, attempts: int, groups: int) -> int:
    """How many attempts at a prompt are decoded together. Raises UserError if --batch is less than a row a prompt."""
    if batch < groups:
        raise UserError(
            f"--batch={batch}: fewer rows than --prompts_in_flight={groups}; give at least one row a prompt."
        )
    return min(batch // groups, attempts)


def roofline(model: ModelConfig, config: SamplingConfig, steps_per_s: float) -> dict:
    """The share of memory bandwidth that decoding uses, if a step reads everything it needs once.

    It needs all weights (only the looked-up rows of a separate embedding), each prompt's keys and values once for all
    its rows, and the rows' own, whose ring is half full on average.
    """
    weight, cached = (np.dtype(d).itemsize for d in (config.weights_dtype, config.cache_dtype))
    entry = 2 * model.num_kv_heads * (model.head_dim * cached + (4 if config.cache_dtype == "int8" else 0))
    spans = [model.context_length if window is None else window for window in model.layer_windows()]
    entries = sum(
        config.prompts_in_flight * min(config.prompt_buckets[-1], span)
        + config.prompts_in_flight * config.rows_per_prompt * min(config.max_new_tokens / 2, span)
        for span in spans
    )
    looked_up = model.vocab_size * model.embed_dim if model.head == "separate" else 0
    moved = (network.num_params(model) - looked_up) * weight + entry * entries
    peak = machine.peak()
    return {
        "bytes_per_step": moved,
        "bandwidth_share": None if peak is None else moved * steps_per_s / peak.bytes_per_s,
    }


def command(args: argparse.Namespace) -> dict:
    """`selfprog bench sample`: the settings and the measurements."""
    result = {"job": "sample", **{name: getattr(args, name) for name in SETTINGS}, **measure(args)}
    return result
