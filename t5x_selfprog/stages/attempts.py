"""Sampling solutions and judging them: what stages 3 and 4 and the evaluation have in common.

Both work from ledger to ledger, shard by shard; judging follows the sampling of the same attempts while it
runs, on the host's own cores, so that the accelerator never waits for a verdict.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax

from t5x_selfprog.progress import progress_bar
from t5x_selfprog.puzzles.prompts import (
    BLANK_LINE,
    SolvePrompt,
    clean_solution,
    solve_prompt,
    tutorial_blocks,
)
from t5x_selfprog.puzzles.resample import variants
from t5x_selfprog.sampling.sampler import Request, SamplingConfig
from t5x_selfprog.stages.context import Context
from verifier import Limits, Pool
from verifier.records import ATTEMPT, VERDICT

POLL_S = 0.2


def sample_attempts(
    context: Context,
    puzzles: Sequence[tuple[str, str]],
    path: str,
    *,
    model: str,
    key: jax.Array,
    attempts: int,
    sampling: SamplingConfig,
    prompt: SolvePrompt,
    label: str,
) -> None:
    """Samples `attempts` solutions of every (puzzle_id, source) into the ledger at `path`.

    A puzzle whose prompt does not fit the model's context is left without attempts and counted as `too_long`.
    """
    ledger = context.ledger(path, "solutions", ATTEMPT)
    pending = ledger.pending()
    if pending:
        loaded = context.model(model)
        blocks = tutorial_blocks(prompt.tutorial)
        prefix = BLANK_LINE.join([*blocks, ""]) if blocks else ""
        sampler = context.sampler(model, sampling, prefix)
        bar = progress_bar(total=len(puzzles) * attempts, desc=f"{label} solve", unit="attempt")
        for shard in range(ledger.shard_count):
            mine = context.shard_of(list(puzzles), shard)
            if shard not in pending:
                bar.update(len(mine) * attempts)
                continue
            asked = [(*puzzle, solve_prompt(puzzle[1], encode=loaded.tokenizer.encode)) for puzzle in mine]
            fitting = [item for item in asked if sampler.fits(item[2].text)]
            requests = [Request(item[0], item[2].text, attempts) for item in fitting]
            records: list[dict[str, Any]] = []
            for (puzzle_id, source, request), completions in zip(
                fitting, sampler.sample(requests, key), strict=True
            ):
                bar.update(len(completions))
                for completion in completions:
                    records.append(
                        {
                            "puzzle_id": puzzle_id,
                            "puzzle": source,
                            "solution": clean_solution(request.header, completion.text).rstrip() + "\n",
                            "sample_index": completion.sample_index,
                            "logprob": completion.logprob,
                            "n_tokens": completion.n_tokens,
                            "stop_reason": completion.stop_reason,
                            "checkpoint": sampler.checkpoint,
                        }
                    )
            ledger.commit(
                shard, records, tokens=sum(r["n_tokens"] for r in records), too_long=len(asked) - len(fitting)
            )
        bar.close()
    ledger.finish()


def judge_attempts(
    context: Context,
    attempts_path: str,
    path: str,
    *,
    limits: Limits,
    generality_trials: int = 0,
    writer_alive: Callable[[], bool] = lambda: True,
) -> None:
    """Judges the attempts in one ledger into another, following it shard by shard as it grows.

    With `generality_trials`, every accepted solution runs again on that many resampled arguments of its puzzle,
    and the share that passes is stored as `generality` (absent where there is nothing to resample).
    """
    ledger = context.ledger(path, "verdicts", VERDICT)
    if ledger.pending():
        source = context.ledger(attempts_path, "solutions", ATTEMPT)
        with context.pool(limits) as pool:
            for shard in source.follow(POLL_S, writer_alive):
                if shard not in ledger.pending():
                    continue
                records = list(source.read(shard))
                # The same text at the same puzzle is judged once; every attempt keeps its verdict, so that n and c do.
                distinct = {(record["puzzle"], record["solution"]): record for record in records}
                verdicts = dict(zip(distinct, pool.judge(distinct.values()), strict=True))
                judged = [verdicts[r["puzzle"], r["solution"]].as_record(r) for r in records]
                if generality_trials:
                    _measure_generality(pool, judged, generality_trials)
                ledger.commit(
                    shard,
                    judged,
                    distinct=len(distinct),
                    accepted=sum(record["outcome"] == "accepted" for record in judged),
                    infrastructure=sum(record["outcome"] == "infrastructure" for record in judged),
                )
    ledger.finish()


def _measure_generality(pool: Pool, judged: list[dict[str, Any]], trials: int) -> None:
    """Adds `generality` to the accepted verdicts; each distinct solution of a puzzle is tried once."""
    distinct = {
        (record["puzzle"], record["solution"]): variants(record["puzzle"], record["solution"], trials)
        for record in judged
        if record["outcome"] == "accepted"
    }
    items = [
        {"puzzle": puzzle, "solution": solution} for pairs in distinct.values() for puzzle, solution in pairs
    ]
    verdicts = pool.judge(items)
    share = {
        key: sum(next(verdicts).accepted for _ in pairs) / len(pairs)
        for key, pairs in distinct.items()
        if pairs
    }
    for record in judged:
        if record["outcome"] == "accepted":
            record["generality"] = share.get((record["puzzle"], record["solution"]))


def overlapped(sample: Callable[[], None], judge: Callable[[Callable[[], bool]], None]) -> None:
    """Runs `sample` here and `judge` in a thread beside it; what either raises is raised here."""
    sampling = threading.Event()
    sampling.set()
    raised: list[BaseException] = []

    def follow() -> None:
        try:
            judge(sampling.is_set)
        except BaseException as error:  # handed to the caller below
            raised.append(error)

    thread = threading.Thread(target=follow, name="judge")
    thread.start()
    try:
        sample()
    finally:
        sampling.clear()
        thread.join()
    if raised:
        raise raised[0]
