"""What a subcommand is, and the options that several share."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from t5x_selfprog.flag_types import COUNT, WHOLE
from verifier.storage import files

# All stages are imported with the loop, so that one gin file serves every subcommand of a run.
LOOP = "t5x_selfprog.loop"
CHECK_RUN = "t5x_selfprog.preflight:check_run"


@dataclass(frozen=True)
class Option:
    """A flag or positional argument of one subcommand, in the form of argparse's add_argument."""

    flag: str
    help: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Command:
    """One subcommand.

    Attributes:
        help: one line, for the list of subcommands.
        about: what it reads and writes, for its own --help.
        examples: command lines without the leading `selfprog`.
        body: called with the parsed arguments once gin is parsed; imports what it needs inside itself.
        run_dir: "writes" checks and saves the configuration there; "reads" only needs the directory.
        local: the run directory must be a folder on this machine, not in a bucket.
        configured_by: the module that declares its gin configurables; empty for commands without gin.
        check: `module:function`, called with the parsed arguments once gin is parsed, before anything is written.
    """

    name: str
    help: str
    about: str
    examples: tuple[str, ...]
    body: Callable[[argparse.Namespace], Any]
    run_dir: Literal["writes", "reads", "unused"] = "writes"
    configured_by: str = LOOP
    options: tuple[Option, ...] = ()
    local: bool = False
    check: str = ""


ITERATION = Option(
    "--iteration",
    "which iteration (default: the first in which this stage is not complete)",
    {"type": WHOLE, "metavar": "N"},
)
MODEL = Option(
    "--model",
    "a model's folder, a run (its newest checkpoint is taken), a run's 6_checkpoints, or the name of a shipped model",
    {"required": True, "metavar": "M"},
)
NEW_MODEL = Option("--output", "the new model's folder", {"required": True, "metavar": "DIR"})
DTYPE = Option("--dtype", "round weights to float32, bfloat16 or float16 (default: keep their type)")
PUSH = Option(
    "--push",
    "then send the folder to this repository on the Hugging Face Hub (a new one is private)",
    {"metavar": "ORG/NAME", "default": ""},
)
POSITIVE = {"type": COUNT, "metavar": "N"}


def require_local(*paths: str) -> None:
    for path in paths:
        files.require_local(path, path, "`gcloud storage cp -r` copies it from or to a bucket")
