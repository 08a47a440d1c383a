"""Stage 6 by another name: the policy gradient of verdicts, on attempts that the newest weights have just made.

Reads:    2_kept and 4_verdicts of the iteration, the model that the iteration sampled from.
Writes:   RUN/iter_NNN/6_checkpoints: rollouts/NNNN (ledgers of judged attempts), Orbax steps, metrics.jsonl, done.json.
Restart:  the newest checkpoint, and of the attempts under way the shard; which puzzles, attempts and parts of a batch a
          step takes is a function of (run seed, iteration, step).
Left out: a value model, learnt rewards, weights that are behind the sampler's (a step waits for its verdicts).
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import jax
import numpy as np

import gin
from t5x_selfprog import hosts
from t5x_selfprog.bounds import Bound, Count
from t5x_selfprog.model import network, store
from t5x_selfprog.model.compute_dtype import on_this_device
from t5x_selfprog.puzzles.asking import asking
from t5x_selfprog.puzzles.prompts import SolvePrompt, SolveRequest
from t5x_selfprog.sampling.interface import Completion, Request, SamplingConfig
from t5x_selfprog.sampling.sampler import Sampler
from t5x_selfprog.stages.context import Context
from t5x_selfprog.stages.shard_stream import sample_shards
from t5x_selfprog.telemetry import recorder
from t5x_selfprog.training.checkpoints import Checkpoints
from t5x_selfprog.training.cross_entropy import target_log_probabilities
from t5x_selfprog.training.policy_gradient import PolicyGradient, Rollouts, policy_loss
from t5x_selfprog.training.rollouts import Groups, group, judged_by_puzzle, rows, shared_out
from t5x_selfprog.training.train_loop import LoopConfig, train
from verifier import Limits, files
from verifier.errors import UserError
from verifier.outcomes import ACCEPTED
from verifier.records import ATTEMPT, Kind, Schema
from verifier.shards import Ledger

Group = Annotated[int, Bound(least=2)]  # attempts whose rewards are compared
ROLLOUT: Schema = {**ATTEMPT, "tokens": Kind.INTS, "logprobs": Kind.FLOATS, "outcome": Kind.TEXT}


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
) -> dict[str, Any]:
    """Samples, judges and learns, `batches` times.

    Args:
      start: the model directory to begin from.
      batches: each of `puzzles` puzzles, with `attempts` attempts at each by the newest weights.
      updates: steps that a batch is learnt in, each of another part of its attempts. 1 is on-policy throughout.
      length: tokens of a row; prompt and attempt must fit.

    Puzzles are those that some attempts of stage 4 solved and others did not, in an order of the run's seed, again and
    again; where there are none, all that were kept.

    Returns:
      done.json's content: step, batch_rows, identity, and how many groups, how many of them alike, and attempts.

    Raises UserError where what is sampled is not the model's own distribution, which the gradient is of.
    """
    require_own_distribution(sampling)
    done_path = files.join(output, "done.json")
    done = hosts.agree(files.read_json(done_path) if files.exists(done_path) else None)
    if done is not None:
        return done
    model = context.model(start)
    work = _Work(context, iteration, model, output, objective, sampling.fitted(attempts), prompt, limits)
    work.shape = _Shape(puzzles, attempts, updates, min(length, model.config.context_length))
    config = loop.computing(model.config)
    if loop.dtype is None:
        config = on_this_device(config, "LoopConfig.dtype='bfloat16' overrides this")
    if objective.kl:
        work.read_base(config, loop)
    watch = recorder.current()
    with watch.stage(output), work:
        state = train(
            loop, model.config, model.params, work.batch, batches * updates, output, context.partitioner,
            objective=functools.partial(policy_loss, objective), label=f"{iteration}.6 policy gradient",
        )  # fmt: skip
        assert state is not None  # no time limit was given
        if hosts.is_first():
            store.describe(output, model.config, model.path)
        with watch.part("save"), Checkpoints(output) as checkpoints:
            checkpoints.save_final(batches * updates, state.params)
    done = {
        "step": batches * updates,
        "batch_rows": -(-puzzles * attempts // updates),  # at most, of attempts
        "identity": store.weights_identity(state.params),
        "start": model.identity,
        **_totals(output, batches),
        "objective": dataclasses.asdict(objective),
    }
    if hosts.is_first():
        files.write_json(done_path, done)
    hosts.barrier(f"{output} finished")
    return done


@dataclasses.dataclass(frozen=True)
class _Shape:
    puzzles: int
    attempts: int
    updates: int
    length: int


class _Work:
    """Batches of one training, made with the weights that it has come to."""

    shape: _Shape

    def __init__(
        self,
        context: Context,
        iteration: int,
        model: store.LoadedModel,
        output: str,
        objective: PolicyGradient,
        sampling: SamplingConfig,
        prompt: SolvePrompt,
        limits: Limits,
    ):
        self._context, self._iteration, self._model, self._output = context, iteration, model, output
        self._objective, self._limits = objective, limits
        self._way = asking(prompt, model.tokenizer, model.path)
        self._sampling = self._way.sampling(sampling)
        self._puzzles = list(candidates(context, iteration))
        self._base: Callable[[Rollouts], np.ndarray] | None = None
        self._held: tuple[int, Groups] | None = None  # the batch under way
        self._pools = contextlib.ExitStack()
        self._pool: Any = None

    def __enter__(self) -> "_Work":
        return self

    def __exit__(self, *exception: object) -> None:
        self._pools.close()

    def read_base(self, config: Any, loop: LoopConfig) -> None:
        """Makes ready to say how likely the base finds what was written."""
        base = self._context.model(self._context.experiment.base)
        options = loop.forward_options(config)

        @jax.jit
        def log_probs(params: network.Params, batch: Rollouts) -> jax.Array:
            hidden = network.forward(
                config, params, batch.tokens, batch.positions, batch.segment_ids, **options
            )
            return target_log_probabilities(config, (params, hidden), batch.targets, loop.loss_chunk)

        rows_of = self._context.partitioner.sharding(("batch", "length"), activation=True)

        def of(batch: Rollouts) -> np.ndarray:
            placed = hosts.place(batch, jax.tree.map(lambda _: rows_of, batch))
            return np.where(batch.weights > 0, hosts.whole(log_probs(base.params, placed)), 0.0).astype(
                np.float32
            )

        self._base = of

    def batch(self, step: int, params: network.Params) -> Rollouts:
        """Of a step: a part of the attempts that were made with the weights of its batch's first."""
        number, part = divmod(step, self.shape.updates)
        if self._held is None or self._held[0] != number:
            self._held = number, self._attempts(number, params)
        found = self._held[1].rollouts
        key = (self._context.experiment.seed, self._iteration, number)
        mine = shared_out(found, self.shape.updates, key)[part]
        ways = self._context.partitioner.batch_ways
        made = rows(self._objective, mine, self.shape.length, self._sampling.max_new_tokens, ways)
        return made if self._base is None else made._replace(base=self._base(made))

    def _attempts(self, number: int, params: network.Params) -> Groups:
        """The judged attempts of a batch: those that are there, and new ones by these weights."""
        context = self._context
        ledger = rollouts_ledger(context, self._output, number)
        chosen = chosen_of(
            self._puzzles, self.shape.puzzles, number, (context.experiment.seed, self._iteration)
        )
        asked = {name: self._way.request(source) for name, source in chosen}
        sampler = self._made(params, number)
        fitting = [(name, source) for name, source in chosen if self._fits(sampler, asked[name])]
        pending = context.pending(ledger)
        if pending:
            self._sample(ledger, pending, sampler, fitting, asked, number)
        context.finish(ledger)
        prompts = {name: sampler.document(asked[name].text) for name, _ in fitting}
        return group(self._objective, prompts, list(ledger))

    def _made(self, params: network.Params, number: int) -> Sampler:
        return Sampler(
            self._model.config, params, self._model.tokenizer, self._sampling,
            checkpoint=f"{self._model.identity}+{number}", prefix=self._way.prefix,
            partitioner=self._context.sampling_partitioner,
        )  # fmt: skip

    def _fits(self, sampler: Sampler, asked: SolveRequest) -> bool:
        room = self.shape.length + 1 - self._sampling.max_new_tokens
        return sampler.fits(asked.text) and len(sampler.document(asked.text)) <= room

    def _sample(
        self,
        ledger: Ledger,
        pending: Sequence[int],
        sampler: Sampler,
        chosen: Sequence[tuple[str, str]],
        asked: Mapping[str, SolveRequest],
        number: int,
    ) -> None:
        context, source = self._context, dict(chosen)
        records: list[dict[str, Any]] = []

        def requests(shard: int) -> Iterator[Request]:
            for name, _ in context.shard_of(list(chosen), shard):
                yield Request(name, asked[name].text, self.shape.attempts)

        def take(request: Request, completions: Sequence[Completion]) -> None:
            name = request.item_id
            records.extend(_record(name, source[name], asked[name], each, sampler) for each in completions)

        key = jax.random.fold_in(context.key(self._iteration, "grpo"), number)
        for shard in sample_shards(sampler, key, ledger, pending, requests, take):
            if hosts.is_mine(shard):
                with recorder.current().part("verdicts"):
                    ledger.commit(shard, self._judged(records), attempts=len(records))
            records = []

    def _judged(self, records: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        if self._pool is None:
            self._pool = self._pools.enter_context(self._context.pool(self._limits))
        for record, verdict in zip(records, self._pool.judge(records), strict=True):
            yield {**record, "outcome": verdict.outcome}


def candidates(context: Context, iteration: int) -> Iterator[tuple[str, str]]:
    """(puzzle_id, source) of the puzzles that some attempts of stage 4 solved and others did not; else of all kept."""
    solved: dict[str, set[bool]] = {}
    for verdict in context.run.read(iteration, "verdicts"):
        solved.setdefault(verdict["puzzle_id"], set()).add(verdict["outcome"] == ACCEPTED)
    mixed = {name for name, found in solved.items() if len(found) == 2}
    for puzzle in context.run.read(iteration, "kept"):
        if not mixed or puzzle["puzzle_id"] in mixed:
            yield puzzle["puzzle_id"], puzzle["source"]


def chosen_of(
    puzzles: Sequence[tuple[str, str]], count: int, number: int, key: tuple[int, int]
) -> list[tuple[str, str]]:
    """The puzzles of a batch: all in turn, each epoch in a new order; none twice in a batch."""
    count = min(count, len(puzzles))
    each = len(puzzles) // count  # batches of an epoch; what is left over has its turn in another order
    epoch, place = divmod(number, each)
    order = np.random.default_rng((*key, epoch)).permutation(len(puzzles))
    return [puzzles[i] for i in order[place * count : (place + 1) * count]]


def rollouts_ledger(context: Context, output: str, number: int) -> Ledger:
    return context.ledger(files.join(output, "rollouts", f"{number:04d}"), "rollouts", ROLLOUT)


def _record(
    name: str, source: str, asked: SolveRequest, completion: Completion, sampler: Sampler
) -> dict[str, Any]:
    return {
        "puzzle_id": name,
        "puzzle": source,
        "solution": asked.solution(completion.text).rstrip() + "\n",
        "sample_index": completion.sample_index,
        "logprob": completion.logprob,
        "n_tokens": completion.n_tokens,
        "stop_reason": completion.stop_reason,
        "checkpoint": sampler.checkpoint,
        "tokens": list(completion.tokens),
        "logprobs": [float(x) for x in completion.logprobs],
    }


def require_own_distribution(sampling: SamplingConfig) -> None:
    """Raises UserError where what is sampled is not the model's own distribution, which the gradient is of."""
    for name, own in (("temperature", 1.0), ("top_k", 0), ("top_p", 1.0)):
        if getattr(sampling, name) != own:
            raise UserError(
                f"grpo.run.sampling: SamplingConfig.{name}={getattr(sampling, name)}: must be {own}, since the "
                "gradient is of the model's own distribution."
            )


def _totals(output: str, batches: int) -> dict[str, int]:
    """Counted over all batches from what is on disk, whichever life of the run made them."""
    groups = alike = attempts = accepted = 0
    for number in range(batches):
        records = Ledger.open(files.join(output, "rollouts", f"{number:04d}"))
        for judged in judged_by_puzzle(records).values():
            right = sum(record["outcome"] == ACCEPTED for record in judged)
            groups += 1
            alike += right in (0, len(judged))
            attempts += len(judged)
            accepted += right
    # "pairs" is what other stages call the examples of a training.
    return {"groups": groups, "alike": alike, "attempts": attempts, "accepted": accepted, "pairs": attempts}
