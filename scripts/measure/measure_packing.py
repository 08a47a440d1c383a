#!/usr/bin/env python
"""How much of a training row is padding, for real pairs of puzzle and solution; prints one JSON object.

  scripts/measure/measure_packing.py --pairs accepted.jsonl.gz --tokenizer base --lengths 512 1024

--pairs: gzipped JSON lines with `puzzle` and `solution`.
"""

import argparse
import gzip
import json
import os
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
if Path(sys.prefix).resolve() != (REPOSITORY / ".venv").resolve() and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), "-W", "ignore", __file__, *sys.argv[1:]])
sys.path.insert(0, str(REPOSITORY))

import numpy as np

from t5x_selfprog.model.store import resolve
from t5x_selfprog.puzzles.prompts import pair_text
from t5x_selfprog.tokenizer import Tokenizer
from t5x_selfprog.training.batches import PackedDocuments


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--tokenizer", default="base", help="a model's folder or name (%(default)s)")
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--limit", type=int, help="only so many pairs")
    arguments = parser.parse_args()
    tokenizer = Tokenizer.load(resolve(arguments.tokenizer))
    with gzip.open(arguments.pairs, "rt") as lines:
        rows = [json.loads(line) for line in lines][: arguments.limit]
    ends = [tokenizer.eos_id]
    documents = [
        np.asarray(ends + tokenizer.encode(pair_text(r["puzzle"], r["solution"])) + ends) for r in rows
    ]
    sizes = [len(d) for d in documents]
    result: dict = {
        "pairs": len(documents),
        "tokens": {str(q): float(np.percentile(sizes, q)) for q in (5, 50, 95, 100)},
        "rows_of": {},
    }
    for length in arguments.lengths:
        fitting = [d for d in documents if len(d) <= length + 1]
        source = PackedDocuments(fitting, [1.0] * len(fitting), 16, length, 0)
        begun = time.process_time()
        source.batch(0)
        result["rows_of"][length] = {
            "documents": len(fitting),
            "rows": len(source._packing),
            "padding": round(source.padding, 5),
            "cpu_s": round(time.process_time() - begun, 3),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
