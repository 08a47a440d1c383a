#!/usr/bin/env python3
"""Ours and what a user would run instead, alternately on this machine; prints ratios of medians.

  scripts/measure/bench_peers.py --peer_python=PYTHON --peer=hf_peer.py
  scripts/measure/bench_peers.py --peer_python=PYTHON --peer=hf_peer.py --jobs sample --dtypes float32 --size tiny

PYTHON has torch and transformers. hf_peer.py takes `generate` or `train` with the flags below and ends in one line
of JSON, as `selfprog bench sample` and `selfprog bench train` do. Every measurement is a process of its own; what
compiles or warms up is not timed on either side. The last line printed holds everything measured, as JSON.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
OURS = str(_PYTHON) if _PYTHON.exists() else sys.executable
RATE = {"sample": "new_tokens_per_s", "train": "tokens_per_s"}
PEER_JOB = {"sample": "generate", "train": "train"}
FLAGS = {"sample": ("prompt", "new", "attempts"), "train": ("seq", "steps")}


def run(command: list[str]) -> dict:
    """The JSON object on the last line that a command prints."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nended with status {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def commands(arguments: argparse.Namespace, job: str, dtype: str) -> dict[str, list[str]]:
    """The two command lines of one comparison."""
    flags = [f"--size={arguments.size}", f"--dtype={dtype}"]
    flags += [f"--{name}={getattr(arguments, name)}" for name in FLAGS[job]]
    batch = arguments.train_batch if job == "train" else arguments.batch
    peer_batch = arguments.train_batch if job == "train" else arguments.peer_batch
    ours = [OURS, "-m", "t5x_selfprog.main", "bench", job, *flags, "--json", *shlex.split(arguments.ours)]
    peer = [arguments.peer_python, arguments.peer, PEER_JOB[job], *flags, f"--device={arguments.device}"]
    return {
        "ours": ours + ([f"--batch={batch}"] if batch else []),
        "peer": peer + [f"--batch={peer_batch}"],
    }


def compare(runs: list[dict]) -> list[dict]:
    """Ratios of medians by job: at each dtype, and of our best dtype to the peer's best."""
    found = []
    for job in dict.fromkeys(row["job"] for row in runs):
        rates: dict[str, dict[str, float]] = {"ours": {}, "peer": {}}
        for row in runs:
            same = [r for r in runs if all(r[key] == row[key] for key in ("job", "side", "dtype"))]
            if row["job"] == job:
                rates[row["side"]][row["dtype"]] = statistics.median(r["result"][RATE[job]] for r in same)
        pairs = [(dtype, dtype) for dtype in rates["ours"]]
        if len(pairs) > 1:
            best = {side: max(of, key=of.__getitem__) for side, of in rates.items()}
            pairs.append((best["ours"], best["peer"]))
        for ours, peer in pairs:
            memory = {
                side: max(
                    max(r["result"]["peak_rss_gb"], r["result"].get("peak_device_gb", 0))
                    for r in runs
                    if (r["job"], r["side"], r["dtype"]) == (job, side, dtype)
                )
                for side, dtype in (("ours", ours), ("peer", peer))
            }
            found.append(
                {
                    "job": job,
                    "ours": ours,
                    "peer": peer,
                    "ours_tokens_per_s": round(rates["ours"][ours], 2),
                    "peer_tokens_per_s": round(rates["peer"][peer], 2),
                    "times_the_peer": round(rates["ours"][ours] / rates["peer"][peer], 3),
                    "memory_of_the_peers": round(memory["ours"] / memory["peer"], 3),
                }
            )
    return found


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer_python", required=True, help="an interpreter with torch and transformers")
    parser.add_argument("--peer", required=True, help="hf_peer.py")
    parser.add_argument("--jobs", nargs="+", choices=RATE, default=list(RATE))
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=3, help="%(default)s of each, alternating")
    parser.add_argument("--device", default="cpu", help="the peer's: cpu or cuda; ours is what JAX finds")
    parser.add_argument("--size", default="125m", help="%(default)s")
    parser.add_argument("--prompt", type=int, default=512, help="tokens (%(default)s)")
    parser.add_argument("--new", type=int, default=64, help="tokens (%(default)s)")
    parser.add_argument("--attempts", type=int, default=64, help="at one prompt (%(default)s)")
    parser.add_argument("--batch", type=int, help="rows we decode together (all attempts)")
    parser.add_argument("--peer_batch", type=int, default=16, help="rows the peer does (%(default)s)")
    parser.add_argument("--seq", type=int, default=512, help="tokens of a training row (%(default)s)")
    parser.add_argument("--train_batch", type=int, default=4, help="training rows, both sides (%(default)s)")
    parser.add_argument("--steps", type=int, default=4, help="%(default)s")
    parser.add_argument("--ours", default="", metavar="FLAGS", help="more flags for our side, in one word")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    runs: list[dict] = []
    for job in arguments.jobs:
        for _ in range(arguments.rounds):
            for dtype in arguments.dtypes:
                for side, command in commands(arguments, job, dtype).items():
                    result = run(command)
                    runs.append({"job": job, "side": side, "dtype": dtype, "result": result})
                    print(f"{job} {dtype:<9} {side} {result[RATE[job]]:12,.1f} tokens/s", file=sys.stderr)
    ratios = compare(runs)
    for row in ratios:
        print(
            f"{row['job']:<7} ours {row['ours']:<9} {row['ours_tokens_per_s']:>10,.1f}   peer {row['peer']:<9} "
            f"{row['peer_tokens_per_s']:>10,.1f}   {row['times_the_peer']:.2f}x, "
            f"{row['memory_of_the_peers']:.2f} of its memory"
        )
    settings = {k: v for k, v in vars(arguments).items() if k not in ("peer_python", "peer")}
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()}
    print(json.dumps({"settings": settings, **machine, "ratios": ratios, "runs": runs}))


if __name__ == "__main__":
    main()
