"""`selfprog SUBCOMMAND --gin_file=F --gin.NAME=VALUE --run_dir=DIR`: the subcommands and their dispatch.

Nothing heavy is imported before the command line is understood, so that `--help` and mistakes are answered at once.
Then the module that declares the configurables is imported, gin is parsed, the run directory is entered, and the
subcommand's function is called. With `--json`, its return value is the last line printed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import re
import shlex
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from t5x_selfprog.commands import COMMANDS
from t5x_selfprog.commands.command import Command
from t5x_selfprog.nearest import nearest
from verifier.errors import UserError
from verifier.storage import files

EXIT_INTERRUPTED = 130


_EPILOG = """\
start here:
  selfprog run --gin_file=quickstart --run_dir=runs/quickstart

A configuration is a gin file (see gin/runs/) plus any number of --gin.NAME=VALUE.
Text needs quotes of its own: --gin.NAME='"text"'.
SELFPROG_DEBUG=1 shows the traceback behind an error message.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0; 2 for what the user can fix, 75 for what may pass by itself; 130 if interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = os.environ.get("SELFPROG_DEBUG", "") not in ("", "0")
    command, parsed = parse(arguments)
    try:
        result = execute(command, parsed)
        if parsed.json:
            print(json.dumps(result if result is not None else {}, sort_keys=True), flush=True)
    except UserError as error:
        if debug:
            raise
        print(f"selfprog: error: {_message(error)}", file=sys.stderr)
        _leave_with_others(parsed, error.EXIT_CODE)
        return error.EXIT_CODE
    except SystemExit as end:
        _leave_with_others(parsed, end.code if isinstance(end.code, int) else 1)
        raise
    except KeyboardInterrupt:
        if debug:
            raise
        command_line = shlex.join(["selfprog", *arguments])
        print(f"\nselfprog: interrupted; resume with the same command:\n  {command_line}", file=sys.stderr)
        _leave_with_others(parsed, EXIT_INTERRUPTED)
        return EXIT_INTERRUPTED
    except Exception:
        if getattr(parsed, "hosts", None):
            traceback.print_exc()
            _leave_with_others(parsed, 1)
        raise
    if getattr(parsed, "hosts", None):
        from t5x_selfprog import hosts

        hosts.finish()
    return 0


def _leave_with_others(parsed: argparse.Namespace, status: int) -> None:
    """Ends all processes of a run that has several."""
    if getattr(parsed, "hosts", None):
        from t5x_selfprog import hosts

        hosts.leave(status)


def parse(arguments: Sequence[str]) -> tuple[Command, argparse.Namespace]:
    """The subcommand and its arguments; exits with status 0 after --help and with 2 after a mistake."""
    parser, by_name = _parser()
    gin_flags = [argument for argument in arguments if argument.startswith("--gin.")]
    rest = [argument for argument in arguments if argument not in gin_flags]
    first = next((argument for argument in rest if not argument.startswith("-")), None)
    if first is not None and first not in by_name:
        guess = nearest(first, by_name)
        parser.error(
            f"no subcommand {first!r}; "
            + (f"did you mean {guess}?" if guess else f"there are {', '.join(by_name)}")
        )
    parsed, unknown = parser.parse_known_args(rest)
    own = by_name[parsed.command]
    if unknown:
        from t5x_selfprog.flag_help import advice

        command = next(command for command in COMMANDS if command.name == parsed.command)
        own.error("\n  ".join(advice(word, command, own._option_string_actions) for word in unknown))
    if parsed.run_dir:
        parsed.run_dir = os.path.expanduser(parsed.run_dir)  # shells do not do this after an equals sign
        if re.match(r"\w+:/(?!/)", parsed.run_dir):  # otherwise a local folder `gs:` would be made
            own.error(f"--run_dir={parsed.run_dir}: a bucket is written with two slashes, gs://BUCKET/...")
    parsed.gin_bindings = [flag.removeprefix("--gin.") for flag in gin_flags]
    command = next(command for command in COMMANDS if command.name == parsed.command)
    if command.run_dir != "unused" and not parsed.run_dir:
        own.error("--run_dir=DIR is needed: where the run keeps everything it makes")
    for flag in gin_flags:
        name, equals, _ = flag.removeprefix("--gin.").partition("=")
        if not (name and equals):
            own.error(f"{flag!r}: write --gin.NAME=VALUE, in one piece")
        if not command.configured_by:
            own.error(f"{flag!r}: {command.name} has nothing that gin configures")
    return command, parsed


def execute(command: Command, parsed: argparse.Namespace) -> Any:
    """Imports, configures and calls a subcommand."""
    if command.local:
        remedy = f"give {command.name} one, and copy it afterwards: gcloud storage cp -r DIR {parsed.run_dir}"
        files.require_local(parsed.run_dir, f"--run_dir={parsed.run_dir}", remedy)
    if parsed.quiet:
        os.environ["SELFPROG_QUIET"] = "1"
    if command.configured_by:
        importlib.import_module(command.configured_by)
    from t5x_selfprog import gin_errors

    if getattr(parsed, "hosts", None):
        from t5x_selfprog import hosts

        hosts.connect(parsed.hosts)
        if not hosts.is_first():
            os.environ["SELFPROG_QUIET"] = "1"
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (only host 0 prints, until the process ends)
    with _listening(command):
        gin_paths = _configure(command, parsed)
        with _entered(command, parsed), gin_errors.explain_calls(gin_paths, parsed.gin_bindings):
            return command.body(parsed)


