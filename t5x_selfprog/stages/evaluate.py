"""Stage 7: Pass@k on held-out problems.

Reads:    a model, the problems of the evaluation split.
Writes:   OUTPUT/attempts, OUTPUT/verdicts (ledgers) and OUTPUT/evaluation.json.
Restart:  the shard.
Left out: tiers, early stopping, first-success counting: every attempt is judged at the full limit, and Pass@k is the
          unbiased estimate from (n, c).
"""

import dataclasses
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import gin
from t5x_selfprog import hosts
from t5x_selfprog.bounds import Count
from t5x_selfprog.evaluation import held_out
from t5x_selfprog.evaluation.enumerator import guesses
from t5x_selfprog.evaluation.evaluation import GuessedProblem, ProblemCount, summarise
from t5x_selfprog.model import store
from t5x_selfprog.puzzles.p3 import Problem
from t5x_selfprog.puzzles.prompts import SolvePrompt
from t5x_selfprog.puzzles.source import short_hash
from t5x_selfprog.sampling.sampler import SamplingConfig
from t5x_selfprog.stages.attempts import Solving, sample_attempts
from t5x_selfprog.stages.context import Context
from t5x_selfprog.stages.judging import finish_verdicts, judge_attempts, overlapped
from t5x_selfprog.telemetry import recorder
from t5x_selfprog.telemetry.watchdog import MAIN
from verifier import Limits, parse_puzzle
from verifier.fleet.terms import Terms
from verifier.language.leniency import lenient_python
from verifier.storage import files
from verifier.storage.shards import Ledger, is_finished

ENUMERATOR = "enumerator"  # its track for the watchdog


