"""A run directory, opened for one subcommand."""

import argparse
import contextlib
from collections.abc import Iterator
from typing import Any

from t5x_selfprog import run_dir
from verifier.storage import files


@contextlib.contextmanager
def opened(args: argparse.Namespace, stage: str, marker: str = "manifest.json") -> Iterator[tuple[Any, int]]:
    """The context of a run and the iteration asked for; by default the first without this stage's marker."""
    import t5x_selfprog.configurables  # noqa: F401 (declares the dataclasses to gin)
    from t5x_selfprog import named_data
    from t5x_selfprog.run_content import require_same_content
    from t5x_selfprog.stages.context import Context, Experiment
    from t5x_selfprog.telemetry.recorder import observed

    run = run_dir.RunDir(args.run_dir)
    iteration = args.iteration
    if iteration is None:
        iteration = 0
        while files.exists(files.join(run.stage(iteration, stage), marker)):
            iteration += 1
    experiment = Experiment()
    with observed(run.root, experiment.watchdog, experiment.profile, keep_goodput=False):
        others = named_data.besides_base_and_problems()
        require_same_content(run, experiment.base, experiment.problems, others)
        yield Context(run, experiment), iteration
