#!/usr/bin/env python
"""How much of a machine's matrix products decoding and training reach; prints one JSON object.

  scripts/measure/measure_products.py --rows=256 > products_share.json

`jnp.matmul` multiplies the shapes of GPT-Neo 125M alone: those of a decoding step of --rows attempts, and of a training
step's forward pass. Then `selfprog bench sample` and `bench train` run the model, and their floating-point operations a
second, those of the weights' products, are divided by that. Nothing else should run meanwhile. About two minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
if Path(sys.prefix).resolve() != (REPOSITORY / ".venv").resolve() and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), "-W", "ignore", __file__, *sys.argv[1:]])

import jax
import jax.numpy as jnp

WIDTH, LAYERS, VOCABULARY, SEQUENCE = 768, 12, 50257, 512
WEIGHTS = [(WIDTH, WIDTH)] * 4 + [(WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH)]  # of each layer


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=256, help="attempts decoded together (%(default)s)")
    parser.add_argument("--batch", type=int, default=2, help="rows of a training batch (%(default)s)")
    parser.add_argument("--repeat", type=int, default=15, help="products of each shape (%(default)s)")
    options = parser.parse_args()
    alone = {
        "decoding": flops_per_s(options.rows, options.repeat),
        "training": flops_per_s(options.batch * SEQUENCE, options.repeat),
    }
    sampled = bench(
        "sample", f"--batch={options.rows}", f"--attempts={options.rows}", "--prompt=128", "--new=16"
    )
    trained = bench("train", f"--batch={options.batch}", f"--seq={SEQUENCE}", "--steps=3")
    reached = {
        "decoding": 2 * weights() * sampled["new_tokens"] / sampled["decode_s"],
        "training": 6 * weights() * trained["tokens_per_s"],
    }
    print(json.dumps({
        "cores": os.cpu_count(),
        "gflops_of_products_alone": {name: round(value / 1e9, 1) for name, value in alone.items()},
        "gflops_of_the_model": {name: round(value / 1e9, 1) for name, value in reached.items()},
        "share": {name: round(reached[name] / alone[name], 3) for name in alone},
        "bench": {"sample": sampled, "train": trained},
    }, indent=1))  # fmt: skip


def weights() -> int:
    """Weights that a token is multiplied by, the vocabulary's included."""
    return LAYERS * sum(m * n for m, n in WEIGHTS) + WIDTH * VOCABULARY


def flops_per_s(rows: int, repeat: int) -> float:
    """Of one pass through all weights, layer after layer; the median of `repeat` passes for each shape."""
    seconds = LAYERS * sum(median_s(rows, *shape, repeat) for shape in WEIGHTS)
    return 2 * rows * weights() / (seconds + median_s(rows, WIDTH, VOCABULARY, repeat))


def median_s(rows: int, inputs: int, outputs: int, repeat: int) -> float:
    x, w = jnp.ones((rows, inputs), jnp.float32), jnp.ones((inputs, outputs), jnp.float32)
    product = jax.jit(jnp.matmul)
    product(x, w).block_until_ready()
    took = []
    for _ in range(repeat):
        began = time.perf_counter()
        product(x, w).block_until_ready()
        took.append(time.perf_counter() - began)
    return sorted(took)[repeat // 2]


def bench(job: str, *flags: str) -> dict:
    command = [sys.executable, "-m", "t5x_selfprog.main", "bench", job, "--size=125m", "--json", *flags]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    return json.loads(ran.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