class Measurement:
    """An evaluation whose attempts are all sampled, but perhaps not all judged."""

    def __init__(self, finish: Callable[[Mapping[str, Any] | None], dict[str, Any]]):
        self._finish = finish
        self._found: dict[str, Any] | None = None

    def result(self, base: "Measurement | None" = None) -> dict[str, Any]:
        """The content of evaluation.json; waits for the verdicts. Collective.

        `base` is the base model's evaluation on the same problems, for paired differences.
        """
        if self._found is None:
            self._found = self._finish(None if base is None else base.result())
        return self._found


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model to be measured, and where it stands in the table.

    Attributes:
      model: a model directory or the name of a shipped model.
      output: the folder of its evaluation.
      arm, iteration: its name in tables; None for a model of no iteration.
    """

    model: str
    output: str
    arm: str
    iteration: int | None = None

    @property
    def name(self) -> str:
        return self.arm if self.iteration is None else f"{self.arm} {self.iteration}"


@gin.configurable(module="evaluate")
def run(
    context: Context,
    subject: Subject,
    problems: Sequence[Problem] | None = None,
    split: str | None = None,
    sampling: SamplingConfig = gin.REQUIRED,
    prompt: SolvePrompt = SolvePrompt(),
    attempts: Count = 100,
    limits: Limits = Limits(cpu_s=1.0),
) -> Measurement:
    """Evaluates one model on the experiment's evaluation split, or on other `problems` of a named `split`.

    Returns once all attempts are sampled, so that later device work need not wait for verdicts.
    """
    limits.require_exact("evaluate")
    output = subject.output
    done = hosts.agree(read(output))
    if done is not None:
        return Measurement(lambda base: done)
    measured = context.eval_problems if problems is None else problems
    split = split or context.experiment.eval_split
    look = {
        "split": split,
        "arm": subject.arm,
        "iteration": subject.iteration,
        "model": subject.model,
        "output": output.removeprefix(context.run.root).strip("/"),
        "problems": len(measured),
        "problem_set": short_hash("".join(sorted(problem.puzzle_id for problem in measured))),
        "attempts": attempts,
        "temperature": sampling.temperature,
        "seed": context.experiment.seed,
        "config": context.run.fingerprint,
    }
    attempts_path, verdicts_path = files.join(output, "attempts"), files.join(output, "verdicts")
    if not is_finished(attempts_path):
        store.require_weights(subject.model)  # without them nothing is looked at
    if hosts.is_first():
        held_out.record(context.run.root, look)

    def sample() -> None:
        # All models share one key: same problems, same draws, so that differences are paired.
        with recorder.current().stage(attempts_path):
            sample_attempts(
                context, [(p.puzzle_id, p.source) for p in measured], attempts_path,
                Solving(attempts, sampling, prompt), model=subject.model, key=context.key(0, "evaluate"),
                label=f"eval {subject.name}",
            )  # fmt: skip

    wait = overlapped(
        sample,
        lambda alive: judge_attempts(
            context, attempts_path, verdicts_path, terms=Terms(limits), writer_alive=alive
        ),
        attempts_path,
    )
    about = {
        "arm": subject.arm,
        "iteration": subject.iteration,
        "checkpoint": "",  # filled in from the records
        "seed": context.experiment.seed,
        "seeds": context.experiment.problems,
        "split": split,
        "temperature": sampling.temperature,
    }

    def finish(base: Mapping[str, Any] | None) -> dict[str, Any]:
        wait()
        finish_verdicts(context, verdicts_path)
        counts, outcomes, checkpoint = _count(verdicts_path, measured, attempts)
        return write(output, about | {"checkpoint": checkpoint} | summarise(counts, outcomes, base))

    return Measurement(finish)


def _count(
    verdicts_path: str, problems: Sequence[Problem], attempts: int
) -> tuple[list[ProblemCount], Counter[str], str]:
    """The counts of each problem in a ledger of verdicts, all outcomes, and the checkpoint that was sampled."""
    judged, accepted, outcomes = Counter[str](), Counter[str](), Counter[str]()
    checkpoint = ""
    for verdict in Ledger.open(verdicts_path):
        outcomes[verdict["outcome"]] += 1
        checkpoint = verdict["checkpoint"]
        if verdict["outcome"] != "infrastructure":
            judged[verdict["puzzle_id"]] += 1
            accepted[verdict["puzzle_id"]] += verdict["outcome"] == "accepted"
    counts = [
        # A prompt too long for the model gets no attempts: the model fails that problem, which still counts.
        ProblemCount(p.puzzle_id, p.name, p.group, judged[p.puzzle_id] or attempts, accepted[p.puzzle_id])
        for p in problems
    ]
    return counts, outcomes, checkpoint


@gin.configurable(module="enumerate")
def run_enumerator(
    context: Context,
    output: str,
    limits: Limits = Limits(cpu_s=1.0),
) -> Measurement:
    """Evaluates the no-model baseline, an ordered list of typed guesses for every problem, in a background thread."""
    limits.require_exact("the enumerator")
    done = hosts.agree(read(output))
    if done is not None:
        return Measurement(lambda base: done)
    found: Future[dict[str, Any]] = Future()

    def work() -> None:
        try:
            found.set_result(_enumerate(context, limits))
        except BaseException as error:  # raised in `finish`
            found.set_exception(error)

    if hosts.is_first():
        threading.Thread(target=work, name="enumerator", daemon=True).start()

    def finish(base: Mapping[str, Any] | None) -> dict[str, Any]:
        watch = recorder.current()
        with watch.part("verdicts"), watch.track(MAIN, waits=True):
            evaluation = found.result() if hosts.is_first() else {}
        return write(output, hosts.agree(evaluation))

    return Measurement(finish)


def _enumerate(context: Context, limits: Limits) -> dict[str, Any]:
    items, rows = [], []
    for problem in context.eval_problems:
        with lenient_python():
            guessed = guesses(parse_puzzle(problem.source))
        rows.append((problem, len(guessed)))
        items += [{"puzzle": problem.source, "solution": guess, "id": problem.puzzle_id} for guess in guessed]
    ranks: dict[str, int] = {}
    outcomes: Counter[str] = Counter()
    place: dict[str, int] = defaultdict(int)
    with recorder.current().track(ENUMERATOR), context.pool(limits, track=ENUMERATOR) as pool:
        for item, verdict in zip(items, pool.judge(items), strict=True):
            place[item["id"]] += 1
            outcomes[verdict.outcome] += 1
            if verdict.accepted:
                ranks.setdefault(item["id"], place[item["id"]])
    counts = [
        GuessedProblem(
            p.puzzle_id, p.name, p.group, max(1, n), int(p.puzzle_id in ranks), ranks.get(p.puzzle_id)
        )
        for p, n in rows
    ]
    about = {"arm": "enumerator", "iteration": None, "checkpoint": "", "seeds": context.experiment.problems}
    return about | {"split": context.experiment.eval_split, "temperature": 0.0} | summarise(counts, outcomes)


def identity_of(model: str) -> str:
    """The identity of the weights, or their path if computing it would fetch them all."""
    path = store.resolve(model)
    is_cheap = not files.is_remote(path) or files.exists(files.join(path, "done.json"))
    return store.stored_identity(path) if is_cheap else path


def name_of(model: str) -> str:
    """A name for a model that the run did not train, after its folder and its weights: others have folders so named."""
    folder, identity = files.absolute(model).rstrip("/").rpartition("/")[2], identity_of(model)
    return f"{folder}-{(short_hash(identity) if files.is_remote(identity) else identity)[:8]}"


def read(output: str) -> dict[str, Any] | None:
    """A finished evaluation, or None."""
    try:
        return files.read_json(_path(output))
    except FileNotFoundError:
        return None


def _path(output: str) -> str:
    return files.join(output, "evaluation.json")


def write(output: str, evaluation: dict[str, Any]) -> dict[str, Any]:
    """Finishes an evaluation: the first host writes it, and all wait until it is there."""
    if hosts.is_first():
        files.write_json(_path(output), evaluation)
    hosts.barrier(f"{output} written")
    return evaluation
