"""Transfer: Pass@k on a public suite of unit tests (`selfprog evaluate --suite=...`).

Reads:    a model, a suite's file.
Writes:   OUTPUT/settings.json, attempts, verdicts, base_verdicts (ledgers), samples.jsonl and evaluation.json.
Restart:  the shard, of attempts and of verdicts.
Left out: overlapping the two (a suite is a few hundred tasks); a fleet (the verdicts' records do not hold the tests).
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import gin
from t5x_selfprog import hosts, in_use
from t5x_selfprog.evaluation import held_out
from t5x_selfprog.evaluation.evaluation import ProblemCount, summarise
from t5x_selfprog.evaluation.suite_asking import Chat, SuiteAsking
from t5x_selfprog.evaluation.suite_tasks import SuiteFile, SuiteTask
from t5x_selfprog.model import store
from t5x_selfprog.progress import progress_bar
from t5x_selfprog.puzzles.source import short_hash
from t5x_selfprog.run_dir import differences
from t5x_selfprog.sampling.interface import Completion, Request, SamplingConfig
from t5x_selfprog.sampling.sampler import Sampler
from t5x_selfprog.stages.commits import Commits
from t5x_selfprog.stages.context import Context
from t5x_selfprog.stages.evaluate import Subject, identity_of, read, write
from t5x_selfprog.stages.shard_stream import sample_shards
from t5x_selfprog.telemetry import recorder
from t5x_selfprog.telemetry.shards import SamplingMeter
from verifier import Limits
from verifier.errors import UserError
from verifier.storage import files
from verifier.storage.records import ATTEMPT, VERDICT, Schema
from verifier.storage.shards import Ledger
from verifier.unit_tests.suite_files import write_samples
from verifier.unit_tests.suites import Suite

NEVER = "infrastructure"


@dataclasses.dataclass(frozen=True)
class Asked:
    """How a suite's tasks are attempted.

    Attributes:
      attempts, temperature: at each task; temperature 0 takes the likeliest tokens, once.
      grid: the shape of the device's work and its number types; its other settings are ignored.
      chat: "" to continue plain text; in the model's chat template, "begun" to begin each answer for the model up to
        its code, "free" to let it write the whole answer.
    """

    attempts: int
    temperature: float
    grid: SamplingConfig
    chat: Chat = ""


@gin.configurable(module="evaluate_suite")
def run(
    context: Context,
    suite: SuiteFile,
    subject: Subject,
    asked: Asked,
    base: Mapping[str, Any] | None = None,
    *,
    max_new_tokens: int = 512,
    prompt_buckets: tuple[int, ...] = (256, 512, 1024),
    limits: Limits = Limits(cpu_s=10.0),
) -> dict[str, Any]:
    """Evaluates one model on a suite.

    Args:
      base: the base model's evaluation on the same suite, for paired differences.
      limits: CPU seconds cover all tests of a task together.

    Returns:
      The content of evaluation.json: as for an evaluation on puzzles (task ids in place of puzzle ids), with "suite",
      if the file distinguishes them "base_tests" (Pass@k by the tests that evalplus did not add), and if there are any
      "too_long": tasks whose prompts the model cannot read and which it therefore fails.

    Raises UserError if the output belongs to other settings, if several attempts are to be made at temperature 0, or if
    a model without a chat template is to answer in conversation.
    """
    limits.require_exact("evaluate_suite")
    attempts, temperature, grid, chat = asked.attempts, asked.temperature, asked.grid, asked.chat
    require_chance(attempts, temperature)
    if chat:
        SuiteAsking.of(chat, store.load_tokenizer(store.resolve(subject.model)), subject.model)
    sampling = dataclasses.replace(
        grid, temperature=temperature, top_k=0, top_p=1.0, max_new_tokens=max_new_tokens,
        prompt_buckets=prompt_buckets, stop="unindented" if suite.inside and not chat else "none",
        document_start=grid.document_start and not chat,
        rows_per_prompt=min(grid.rows_per_prompt, attempts),
    )  # fmt: skip
    settings = {
        "suite": suite.name,
        "sha256": suite.sha256,
        "model": identity_of(subject.model),
        "attempts": attempts,
        "temperature": temperature,
        "max_new_tokens": max_new_tokens,
        "prompt_buckets": list(prompt_buckets),
        "weights_dtype": grid.weights_dtype,
        "cache_dtype": grid.cache_dtype,
        "cpu_s": limits.cpu_s,
        "memory_mb": limits.memory_mb,
        "seed": context.experiment.seed,
        **({"chat": chat} if chat else {}),
    }
    about = {"arm": subject.arm, "iteration": subject.iteration}
    look = {"split": suite.name, **about, "config": context.run.fingerprint, **settings}
    with in_use.held(subject.output, "evaluate --suite", ("suite",) if hosts.is_first() else ()):
        _require_same(subject.output, settings)
        done = hosts.agree(read(subject.output))
        if done is not None:
            return done
        work = _Work(context, suite, subject.output, short_hash(repr(sorted(settings.items()))))
        label = f"{suite.name} {subject.name}"
        work.sample(subject.model, sampling, asked, label, look)
        work.judge(limits, label)
        return work.conclude(
            {
                **about,
                "seed": context.experiment.seed,
                "suite": suite.name,
                "suite_sha256": suite.sha256,
                "split": suite.name,
                "temperature": temperature,
                **({"chat": chat} if chat else {}),
            },
            attempts,
            base,
        )


def require_chance(attempts: int, temperature: float) -> None:
    if attempts < 1:
        raise UserError(f"--attempts={attempts}: must be at least 1.")
    if temperature == 0 and attempts > 1:
        raise UserError(
            f"--attempts={attempts} --temperature=0: without chance all attempts at a task are the same one; give a "
            "temperature, or one attempt."
        )


class _Work:
    """The ledgers of one evaluation and the work on them."""

    def __init__(self, context: Context, suite: SuiteFile, output: str, fingerprint: str):
        self._context, self._suite, self._output = context, suite, output
        self._fingerprint = fingerprint
        self._task = {task.task_id: task for task in suite.tasks}

    def _ledger(self, name: str, schema: Schema) -> Ledger:
        return Ledger(
            files.join(self._output, name), stage=name, schema=schema, shard_count=self._context.experiment.shards,
            seed=self._context.experiment.seed, fingerprint=self._fingerprint,
        )  # fmt: skip

    def sample(
        self, model: str, sampling: SamplingConfig, asking: Asked, label: str, look: Mapping[str, Any]
    ) -> None:
        """Samples attempts at every task whose prompt fits; the model fails the others.

        look: noted once the model is there to be asked, before its first attempt.
        """
        context, attempts = self._context, asking.attempts
        ledger = self._ledger("attempts", ATTEMPT)
        pending = context.pending(ledger)
        if pending:
            loaded = context.model(model)
            way = SuiteAsking.of(asking.chat, loaded.tokenizer, model)
            sampling = _within(sampling.fitted(attempts), loaded.config.context_length)
            with recorder.current().stage(ledger.path):
                sampler = context.sampler(model, sampling)
                if hosts.is_first():
                    held_out.record(context.run.root, look)
                meter = SamplingMeter(sampler, ledger.path)
                bar = progress_bar(
                    total=len(self._suite.tasks) * attempts, desc=f"{label} attempts", unit="attempt"
                )
                asked = {task.task_id: way.asked(task) for task in self._suite.tasks}
                records: list[dict[str, Any]] = []

                def requests(shard: int) -> Iterator[Request]:
                    for task in context.shard_of(list(self._suite.tasks), shard):
                        if sampler.fits(asked[task.task_id]):
                            yield Request(task.task_id, asked[task.task_id], attempts)

                commits = Commits(ledger)

                def take(request: Request, completions: Sequence[Completion]) -> None:
                    commits.check()
                    bar.update(len(completions))
                    task = self._task[request.item_id]
                    records.extend(_record(way, task, request.prompt, each, sampler) for each in completions)

                key = context.key(0, "evaluate_suite")
                with commits:
                    for shard in sample_shards(sampler, key, ledger, pending, requests, take):
                        tasks = context.shard_of(list(self._suite.tasks), shard)
                        too_long = sum(not sampler.fits(asked[task.task_id]) for task in tasks)
                        tokens = sum(record["n_tokens"] for record in records)
                        context.commit(commits, shard, records, tokens=tokens, too_long=too_long)
                        meter.shard(shard, len(records))
                        records = []
                bar.close()
        context.finish(ledger)

    def judge(self, limits: Limits, label: str) -> None:
        """Judges by all tests, then failed attempts by the base tests alone, for tasks that distinguish them."""
        context = self._context
        attempts = self._ledger("attempts", ATTEMPT)
        verdicts, base_verdicts = self._ledger("verdicts", VERDICT), self._ledger("base_verdicts", VERDICT)
        pending = sorted(set(context.pending(verdicts)) | set(context.pending(base_verdicts)))
        mine = [shard for shard in pending if hosts.is_mine(shard)]
        if mine:
            with recorder.current().stage(verdicts.path), context.pool(limits) as pool:
                for shard in progress_bar(iterable=mine, desc=f"{label} verdicts", unit="shard"):
                    if shard in verdicts.pending():
                        rows = list(attempts.read(shard))
                        suites = [self._task[row["puzzle_id"]].tests for row in rows]
                        verdicts.commit(shard, _judged(pool, rows, suites))
                    failed = [row for row in verdicts.read(shard) if row["outcome"] != "accepted"]
                    rows = [{name: row[name] for name in ATTEMPT} for row in failed]
                    found = [
                        (row, tests) for row in rows if (tests := self._task[row["puzzle_id"]].base_tests)
                    ]
                    base_verdicts.commit(shard, _judged(pool, [r for r, _ in found], [s for _, s in found]))
        context.finish(verdicts)
        context.finish(base_verdicts)

    def conclude(
        self, about: dict[str, Any], attempts: int, base: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """Writes samples.jsonl and evaluation.json; returns the content of the latter."""
        rows = list(self._ledger("verdicts", VERDICT))
        counted = _counts(rows)
        evaluation = {
            **about,
            "checkpoint": rows[-1]["checkpoint"] if rows else "",
            **summarise(self._problems(counted, attempts), Counter(row["outcome"] for row in rows), base),
        }
        too_long = int(self._ledger("attempts", ATTEMPT).counters().get("too_long", 0))
        if too_long:
            evaluation["too_long"] = too_long
        if any(task.base_tests for task in self._suite.tasks):
            again = {
                (row["puzzle_id"], row["sample_index"]): row for row in self._ledger("base_verdicts", VERDICT)
            }
            by_base = [again.get((row["puzzle_id"], row["sample_index"]), row) for row in rows]
            found = summarise(
                self._problems(_counts(by_base), attempts), Counter(row["outcome"] for row in by_base)
            )
            evaluation["base_tests"] = {"pass_at_k": found["pass_at_k"], "outcomes": found["outcomes"]}
        if hosts.is_first():
            write_samples(files.join(self._output, "samples.jsonl"), self._samples(rows, attempts))
        return write(self._output, evaluation)

    def _problems(self, counted: Mapping[str, tuple[int, int]], attempts: int) -> list[ProblemCount]:
        found = []
        for task in self._suite.tasks:
            judged, accepted = counted.get(task.task_id, (0, 0))
            # A prompt too long for the model gets no attempts: the model fails that task, which still counts.
            found.append(
                ProblemCount(task.task_id, task.task_id, self._suite.name, judged or attempts, accepted)
            )
        return found

    def _samples(self, rows: Sequence[Mapping[str, Any]], attempts: int) -> Iterator[dict[str, str]]:
        """In the order of the file. evalplus requires every task, so one without attempts gets empty samples."""
        by_task: dict[str, list[str]] = {task.task_id: [] for task in self._suite.tasks}
        for row in sorted(rows, key=lambda row: row["sample_index"]):
            by_task[row["puzzle_id"]].append(row["solution"])
        for task_id, solutions in by_task.items():
            for solution in solutions or [""] * attempts:
                yield {"task_id": task_id, "solution": solution}


def _record(
    way: SuiteAsking, task: SuiteTask, asked: str, completion: Completion, sampler: Sampler
) -> dict[str, Any]:
    return {
        "puzzle_id": task.task_id,
        "puzzle": asked,
        "solution": way.program(task, asked, completion.text),
        "sample_index": completion.sample_index,
        "logprob": completion.logprob,
        "n_tokens": completion.n_tokens,
        "stop_reason": completion.stop_reason,
        "checkpoint": sampler.checkpoint,
    }


def _judged(
    pool: Any, rows: Sequence[Mapping[str, Any]], suites: Sequence[Suite]
) -> Iterator[dict[str, Any]]:
    """Verdict records, which hold the attempt as it was made, not the program that the tests run."""
    items = (suite.attempt(row["solution"]) for row, suite in zip(rows, suites, strict=True))
    for row, verdict in zip(rows, pool.judge(items), strict=True):
        yield verdict.as_record(row)


def _counts(rows: Iterable[Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """Judged and accepted attempts by task."""
    judged, accepted = Counter[str](), Counter[str]()
    for row in rows:
        if row["outcome"] != NEVER:
            judged[row["puzzle_id"]] += 1
            accepted[row["puzzle_id"]] += row["outcome"] == "accepted"
    return {task_id: (judged[task_id], accepted[task_id]) for task_id in judged}


def _within(sampling: SamplingConfig, context_length: int) -> SamplingConfig:
    """Limits the answer to half of a small model's context."""
    return dataclasses.replace(
        sampling, max_new_tokens=min(sampling.max_new_tokens, max(1, context_length // 2))
    )


def _require_same(output: str, settings: Mapping[str, Any]) -> None:
    """Records an evaluation's settings; raises UserError if its folder belongs to others."""
    path = files.join(output, "settings.json")
    if hosts.is_first() and not files.exists(path):
        files.makedirs(output)
        files.write_json(path, dict(settings))
    hosts.barrier(f"{path} written")
    there = files.read_json(path)
    changed = differences(there, settings, dict.fromkeys((*there, *settings)))
    if changed:
        raise UserError(
            f"{output} is an evaluation of something else:\n"
            + "\n".join(changed)
            + "\nMove it away or delete it."
        )
