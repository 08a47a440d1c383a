#!/usr/bin/env python3
"""What narrower weights and caches cost in quality: next-token distributions against float32's, on known solutions.

  scripts/measure/measure_int8.py --model base --problems seeds --limit 64

Reference solutions are forced through the sampler's own prefill and decoding step; prints one JSON object. Means over
all solution tokens: `kl` is KL(float32 || narrow) in nats, `nll` the narrow model's loss on the token that came,
`same_top` the share of positions with the same likeliest token.
"""

import argparse
import dataclasses
import functools
import json
import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
if Path(sys.prefix).resolve() != (REPOSITORY / ".venv").resolve() and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), "-W", "ignore", __file__, *sys.argv[1:]])
sys.path.insert(0, str(REPOSITORY))

import jax
import jax.numpy as jnp
import numpy as np

from t5x_selfprog.model import store
from t5x_selfprog.model.int8 import store as store_as
from t5x_selfprog.puzzles.p3 import load_problems
from t5x_selfprog.puzzles.prompts import solve_prompt
from t5x_selfprog.sampling.decode import Decoding, next_logits
from t5x_selfprog.sampling.grid import KEY_CHANNELS, VALUE_CHANNELS, empty_grid
from t5x_selfprog.sampling.prefill import Prefilling, prefill
from t5x_selfprog.sampling.token_choice import TokenChoice
from t5x_selfprog.sampling.weights import prepare, sampling_config

PAIRS = [
    ("float32", "float32"), ("float32", "int8"), ("bfloat16", "bfloat16"), ("bfloat16", "int8"),
    ("int8", "bfloat16"), ("int8", "int8"),
]  # fmt: skip
PROMPT, NEW = 192, 48  # tokens


def examples(model: store.LoadedModel, problems: str, limit: int) -> list[tuple[list[int], list[int]]]:
    """Tokens of prompt and solution, for problems where both fit."""
    found = []
    for problem in load_problems(problems):
        if problem.solutions:
            request = solve_prompt(problem.source, encode=model.tokenizer.encode)
            whole = request.text[: -len(request.header)] + problem.solutions[0]
            prompt, tokens = model.tokenizer.encode(request.text), model.tokenizer.encode(whole)
            new = tokens[len(prompt) :][:NEW]
            if tokens[: len(prompt)] == prompt and len(prompt) <= PROMPT and new:
                found.append((prompt, new))
    return found[:limit]


def forced_logits(model: store.LoadedModel, pairs: list, weights_dtype: str, cache_dtype: str) -> np.ndarray:
    """Logits before every token of every solution, [NEW, G, V] float32."""
    config = sampling_config(model.config, weights_dtype)
    weights = prepare(model.config, model.params, weights_dtype, None)
    fixed = Decoding(config, TokenChoice(), 0, config.vocab_size, model.tokenizer.end_ids, NEW)
    count = len(pairs)
    tokens, new = np.zeros((count, PROMPT), np.int32), np.zeros((NEW, count), np.int32)
    for g, (prompt, solution) in enumerate(pairs):
        tokens[g, : len(prompt)], new[: len(solution), g] = prompt, solution
    lengths = jnp.asarray([len(prompt) for prompt, _ in pairs])

    def run(weights, tokens, new):
        keys, values, first = prefill(Prefilling(config), weights, None, tokens, lengths)
        grid = dataclasses.replace(
            empty_grid(config, count, 1, PROMPT, NEW, cache_dtype),
            prompt_keys=tuple(store_as(k, cache_dtype, KEY_CHANNELS) for k in keys),
            prompt_values=tuple(store_as(v, cache_dtype, VALUE_CHANNELS) for v in values),
            prompt_length=lengths,
            first_logits=first,
        )

        def step(grid, token):
            logits, (keys, values) = next_logits(fixed, weights, None, grid)
            logits = jnp.where((grid.age == 0)[..., None], grid.first_logits[:, None], logits)[:, 0]
            grid = dataclasses.replace(
                grid, suffix_keys=keys, suffix_values=values, token=token[:, None], age=grid.age + 1,
                step=grid.step + 1,
            )  # fmt: skip
            return grid, logits

        return jax.lax.scan(step, grid, new)[1]

    quick = {"xla_backend_optimization_level": 0}  # it runs once: compiling takes the time
    return np.asarray(jax.jit(run, compiler_options=quick)(weights, jnp.asarray(tokens), jnp.asarray(new)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="base")
    parser.add_argument("--problems", default="seeds")
    parser.add_argument("--limit", type=int, default=64, help="problems (%(default)s)")
    arguments = parser.parse_args()
    model = store.load(arguments.model)
    pairs = examples(model, arguments.problems, arguments.limit)
    real = np.arange(NEW)[:, None] < np.asarray([len(new) for _, new in pairs])[None]  # [NEW, G]
    came = np.zeros(real.shape, int)
    for g, (_, new) in enumerate(pairs):
        came[: len(new), g] = new
    exact = None
    rows = []
    for weights_dtype, cache_dtype in PAIRS:
        logits = forced_logits(model, pairs, weights_dtype, cache_dtype)
        log_p = np.asarray(jax.nn.log_softmax(logits), np.float64)
        exact = log_p if exact is None else exact
        mean = functools.partial(np.mean, where=real)
        rows.append(
            {
                "weights": weights_dtype,
                "cache": cache_dtype,
                "kl": float(mean((np.exp(exact) * (exact - log_p)).sum(-1))),
                "nll": float(mean(-np.take_along_axis(log_p, came[..., None], -1)[..., 0])),
                "same_top": float(mean(exact.argmax(-1) == log_p.argmax(-1))),
            }
        )
    about = {
        "model": arguments.model,
        "identity": model.identity,
        "problems": len(pairs),
        "tokens": int(real.sum()),
    }
    print(json.dumps(about | {"rows": rows}, indent=1))


if __name__ == "__main__":
    main()
