#!/usr/bin/env python3
"""Cuts a small corpus for a small model: short functions, expressions in the shape of puzzles, and some whole files.

  scripts/make/pretraining_corpus.py --output ~/.cache/selfprog/corpus
  scripts/make/pretraining_mixture.py --corpus ~/.cache/selfprog/corpus --output ~/.cache/selfprog/mixture
  scripts/make/pretraining_mixture.py ... --checked 16   pairs of puzzle and solution that the verifier accepted
  scripts/make/pretraining_mixture.py ... --file_tokens 100000000 --longest_file 1000000 \\
    --repeat expressions=3 functions=3

Writes train.bin and heldout.bin as `selfprog pretrain` reads them, and mixture.json with the tokens of each part.
Predicates that match a P3 problem or one of our own (names and constants abstracted) are left out and counted.
"""

import argparse
import contextlib
import gzip
import json
import os
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
if Path(sys.prefix) != REPOSITORY / ".venv" and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), "-W", "ignore", __file__, *sys.argv[1:]])
sys.path.insert(0, str(REPOSITORY))

import numpy as np
from tqdm import tqdm

from t5x_selfprog.pretraining.expressions import documents
from t5x_selfprog.puzzles.contamination import Protected
from t5x_selfprog.puzzles.p3 import load_problems
from t5x_selfprog.tokenizer import Tokenizer
from verifier import Limits, Pool
from verifier.storage.shards import atomic_write

PARTS = ("expressions", "functions", "checks", "files")
HELDOUT_EVERY = 100  # one in this many documents of the expression view is held out


def read_rows(corpus: Path) -> list[dict]:
    """All documents of the corpus, in order."""
    rows: list[dict] = []
    for path in sorted((corpus / "documents").glob("*.gz")):
        with gzip.open(path, "rt") as lines:
            rows += map(json.loads, lines)
    return rows


def holds(pool: Pool, pairs: Iterable[tuple[str, str]]) -> Iterator[bool]:
    """Which pairs the verifier accepts."""
    items = ({"puzzle": f, "solution": g} for f, g in tqdm(pairs, desc="pairs"))
    return (verdict.accepted for verdict in pool.judge(items))


def repeat(text: str) -> tuple[str, int]:
    """`functions=3` as ("functions", 3)."""
    name, _, times = text.partition("=")
    if name not in PARTS or not times.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}: give PART=TIMES, with PART of {', '.join(PARTS)}")
    return name, int(times)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--corpus", type=Path, required=True, help="what scripts/make/pretraining_corpus.py wrote"
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--p3", type=Path, default=os.environ.get("SELFPROG_P3_DIR", "../shared/data/p3"))
    parser.add_argument("--tokenizer", type=Path, default=REPOSITORY / "t5x_selfprog" / "assets" / "base")
    parser.add_argument(
        "--file_tokens", type=int, default=1_500_000, help="tokens of whole files (%(default)s)"
    )
    parser.add_argument(
        "--longest_file", type=int, default=12_000, metavar="CHARACTERS", help="longer files stay out (%(default)s)"
    )  # fmt: skip
    parser.add_argument(
        "--repeat", type=repeat, nargs="+", default=[], metavar="PART=TIMES",
        help="how often a part's documents stand in the stream (once; 0 leaves it out); PART is " + ", ".join(PARTS),
    )  # fmt: skip
    parser.add_argument(
        "--checked", type=int, default=0, metavar="TRIES",
        help="run so many expressions as solutions of each puzzle-shaped one and show one that holds (0: none is run)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.checked < 0:
        parser.error(f"--checked={arguments.checked}: a number of tries, or 0 for none")
    repeats = dict(arguments.repeat)
    tokenizer = Tokenizer.load(arguments.tokenizer)
    rows = read_rows(arguments.corpus)
    protected = Protected([*load_problems("seeds"), *load_problems(arguments.p3)])
    refused = 0

    def refuse(predicate: str) -> bool:
        nonlocal refused
        found = protected.match(predicate, upto="abstract") is not None
        refused += found
        return found

    files = [row for row in rows if row["view"] == "files"]
    texts = (row["text"] for row in tqdm(files, desc="expressions") if row["split"] == "train")
    with contextlib.ExitStack() as stack:
        judge = None
        if arguments.checked:
            judge = partial(holds, stack.enter_context(Pool(limits=Limits(cpu_s=0.1))))
        expressions = list(documents(texts, refuse=refuse, judge=judge, tries=arguments.checked))
    draw = np.random.default_rng(arguments.seed)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in PARTS}
    heldout: list[np.ndarray] = []

    def encode(text: str) -> np.ndarray:
        return np.asarray([*tokenizer.encode(text), tokenizer.eos_id], np.uint16)

    for i, text in enumerate(tqdm(expressions, desc="tokens")):
        (heldout if i % HELDOUT_EVERY == 0 else parts["expressions"]).append(encode(text))
    for row in tqdm(rows, desc="tokens"):
        if row["view"] != "files":
            (parts[row["view"]] if row["split"] == "train" else heldout).append(encode(row["text"]))
    short = [row for row in files if row["split"] == "train" and len(row["text"]) < arguments.longest_file]
    for i in draw.permutation(len(short)):
        if sum(map(len, parts["files"])) >= arguments.file_tokens:
            break
        parts["files"].append(encode(short[i]["text"]))
    train = [document for name, part in parts.items() for document in part * repeats.get(name, 1)]
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, kept in (("train", train), ("heldout", heldout)):
        order = draw.permutation(len(kept))
        atomic_write(
            str(arguments.output / f"{name}.bin"), np.concatenate([kept[i] for i in order]).tobytes()
        )
    counts = {name: {"documents": len(p), "tokens": int(sum(map(len, p)))} for name, p in parts.items()}
    for name, times in repeats.items():
        counts[name]["times"] = times
    counts["heldout"] = {"documents": len(heldout), "tokens": int(sum(map(len, heldout)))}
    summary = {
        "parts": counts,
        "checked": arguments.checked,
        "predicates_refused": refused,
        "seed": arguments.seed,
        "corpus": json.loads((arguments.corpus / "manifest.json").read_text())["fingerprint"],
    }
    atomic_write(str(arguments.output / "mixture.json"), json.dumps(summary, indent=1) + "\n")
    print(json.dumps(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
