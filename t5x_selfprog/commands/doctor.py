"""`selfprog doctor`: what this machine has for a run."""

import argparse
from typing import Any

from t5x_selfprog.commands.command import Command


def body(args: argparse.Namespace) -> dict[str, Any]:
    from t5x_selfprog.doctor import examine, render

    found = examine()
    print(render(found))
    return found


COMMAND = Command(
    "doctor",
    "what this machine has for a run, and what to install",
    "Shows devices, memory, versions and how well candidate programs are isolated, with a remedy for what is "
    "missing. `python -m verifier doctor` says more of the sandbox.",
    ("doctor", "doctor --json | tail -1"),
    body,
    run_dir="unused",
    configured_by="",
)
