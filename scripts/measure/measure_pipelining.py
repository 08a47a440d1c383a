#!/usr/bin/env python
"""How much sooner stages 1 and 2 end if puzzles are screened while others are sampled; prints one JSON object.

  scripts/measure/measure_pipelining.py [--rounds 3] [--gin_file quickstart] [--gin.NAME=VALUE ...]

Each round runs both stages of a first iteration twice in this process, in turn and side by side, in alternating order,
each in a run directory of its own. Programs are compiled and probes made before the first round. Wall seconds; every
file of both runs must be the same.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
if Path(sys.prefix).resolve() != (REPOSITORY / ".venv").resolve() and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), "-W", "ignore", __file__, *sys.argv[1:]])
sys.path.insert(0, str(REPOSITORY))
os.environ["SELFPROG_QUIET"] = "1"

from t5x_selfprog import gin_files, loop
from t5x_selfprog.run_dir import open_run
from t5x_selfprog.stages import filter_puzzles, sample_puzzles
from t5x_selfprog.stages.context import Context, Experiment


def in_turn(context: Context, iteration: int) -> None:
    sample_puzzles.run(context, iteration)
    filter_puzzles.run(context, iteration)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gin_file", default="quickstart")
    options, bindings = parser.parse_known_args()
    gin_files.load([options.gin_file], [binding.removeprefix("--gin.") for binding in bindings])
    ways: dict[str, Callable[[Context, int], None]] = {"in turn": in_turn, "side by side": loop.write_puzzles}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        probes, written = None, None
        for number in range(-1, options.rounds):
            for name in list(ways)[:: 1 if number % 2 else -1]:
                root = Path(folder) / f"{number} {name}"
                context = Context(open_run(root, {}), Experiment())
                if probes is not None:
                    (root / "probes.json").write_bytes(probes)
                began = time.monotonic()
                ways[name](context, 0)
                took = time.monotonic() - began
                found = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
                differing = sorted(path for path in found if found[path] != (written or found).get(path))
                if differing:
                    sys.exit(f"measure_pipelining: {name}: other bytes in {', '.join(differing)}")
                probes, written = found["probes.json"], found
                if number >= 0:
                    seconds[name].append(round(took, 2))
                print(f"round {number}, {name}: {took:.1f} s", file=sys.stderr, flush=True)
    medians = {name: statistics.median(of) for name, of in seconds.items()}
    result = {"bindings": bindings, "seconds": seconds, "files_equal": len(written or {}), **medians}
    print(json.dumps(result | {"ratio": round(medians["side by side"] / medians["in turn"], 3)}))


if __name__ == "__main__":
    main()
