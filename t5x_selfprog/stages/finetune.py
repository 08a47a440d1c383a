"""Stage 6: the model learns the pairs.

Reads:    5_dataset of all iterations so far (or of this one), and the base (or the previous) model.
Writes:   RUN/iter_NNN/6_checkpoints: Orbax steps, metrics.jsonl, and done.json with the weights' identity.
Restart:  the newest checkpoint; batches are a function of the step.
Left out: choosing a checkpoint: the last one counts.
"""

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

import gin
from t5x_selfprog import hosts
from t5x_selfprog.bounds import Count, Share
from t5x_selfprog.model import store
from t5x_selfprog.puzzles.asking import documents
from t5x_selfprog.puzzles.prompts import SolvePrompt, puzzle_of_pair
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.stages import adapters
from t5x_selfprog.stages.context import Context
from t5x_selfprog.stages.retrained import compare_with_packed
from t5x_selfprog.telemetry import recorder
from t5x_selfprog.training.batches import PackedDocuments
from t5x_selfprog.training.checkpoints import Checkpoints
from t5x_selfprog.training.fit import Fit
from t5x_selfprog.training.interpolation import interpolation
from t5x_selfprog.training.lora import Lora, adapters_entry
from t5x_selfprog.training.task import TrainingTask
from t5x_selfprog.training.train_loop import LoopConfig, train
from verifier.errors import UserError
from verifier.storage import files
from verifier.storage.shards import Ledger


@gin.configurable("run", module="finetune")
@dataclasses.dataclass(frozen=True)
class Settings:
    """How pairs are learnt; `finetune.run` in gin.

    Attributes:
      epochs, batch_size: passes over the pairs, and rows of a batch.
      length: tokens of a row.
      steps: updates to make, instead of `epochs` passes (controls match the verified arm's, and its batch).
      fit: derives steps, batch and warm-up from the number of tokens; plentiful data gets `epochs` and `batch_size`.
      prompt: pairs are learnt in the form in which solutions are asked for: plain text, or conversations.
      sampling: how the model is asked afterwards; documents begin as those prompts do, with the token that starts a
        document or without it. None: with it.
      lora: trains adapters instead of all weights, and merges them in the end (adapters.py).
      interpolation: how far the result goes from the weights at the start to the trained ones; less than 1 forgets less
        (training/interpolation.py). With `lora`, lower Lora.alpha instead.
    """

    loop: LoopConfig = LoopConfig()
    epochs: Count = 4
    batch_size: Count = 16
    length: Count = 1024
    steps: Count | None = None
    fit: Fit | None = None
    prompt: SolvePrompt = SolvePrompt()
    sampling: SamplingConfig | None = None
    lora: Lora | None = None
    interpolation: Share = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.interpolation <= 1:
            raise UserError(
                f"finetune.run.interpolation={self.interpolation}: must be above 0, where nothing would be learnt, "
                "and at most 1."
            )
        if self.lora is not None and self.interpolation != 1:
            raise UserError(
                f"finetune.run.interpolation={self.interpolation}: is for training all weights; adapters are "
                "merged less strongly with a lower Lora.alpha."
            )


class NothingToLearn(UserError):
    """What there is teaches nothing, and why: no document fits a row, or too few attempts are left to be made.

    An iteration or an arm for which this is raised is left out of the run.
    """


def as_long_as(trained: Mapping[str, Any], steps: int | None = None) -> Settings:
    """Settings of an arm that is compared with a training that is over: its steps (or `steps`), and its rows.

    trained: the other's done.json. A batch of a policy gradient has no rows to compare with; then gin's count.
    """
    settings = Settings(steps=steps or trained["step"])
    rows = trained.get("batch_rows")
    return settings if rows is None else dataclasses.replace(settings, batch_size=rows)


