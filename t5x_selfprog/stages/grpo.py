"""An alternative stage 6: the policy gradient of verdicts, on attempts that the newest weights have just made.

Reads:    2_kept and 4_verdicts of the iteration, the model that the iteration sampled from.
Writes:   RUN/iter_NNN/6_checkpoints: rollouts/NNNN (ledgers of judged attempts), Orbax steps, metrics.jsonl, done.json.
Restart:  the newest checkpoint, and for attempts under way the shard; which puzzles, attempts and parts of a batch a
          step takes is a function of (run seed, iteration, step).
Left out: a value model, learnt rewards, sampling with stale weights (a step waits for its verdicts).
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import jax
import numpy as np

import gin
from t5x_selfprog.bounds import Bound, Count
from t5x_selfprog.model import network, store
from t5x_selfprog.puzzles.asking import asking
from t5x_selfprog.puzzles.prompts import SolvePrompt
from t5x_selfprog.sampling.interface import Completion, Request, SamplingConfig
from t5x_selfprog.sampling.sampler import Sampler
from t5x_selfprog.stages.context import Context
from t5x_selfprog.stages.policy_learning import (
    ROLLOUT,
    Pace,
    Record,
    Workers,
    batch_folder,
    chosen_tokens,
    conclude,
    finished,
    fits_row,
    learn,
    made_sampler,
    outcomes_of,
    require_float_base,
    require_own_distribution,
    sample_and_judge,
)
from t5x_selfprog.training.lora import Lora
from t5x_selfprog.training.policy_gradient import PolicyGradient
from t5x_selfprog.training.rollouts import Groups, group, judged_by_puzzle
from t5x_selfprog.training.train_loop import LoopConfig
from verifier import Limits
from verifier.errors import UserError
from verifier.outcomes import ACCEPTED
from verifier.storage.shards import Ledger

Group = Annotated[int, Bound(least=2)]  # attempts whose rewards are compared


@gin.configurable(module="grpo")
def run(
    context: Context,
    iteration: int,
    start: str,
    output: str,
    objective: PolicyGradient = PolicyGradient(),
    loop: LoopConfig = LoopConfig(),
    sampling: SamplingConfig = gin.REQUIRED,
    prompt: SolvePrompt = SolvePrompt(),
    limits: Limits = Limits(cpu_s=1.0),
    batches: Count = 20,
    puzzles: Count = 16,
    attempts: Group = 8,
    updates: Count = 1,
    length: Count = 1024,
    lora: Lora | None = None,
    each: Count | None = None,
) -> dict[str, Any] | None:
    """Samples, judges and learns, `batches` times.

    Args:
      start: the model directory to begin from.
      batches: how many batches, each of `puzzles` puzzles with `attempts` attempts at each by the newest weights.
      updates: steps per batch, each on a different part of its attempts. 1 is on-policy throughout.
      length: tokens of a row; prompt and attempt must fit.
      lora: trains adapters instead of all weights, and merges them wherever the model samples.
      each: mean attempts per kept puzzle, including stage 3's, in place of `batches`, so that an iteration samples as
        much as one of expert iteration whose stage 3 makes as many.

    Puzzles are those that only some attempts of stage 4 solved, in an order given by the run's seed, repeated as
    needed; if there are none, all that were kept.

    Returns:
      done.json's content: step, batch_rows, identity, and the numbers of groups, of groups without a contrast
      ("alike"), and of attempts. None if no puzzle was kept.

    Raises UserError if sampling is not from the model's own distribution, whose gradient this is.
    """
    require_own_distribution(sampling, "grpo.run.sampling")
    require_float_base(lora, "grpo.run.lora")
    done = finished(output)
    if done is not None:
        return done
    found = list(candidates(context, iteration))
    if not found:
        return None
    if each is not None:
        batches = batches_for(context, iteration, each, min(puzzles, len(found)) * attempts)
    model = context.model(start)
    sampling = sampling.fitted(attempts)
    length = min(length, model.config.context_length)
    with Workers(context) as workers:
        work = _Attempts(
            context, iteration, model, output, objective, sampling, prompt, length, limits, found, puzzles, attempts,
            workers,
        )  # fmt: skip
        pace = Pace(batches, updates, length, sampling.max_new_tokens)
        identity = learn(
            context, iteration, model, work, output, objective, loop, pace, lora, f"{iteration}.6 policy gradient"
        )  # fmt: skip
    return conclude(
        output,
        {
            "step": batches * updates,
            "batch_rows": -(-puzzles * attempts // updates),  # attempts, at most
            "identity": identity,
            "start": model.identity,
            **_totals(output, batches),
            "objective": dataclasses.asdict(objective),
            **({} if lora is None else {"lora": dataclasses.asdict(lora)}),
        },
    )


@dataclasses.dataclass
class _Attempts:
    """Attempts at puzzles in groups, made with the weights at the start of a batch."""

    context: Context
    iteration: int
    model: store.LoadedModel
    output: str
    objective: PolicyGradient
    sampling: SamplingConfig
    prompt: SolvePrompt
    length: int
    limits: Limits
    found: Sequence[tuple[str, str]]
    puzzles: int
    attempts: int
    workers: Workers

    def __post_init__(self):
        self._way = asking(self.prompt, self.model.tokenizer, self.model.path)
        self.sampling = self._way.sampling(self.sampling)

    def groups(self, number: int, weights: network.Params) -> Groups:
        context = self.context
        ledger = rollouts_ledger(context, self.output, number)
        chosen = chosen_of(self.found, self.puzzles, number, (context.experiment.seed, self.iteration))
        asked = {name: self._way.request(source) for name, source in chosen}
        sampler = made_sampler(context, self.model, weights, self.sampling, number, self._way.prefix)
        fitting = {name: source for name, source in chosen if self._fits(sampler, asked[name].text)}

        def record(request: Request, completion: Completion) -> Record:
            name = request.item_id
            return {
                "puzzle_id": name,
                "puzzle": fitting[name],
                "solution": asked[name].solution(completion.text).rstrip() + "\n",
                "checkpoint": sampler.checkpoint,
                **chosen_tokens(completion),
            }

        sample_and_judge(
            context, ledger, sampler, jax.random.fold_in(context.key(self.iteration, "grpo"), number),
            [(name, asked[name].text) for name in fitting], self.attempts, record,
            lambda records: outcomes_of(records, self.workers.pool(self.limits)),
        )  # fmt: skip
        prompts = {name: sampler.document(asked[name].text) for name in fitting}
        return group(self.objective, prompts, list(ledger))

    def _fits(self, sampler: Sampler, text: str) -> bool:
        return fits_row(sampler, text, self.length, self.sampling.max_new_tokens)


def candidates(context: Context, iteration: int) -> Iterator[tuple[str, str]]:
    """(puzzle_id, source) of the puzzles that only some attempts of stage 4 solved, or else of all kept."""
    solved: dict[str, set[bool]] = {}
    for verdict in context.run.read(iteration, "verdicts"):
        solved.setdefault(verdict["puzzle_id"], set()).add(verdict["outcome"] == ACCEPTED)
    mixed = {name for name, found in solved.items() if len(found) == 2}
    for puzzle in context.run.read(iteration, "kept"):
        if not mixed or puzzle["puzzle_id"] in mixed:
            yield puzzle["puzzle_id"], puzzle["source"]


def batches_for(context: Context, iteration: int, each: int, of_a_batch: int) -> int:
    """How many batches bring stage 3's attempts up to `each` per kept puzzle. Raises UserError if none is left."""
    kept = context.run.read(iteration, "kept").manifest()["rows"]
    made = context.run.read(iteration, "solutions").manifest()["rows"]
    left = each * kept - made
    if left < of_a_batch:
        raise UserError(
            f"grpo.run.each={each}: {kept} kept puzzles and {made} attempts of stage 3 leave {left} for the policy "
            f"gradient, and a batch takes {of_a_batch}: raise it, or lower sample_solutions.run.attempts or "
            "grpo.run.puzzles."
        )
    return left // of_a_batch


