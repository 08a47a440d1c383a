#!/usr/bin/env python3
"""Compiles a sampler's program for an H200, no GPU needed, and counts its kernels and bytes: one JSON line.

  scripts/measure/count_kernels.py --size=1p3b --groups=1 --rows=128 --prompt=512 --new=64
  scripts/measure/count_kernels.py --size=0p5b --program=load --groups=64 --prompt=640 --prefix=437 --layers=24
  scripts/measure/count_kernels.py --model=DIR --groups=64 --rows=8 --attention=triton --layers=2

`decode` is a chunk of steps, counted by the step; `load` computes --together prompts, and --block says how many queries
attend at a time. Compilation is timed, in CPU seconds of all threads. Per-layer figures are the difference between
--layers and one layer, over the difference in layers. Needs CUDA's compiler (see t5x_selfprog/plan/cuda.py); about a
minute on two cores for the default two layers.
"""

import argparse
import dataclasses
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
if Path(sys.prefix) != REPOSITORY / ".venv" and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), __file__, *sys.argv[1:]])
sys.path.insert(0, str(REPOSITORY))
os.environ["JAX_PLATFORMS"] = "cpu"  # the compiler is told its device
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

from t5x_selfprog.plan import cuda
from t5x_selfprog.sampling import bench, blueprint
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.sampling.prefill import GPU_QUERY_BLOCK
from verifier.errors import UserError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="1p3b", help="of `selfprog bench` (%(default)s)")
    parser.add_argument("--model", default=None, help="a model's folder instead")
    parser.add_argument("--program", choices=("decode", "load"), default="decode")
    parser.add_argument("--layers", type=int, default=2, help="0: as many as the model has (%(default)s)")
    for name, default in {
        "groups": 1,
        "rows": 128,
        "prompt": 512,
        "new": 64,
        "steps": 16,
        "prefix": 0,
        "together": 16,
        "block": GPU_QUERY_BLOCK,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--weights_dtype", default="bfloat16")
    parser.add_argument("--cache_dtype", default="bfloat16")
    parser.add_argument("--top_p", type=float, default=1.0)
    parser.add_argument("--attention", default="plain")
    parser.add_argument("--text", default=None, help="where the optimised program goes")
    a = parser.parse_args()
    sampling = SamplingConfig(
        prompts_in_flight=a.groups,
        rows_per_prompt=a.rows,
        max_new_tokens=a.new,
        prompt_buckets=(a.prompt,),
        prompts_per_load=a.together,
        chunk_steps=a.steps,
        temperature=0.8,
        top_p=a.top_p,
        weights_dtype=a.weights_dtype,
        cache_dtype=a.cache_dtype,
        attention=a.attention,
    )
    blueprint.GPU_QUERY_BLOCK = a.block
    model = bench.shape(a)
    layers = a.layers or model.num_layers
    counts = {}
    for n in sorted({1, layers}):
        program = cuda.program(a.program, dataclasses.replace(model, num_layers=n), sampling, a.prefix)
        lowered, began = program.lower(), time.process_time()
        compiled = lowered.compile(program.compiler_options)
        compile_cpu_s, text = time.process_time() - began, compiled.as_text() or ""
        counts[n] = cuda.count(text) if a.program == "decode" else cuda.count_straight(text)
    memory: Any = compiled.memory_analysis()
    if a.text:
        Path(a.text).write_text(text)
    whole = dataclasses.asdict(counts[layers])
    if layers > 1:
        for what in ("kernels", "bytes", "outside_bytes"):
            more = getattr(counts[layers], what) - getattr(counts[1], what)
            whole[f"{what}_a_layer"] = more / (layers - 1)
    whole |= {"temporary_bytes": memory.temp_size_in_bytes, "compile_cpu_s": round(compile_cpu_s, 1)}
    print(json.dumps({"job": "count kernels", **vars(a), "device": "H200, compiled for", **whole}))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"count_kernels: {error}")