def run(
    context: Context,
    datasets: list[str],
    start: str,
    output: str,
    settings: Settings | None = None,
    label: str = "finetune",
) -> dict:
    """Trains the model at `start` on the pairs in `datasets`.

    Args:
      datasets: ledgers of pairs.
      start: a model directory or the name of a shipped model.
      output: where checkpoints go; if done.json is there, nothing is left to do.
      settings: by default, as gin binds them.

    Returns:
      done.json's content: step, batch_rows, identity, pairs, documents (with those that are no pairs, such as lists
      of puzzles), tokens of all, too_long (documents left out because they exceed `Settings.length`), padding (the
      share of positions that hold no token).

    Raises NothingToLearn if all are too long.
    """
    done_path = files.join(output, "done.json")
    done = hosts.agree(_read(done_path))
    if done is not None:
        return done
    settings = settings or Settings()
    loop, steps, lora = settings.loop, settings.steps, settings.lora
    context.require_room(start, loop=loop, lora=lora)
    model = context.model(start)
    pairs = [pair for path in datasets for pair in Ledger.open(path)]
    begun = settings.sampling is None or settings.sampling.document_start
    encode = documents(settings.prompt, model.tokenizer, start, document_start=begun)
    encoded = [np.asarray(encode(pair["text"]), np.int32) for pair in pairs]
    length = min(settings.length, model.config.context_length)
    fits = [i for i, ids in enumerate(encoded) if len(ids) <= length + 1]
    if pairs and not fits:
        raise NothingToLearn(
            f"none of the {len(pairs)} documents fits a row of {length} tokens (the shortest has "
            f"{min(map(len, encoded))}; raise finetune.run.length, up to the model's context of "
            f"{model.config.context_length})"
        )
    if len(fits) < len(encoded) and hosts.is_first():
        print(
            f"{label}: {len(encoded) - len(fits):,} of {len(encoded):,} documents exceed a row of {length} tokens and "
            "are left out (finetune.run.length)",
            file=sys.stderr,
        )
    seed = context.experiment.seed
    weights = [pairs[i]["weight"] for i in fits]
    source = PackedDocuments([encoded[i] for i in fits], weights, settings.batch_size, length, seed)
    tokens = sum(len(encoded[i]) for i in fits)
    pairs_learnt = sum(puzzle_of_pair(pairs[i]["text"]) is not None for i in fits)
    if (fit := settings.fit) is not None:
        ways = context.partitioner.batch_ways * loop.accumulate
        if steps is None:
            plan = fit.plan(
                source.rows, length, epochs=settings.epochs, most_rows=settings.batch_size, ways=ways
            )
        else:
            plan = fit.prescribed(source.rows, length, steps=steps, batch_rows=settings.batch_size)
        source = dataclasses.replace(source, batch_size=plan.batch_rows)
        optimizer = dataclasses.replace(loop.optimizer, warmup_steps=plan.warmup_steps)
        loop = dataclasses.replace(loop, optimizer=optimizer)
        steps = plan.steps
        if hosts.is_first():
            print(
                f"{label}: {plan.sentence(pairs_learnt, len(fits) - pairs_learnt, tokens)}", file=sys.stderr
            )
    num_steps = steps if steps is not None else source.steps(settings.epochs)
    watch = recorder.current()
    with watch.stage(output):
        if lora is None:
            # Training uses a copy or a checkpoint; there may be no room to keep the original as well.
            held = [] if _has_checkpoint(output) else [model.params]
            model = dataclasses.replace(model, params={})
            context.release()
            state = train(
                loop, model.config, lambda: held.pop() if held else context.model(start).params,
                TrainingTask(source, num_steps), output, context.partitioner, label=label,
            )  # fmt: skip
            assert state is not None  # no time limit was given
            params, finished = state.params, state.opt_state == ()
            del state  # the optimizer's moments make room for the weights at the start
            if settings.interpolation < 1 and not finished:
                # A finished checkpoint, whose end a kill kept from being noted, holds such weights already.
                program = interpolation(model.config, settings.interpolation, context.partitioner)
                params = program.jitted(context.model(start).params, params)
                context.release()
        else:
            model = dataclasses.replace(model, params={})  # the adapters' base may be of a narrower dtype
            params = adapters.learn(context, start, lora, loop, source, num_steps, output, label)
        if hosts.is_first():
            store.describe(output, model.config, model.path)
        with watch.part("save"), Checkpoints(output) as checkpoints:
            checkpoints.save_final(num_steps, params)
    done = {
        "step": num_steps,
        "batch_rows": source.batch_size,
        "identity": store.weights_identity(params),
        "start": model.identity,
        "pairs": pairs_learnt,
        "documents": len(fits),
        "tokens": tokens,
        "too_long": len(encoded) - len(fits),
        "padding": round(source.padding, 4),
        **adapters_entry(lora),
        **({"interpolation": settings.interpolation} if settings.interpolation < 1 else {}),
    }
    if hosts.is_first():
        compare_with_packed(done, output)
        files.write_json(done_path, done)
    hosts.barrier(f"{output} finished")
    return done


def _has_checkpoint(output: str) -> bool:
    return any(name.isdigit() for name in files.listdir(output))


def _read(path: str) -> dict | None:
    try:
        return files.read_json(path)
    except FileNotFoundError:
        return None
