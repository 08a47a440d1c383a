"""How a subcommand that writes enters a run directory: alone at its work, with the run grown or forked where asked."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Mapping

from t5x_selfprog import forks, growth, in_use, run_dir
from t5x_selfprog.run_layout import WORKS


def require_possible(parsed: argparse.Namespace, bindings: Mapping[str, str]) -> None:
    """Raises UserError for a run that is in use, or cannot grow as is wished. Writes nothing.

    This comes before anything asks for devices, which whoever is at work there may have taken.
    """
    if not os.path.isdir(
        parsed.run_dir
    ):  # a run that begins, or in a bucket, which neither grows nor has locks
        return
    growth.require_possible(parsed.run_dir, bindings)
    if not getattr(parsed, "dry_run", False):
        in_use.require_free(parsed.run_dir, _works(parsed, bindings))


@contextlib.contextmanager
def entered(parsed: argparse.Namespace, bindings: Mapping[str, str], config_text: str) -> Iterator[None]:
    """Continues or creates the run; in the block, no other process on its files does the same work. Collective.

    With `--dry_run` nothing is written, and only what a start would refuse is refused.

    Raises ConfigMismatch if the directory belongs to another configuration, InUse if a process is at that work.
    """
    if getattr(parsed, "dry_run", False):
        _require_continuable(parsed.run_dir, bindings)
        yield
        return
    with in_use.held(parsed.run_dir, parsed.command, _works(parsed, bindings)):
        _grow(parsed, bindings)
        run = run_dir.open_run(parsed.run_dir, bindings, config_text)
        begun_from = getattr(parsed, "begun_from", None)
        if begun_from:
            for line in forks.share(run, bindings, begun_from):
                print(f"selfprog: took over {line}", file=sys.stderr)
        yield


def _works(parsed: argparse.Namespace, bindings: Mapping[str, str]) -> set[str]:
    """The subcommands whose work this process does, by itself or as host 0 of several.

    Stages may run beside each other: `verify` follows `solve`. A run does the work of all, and one that grows moves
    what others would be working on. A suite has folders of its own, which `evaluate_suite` holds.
    """
    if getattr(parsed, "hosts", None):
        from t5x_selfprog import hosts

        if hosts.place_among()[0]:
            return set()
    if parsed.command == "run" or growth.wishes(parsed.run_dir, bindings):
        return set(WORKS)
    return set() if getattr(parsed, "suite", None) else {parsed.command}


def _require_continuable(root: str, bindings: Mapping[str, str]) -> None:
    """Refuses what a start would refuse, for `--dry_run`, and says what a start would change."""
    words, run = growth.wishes(root, bindings), run_dir.RunDir(root)
    if words:
        print(f"selfprog: {root} would go on with {', '.join(words)}", file=sys.stderr)
    elif run_dir.has_made(run):
        run_dir.require_same(run, bindings)


def _grow(parsed: argparse.Namespace, bindings: Mapping[str, str]) -> None:
    """Lets a run continue under settings that only ask for more of it."""
    several = bool(getattr(parsed, "hosts", None))
    if several:
        from t5x_selfprog import hosts
    if not several or hosts.is_first():
        more = growth.grow(parsed.run_dir, bindings)
        if more:
            print(f"selfprog: {parsed.run_dir} goes on with {', and '.join(more)}", file=sys.stderr)
    if several:
        hosts.barrier("the run directory has grown")
