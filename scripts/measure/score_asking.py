#!/usr/bin/env python3
"""How best to ask a published model, without sampling: how likely each way makes dev problems' reference solutions.

  scripts/measure/score_asking.py --model=models/smollm2-135m-instruct --output=scores.jsonl --problems_left=40
  scripts/measure/score_asking.py --output=scores.jsonl --table              what is there, nothing is computed

A small model solves so few problems that a comparison by attempts takes thousands of them a way; the probability of one
right solution is exact for every problem, and paired. Its mean over problems is a lower bound of Pass@1, at any
temperature, top-k and top-p (tokens that these cut off make it zero).
Writes a line for each problem and way; killed anywhere, the same command continues. compare_asking.py samples instead.
"""

import argparse
import json
import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
if Path(sys.prefix) != REPOSITORY / ".venv" and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), __file__, *sys.argv[1:]])
sys.path.insert(0, str(REPOSITORY))

BUCKETS = (128, 192, 256, 320, 384, 512, 640, 768, 1024, 1536)
LONGEST = 64  # tokens of a solution; problems with longer ones are left out
P3 = os.environ.get("SELFPROG_P3_DIR", "data/p3")
# Arguments of SolvePrompt, and whether the token that starts documents precedes the prompt.
WAYS: dict[str, tuple[dict, bool]] = {
    "text, P3's tutorial, typed": ({"tutorial": P3, "typed": True}, True),
    "text, P3's tutorial, typed, puzzles too": ({"tutorial": P3, "typed": True, "returns": True}, True),
    "text, P3's tutorial, untyped": ({"tutorial": P3}, True),
    "text, P3's tutorial, typed, no document start": ({"tutorial": P3, "typed": True}, False),
    "text, P3's tutorial, untyped, no document start": ({"tutorial": P3}, False),
    "text, our tutorial, typed": ({"tutorial": "seeds", "typed": True}, True),
    "text, our tutorial, typed, no document start": ({"tutorial": "seeds", "typed": True}, False),
    "text, no tutorial, typed": ({"tutorial": "none", "typed": True}, True),
    "text, no tutorial, untyped": ({"tutorial": "none"}, True),
    "chat, no tutorial, typed": ({"tutorial": "none", "typed": True, "chat": "begun"}, True),
    "chat, P3's tutorial, typed": ({"tutorial": P3, "typed": True, "chat": "begun"}, True),
}
# Temperature, top_k, top_p.
CHOICES = {
    "T=1": (1.0, 0, 1.0), "T=0.9": (0.9, 0, 1.0), "T=0.8": (0.8, 0, 1.0), "T=0.6": (0.6, 0, 1.0),
    "T=0.8 top_k=50": (0.8, 50, 1.0), "T=0.8 top_p=0.95": (0.8, 0, 0.95),
}  # fmt: skip


def scorer(model):
    """(tokens of a prompt, of a solution) -> log-probability of the solution under each choice, in nats."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from t5x_selfprog.model import network
    from t5x_selfprog.model.compute_dtype import on_this_device
    from t5x_selfprog.sampling.token_choice import heaviest_threshold

    config = on_this_device(model.config, "this script wants the finer type")

    @jax.jit
    def score(params, tokens, segments, places, targets, counted):
        positions = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None]
        hidden = network.forward(config, params, tokens, positions, segments)
        logits = network.bind(config, params).logits(hidden[:, places])[0].astype(jnp.float32)  # [LONGEST, V]
        sums = []
        for temperature, top_k, top_p in CHOICES.values():
            weights = jnp.exp((logits - logits.max(-1, keepdims=True)) / temperature)
            if top_k:
                weights = jnp.where(weights >= jax.lax.top_k(weights, top_k)[0][:, -1:], weights, 0.0)
            if top_p < 1.0:
                needed = top_p * weights.sum(-1, keepdims=True)
                weights = jnp.where(weights >= heaviest_threshold(weights, needed), weights, 0.0)
            chosen = jnp.take_along_axis(weights, targets[:, None], -1)[:, 0] / weights.sum(-1)
            sums.append(jnp.where(counted, jnp.log(chosen), 0.0).sum())
        return jnp.stack(sums)

    def of(prompt: list[int], solution: list[int]) -> list[float]:
        ids = [*prompt, *solution]
        room = next(size for size in BUCKETS if size >= len(ids))
        tokens, segments = np.zeros((1, room), np.int32), np.zeros((1, room), np.int32)
        tokens[0, : len(ids)], segments[0, : len(ids)] = ids, 1
        places, targets = np.zeros(LONGEST, np.int32), np.zeros(LONGEST, np.int32)
        counted = np.arange(LONGEST) < len(solution)
        places[: len(solution)] = np.arange(len(prompt) - 1, len(ids) - 1)
        targets[: len(solution)] = solution
        return np.asarray(score(model.params, tokens, segments, places, targets, counted)).tolist()

    return of


def dev_problems(source: str, left: int) -> list:
    """So many problems of a dev split, by a hash of their names."""
    from t5x_selfprog.puzzles.p3 import in_split, load_problems
    from t5x_selfprog.puzzles.source import short_hash

    return sorted(in_split(load_problems(source), "dev"), key=lambda p: short_hash(p.name))[:left]


def asked(problem, how, start: bool, tokenizer) -> tuple[list[int], list[int]] | None:
    """Tokens of the prompt, asked `how`, and of the reference solution; None for one that cannot be scored.

    start: whether the token that starts documents precedes the prompt, where a conversation does not forbid it.
    """
    from verifier.language.puzzle import parse_puzzle, solution_header

    encode = tokenizer.encode
    reference, plain = problem.solutions[0], solution_header(parse_puzzle(problem.source), typed=False)
    body = reference.removeprefix(plain)
    if body == reference or len(encode(body)) > LONGEST:
        return None  # a header of its own, or too long
    request = how.request(problem.source)
    begun = [tokenizer.start_id] if start and how.document_start else []
    prompt = [*begun, *encode(how.prefix), *encode(request.text)]
    return prompt, encode(body.removeprefix("\n") if request.header.endswith("\n") else body)


def compute(options: argparse.Namespace) -> None:
    from t5x_selfprog.compilation import keep_compiled
    from t5x_selfprog.model import store
    from t5x_selfprog.puzzles.asking import asking
    from t5x_selfprog.puzzles.prompts import SolvePrompt

    keep_compiled()
    have = {(line["problem"], line["way"]) for line in lines(options.output)}
    model = store.load(options.model)
    score = scorer(model)
    ways = {
        way: (asking(SolvePrompt(**how), model.tokenizer, options.model), start)
        for way, (how, start) in WAYS.items()
    }
    if options.only:
        ways = {way: ways[way] for way in options.only.split(";")}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for problem in dev_problems(options.problems, options.problems_left):
        for way, (how, start) in ways.items():
            tokens = None if (problem.name, way) in have else asked(problem, how, start, model.tokenizer)
            if tokens is None:
                continue
            prompt, solution = tokens
            found = dict(zip(CHOICES, score(prompt, solution), strict=True))
            line = {
                "problem": problem.name,
                "way": way,
                "checkpoint": model.identity,
                "tokens": len(solution),
                "nats": found,
            }
            with options.output.open("a") as file:
                file.write(json.dumps(line) + "\n")


def lines(path: Path) -> list[dict]:
    """The file's whole lines; one that a kill cut short is removed, to be computed again."""
    text = path.read_text() if path.exists() else ""
    if text and not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
        path.write_text(text)
    return [json.loads(line) for line in text.splitlines()]


