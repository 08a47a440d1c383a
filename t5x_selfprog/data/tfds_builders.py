"""TensorFlow Datasets: `p3` (or any problems in its format) and `selfprog_pairs` (a run's verified pairs).

    import tensorflow_datasets as tfds
    import t5x_selfprog.data.tfds_builders
    p3 = tfds.load("p3", data_dir="tfds", builder_kwargs={"source": "data/p3"})["test"]
    pairs = tfds.load("selfprog_pairs", data_dir="tfds", split="train", builder_kwargs={"run_dir": "runs/quickstart"})

The text of P3 is read from a folder, never shipped: `selfprog p3 --source=data/p3 --download` fetches it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from t5x_selfprog.data.export import rows
from t5x_selfprog.data.sources import run_datasets
from t5x_selfprog.puzzles.p3 import SEEDS_FOLDER, SPLITS, load_problems
from verifier.errors import UserError
from verifier.storage import files

_VERSION = tfds.core.Version("1.0.0")


class P3(tfds.core.GeneratorBasedBuilder):
    """Problems with their reference solutions; `source` is a folder in P3's format, or "seeds" for our own."""

    name: ClassVar[str] = "p3"
    VERSION = _VERSION
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First instances, reference solutions, groups."}

    def __init__(self, *, source: str = "seeds", **kwargs: Any) -> None:
        self._source = source
        folder = str(SEEDS_FOLDER) if source == "seeds" else source
        # Another folder or other content is another dataset, and must not be served from these prepared files.
        config = _config(folder, [files.join(folder, "puzzles.json"), files.join(folder, "split.json")])
        super().__init__(**_with_config(kwargs, config))

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "name": tfds.features.Text(),
            "puzzle_id": tfds.features.Text(),
            "puzzle": tfds.features.Text(),
            "answer_type": tfds.features.Text(),
            "solutions": tfds.features.Sequence(tfds.features.Text()),
            "statement": tfds.features.Text(),
            "group": tfds.features.Text(),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            supervised_keys=None,
            homepage="https://github.com/microsoft/PythonProgrammingPuzzles",
            description="Programming puzzles: find an answer for which f returns True.",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        problems = load_problems(self._source)
        present = [split for split in SPLITS if any(problem.split == split for problem in problems)]
        return {split: self._generate_examples(split) for split in present}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for problem in load_problems(self._source):
            if problem.split == split:
                yield (
                    problem.name,
                    {
                        "name": problem.name,
                        "puzzle_id": problem.puzzle_id,
                        "puzzle": problem.source,
                        "answer_type": problem.answer_type,
                        "solutions": list(problem.solutions),
                        "statement": problem.statement,
                        "group": problem.group,
                    },
                )


class SelfprogPairs(tfds.core.GeneratorBasedBuilder):
    """The verified pairs of a run's finished iterations, with their provenance."""

    name: ClassVar[str] = "selfprog_pairs"
    VERSION = _VERSION
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "Pairs with iteration, weight and solve rate."}

    def __init__(self, *, run_dir: str, **kwargs: Any) -> None:
        self._run_dir = run_dir
        ledgers = run_datasets(run_dir)
        if not ledgers:
            raise UserError(f"{run_dir}: no iteration has a finished 5_dataset; `selfprog run` makes it")
        # A run that has gained an iteration is another dataset.
        config = _config(run_dir, [files.join(ledger.path, "manifest.json") for ledger in ledgers.values()])
        super().__init__(**_with_config(kwargs, config))

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "puzzle_id": tfds.features.Text(),
            "puzzle": tfds.features.Text(),
            "solution": tfds.features.Text(),
            "text": tfds.features.Text(),
            "answer_type": tfds.features.Text(),
            "iteration": np.int32,
            "weight": np.float32,
            "attempts": np.int32,
            "accepted": np.int32,
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("puzzle", "solution"),
            description="Puzzles and solutions that a model wrote and an interpreter accepted.",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[str, dict[str, Any]]]:
        wanted = self.info.features.keys()
        for number, row in enumerate(rows(self._run_dir)):
            made = {name: row[name] for name in wanted}
            made["answer_type"] = made["answer_type"] or ""
            yield f"{number:09d}", {k: _bytes(v) if isinstance(v, str) else v for k, v in made.items()}


def _bytes(text: str) -> bytes:
    """Model text may hold lone surrogates, which TFDS' own encoder refuses."""
    return text.encode("utf-8", "surrogatepass")


def _config(folder: str, paths: list[str]) -> tfds.core.BuilderConfig:
    """A configuration named after the folder and the content of some of its files."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(files.read_bytes(path))
    stem = re.sub(r"\W+", "_", os.path.basename(os.path.normpath(folder)))
    return tfds.core.BuilderConfig(name=f"{stem}-{digest.hexdigest()[:8]}", version=_VERSION)


def _with_config(kwargs: dict[str, Any], config: tfds.core.BuilderConfig) -> dict[str, Any]:
    """Accepts a configuration given by name, as TFDS does when it reopens prepared files."""
    return kwargs | {"config": config}
