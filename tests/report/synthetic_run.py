"""Builds a run directory without a model: the files a real run leaves, with numbers and puzzles made up.

`make_run(root)` is a finished run of two iterations; `stop_after` leaves out what a killed run would not have.
Some puzzles are hostile: they hold HTML that must stay text.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np

from t5x_selfprog.evaluation import held_out
from t5x_selfprog.evaluation.evaluation import GuessedProblem, ProblemCount, summarise
from t5x_selfprog.puzzles.p3 import in_split, load_problems
from t5x_selfprog.puzzles.source import puzzle_id
from t5x_selfprog.run_layout import RunDir
from t5x_selfprog.telemetry import goodput
from verifier.storage.records import ATTEMPT, PUZZLE, VERDICT, Kind
from verifier.storage.shards import Ledger, atomic_write

PROBLEMS, ATTEMPTS = 120, 100
TRIED = 30  # held-out problems whose attempts were kept
SCREENED = {
    "puzzle_id": Kind.TEXT, "ok": Kind.INT, "reason": Kind.TEXT, "detail": Kind.TEXT, "behaviour": Kind.TEXT,
}  # fmt: skip
HOSTILE = (
    '</script><script>window.hacked = "script"</script>',
    "<img src=x onerror=\"window.hacked = 'img'\">",
    "</pre></code></article><svg onload=\"window.hacked = 'svg'\">",
    "{{script}}<!-- --><plaintext>",
    "\u202e\u2066 reversed \x00\x1b \ud800",
)

_FORMS = (
    ("int", "def f(n: int, a={a}, b={b}):\n    return n * a + b == {c} and n > {b}", "return ({c} - b) // a"),
    ("int", "def f(k: int, li={li}):\n    return li[k] == max(li)", "return li.index(max(li))"),
    ("str", """def f(s: str, word="{w}", n={b}):
    '''A docstring.'''
    return s.count(word) == n and len(s) < {c}""", "return word * n"),
    ("List[int]", """def f(li: List[int], target={li}):
    # sorted, but not the same
    return sorted(li) == sorted(target) and li != target""", "return target[::-1]"),
    ("List[str]", """def f(parts: List[str], text='{w} {w}x y'):
    return all(p in text for p in parts) and len(set(parts)) >= {b}""",
     "return [text[:i] for i in range(len(text))]"),
    ("List[List[int]]", """def f(m: List[List[int]], n={b}):
    for i in range(n):
        if sum(m[i]) != n:
            return False
    return len(m) == n""", "return [[n] for _ in range(n)]"),
    ("float", "def f(x: float, y={a}.5):\n    return abs(x ** 2 - y) < 1e-6", "return y ** 0.5"),
)  # fmt: skip
_WORDS = ("fizz", "lantern", "quartz", "meadow", "ox", "tangle")


def make_run(
    root: Path, *, iterations: int = 2, gain: float = 2.0, puzzles: int = 60, stop_after: str = ""
) -> Path:
    """Writes a run; `gain` is how much likelier each iteration solves a problem than the one before."""
    rng = np.random.default_rng(0)
    run = RunDir(str(root))
    difficulty = rng.beta(0.08, 2.0, PROBLEMS)
    atomic_write(run.config, "# made up\nevaluate.attempts = 100\nExperiment.problems = 'seeds'\n")
    train = [problem.puzzle_id for problem in in_split(load_problems("seeds"), "train")[:30]]
    for number in range(iterations):
        look = {"split": "test", "arm": "verified", "iteration": number, "config": "made-up"}
        held_out.record(run.root, look)
        entry = {
            "stage": f"iteration {number}: puzzles",
            "seconds": 40.0 + number,
            "devices": 2,
            "platform": "cpu",
        }
        atomic_write(f"{run.root}/times/{number:05d}.json", json.dumps(entry))
    spent = {
        "iteration 0: puzzles": {"decode": 20.0, "host": 4.0, "compile": 6.0},
        "iteration 0: training": {"train": 40.0, "verdicts": 30.0},
    }
    waits = {"iter_000/3_solutions": {"sampling_s": 90.0, "waited_s": 30.0}}
    programs = {"sampling <decode>": {"times": 3, "seconds": 6.0, "cached": 1}}
    account = goodput.Account(lives=2, devices=2, lost_steps=7, stages=spent, waits=waits, programs=programs)
    goodput.write(run.root, account)
    atomic_write(f"{run.root}/clean.json", json.dumps({"problems": PROBLEMS, "clean": 117, "soiled": {}}))
    stages = ["iter_000/6_checkpoints", "iter_001/6_checkpoints", "controls/human/6_checkpoints"]
    lines = [
        {
            "kind": "train", "stage": stage.partition("/")[2] if stage.startswith("iter") else stage,
            "iteration": int(stage[5:8]) if stage.startswith("iter") else None, "step": step,
            "loss": 3.0 / (1 + step / 10), "learning_rate": 5e-4 * (1 - step / 60),
            **({"clipped": 0.02 + step / 1e3, "old_kl": step / 1e4, "base_kl": step / 1e3} if "iter" in stage else {}),
        }
        for stage in stages
        for step in range(0, 60, 5)
    ]  # fmt: skip
    atomic_write(f"{run.root}/metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines) + '{"cut of')
    life = {
        "begun": "2026-11-27T00:00:00+00:00", "command": "selfprog run --gin_file=quickstart --run_dir=made_up",
        "commit": "0123456789ab+", "versions": {"jax": "0.10.2"}, "devices": "1 x cpu (cpu)", "host": "Linux, 2 cores",
    }  # fmt: skip
    atomic_write(
        f"{run.root}/provenance.json",
        json.dumps({"lives": [life, life | {"begun": "2026-11-28T00:00:00+00:00"}]}),
    )
    base = _evaluate(run.base_eval, "base", None, difficulty, rng, None)
    for number in range(iterations):
        _iteration(run, number, puzzles, rng, stop_after, train)
        if stop_after in ("puzzles", "half_verdicts"):
            return root
        _evaluate(
            run.stage(number, "eval"),
            "verified",
            number,
            _learned(difficulty, gain ** (number + 1), rng),
            rng,
            base,
        )
    if stop_after == "iterations":
        return root
    for arm, factor in (("unverified", 1.1), ("human", 1.6), ("seeds_only", 1.0)):
        _evaluate(run.control(arm, "eval"), arm, iterations - 1, _learned(difficulty, factor, rng), rng, base)
    guessed = [
        GuessedProblem(
            f"held-out-{i}", f"Problem{i}", _group(i), 55, int(i % 7 == 0), 1 + i % 40 if i % 7 == 0 else None
        )
        for i in range(PROBLEMS)
    ]
    about = {
        "arm": "enumerator",
        "iteration": None,
        "checkpoint": "",
        "seeds": "seeds",
        "split": "test",
        "temperature": 0.0,
    }
    _write(f"{run.root}/enumerator/7_eval", about | summarise(guessed, {"accepted": 18, "wrong": 6582}, base))
    return root


def _learned(difficulty: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    return np.clip(difficulty * factor + rng.beta(0.02 * factor, 3.0, len(difficulty)) * (factor > 1), 0, 1)


def _evaluate(folder, arm, iteration, difficulty, rng, base):
    right = rng.binomial(ATTEMPTS, difficulty)
    problems = [
        ProblemCount(f"held-out-{i}", f"Problem{i}", _group(i), ATTEMPTS, int(c)) for i, c in enumerate(right)
    ]
    outcomes = {"accepted": int(right.sum()), "wrong": int(PROBLEMS * ATTEMPTS - right.sum())}
    about = {
        "arm": arm,
        "iteration": iteration,
        "checkpoint": f"{arm}-{iteration}",
        "seeds": "seeds",
        "split": "test",
        "temperature": 0.8,
    }
    evaluation = about | summarise(problems, outcomes, base)
    _write(folder, evaluation)
    _held_out_attempts(folder, problems[:TRIED])
    return evaluation


def _held_out_attempts(folder: str, problems: list[ProblemCount]) -> None:
    """Ten attempts at each: right ones first, as the counts say, then two kinds of wrong ones."""
    verdicts = []
    for number, problem in enumerate(problems):
        text = HOSTILE[number % len(HOSTILE)]
        source = f"def f(s: str, t={text!r}, n={number}):\n    return s == t  # {text}"
        for sample in range(10):
            outcome = "accepted" if sample < problem.c else ("wrong", "error:NameError")[sample % 2]
            verdicts.append(
                {
                    "puzzle_id": problem.puzzle_id, "puzzle": source,
                    "solution": f"def g(t={text!r}, n={number}):\n    return t  # {text} {sample}\n",
                    "sample_index": sample, "logprob": -9.0, "n_tokens": 20, "stop_reason": "newline",
                    "checkpoint": "made up", "outcome": outcome, "cpu_s": 0.01, "peak_mb": 12.0,
                    "detail": f"f returned False {text}" if outcome == "wrong" else "",
                    "answer": "long " * 100 if outcome == "accepted" else None,
                    "isolation": "rlimits", "verifier_version": "1", "generality": None,
                }
            )  # fmt: skip
    _ledger(f"{folder}/verdicts", "verdicts", VERDICT, verdicts)


def _group(i: int) -> str:
    return "human_eval" if i % 3 else "rest"


def _write(folder: str, evaluation: dict) -> None:
    atomic_write(f"{folder}/evaluation.json", json.dumps(evaluation))


def _iteration(
    run: RunDir, number: int, puzzles: int, rng: np.random.Generator, stop_after: str, train: list[str]
) -> None:
    made = [_puzzle(number, i, rng) for i in range(puzzles)]
    for record, _ in made:
        record["prompt_puzzle_ids"] = [str(name) for name in rng.choice(train, 8)]
    screened = [
        {"puzzle_id": record["puzzle_id"], "ok": 1, "reason": "", "detail": "", "behaviour": f"0{i % 7:03b}1"}
        for i, (record, _) in enumerate(made)
    ]
    _ledger(f"{run.iteration(number)}/2_screened", "screened", SCREENED, screened)
    _ledger(run.stage(number, "kept"), "kept", PUZZLE, [record for record, _ in made])
    sampled = puzzles * 11
    stages = {
        "sampled": sampled,
        "parsed": puzzles * 8,
        "well_formed": puzzles * 5,
        "new": puzzles * 2,
        "non_trivial": puzzles,
    }
    rejections = {
        "no_parse": 31,
        "bad_type": 120,
        "duplicate": 95,
        "trivial": 60,
        "answer_unused": 8,
        "contaminated": 1,
    }
    if stop_after != "puzzles":
        verdicts = [verdict for record, solution in made for verdict in _verdicts(record, solution, rng)]
        _ledger(
            run.stage(number, "verdicts"), "verdicts", VERDICT, verdicts, half=stop_after == "half_verdicts"
        )
        done = {"step": 40, "identity": f"base@{number + 1}", "start": "base@0", "pairs": 90, "tokens": 4000}
        write_rollouts(run.stage(number, "checkpoints"), np.random.default_rng(number), selfplay=number == 0)
        if number == 0:
            done["reward"] = {"target": "r_zero", "valid": 0.2, "novel": 0.2, "rate": 1.0}
        atomic_write(f"{run.stage(number, 'checkpoints')}/done.json", json.dumps(done))
        solved = {verdict["puzzle_id"] for verdict in verdicts if verdict["outcome"] == "accepted"}
        stages |= {"solved": len(solved), "kept": 3 * len(solved)}
    funnel = {
        "stages": [{"name": name, "count": number} for name, number in stages.items()],
        "rejections": dict(Counter(rejections).most_common()),
    }
    atomic_write(run.funnel(number), json.dumps(funnel))


ROLLOUT = {**ATTEMPT, "tokens": Kind.INTS, "logprobs": Kind.FLOATS, "outcome": Kind.TEXT, "task": Kind.TEXT}
PROPOSED = {"puzzle_id": Kind.TEXT, "prompt": Kind.TEXT}
REASONS = {"puzzle_id": Kind.TEXT, "reason": Kind.TEXT, "novelty": Kind.FLOAT}
BATCHES, GROUP = 6, 4


def write_rollouts(output: str, rng: np.random.Generator, *, selfplay: bool, batches: int = BATCHES) -> None:
    """What a training on verdicts leaves: batches with attempts of each kind, and proposals for self-play."""
    tasks = ("proposal", "puzzle", "deduction", "abduction") if selfplay else ("puzzle",)
    for number in range(batches):
        folder = f"{output}/rollouts/{number:04d}"
        attempts = []
        for task in tasks:
            for name in range(3):
                rate = rng.choice([0.0, 0.3 + 0.1 * number, 1.0])
                attempts += [
                    {
                        "puzzle_id": f"{task}-{number}-{name}", "task": task, "tokens": [1], "logprobs": [-1.0],
                        "puzzle": HOSTILE[name], "outcome": "accepted" if rng.random() < rate else "wrong",
                    }
                    for _ in range(GROUP)
                ]  # fmt: skip
        if not selfplay:
            _ledger(folder, "rollouts", ROLLOUT, attempts)
            continue
        _ledger(f"{folder}/attempts", "attempts", ROLLOUT, attempts)
        reasons = ["", "", "", "duplicate", "no_parse", "no_parse", "bad_type", "<b>odd</b>"]
        names = [f"proposal-{number}-{i}" for i in range(len(reasons))]
        proposals = [{"puzzle_id": name, "prompt": f"{number}/0"} for name in names]
        screened = [
            {"puzzle_id": name, "reason": reason, "novelty": 0.0 if reason else 0.5}
            for name, reason in zip(names, reasons, strict=True)
        ]
        # One shard each, so that they stay side by side.
        for name, schema, rows in (("proposals", PROPOSED, proposals), ("screened", REASONS, screened)):
            ledger = Ledger(
                f"{folder}/{name}", stage=name, schema=schema, shard_count=1, seed=0, fingerprint="made-up"
            )
            ledger.commit(0, rows)
            ledger.finish()


def _puzzle(iteration: int, i: int, rng: np.random.Generator) -> tuple[dict, str]:
    if iteration == 0 and i < len(HOSTILE):
        answer_type, source = "str", f"def f(s: str, t={HOSTILE[i]!r}):\n    return s == t  # {HOSTILE[i]}"
        solution = f"def g(t={HOSTILE[i]!r}):\n    return t  # {HOSTILE[i]}\n"
    else:
        answer_type, puzzle, body = _FORMS[int(rng.integers(len(_FORMS)))]
        values = {
            "a": int(rng.integers(2, 90)),
            "b": int(rng.integers(2, 9)),
            "c": int(rng.integers(100, 9999)),
            "li": [int(x) for x in rng.integers(-50, 50, 5)],
            "w": str(rng.choice(_WORDS)),
        }
        source = puzzle.format(**values)
        header = source.split("\n")[0].split(",", 1)[1].rsplit(")", 1)[0].strip()
        solution = f"def g({header}):\n    {body.format(**values)}\n"
    record = {
        "puzzle_id": puzzle_id(source) if i >= len(HOSTILE) or iteration else f"hostile-{i}",
        "source": source,
        "answer_type": answer_type,
        "origin": f"iter_{iteration:03d}",
        "sample_index": i,
        "logprob": -20.0,
        "checkpoint": f"base@{iteration}",
    }
    return record, solution


def _verdicts(record: dict, solution: str, rng: np.random.Generator) -> list[dict]:
    rate = float(rng.choice([0.0, 0.01, 0.05, 0.2, 0.7, 0.98], p=[0.25, 0.2, 0.2, 0.15, 0.1, 0.1]))
    if record["puzzle_id"].startswith("hostile"):
        rate = 0.5
    kinds = [
        "wrong",
        "error:IndexError",
        "error:TypeError",
        "wrong_type",
        "syntax",
        "cpu_limit",
        "memory_limit",
    ]
    verdicts = []
    for sample in range(32):
        outcome = (
            "accepted"
            if rng.random() < rate
            else str(rng.choice(kinds, p=[0.55, 0.12, 0.12, 0.1, 0.06, 0.04, 0.01]))
        )
        text = solution.rstrip() + ("\n" if sample % 3 else f"  # variant {sample}\n")
        verdicts.append(
            {
                "puzzle_id": record["puzzle_id"],
                "puzzle": record["source"],
                "solution": text,
                "sample_index": sample,
                "logprob": -9.0,
                "n_tokens": 20,
                "stop_reason": "newline",
                "checkpoint": record["checkpoint"],
                "outcome": outcome,
                "detail": "",
                "cpu_s": 0.01,
                "peak_mb": 12.0,
                "answer": "[1, 2, 3]" if outcome == "accepted" else None,
                "isolation": "rlimits",
                "verifier_version": "1",
                "generality": 0.75 if outcome == "accepted" else None,
            }
        )
    return verdicts


def _ledger(path: str, stage: str, schema, records: list[dict], half: bool = False) -> None:
    ledger = Ledger(path, stage=stage, schema=schema, shard_count=4, seed=0, fingerprint="made-up")
    for shard in range(2 if half else 4):
        ledger.commit(shard, records[shard::4])
    if not half:
        ledger.finish()
