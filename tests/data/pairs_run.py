"""A run directory with finished datasets, made without a model; token id 0 and odd characters included."""

from __future__ import annotations

from pathlib import Path

from t5x_selfprog.puzzles.prompts import pair_text, puzzle_list
from t5x_selfprog.puzzles.source import puzzle_id
from t5x_selfprog.run_layout import RunDir
from verifier.storage.records import PAIR, PUZZLE, VERDICT
from verifier.storage.shards import Ledger, atomic_write

ODD = "\ud800"


def puzzle(iteration: int, i: int) -> str:
    ending = "! ends in bangs !!" if i % 2 else "plain"
    return f"def f(x: int, a={i}):\n    '''{ending}'''\n    return x - a == {iteration}"


def solution(iteration: int, i: int, long: bool = False) -> str:
    body = f"    return a + {iteration}"
    return f"def g(a={i}):\n    # a longer way\n{body}" if long else f"def g(a={i}):\n{body}"


def make_pairs_run(root: Path, sizes: tuple[int, ...] = (6, 9)) -> Path:
    """`sizes[i]` puzzles in iteration i, two solutions each, and a document that is not a pair."""
    run = RunDir(str(root))
    atomic_write(run.config, "Experiment.seed = 0\n")
    for iteration, size in enumerate(sizes):
        puzzles, verdicts, pairs = [], [], []
        for i in range(size):
            source, identity = puzzle(iteration, i), puzzle_id(puzzle(iteration, i))
            puzzles.append(
                {
                    "puzzle_id": identity, "source": source, "answer_type": "int", "origin": "made up",
                    "prompt_puzzle_ids": ["aa", "bb"], "sample_index": i, "logprob": -1.0, "checkpoint": "writer",
                }
            )  # fmt: skip
            for long in (False, True):
                text = solution(iteration, i, long)
                if i == 0 and long:
                    text += f"  # {ODD}"
                pairs.append(
                    {
                        "puzzle_id": identity,
                        "text": pair_text(source, text),
                        "weight": 0.5,
                        "iteration": iteration,
                    }
                )
                verdicts.append(
                    {
                        "puzzle_id": identity, "puzzle": source, "solution": text + "\n", "outcome": "accepted",
                        "checkpoint": "solver", "generality": 0.5,
                    }
                )  # fmt: skip
            verdicts.append(verdicts[-1] | {"outcome": "wrong", "solution": "def g(): return 0"})
            verdicts.append(verdicts[-1] | {"outcome": "infrastructure"})
        listed = puzzle_list([puzzle(iteration, 0), puzzle(iteration, 1)])
        pairs.append({"puzzle_id": "list", "text": listed, "weight": 1.0, "iteration": iteration})
        for stage, schema, records in (
            ("kept", PUZZLE, puzzles), ("verdicts", VERDICT, verdicts), ("dataset", PAIR, pairs),
        ):  # fmt: skip
            ledger = Ledger(
                run.stage(iteration, stage),
                stage=stage,
                schema=schema,
                shard_count=2,
                seed=0,
                fingerprint="x",
            )
            for shard in range(2):
                ledger.commit(shard, records[shard::2])
            ledger.finish()
    return root
