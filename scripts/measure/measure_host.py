#!/usr/bin/env python
"""What an attempt costs the thread that keeps the devices busy: CPU microseconds by part; prints one JSON object.

  scripts/measure/measure_host.py [--rows 2048] [--rounds 5] [--in_place]

Runs the code of stage 3 with a device that ends attempts of given lengths at once and costs nothing: taking a chunk in,
tokens to text, records, and handing shards over, beside which a thread of its own commits them to disk. With
--in_place, the main thread commits them. The best round counts, since other processes only add time.
"""

import argparse
import collections
import contextlib
import gc
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
if Path(sys.prefix).resolve() != (REPOSITORY / ".venv").resolve() and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), "-W", "ignore", __file__, *sys.argv[1:]])
sys.path.insert(0, str(REPOSITORY))

import numpy as np

from t5x_selfprog.model import store
from t5x_selfprog.puzzles.prompts import solve_prompt
from t5x_selfprog.sampling import stop
from t5x_selfprog.sampling.replay import Remembered
from t5x_selfprog.sampling.sampler import Sampler
from t5x_selfprog.sampling.scheduler import Job, Scheduler
from t5x_selfprog.stages.allocation import Asked
from t5x_selfprog.stages.attempts import _records
from t5x_selfprog.stages.commits import Commits
from t5x_selfprog.tokenizer import Tokenizer
from verifier.storage.records import ATTEMPT
from verifier.storage.shards import Ledger

ROWS_A_PROMPT, CHUNK, ATTEMPTS, SHARDS = 4, 8, 32, 8
BODIES = ("return {}", "return [{}] * 20", "x = {}\n    return x ** 2 + 5", "return str({}) + 'x'")


def one_round(
    sampler: Sampler, tokens: list[np.ndarray], rows: int, draw: random.Random, in_place: bool
) -> dict[str, float]:
    """CPU microseconds an attempt: of the main thread by part, and of other threads "beside" it.

    "elapsed" are those of the clock, and include what this script's device takes.
    """
    spent: dict[str, float] = collections.defaultdict(float)
    groups = rows // ROWS_A_PROMPT
    written = [[draw.choice(tokens) for _ in range(ATTEMPTS)] for _ in range(2 * groups)]
    asked = []
    for i in range(len(written)):
        source = f"def f(x: int, a={i}):\n    return x * x == a + 7 and x > 3"
        asked.append(
            Asked(
                f"{i:016x}",
                source,
                solve_prompt(source, encode=lambda text: [ord(letter) for letter in text]),
            )
        )
    todo = collections.deque(
        Job(
            i,
            asked[i].puzzle_id,
            [1],
            False,
            0,
            ATTEMPTS,
            ATTEMPTS,
            np.array([len(t) for t in each], np.int32),
        )
        for i, each in enumerate(written)
    )
    scheduler, device = Scheduler(groups, ROWS_A_PROMPT, 80), Remembered(groups, ROWS_A_PROMPT, CHUNK)
    records: list[dict[str, Any]] = []
    shards = iter(range(SHARDS))

    def lap(part: str, began: float) -> None:
        spent[part] += time.thread_time() - began

    attempts = len(written) * ATTEMPTS
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(folder, stage="solutions", schema=ATTEMPT, shard_count=SHARDS, seed=0, fingerprint="")
        beside, started = time.process_time() - time.thread_time(), time.perf_counter()
        with contextlib.nullcontext(ledger) if in_place else Commits(ledger) as to:
            while todo or scheduler.busy():
                placed = [(todo.popleft(), group) for group in scheduler.idle_groups()[: len(todo)]]
                for job, group in placed:
                    scheduler.place(job, group)
                device.load(placed, 1)
                events = device.decode()
                began = time.thread_time()
                scheduler.record(events)
                done = scheduler.collect()
                lap("chunk taken in", began)
                for job in done:
                    for place, attempt in enumerate(
                        job.finished
                    ):  # its tokens, which this device does not know
                        job.finished[place] = attempt._replace(
                            tokens=written[job.number][attempt.sample], reason=stop.UNINDENTED
                        )
                    began = time.thread_time()
                    completions = sampler._completions(job)
                    lap("text", began)
                    began = time.thread_time()
                    records += _records(sampler, asked[job.number], completions)
                    lap("record", began)
                    if len(records) >= attempts / SHARDS:
                        began = time.thread_time()
                        to.commit(next(shards), records)
                        lap("commit", began)
                        records = []
        spent["beside"] = time.process_time() - time.thread_time() - beside
        spent["elapsed"] = time.perf_counter() - started
        assert ledger.finish()["rows"] == attempts
    return {part: seconds / attempts * 1e6 for part, seconds in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--in_place", action="store_true", help="the main thread commits")
    options = parser.parse_args()
    tokenizer, draw = Tokenizer.load(store.resolve("base")), random.Random(0)
    sampler = Sampler.__new__(Sampler)  # its host side alone: no weights, no programs
    sampler._texts, sampler._stop = stop.token_texts(tokenizer), stop.StopRule("unindented")
    sampler._seconds, sampler.checkpoint = {"host_s": 0.0}, "sha256:" + "0" * 64
    bodies = [
        "\n    " + draw.choice(BODIES).format(draw.randrange(1000)) + "\n\nassert f(g())" for _ in range(500)
    ]
    tokens = [np.array(tokenizer.encode(body), np.int32) for body in bodies]
    gc.freeze()  # as Context.sampler does
    rounds = [one_round(sampler, tokens, options.rows, draw, options.in_place) for _ in range(options.rounds)]
    best = {part: round(min(each[part] for each in rounds), 2) for part in rounds[0]}
    about = {
        "rows": options.rows, "chunk_steps": CHUNK, "attempts_a_prompt": ATTEMPTS,
        "tokens_an_attempt": round(float(np.mean([*map(len, tokens)])), 1), "load": os.getloadavg()[0],
    }  # fmt: skip
    rest = {name: best.pop(name) for name in ("beside", "elapsed")}
    of_main = {"cpu_us_an_attempt": best, "sum": round(sum(best.values()), 2)}
    print(json.dumps(about | of_main | rest | {"in_place": options.in_place}))


if __name__ == "__main__":
    main()
