"""seqio over runs: a Task for each iteration's pairs, and a Mixture of them at chosen rates, packed on request.

    from t5x_selfprog.data import tasks
    mixture = tasks.register_run("runs/quickstart", tokenizer="base", rates={0: 1.0, 1: 2.0})
    ds = tasks.batches(mixture, length=512, batch_size=8)
    for batch in ds.as_numpy_iterator(): ...

The trainer of this project does not need it: it reads pairs itself, without TensorFlow.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from t5x_selfprog.data.sources import run_datasets
from t5x_selfprog.data.tokens import SHIFT, ShiftedVocabulary, feature_description, write_tokens
from t5x_selfprog.run_layout import iteration_name
from verifier.errors import UserError
from verifier.storage import files

Rate = float | Callable[[seqio.Task], float]


def register_run(
    run_dir: str,
    *,
    tokenizer: str,
    rates: Mapping[int, Rate] | None = None,
    name: str = "",
    shards: int = 1,
) -> str:
    """Writes the run's token ids under RUN/tokens/<tokenizer> and registers its tasks and their mixture.

    Args:
      run_dir: the run; made absolute, so that its records are found from any folder later.
      tokenizer: the folder of the model to be trained, or the name of one that ships (`base`).
      rates: each iteration's rate in the mixture; by default, proportional to its number of pairs.
      name: the mixture's name, by default `selfprog_<run>`; tasks are called `<name>_iter_000` and so on.
      shards: files per iteration; seqio gives each host whole files.

    Returns:
      The mixture's name.

    Raises UserError for a run without finished datasets, or rates for iterations that it does not have.
    """
    run_dir = run_dir if files.is_remote(run_dir) else os.path.abspath(os.path.expanduser(run_dir))
    datasets = run_datasets(run_dir)
    rates = dict(rates or {})
    if not datasets or (odd := sorted(rates.keys() - datasets.keys())):
        found = ", ".join(map(str, datasets)) or "none"
        asked = f"; rates name {odd[0]}" if datasets else ""
        raise UserError(f"{run_dir}: iterations with a finished dataset: {found}{asked}")
    name = name or "selfprog_" + re.sub(r"\W+", "_", run_dir.rstrip("/").rpartition("/")[2])
    vocabulary = ShiftedVocabulary(tokenizer)
    members: list[tuple[str, Rate]] = []
    for iteration, dataset in datasets.items():
        folder = files.join(run_dir, "tokens", vocabulary.identity, iteration_name(iteration))
        ledger = write_tokens((pair["text"] for pair in dataset), vocabulary.tokenizer, folder, shards)
        task = f"{name}_{iteration_name(iteration)}"
        paths = [ledger.shard_path(i) for i in range(ledger.shard_count)]
        _replace(seqio.TaskRegistry, task)
        seqio.TaskRegistry.add(
            task,
            source=seqio.TFExampleDataSource(
                split_to_filepattern={"train": paths},
                feature_description=feature_description(),
                num_input_examples={"train": ledger.manifest()["rows"]},
            ),
            preprocessors=[_shifted],
            output_features={"targets": seqio.Feature(vocabulary, add_eos=False, dtype=tf.int32)},
        )
        # Without rates, `num_input_examples` makes them exactly proportional to the pairs.
        members.append((task, rates.get(iteration, partial(seqio.mixing_rate_num_examples))))
    _replace(seqio.MixtureRegistry, name)
    seqio.MixtureRegistry.add(name, [member for member in members if _counts(member[1])])
    return name


def batches(
    mixture: str,
    *,
    length: int,
    batch_size: int,
    seed: int = 0,
    packed: bool = True,
    epochs: int | None = None,
) -> tf.data.Dataset:
    """Batches for a decoder, each feature [batch, length] with shifted ids (see `unshift`).

    The features are `decoder_target_tokens`, `decoder_input_tokens` and `decoder_loss_weights`; if packed, also
    `decoder_segment_ids` and `decoder_positions`.
    """
    converter = seqio.DecoderFeatureConverter(pack=packed)
    dataset = seqio.get_dataset(
        mixture,
        {"targets": length},
        converter,
        "train",
        shuffle=True,
        seed=seed,
        num_epochs=epochs,
        use_cached=False,
    )
    return dataset.batch(batch_size, drop_remainder=True)


def unshift(tokens: np.ndarray) -> np.ndarray:
    """Converts seqio's ids to the model's; padding becomes 0, which loss weights and segments mask."""
    return np.maximum(tokens - SHIFT, 0)


def _shifted(dataset: tf.data.Dataset) -> tf.data.Dataset:
    def shift(example: Mapping[str, Any]) -> dict[str, Any]:
        return {"targets": tf.cast(example["tokens"], tf.int32) + SHIFT}

    return dataset.map(shift, num_parallel_calls=tf.data.AUTOTUNE)


def _counts(rate: Rate) -> bool:
    return not isinstance(rate, int | float) or rate > 0


def _replace(registry: Any, name: str) -> None:
    """Removes an earlier registration, so that a run that has gained an iteration can be registered again."""
    if name in registry.names():
        registry.remove(name)
