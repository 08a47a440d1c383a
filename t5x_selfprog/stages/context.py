"""What every stage of a run needs to know, and the expensive things they share."""

import contextlib
import dataclasses
import functools
import gc
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import jax

import gin
from t5x_selfprog import hosts, preemption
from t5x_selfprog.bounds import Count, Seed
from t5x_selfprog.compilation import keep_compiled
from t5x_selfprog.model import device_room, store
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.puzzles.p3 import Problem, in_split, load_problems
from t5x_selfprog.puzzles.source import short_hash
from t5x_selfprog.run_layout import RunDir
from t5x_selfprog.sampling.room import REMEDY as SAMPLING_REMEDY
from t5x_selfprog.sampling.room import sampled
from t5x_selfprog.sampling.sampler import Sampler, SamplingConfig
from t5x_selfprog.stages import ahead
from t5x_selfprog.stages.commits import Commits
from t5x_selfprog.telemetry import recorder
from t5x_selfprog.telemetry.capture import Profile
from t5x_selfprog.telemetry.watchdog import MAIN, Watchdog
from t5x_selfprog.telemetry.weights_and_biases import Wandb
from t5x_selfprog.training.lora import Lora
from t5x_selfprog.training.lora_room import LORA_REMEDY, axes_of, largest
from t5x_selfprog.training.optimizers import make_optimizer
from t5x_selfprog.training.train_loop import TRAINING_REMEDY, LoopConfig
from verifier import Limits, Pool, PuzzleReport, Verdict
from verifier.errors import UserError
from verifier.storage.records import Schema
from verifier.storage.shards import Ledger, is_finished

# Verdicts in memory, about a gigabyte. A large run makes millions an iteration, and every host would hold them.
MOST_HELD = 500_000
T = TypeVar("T")


@gin.configurable(module="t5x_selfprog")
@dataclasses.dataclass(frozen=True)
class Experiment:
    """The choices that all stages of a run share.

    Attributes:
      base: the model everything starts from: a directory, or the name of one that ships.
      problems: a folder in P3's format, or "seeds" for our own set; its train split feeds the prompts.
      docstrings: whether reference solutions "keep" the statement that P3 puts at their head, or "drop" it.
      eval_split: what evaluation measures on: "dev" for every choice one makes, "test" for final figures.
      max_eval_problems: how many problems of that split to measure on, chosen by a hash of their names; None is all.
      start: what fine-tuning starts from: "base" on all pairs so far (the paper's way), or the "previous"
        iteration's model on the newest pairs alone.
      writer: who writes puzzles: the "newest" model (the paper's way), or the "base" in every iteration.
      shards: how many shards every stage writes; fixed for a run, whatever the number of hosts.
      workers: verifier processes on this host for each shard being judged, two shards at a time; None is one per core.
        (Limits count CPU time, and the end of a shard leaves cores idle.)
      judges: "hosts" judge what the run samples, together with members of a fleet if there are any (`python -m verifier
        follow RUN`, on any machine that sees the run's folder); "fleet" leaves the judging of attempts (stages 4 and 7)
        to those. Puzzles, and answers that a policy gradient waits for, are judged on the hosts either way.
      watchdog: when to report that the run is stuck.
      profile: which steps to trace.
      wandb: whether to send the numbers to Weights & Biases too.
    """

    base: str = "base"
    problems: str = "seeds"
    docstrings: Literal["keep", "drop"] = "drop"
    eval_split: str = "test"
    max_eval_problems: Count | None = None
    start: Literal["base", "previous"] = "base"
    writer: Literal["newest", "base"] = "newest"
    seed: Seed = 0
    shards: Count = 4
    workers: Count | None = None
    judges: Literal["hosts", "fleet"] = "hosts"
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
    watchdog: Watchdog = Watchdog()
    profile: Profile = Profile()
    wandb: Wandb = Wandb()

    def __post_init__(self):
        for name, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is Literal and getattr(self, name) not in get_args(kind):
                raise UserError(
                    f"Experiment.{name}={getattr(self, name)!r}: choose {' or '.join(map(repr, get_args(kind)))}."
                )


