"""What the stages that learn from verdicts share: sampling with the newest weights, judging, training, the final model.

A batch is sampled with the current weights, judged, and learnt in one or more steps. Each stage decides what it
contains and what is rewarded (grpo.py, selfplay.py). With adapters (`lora`), only they are trained, and the base with
the adapters merged does the sampling.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from t5x_selfprog import hosts
from t5x_selfprog.model import network, store
from t5x_selfprog.model.compute_dtype import on_this_device
from t5x_selfprog.sampling.blueprint import Room
from t5x_selfprog.sampling.interface import Completion, Request, SamplingConfig
from t5x_selfprog.sampling.sampler import Sampler
from t5x_selfprog.stages import adapters
from t5x_selfprog.stages.context import Context
from t5x_selfprog.stages.finetune import NothingToLearn
from t5x_selfprog.stages.policy_settings import PolicyTraining
from t5x_selfprog.stages.retrained import compare_with_packed
from t5x_selfprog.stages.shard_stream import sample_shards
from t5x_selfprog.telemetry import recorder
from t5x_selfprog.training.checkpoints import Checkpoints
from t5x_selfprog.training.learning import WHOLE, AdaptersAlone, Learning
from t5x_selfprog.training.lora import Lora
from t5x_selfprog.training.policy_gradient import Rollouts
from t5x_selfprog.training.policy_programs import base_log_probs, loss_of
from t5x_selfprog.training.rollouts import Groups, rows, shared_out
from t5x_selfprog.training.task import TrainingTask
from t5x_selfprog.training.train_loop import LoopConfig, train
from verifier import Limits
from verifier.storage import files
from verifier.storage.records import ATTEMPT, Kind, Schema
from verifier.storage.shards import Ledger

ROLLOUT: Schema = {**ATTEMPT, "tokens": Kind.INTS, "logprobs": Kind.FLOATS, "outcome": Kind.TEXT}

Record = dict[str, Any]


class Work(Protocol):
    """The source of batches."""

    def groups(self, number: int, weights: network.Params) -> Groups:
        """A batch's attempts with their advantages: those on disk, and new ones by these weights."""


class Workers:
    """Pools that judge, opened when first needed and closed when training ends."""

    def __init__(self, context: Context):
        self._context = context
        self._open: dict[Limits, Any] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def pool(self, limits: Limits) -> Any:
        if limits not in self._open:
            self._open[limits] = self._stack.enter_context(self._context.pool(limits))
        return self._open[limits]


@dataclasses.dataclass(frozen=True)
class Session:
    """One training under way: an iteration of a run, the model it began from, its folder, and who judges."""

    context: Context
    iteration: int
    model: store.LoadedModel
    output: str
    workers: Workers
    _samplers: dict[tuple[SamplingConfig, str], Sampler] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def seed(self) -> int:
        return self.context.experiment.seed

    def sampler(
        self, weights: network.Params, sampling: SamplingConfig, number: int, prefix: str = ""
    ) -> Sampler:
        """A sampler with the weights at the start of a batch; a device has room for one at a time."""
        self.let_go()
        model, checkpoint = self.model, f"{self.model.identity}+{number}"
        known = self._samplers.get((sampling, prefix))
        if known is not None:
            known.take(weights, checkpoint)
            return known
        made = Sampler(
            model.config, weights, model.tokenizer, sampling, checkpoint=checkpoint, prefix=prefix,
            partitioner=self.context.sampling_partitioner,
        )  # fmt: skip
        self._samplers[sampling, prefix] = made
        return made

    def let_go(self) -> None:
        """Releases what the samplers hold of the devices: a training step needs it."""
        for sampler in self._samplers.values():
            sampler.let_go()

    def key(self, number: int, name: str) -> jax.Array:
        """The randomness of one kind of samples of a batch."""
        return jax.random.fold_in(self.context.key(self.iteration, name), number)

    def judged(self, records: Sequence[Record], limits: Limits) -> Iterator[Record]:
        """The same records with their outcomes."""
        for record, verdict in zip(records, self.workers.pool(limits).judge(records), strict=True):
            yield {**record, "outcome": verdict.outcome}


def fits_row(sampler: Sampler, text: str, length: int, new_tokens: int) -> bool:
    """Whether a prompt and the longest answer to it fit the sampler and a row of `length` tokens."""
    return sampler.fits(text) and len(sampler.document(text)) <= length + 1 - new_tokens


def require_some_fit(
    session: Session, texts: Sequence[str], sampling: SamplingConfig, length: int, prefix: str
) -> int:
    """How many of these prompts do not fit a row of `length` tokens together with the longest answer.

    Raises NothingToLearn if none does, before anything is sampled.
    """
    tokenizer, new = session.model.tokenizer, sampling.max_new_tokens
    room = Room.of(session.model.config, tokenizer, sampling, prefix)
    before = len(room.prefix) + len(room.start)
    most = min(length + 1 - new, len(room.prefix) + room.buckets[-1])
    sizes = [before + len(tokenizer.encode(text)) for text in texts]
    unfit = sum(size > most for size in sizes)
    if unfit and unfit == len(sizes):
        raise NothingToLearn(
            f"none of the {unfit} puzzles fits a row of {length} tokens (PolicyTraining.length): the shortest prompt "
            f"takes {min(sizes)} with all that comes before it, and an answer of {new} (SamplingConfig.max_new_tokens) "
            f"leaves {most}, with prompts of at most {sampling.prompt_buckets[-1]} (prompt_buckets); raise the first "
            "or the last, or lower max_new_tokens"
        )
    return unfit