def _entered(command: Command, parsed: argparse.Namespace) -> contextlib.AbstractContextManager[None]:
    """The run directory, for commands that write there."""
    if command.run_dir != "writes":
        return contextlib.nullcontext()
    from t5x_selfprog import entering, gin_files

    return entering.entered(parsed, gin_files.bindings(), gin_files.config_text())


def _listening(command: Command) -> contextlib.AbstractContextManager[Any]:
    """Listens for SIGTERM during commands that write, which a container's first process would otherwise ignore."""
    if command.run_dir != "writes":
        return contextlib.nullcontext()
    from t5x_selfprog import preemption

    return preemption.listening()


def resolve(target: str) -> Callable[..., Any]:
    """The function behind `module:function`."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def _configure(command: Command, parsed: argparse.Namespace) -> list[str]:
    """Parses gin and checks what was asked for; writes nothing. Returns the gin files that were read."""
    from t5x_selfprog import gin_errors, gin_files, gin_values, run_dir

    named, saved = list(parsed.gin_file), ""
    begun_from = getattr(parsed, "begun_from", None)
    if begun_from:
        from t5x_selfprog import forks

        mine = forks.settings(begun_from, parsed.run_dir, several=bool(getattr(parsed, "hosts", None)))
        if not named:
            saved = mine
            named = [saved]
    if command.run_dir == "writes" and not named:
        saved = run_dir.RunDir(parsed.run_dir).config
        if not files.exists(saved):
            raise UserError(
                f"no configuration: give --gin_file=F, for example --gin_file=quickstart "
                f"({saved} is not there yet)"
            )
        named = [saved]
    paths = gin_files.load(named, parsed.gin_bindings, saved)
    if getattr(parsed, "hosts", None):
        from t5x_selfprog import hosts, versions

        hosts.require_same(versions.versions() | gin_files.bindings())
    if command.configured_by:
        gin_values.require_fitting(paths, parsed.gin_bindings)
        gin_values.require_buildable(paths, parsed.gin_bindings)
    if command.run_dir == "writes":
        from t5x_selfprog import entering

        entering.require_possible(parsed, gin_files.bindings())
    if command.check:
        with gin_errors.explain_calls(paths, parsed.gin_bindings):
            resolve(command.check)(parsed)
    return paths


def _message(error: UserError) -> str:
    """The error's message, without the calls that gin appends to it on its way up."""
    return str(error).partition("\n  In call to configurable")[0]


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = argparse.ArgumentParser(
        prog="selfprog",
        description=_fill(
            "A language model that teaches itself to program: it writes puzzles, solves them, an interpreter "
            "judges, it trains on what passed, and is measured on held-out puzzles."
        ),
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    subparsers = parser.add_subparsers(dest="command", metavar="SUBCOMMAND", required=True)
    by_name = {}
    for command in COMMANDS:
        own = subparsers.add_parser(
            command.name,
            help=command.help,
            description=_fill(command.about),
            epilog="examples:\n" + "\n".join(f"  selfprog {example}" for example in command.examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        for option in command.options:
            own.add_argument(option.flag, help=option.help, **option.arguments)
        _add_common(own, command)
        by_name[command.name] = own
    return parser, by_name


def _fill(text: str) -> str:
    return textwrap.fill(text, width=100)


def _add_common(parser: argparse.ArgumentParser, command: Command) -> None:
    if command.run_dir == "unused":
        parser.set_defaults(run_dir=None)
    else:
        parser.add_argument("--run_dir", metavar="DIR", help="where the run keeps everything it makes")
    if command.run_dir == "writes":
        parser.add_argument(
            "--hosts",
            metavar="H",
            help="several processes as one run: auto (Cloud TPU, SLURM, GKE) or ADDRESS:PORT,COUNT,INDEX; started "
            "alike on each, with a --run_dir that all see",
        )
    if command.configured_by:
        parser.add_argument(
            "--gin_file",
            metavar="F",
            action="append",
            default=[],
            help="a gin file, by path or by its name under gin/ or gin/runs/; may be repeated"
            + (
                " (default: the configuration saved in the run directory)"
                if command.run_dir == "writes"
                else ""
            ),
        )
        # Only for the help text: argparse cannot declare a family of flags, so `parse` removes them first.
        parser.add_argument("--gin.NAME", metavar="VALUE", help="a binding on top of the files; repeatable")
    else:
        parser.set_defaults(gin_file=[])
    parser.add_argument("--json", action="store_true", help="end with one line of JSON for programs")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


if __name__ == "__main__":
    sys.exit(main())
