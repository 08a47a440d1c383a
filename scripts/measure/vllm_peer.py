#!/usr/bin/env python3
"""What a user would run instead to sample: vLLM, timed on the same prompts as `selfprog bench sample`.

  python scripts/measure/vllm_peer.py --size=1p3b --prompt=512 --new=64 --attempts=512 --prompts=1
  python scripts/measure/vllm_peer.py --model=HF_FOLDER --prompt=512 --new=160 --attempts=32 --prompts=64

Run it with a Python that has `vllm`; it takes nothing from this repository but the prompts' recipe (the same random
token ids). --size makes GPT-2 (which vLLM has; all heads global) in a GPT-Neo-like shape, with random weights; --model
is a folder in Hugging Face's format, whose weights are loaded unless --dummy. Every prompt gets --attempts samples
(`n`), prefix caching on, no early stop. Weights are loaded, graphs captured and kernels compiled before the clock
starts, by a first run on other prompts. Prints one JSON line.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

SIZES = {  # layers, width, heads, vocabulary: as `selfprog bench` has them
    "tiny": (4, 256, 4, 2048),
    "125m": (12, 768, 12, 50304),
    "1p3b": (24, 2048, 16, 50304),
    "2p7b": (32, 2560, 20, 50304),
}


def shape_folder(size: str, positions: int, folder: Path) -> str:
    """A config.json of the size, for random weights."""
    layers, width, heads, vocab = SIZES[size]
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": vocab,
        "n_positions": positions,
        "n_ctx": positions,
        "n_embd": width,
        "n_layer": layers,
        "n_head": heads,
        "activation_function": "gelu_new",
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def random_prompts(vocab: int, length: int, count: int, seed: int) -> list[dict]:
    """Token ids, drawn as `selfprog bench sample` draws them."""
    random = np.random.default_rng(seed)
    return [{"prompt_token_ids": random.integers(1, vocab, length).tolist()} for _ in range(count)]


def measure(args: argparse.Namespace, folder: str, dummy: bool) -> dict:
    import vllm

    positions = args.prompt + args.new
    begun = time.perf_counter()
    engine = vllm.LLM(
        model=folder,
        skip_tokenizer_init=True,
        load_format="dummy" if dummy else "auto",
        dtype=args.dtype,
        max_model_len=positions,
        max_num_seqs=args.batch or args.attempts,
        enable_prefix_caching=True,
        gpu_memory_utilization=args.memory,
        seed=0,
    )
    vocab = json.loads((Path(folder) / "config.json").read_text())["vocab_size"]
    sampling = vllm.SamplingParams(
        n=args.attempts,
        temperature=0.8,
        top_p=args.top_p,
        max_tokens=args.new,
        min_tokens=args.new,
        ignore_eos=True,
        detokenize=False,
        seed=None,
    )
    engine.generate(random_prompts(vocab, args.prompt, 1, seed=1), sampling, use_tqdm=False)
    ready_s = time.perf_counter() - begun
    runs = []
    for repeat in range(args.repeat):
        prompts = random_prompts(vocab, args.prompt, args.prompts, seed=10 + repeat)  # nothing cached
        start = time.perf_counter()
        done = engine.generate(prompts, sampling, use_tqdm=False)
        runs.append(
            (time.perf_counter() - start, sum(len(o.token_ids) for request in done for o in request.outputs))
        )
    seconds, tokens = sorted(runs)[len(runs) // 2]
    return {
        "peer": f"vllm {vllm.__version__}",
        "seconds": seconds,
        "new_tokens": tokens,
        "new_tokens_per_s": tokens / seconds,
        "completions_per_s": args.attempts * args.prompts / seconds,
        "ready_s": ready_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="125m")
    parser.add_argument("--model", default=None, help="a folder in Hugging Face's format instead")
    parser.add_argument("--dummy", action="store_true", help="random weights for --model too")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--attempts", type=int, default=64)
    parser.add_argument("--prompts", type=int, default=1)
    parser.add_argument("--batch", type=int, default=None, help="rows decoded together (all attempts)")
    parser.add_argument("--top_p", type=float, default=1.0)
    parser.add_argument("--repeat", type=int, default=1, help="timed runs, the median counts")
    parser.add_argument("--memory", type=float, default=0.9, help="share of the device's memory")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.model or shape_folder(args.size, args.prompt + args.new, Path(scratch))
        result = measure(args, folder, dummy=args.dummy or not args.model)
    print(json.dumps({"job": "sample", **vars(args), **result}))


if __name__ == "__main__":
    main()