class Context:
    """A run directory with its experiment. A model is kept until another is asked for.

    Attributes:
      compile_ahead: whether the next sampler also begins to compile the programs of later stages.
      solved: by iteration, ids of puzzles with an accepted solution, so that verdicts are read only once.
    """

    def __init__(self, run: RunDir, experiment: Experiment):
        keep_compiled(run.root)
        self.run, self.experiment = run, experiment
        self._model: store.LoadedModel | None = None
        self.compile_ahead = False
        self.solved: dict[int, set[str]] = {}
        self._verdicts: tuple[int, list[dict[str, Any]]] | None = None  # of which iteration, and they

    @functools.cached_property
    def partitioner(self) -> Partitioner:
        return Partitioner(self.experiment.mesh.make())

    @functools.cached_property
    def sampling_partitioner(self) -> Partitioner:
        return self.partitioner.for_sampling(self.experiment.mesh.sampling_tensor)

    @functools.cached_property
    def problems(self) -> list[Problem]:
        return load_problems(self.experiment.problems, docstrings=self.experiment.docstrings)

    @property
    def train_problems(self) -> list[Problem]:
        return in_split(self.problems, "train")

    @property
    def eval_problems(self) -> list[Problem]:
        found = in_split(self.problems, self.experiment.eval_split)
        chosen = sorted(found, key=lambda problem: short_hash(problem.name))[
            : self.experiment.max_eval_problems
        ]
        names = {problem.name for problem in chosen}
        return [problem for problem in found if problem.name in names]

    def ledger(self, path: str, stage: str, schema: Schema, shards: int | None = None) -> Ledger:
        """A stage's output, created or reopened."""
        return Ledger(
            path,
            stage=stage,
            schema=schema,
            shard_count=shards or self.experiment.shards,
            seed=self.experiment.seed,
            fingerprint=self.run.fingerprint,
        )

    def pending(self, ledger: Ledger) -> list[int]:
        """Shards that are not committed, as host 0 sees them. Collective."""
        return hosts.agree(ledger.pending())

    def commit(self, commits: Commits, shard: int, records: Any, **counters: int | float) -> None:
        """Has a shard written on its owning host. All hosts hold the records."""
        if hosts.is_mine(shard):
            commits.commit(shard, records, **counters)
        else:
            recorder.current().committed(recorder.current().clock.read())
        preemption.check()

    def finish(self, ledger: Ledger, **counters: int | float) -> None:
        """Completes a ledger once every host has written its shards. Collective."""
        with recorder.current().part("hosts"):
            hosts.barrier(f"{ledger.path} written")
        if hosts.is_first():
            ledger.finish(**counters)
        with recorder.current().part("hosts"):
            hosts.barrier(f"{ledger.path} finished")

    def verdicts(self, iteration: int) -> Iterable[dict[str, Any]]:
        """All verdicts of an iteration, not to be changed.

        Up to MOST_HELD are kept in memory until another iteration's are asked for, or `forget_verdicts`; more are read
        from storage each time.
        """
        if self._verdicts is None or self._verdicts[0] != iteration:
            self._verdicts = None  # two iterations' would need twice the memory
            ledger = self.run.read(iteration, "verdicts")
            if not is_finished(ledger.path) or ledger.manifest()["rows"] > MOST_HELD:
                return ledger
            self._verdicts = iteration, list(ledger)
        return self._verdicts[1]

    def forget_verdicts(self) -> None:
        self._verdicts = None

    def shard_of(self, items: list[Any], shard: int) -> list[Any]:
        """The `shard`-th run of `items`, split into nearly equal runs, one per shard."""
        count = self.experiment.shards
        return items[shard * len(items) // count : (shard + 1) * len(items) // count]

    def model(self, path: str) -> store.LoadedModel:
        """Loads a model, after releasing the previous one."""
        path = store.resolve(path)
        if self._model is None or self._model.path != path:
            self._model = None
            _collect()
            with recorder.current().part("load"):
                self._model = store.load(path, self.partitioner)
        return self._model

    def require_room(
        self,
        path: str,
        sampling: SamplingConfig | None = None,
        loop: LoopConfig | None = None,
        lora: Lora | None = None,
    ) -> None:
        """Refuses a model that would not fit in memory for the given work; releases the previous one.

        With `lora`, `loop` trains adapters.

        Raises UserError, before any weight is read, saying what sampling or training takes and what a device has.
        """
        path = store.resolve(path)
        if self._model is not None and self._model.path == path:
            return
        self._model = None
        gc.collect()
        config = store.read_config(path)
        if sampling is not None:
            parts = [device_room.loaded(config, self.partitioner)]
            parts += sampled(config, sampling, self.sampling_partitioner)
            self._require(path, config, parts, SAMPLING_REMEDY)
        if loop is not None:
            optimizer = make_optimizer(loop.optimizer, lambda step: 0.0, axes_of(config, lora))
            if lora is None:
                parts = device_room.trained(config, self.partitioner, optimizer)
                self._require(path, config, parts, TRAINING_REMEDY)
            else:
                self._require(path, config, largest(config, lora, optimizer, self.partitioner), LORA_REMEDY)

    def require_phases(
        self, path: str, phases: Callable[[ModelConfig], list[list[device_room.Part]]], remedy: str
    ) -> None:
        """As `require_room`, for work whose largest phase must fit, even if its model is loaded already.

        phases: from a model's shape; the first part of each is the loaded model.
        """
        path = store.resolve(path)
        if self._model is not None and self._model.path != path:
            self.release()
        config = store.read_config(path)
        largest_phase = max(phases(config), key=lambda parts: sum(part.num_bytes for part in parts))
        if self._model is not None and self.partitioner.mesh.devices.flat[0].platform == "cpu":
            largest_phase = largest_phase[1:]  # the machine's free memory does not include it
        self._require(path, config, largest_phase, remedy)

    def _require(self, path: str, config: ModelConfig, parts: list[device_room.Part], remedy: str) -> None:
        device_room.require_room(path, config, parts, remedy, list(self.partitioner.mesh.devices.flat))

    def release(self) -> None:
        """Releases the loaded model; it is loaded again when needed."""
        self._model = None
        gc.collect()

    def sampler(self, path: str, sampling: SamplingConfig, prefix: str = "") -> Sampler:
        model = self.model(path)
        with recorder.current().part("load"):
            _collect()  # the previous sampler holds weights, too
            sampler = Sampler(
                model.config, model.params, model.tokenizer, sampling,
                checkpoint=model.identity, prefix=prefix, partitioner=self.sampling_partitioner,
            )  # fmt: skip
        if self.compile_ahead:  # after the programs that this sampler needs first
            self.compile_ahead = False
            ahead.begin(model, self.sampling_partitioner)
        # Repeatedly scanning the objects of JAX and the model would take half of the host's time per attempt.
        gc.freeze()
        return sampler

    def key(self, iteration: int, stage: str) -> jax.Array:
        """The randomness of one stage: a function of run seed, iteration and stage alone."""
        key = jax.random.fold_in(jax.random.key(self.experiment.seed), iteration)
        return jax.random.fold_in(key, zlib.crc32(stage.encode()) & 0x7FFFFFFF)

    @contextlib.contextmanager
    def pool(
        self,
        limits: Limits,
        hash_seed: int = 0,
        track: str = MAIN,
        check: Callable[[], None] = preemption.check,
    ) -> Iterator[Pool]:
        """Workers that judge.

        Args:
          track: the watchdog's track, of which each verdict is a sign of life.
          check: called at each verdict; what it raises ends the judging.
        """
        with _Showing(
            track, check, workers=self.experiment.workers, limits=limits, hash_seed=hash_seed
        ) as pool:
            yield pool


def _collect() -> None:
    """Collects garbage, including frozen objects."""
    gc.unfreeze()
    gc.collect()


class _Showing(Pool):
    """A pool whose verdicts show the watchdog that the run makes progress."""

    def __init__(self, track: str, check: Callable[[], None], **settings: Any):
        super().__init__(**settings)
        self._track, self._check = track, check

    def ask(self, *puzzles: Any, **patience: Any) -> Iterator[str]:
        return self._shown("puzzle asked", super().ask(*puzzles, **patience))

    def judge(self, items: Iterable[Mapping[str, Any]]) -> Iterator[Verdict]:
        return self._shown("verdict", super().judge(items))

    def screen_puzzles(self, sources: Iterable[str]) -> Iterator[PuzzleReport]:
        return self._shown("puzzle screened", super().screen_puzzles(sources))

    def _shown(self, what: str, results: Iterator[T]) -> Iterator[T]:
        watch = recorder.current()
        for number, result in enumerate(results, start=1):
            watch.beat(what, number, self._track)
            self._check()
            yield result