def learn(session: Session, work: Work, training: PolicyTraining, longest: int, label: str) -> str:
    """Trains on the batches of `work`, saves the whole model, and returns its identity. Collective.

    longest: the most tokens of an attempt.
    """
    context, model, output, loop = session.context, session.model, session.output, training.loop
    objective, lora = training.objective, training.lora
    config = loop.computing(model.config)
    if loop.dtype is None:
        config = on_this_device(config, "LoopConfig.dtype='bfloat16' overrides this")
    base = _base_log_probs(context, config, loop) if objective.kl else None
    held: tuple[int, Groups] | None = None  # the batch under way
    whole = _Merging(context, model, lora)

    def batch(step: int, changed: Any) -> Rollouts:
        """A step's part of the attempts, which the weights before its batch's first step made."""
        nonlocal held
        number, part = divmod(step, training.updates)
        if held is None or held[0] != number:
            held = number, work.groups(number, whole.weights(changed))
            session.let_go()
        key = (session.seed, session.iteration, number)
        mine = shared_out(held[1].rollouts, training.updates, key)[part]
        made = rows(objective, mine, training.length, longest, context.partitioner.batch_ways)
        return made if base is None else made._replace(base=base(made))

    task = TrainingTask(batch, training.steps, whole.learning, loss_of(objective))
    with recorder.current().stage(output):
        state = train(
            loop, model.config, model.params if lora is None else lambda: lora.init(model.config, session.seed), task,
            output if lora is None else files.join(output, adapters.TRAINING), context.partitioner, label=label,
        )  # fmt: skip
        assert state is not None  # no time limit was given
        if lora is not None:
            adapters.write(model, lora, state.params, output)
        params = whole.weights(state.params)
        if hosts.is_first():
            store.describe(output, model.config, model.path)
        with recorder.current().part("save"), Checkpoints(output) as checkpoints:
            checkpoints.save_final(training.steps, params)
    return store.weights_identity(params)


class _Merging:
    """What is trained, and the full weights that result from it."""

    def __init__(self, context: Context, model: store.LoadedModel, lora: Lora | None):
        self._base = model.params
        self.learning: Learning = WHOLE if lora is None else AdaptersAlone(lora, model.params)
        if lora is None:
            self._merge: Callable[[Any, Any], Any] = lambda base, changed: changed
        else:
            self._merge = lora.merging(model.config, context.partitioner).jitted

    def weights(self, changed: Any) -> network.Params:
        return self._merge(self._base, changed)


def _base_log_probs(context: Context, config: Any, loop: LoopConfig) -> Callable[[Rollouts], np.ndarray]:
    """The base model's log-probabilities of the sampled tokens."""
    base = context.model(context.experiment.base)
    log_probs = base_log_probs(loop, config, context.partitioner).jitted
    rows_of = context.partitioner.sharding(("batch", "length"), activation=True)

    def of(batch: Rollouts) -> np.ndarray:
        placed = hosts.place(batch, jax.tree.map(lambda _: rows_of, batch))
        found = np.where(batch.weights > 0, hosts.whole(log_probs(base.params, placed)), 0.0)
        return found.astype(np.float32)

    return of


def sample_and_judge(
    context: Context,
    ledger: Ledger,
    sampler: Sampler,
    key: jax.Array,
    asked: Sequence[tuple[str, str]],
    attempts: int,
    record: Callable[[Request, Completion], Record],
    judged: Callable[[Sequence[Record]], Iterator[Record]] | None = None,
) -> None:
    """Writes what a ledger lacks: attempts at each of `asked` (id, prompt). Collective.

    judged: adds a pool's verdicts; called only on a shard's owning host.
    """
    pending = context.pending(ledger)
    if pending:
        records: list[Record] = []

        def requests(shard: int) -> Iterator[Request]:
            for name, text in context.shard_of(list(asked), shard):
                yield Request(name, text, attempts)

        def take(request: Request, completions: Sequence[Completion]) -> None:
            records.extend(record(request, each) for each in completions)

        for shard in sample_shards(sampler, key, ledger, pending, requests, take):
            if hosts.is_mine(shard):
                with recorder.current().part("verdicts"):
                    ledger.commit(shard, judged(records) if judged else records, attempts=len(records))
            records = []
    context.finish(ledger)


def chosen_tokens(completion: Completion) -> Record:
    """The fields of a record that hold the sampled tokens and their log-probabilities."""
    return {
        "sample_index": completion.sample_index,
        "logprob": completion.logprob,
        "n_tokens": completion.n_tokens,
        "stop_reason": completion.stop_reason,
        "tokens": list(completion.tokens),
        "logprobs": [float(x) for x in completion.logprobs],
    }


def finished(output: str) -> dict[str, Any] | None:
    """done.json's content, if training is over. Collective."""
    path = files.join(output, "done.json")
    return hosts.agree(files.read_json(path) if files.exists(path) else None)


def conclude(output: str, done: Mapping[str, Any]) -> dict[str, Any]:
    """Writes done.json, the last file of training. Collective."""
    if hosts.is_first():
        compare_with_packed(done, output)
        files.write_json(files.join(output, "done.json"), dict(done))
    hosts.barrier(f"{output} finished")
    return dict(done)