def table(found: list[dict]) -> str:
    """Ways against the first of them, then choices of tokens for the first; on the problems that all ways have."""
    import numpy as np

    by_way: dict[str, dict[str, dict]] = {}
    for line in found:
        by_way.setdefault(line["way"], {})[line["problem"]] = line
    ways = [way for way in WAYS if way in by_way]
    shared = sorted(set.intersection(*(set(by_way[way]) for way in ways)))

    def values(way: str, choice: str) -> np.ndarray:
        return np.asarray([by_way[way][name]["nats"][choice] for name in shared])

    draws = np.random.default_rng(0).integers(0, len(shared), (10_000, len(shared)))

    def interval(x: np.ndarray) -> str:
        low, high = np.quantile(x[draws].mean(1), (0.025, 0.975))
        return f"{x.mean():+.2f} [{low:+.2f}, {high:+.2f}]"

    def bound(way: str, choice: str) -> str:
        x = 100 * np.exp(values(way, choice))
        low, high = np.quantile(x[draws].mean(1), (0.025, 0.975))
        return f"{x.mean():.2f} [{low:.2f}, {high:.2f}]"

    first = ways[0]
    text = f"{len(shared)} dev problems; 95% intervals over them (bootstrap)\n\n"
    text += (
        "| asked as | nats of the reference, T = 1, against the first | its mean probability, %, T = 0.8 |\n"
    )
    text += "| --- | --- | --- |\n"
    for way in ways:
        difference = "" if way == first else interval(values(way, "T=1") - values(first, "T=1"))
        text += f"| {way} | {difference} | {bound(way, 'T=0.8')} |\n"
    text += f"\n| tokens chosen ({first}) | its mean probability, % | against T=0.8, points | cut off |\n"
    text += "| --- | --- | --- | --- |\n"
    for choice in CHOICES:
        nats = values(first, choice)
        gain = 100 * (np.exp(nats) - np.exp(values(first, "T=0.8")))
        text += f"| {choice} | {bound(first, choice)} | {interval(gain)} | {int(np.isneginf(nats).sum())} |\n"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="a model directory (`selfprog import`)")
    parser.add_argument("--output", required=True, type=Path, help="JSON lines; what is there is kept")
    parser.add_argument("--problems", default="seeds", help="whose dev split (%(default)s)")
    parser.add_argument(
        "--problems_left", type=int, default=76, help="so many of it, by a hash (%(default)s)"
    )
    parser.add_argument("--only", default="", help="ways, with semicolons (all of them)")
    parser.add_argument("--table", action="store_true", help="compute nothing, tell what is there")
    options = parser.parse_args()
    if not options.table:
        if not options.model:
            parser.error("--model is needed, but for --table")
        compute(options)
    chosen = options.only.split(";") if options.only else list(WAYS)
    print(table([line for line in lines(options.output) if line["way"] in chosen]))


if __name__ == "__main__":
    main()
