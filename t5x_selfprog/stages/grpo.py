"""An alternative stage 6: the policy gradient of verdicts, on attempts that the newest weights have just made.

Reads:    2_kept and 4_verdicts of the iteration, the model that the iteration sampled from.
Writes:   RUN/iter_NNN/6_checkpoints: rollouts/NNNN (ledgers of judged attempts), Orbax steps, metrics.jsonl, done.json.
Restart:  the newest checkpoint, and for attempts under way the shard; which puzzles, attempts and parts of a batch a
          step takes is a function of (run seed, iteration, step).
Left out: a value model, learnt rewards, sampling with stale weights (a step waits for its verdicts).
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import gin
from t5x_selfprog.bounds import Count
from t5x_selfprog.evaluation.rollout_accounts import TaskCount, account, batch_folder
from t5x_selfprog.model import network
from t5x_selfprog.puzzles.asking import asking
from t5x_selfprog.sampling.interface import Completion, Request
from t5x_selfprog.sampling.sampler import Sampler
from t5x_selfprog.stages.context import Context
from t5x_selfprog.stages.finetune import NothingToLearn
from t5x_selfprog.stages.policy_learning import (
    ROLLOUT,
    Record,
    Session,
    Workers,
    chosen_tokens,
    conclude,
    finished,
    fits_row,
    learn,
    require_some_fit,
    sample_and_judge,
)
from t5x_selfprog.stages.policy_room import require_room
from t5x_selfprog.stages.policy_settings import Attempting, PolicyTraining, require_learnable
from t5x_selfprog.training.lora import adapters_entry
from t5x_selfprog.training.rollouts import Groups, group
from verifier.outcomes import ACCEPTED, INFRASTRUCTURE
from verifier.storage.shards import Ledger


@gin.configurable(module="grpo")
def run(
    context: Context,
    iteration: int,
    start: str,
    output: str,
    attempting: Attempting = Attempting(),
    training: PolicyTraining = PolicyTraining(),
    puzzles: Count = 16,
    each: Count | None = None,
) -> dict[str, Any] | None:
    """Samples, judges and learns, `training.batches` times.

    Args:
      start: the model directory to begin from.
      puzzles: how many puzzles a batch has, each attempted `training.attempts` times by the newest weights.
      each: mean attempts per kept puzzle, including stage 3's, in place of `training.batches`, so that an iteration
        samples as much as one of expert iteration whose stage 3 makes as many.

    Puzzles are those that only some attempts of stage 4 solved, in an order given by the run's seed, repeated as
    needed; if there are none, all that were kept.

    Returns:
      done.json's content: step, too_long (puzzles that fit no row and are left out), identity, and the numbers of
      groups, of groups without a contrast ("alike"), and of attempts and their tokens. None if no puzzle was kept.

    Raises UserError if sampling is not from the model's own distribution, or adapters are to be trained on a rounded
    base; NothingToLearn if no puzzle fits a row, or `each` leaves less than a group.
    """
    require_learnable(attempting, training)
    done = finished(output)
    if done is not None:
        return done
    found = list(candidates(context, iteration))
    if not found:
        return None
    if each is not None:
        batches, puzzles = batches_for(context, iteration, each, min(puzzles, len(found)), training.attempts)
        training = dataclasses.replace(training, batches=batches)
    require_room(context, start, training, [attempting.sampling.fitted(training.attempts)])
    model = context.model(start)
    training = training.within(model.config)
    with Workers(context) as workers:
        session = Session(context, iteration, model, output, workers)
        work = _Attempts(session, attempting, training, found, puzzles)
        too_long = work.too_long()
        longest = attempting.sampling.max_new_tokens
        identity = learn(session, work, training, longest, f"{iteration}.6 policy gradient")
    return conclude(
        output,
        {
            "step": training.steps,
            "too_long": too_long,
            "identity": identity,
            "start": model.identity,
            **_totals(output, training.batches),
            "objective": dataclasses.asdict(training.objective),
            **adapters_entry(training.lora),
        },
    )


@dataclasses.dataclass
class _Attempts:
    """Attempts at puzzles in groups, made with the weights at the start of a batch."""

    session: Session
    attempting: Attempting
    training: PolicyTraining
    found: Sequence[tuple[str, str]]
    puzzles: int

    def __post_init__(self):
        model = self.session.model
        self._way = asking(self.attempting.prompt, model.tokenizer, model.path)
        self._sampling = self._way.sampling(self.attempting.sampling.fitted(self.training.attempts))

    def too_long(self) -> int:
        """How many puzzles fit no row. Raises NothingToLearn if none does."""
        texts = [self._way.request(source).text for _, source in self.found]
        return require_some_fit(self.session, texts, self._sampling, self.training.length, self._way.prefix)

    def groups(self, number: int, weights: network.Params) -> Groups:
        session = self.session
        ledger = rollouts_ledger(session.context, session.output, number)
        chosen = chosen_of(self.found, self.puzzles, number, (session.seed, session.iteration))
        asked = {name: self._way.request(source) for name, source in chosen}
        sampler = session.sampler(weights, self._sampling, number, self._way.prefix)
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
            session.context, ledger, sampler, session.key(number, "grpo"),
            [(name, asked[name].text) for name in fitting], self.training.attempts, record,
            lambda records: session.judged(records, self.attempting.limits),
        )  # fmt: skip
        prompts = {name: sampler.document(asked[name].text) for name in fitting}
        return group(self.training.objective, prompts, list(ledger))

    def _fits(self, sampler: Sampler, text: str) -> bool:
        return fits_row(sampler, text, self.training.length, self._sampling.max_new_tokens)


def candidates(context: Context, iteration: int) -> Iterator[tuple[str, str]]:
    """(puzzle_id, source) of the puzzles that only some attempts of stage 4 solved, or else of all kept."""
    solved: dict[str, set[bool]] = {}
    for verdict in context.run.read(iteration, "verdicts"):
        if verdict["outcome"] != INFRASTRUCTURE:
            solved.setdefault(verdict["puzzle_id"], set()).add(verdict["outcome"] == ACCEPTED)
    mixed = {name for name, found in solved.items() if len(found) == 2}
    for puzzle in context.run.read(iteration, "kept"):
        if not mixed or puzzle["puzzle_id"] in mixed:
            yield puzzle["puzzle_id"], puzzle["source"]


def batches_for(context: Context, iteration: int, each: int, puzzles: int, attempts: int) -> tuple[int, int]:
    """How many batches bring stage 3's attempts up to `each` per kept puzzle, and how many puzzles a batch has.

    That is `puzzles`, or fewer where few were kept and less than a batch is left. Raises NothingToLearn if no group
    of `attempts` is.
    """
    kept = context.run.read(iteration, "kept").manifest()["rows"]
    made = context.run.read(iteration, "solutions").manifest()["rows"]
    left = each * kept - made
    puzzles = min(puzzles, left // attempts)
    if puzzles < 1:
        raise NothingToLearn(
            f"grpo.run.each={each}: {kept} kept puzzles and {made} attempts of stage 3 leave {max(0, left)} for the "
            f"policy gradient, and a group takes {attempts} (raise the first, or lower sample_solutions.run.attempts "
            "or PolicyTraining.attempts)"
        )
    return left // (puzzles * attempts), puzzles


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
    whole = sum((account(output, number).whole for number in range(batches)), TaskCount())
    # Other stages call training examples "pairs".
    return {**dataclasses.asdict(whole), "pairs": whole.attempts}
