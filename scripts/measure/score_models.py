#!/usr/bin/env python3
"""What training did to right solutions: how likely trained models make dev problems' references, against the base.

  scripts/measure/score_models.py --base=models/smollm2 --output=scores.jsonl \\
      --model pairs=runs/pairs/iter_000/6_checkpoints --model half=runs/pairs/iter_000/6_checkpoints:0.5
  scripts/measure/score_models.py --output=scores.jsonl --table               what is there, nothing is computed

A small model solves so few problems that attempts tell two trained models apart only by thousands; the probability of
one right solution is exact, and paired by problem. 1 - (1 - p)^k, averaged over problems, is a lower bound of Pass@k.
`:0.5` puts a model half of the way between the base and the trained weights (finetune.run.interpolation). All are asked
as the claim asks, with P3's tutorial and typed headers. Killed anywhere, the same command continues.
"""

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
if Path(sys.prefix).resolve() != (REPOSITORY / ".venv").resolve() and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), "-W", "ignore", __file__, *sys.argv[1:]])
sys.path.insert(0, str(REPOSITORY))

from score_asking import CHOICES, P3, asked, dev_problems, lines, scorer  # beside this script

BASE = "base"
KS = (1, 10, 100)


def compute(options: argparse.Namespace) -> None:
    import jax

    from t5x_selfprog.compilation import keep_compiled
    from t5x_selfprog.model import store
    from t5x_selfprog.puzzles.asking import asking
    from t5x_selfprog.puzzles.prompts import SolvePrompt

    keep_compiled()
    base = store.load(options.base)
    how = asking(SolvePrompt(tutorial=P3, typed=True), base.tokenizer, options.base)
    problems = dev_problems("seeds", options.problems_left)
    found = {problem.name: asked(problem, how, True, base.tokenizer) for problem in problems}
    chosen = {name: tokens for name, tokens in found.items() if tokens is not None}
    float32 = lambda params: jax.tree.map(lambda x: x.astype("float32"), params)  # noqa: E731
    for name, _, place in [(BASE, "", options.base), *(text.partition("=") for text in options.model)]:
        path, way = placed(place)
        have = {line["problem"] for line in lines(options.output) if line["model"] == name}
        if have >= chosen.keys():
            continue
        start, after = float32(base.params), float32(store.load(path).params)
        params = jax.tree.map(lambda old, new, way=way: old + way * (new - old), start, after)
        score = scorer(dataclasses.replace(base, params=params))
        for problem, (prompt, solution) in chosen.items():
            if problem not in have:
                nats = dict(zip(CHOICES, score(prompt, solution), strict=True))
                with options.output.open("a") as file:
                    file.write(json.dumps({"model": name, "problem": problem, "nats": nats}) + "\n")


def placed(text: str) -> tuple[str, float]:
    """DIR or DIR:SHARE -> the directory, and how far its weights are gone."""
    path, colon, share = text.rpartition(":")
    try:
        return (path, float(share)) if colon else (text, 1.0)
    except ValueError:  # the colon of a path
        return text, 1.0


def table(found: list[dict]) -> str:
    """Every model against the base, on the problems that all have."""
    import numpy as np

    models: dict[str, dict[str, dict[str, float]]] = {}
    for line in found:
        models.setdefault(line["model"], {})[line["problem"]] = line["nats"]
    shared = sorted(set.intersection(*map(set, models.values())))
    draws = np.random.default_rng(0).integers(0, len(shared), (10_000, len(shared)))

    def interval(x: np.ndarray) -> str:
        low, high = np.quantile(x[draws].mean(1), (0.025, 0.975))
        return f"{x.mean():+.2f} [{low:+.2f}, {high:+.2f}]"

    def nats(name: str) -> np.ndarray:
        return np.asarray([models[name][problem]["T=1"] for problem in shared])

    def bound(name: str, k: int) -> np.ndarray:
        p = np.exp([models[name][problem]["T=0.8"] for problem in shared])
        return 100 * (1 - (1 - p) ** k)

    text = f"{len(shared)} dev problems; against the base, with 95% intervals over problems (bootstrap); bounds of "
    text += "Pass@k at T = 0.8, in points\n\n| model | nats of the reference, T = 1 | "
    text += " | ".join(f"bound of Pass@{k}" for k in KS) + " |\n" + "| --- " * (2 + len(KS)) + "|\n"
    text += f"| {BASE}, itself | | " + " | ".join(f"{bound(BASE, k).mean():.2f}" for k in KS) + " |\n"
    for name in models:
        if name != BASE:
            cells = [interval(nats(name) - nats(BASE))]
            cells += [interval(bound(name, k) - bound(BASE, k)) for k in KS]
            text += f"| {name} | " + " | ".join(cells) + " |\n"
    return text


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", help="the model that the others were trained from")
    parser.add_argument(
        "--model", action="append", default=[], metavar="NAME=DIR[:SHARE]", help="a trained model"
    )
    parser.add_argument("--output", required=True, type=Path, help="JSON lines; what is there is kept")
    parser.add_argument(
        "--problems_left", type=int, default=76, help="so many dev problems, by a hash (%(default)s)"
    )
    parser.add_argument("--table", action="store_true", help="compute nothing, tell what is there")
    options = parser.parse_args()
    if not options.table:
        if not options.base or any("=" not in text for text in options.model):
            parser.error("--base=DIR, and --model=NAME=DIR for each trained model")
        compute(options)
    print(table(lines(options.output)), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
