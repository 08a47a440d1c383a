"""Compiles later stages' programs in other threads once the first stage samples, so that devices need not wait.

Left out: the training step, whose batch depends on pairs that do not exist yet.
"""

import dataclasses
from typing import Any

import gin
from t5x_selfprog.model.store import LoadedModel
from t5x_selfprog.partitioning import Partitioner
from t5x_selfprog.puzzles.asking import asking
from t5x_selfprog.puzzles.prompts import SolvePrompt
from t5x_selfprog.sampling.blueprint import compile_ahead
from t5x_selfprog.sampling.interface import SamplingConfig

ATTEMPTS = {"sample_puzzles": 64, "sample_solutions": 100}  # the stages' defaults where gin binds none


def begin(model: LoadedModel, partitioner: Partitioner) -> None:
    """Compiles the programs of stages 1 and 3 for models of this shape, as gin configures them."""
    for stage, attempts in ATTEMPTS.items():
        sampling = _bound(f"{stage}.run.sampling", None)
        if not isinstance(sampling, SamplingConfig):
            continue  # the stage itself reports what is missing
        prefix = ""
        if stage == "sample_solutions":
            way = asking(_bound(f"{stage}.run.prompt", SolvePrompt()), model.tokenizer, model.path)
            prefix, sampling = way.prefix, way.sampling(sampling)
        elif _bound(f"{stage}.run.chat", False):
            sampling = dataclasses.replace(sampling, document_start=False)
        fitted = sampling.fitted(_bound(f"{stage}.run.attempts", attempts))
        compile_ahead(model.config, model.tokenizer, fitted, prefix, partitioner)


def _bound(name: str, default: Any) -> Any:
    """The value that gin would pass for this parameter."""
    try:
        value = gin.query_parameter(name)
    except ValueError:
        return default
    return value.scoped_configurable_fn() if hasattr(value, "scoped_configurable_fn") else value