def chosen_of(
    items: Sequence[tuple[str, str]], count: int, number: int, key: tuple[int, ...]
) -> list[tuple[str, str]]:
    """The items of a batch: all in turn, each epoch in a new order, none twice in a batch."""
    count = min(count, len(items))
    if not count:
        return []
    each = len(items) // count  # batches of an epoch; the rest has its turn in another epoch's order
    epoch, place = divmod(number, each)
    order = np.random.default_rng((*key, epoch)).permutation(len(items))
    return [items[i] for i in order[place * count : (place + 1) * count]]


def rollouts_ledger(context: Context, output: str, number: int) -> Ledger:
    return context.ledger(batch_folder(output, number), "rollouts", ROLLOUT)


def _totals(output: str, batches: int) -> dict[str, int]:
    """Totals over all batches, counted from disk, because an interrupted run may have made some."""
    groups = alike = attempts = accepted = 0
    for number in range(batches):
        records = Ledger.open(batch_folder(output, number))
        for judged in judged_by_puzzle(records).values():
            right = sum(record["outcome"] == ACCEPTED for record in judged)
            groups += 1
            alike += right in (0, len(judged))
            attempts += len(judged)
            accepted += right
    # Other stages call training examples "pairs".
    return {"groups": groups, "alike": alike, "attempts": attempts, "accepted": accepted, "pairs": attempts}
