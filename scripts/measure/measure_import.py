#!/usr/bin/env python3
"""Memory and time of `selfprog import`, of loading the result and of `selfprog export`, on a synthetic checkpoint.

  scripts/measure/measure_import.py --model qwen2p5_coder_7b --work /tmp/measure_import        15 GB, twice on disk
  scripts/measure/measure_import.py --model qwen2p5_coder_7b --layers 2 --work DIR --load      a slice of it, loaded too

The checkpoint has the shape of gin/models/MODEL.gin in bfloat16, cut into files as published ones are; its bytes are
one random block repeated, which no file system elides. Every step is a process of its own. Its memory is sampled
from /proc: `anonymous` is what it asked for, `mapped` are pages of files, which the kernel may drop at any time.
Prints one JSON object.
"""

import argparse
import dataclasses
import functools
import json
import math
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
BLOCK = 1 << 20


def make_checkpoint(model: str, layers: int | None, folder: pathlib.Path) -> dict:
    """Writes config.json, tokenizer and safetensors; returns the shape of what was written."""
    import ml_dtypes
    import numpy as np

    import gin
    import t5x_selfprog.configurables  # noqa: F401 (declares ModelConfig to gin)
    from t5x_selfprog import gin_files
    from t5x_selfprog.model import hf, hf_export, network
    from t5x_selfprog.model.config import ModelConfig
    from t5x_selfprog.model.families import table
    from t5x_selfprog.model.tensor_files import TensorSpec
    from t5x_selfprog.model.weight_map import numbered
    from t5x_selfprog.tokenizer import END_OF_TEXT, train_tokenizer

    gin_files.load([f"models/{model}"], [])
    config = gin.get_configurable(ModelConfig)()
    config = dataclasses.replace(config, num_layers=layers or config.num_layers)
    family = table.of_config(config)
    folder.mkdir(parents=True)
    train_tokenizer(["def f(x):\n    return x\n"], 300, folder)
    said = {**family.published(config), "torch_dtype": "bfloat16", "eos_token_id": 1}
    (folder / "config.json").write_text(json.dumps(said))
    assert END_OF_TEXT in (folder / "tokenizer.json").read_text()

    dtype = np.dtype(ml_dtypes.bfloat16)
    block = np.random.default_rng(0).normal(size=BLOCK).astype(dtype)
    shapes = hf.layer_shapes(config)

    def blocks(size: int):
        for start in range(0, size, BLOCK):
            yield block[: min(BLOCK, size - start)]

    specs = []
    for weight in family.weights(config):
        shape = weight.shape(shapes)
        parts = functools.partial(blocks, math.prod(shape))
        specs += [TensorSpec(name, shape, dtype, parts) for _, name in numbered(weight, config.num_layers)]
    hf_export.write_files(str(folder), hf_export.cut(specs, hf_export.SHARD_BYTES))
    return {
        "model": model,
        "layers": config.num_layers,
        "parameters": network.num_params(config),
        "bytes": sum(spec.num_bytes for spec in specs),
        "largest_tensor_bytes": max(spec.num_bytes for spec in specs),
    }


def measured(command: list[str], work: str) -> dict:
    """Runs a command; returns seconds, CPU seconds and memory peaks in bytes; `work` is shown as WORK."""
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    peaks = {"resident_bytes": 0, "anonymous_bytes": 0, "mapped_bytes": 0}
    names = {"VmRSS": "resident_bytes", "RssAnon": "anonymous_bytes", "RssFile": "mapped_bytes"}

    def watch() -> None:
        while process.poll() is None:
            try:
                lines = pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines()
            except OSError:
                return
            for line in lines:
                name, _, rest = line.partition(":")
                if name in names:
                    peaks[names[name]] = max(peaks[names[name]], int(rest.split()[0]) << 10)
            time.sleep(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    thread.join()
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed")
    cpu_s = usage.ru_utime + usage.ru_stime
    return {
        "command": " ".join(command).replace(sys.executable, "python").replace(work, "WORK"),
        "seconds": round(time.perf_counter() - began, 2),
        "cpu_s": round(cpu_s, 2),
        **peaks,
        "output": output.splitlines()[-1].replace(work, "WORK") if output else "",
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="qwen2p5_coder_7b", help="a file of gin/models (%(default)s)")
    parser.add_argument("--layers", type=int, help="so many instead of all of them")
    parser.add_argument(
        "--work", type=pathlib.Path, required=True, help="a folder for the files; emptied at the end"
    )
    parser.add_argument(
        "--load", action="store_true", help="load the result too: needs its float32 size in memory"
    )
    args = parser.parse_args()
    work = str(args.work)
    published, ours, again = (args.work / name for name in ("published", "ours", "again"))
    shutil.rmtree(args.work, ignore_errors=True)
    try:
        result = {
            "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "python": platform.python_version()}
        }
        result["checkpoint"] = make_checkpoint(args.model, args.layers, published)
        selfprog = [sys.executable, "-m", "t5x_selfprog.main"]
        idle = "import jax, t5x_selfprog.model.hf_import"
        result["imports_alone"] = measured([sys.executable, "-c", idle], work)
        result["import"] = measured([*selfprog, "import", f"--model={published}", f"--output={ours}"], work)
        if args.load:
            code = f"from t5x_selfprog.model import store; print(store.load({str(ours)!r}).identity)"
            result["load"] = measured([sys.executable, "-c", code], work)
        shutil.rmtree(published)
        result["export"] = measured([*selfprog, "export", f"--model={ours}", f"--output={again}"], work)
        print(json.dumps(result, indent=1))
    finally:
        shutil.rmtree(args.work, ignore_errors=True)


def cpu_name() -> str:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    main()
