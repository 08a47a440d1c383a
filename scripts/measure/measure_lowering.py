#!/usr/bin/env python3
"""CPU seconds until a sampler's programs are traced and lowered, which every start of a process pays: JSON lines.

  scripts/measure/measure_lowering.py --size=smollm2_135m --how=now

What a warm compilation cache saves comes after this. Each program is lowered once, in the order in which a sampler
needs them; nothing is compiled or allocated. `--how` is only written down, to tell trees of the source apart.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from t5x_selfprog.sampling import bench
from t5x_selfprog.sampling.blueprint import Blueprint
from t5x_selfprog.sampling.interface import DTYPES, SamplingConfig


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="smollm2_135m", help="of `selfprog bench` (%(default)s)")
    parser.add_argument("--dtype", default="float32", choices=DTYPES)
    parser.add_argument("--how", default="now")
    args = parser.parse_args()
    model: Any = bench.shape(argparse.Namespace(size=args.size, model=None))
    config = SamplingConfig(
        prompts_in_flight=16,
        max_new_tokens=64,
        prompt_buckets=(64,),
        tail_prompts=4,
        weights_dtype=args.dtype,
        cache_dtype=args.dtype,
    )
    plan = Blueprint(model, config, 40, (64,), model.vocab_size, (), (0,), None)
    for program in plan.everything():
        began = time.process_time()
        lowered = program.lower()
        took = time.process_time() - began
        name = " ".join(map(str, program.name)) if isinstance(program.name, tuple) else program.name
        said = {"how": args.how, "size": args.size, "dtype": args.dtype, "layers": model.num_layers}
        text = len(lowered.as_text())
        print(json.dumps({**said, "program": name, "cpu_s": round(took, 2), "characters": text}), flush=True)


if __name__ == "__main__":
    main()
