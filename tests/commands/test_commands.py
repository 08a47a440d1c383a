"""Every subcommand has its help, examples that are understood, and a body that leads to functions which exist."""

from __future__ import annotations

import ast
import inspect
import textwrap
from importlib import import_module
from pathlib import Path

import pytest

from t5x_selfprog import commands
from t5x_selfprog import main as main_module
from t5x_selfprog.commands import COMMANDS
from t5x_selfprog.commands.command import Command
from t5x_selfprog.main import main, resolve


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_of_every_subcommand_teaches(command: Command, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command.name, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert " ".join(command.about.split()[:5]) in " ".join(shown.split())
    for example in command.examples:
        assert f"selfprog {example}" in shown


def test_every_example_is_understood() -> None:
    for command in COMMANDS:
        for example in command.examples:
            words = example.partition("#")[0].partition("|")[0].split()
            assert main_module.parse(words)[0].name == command.name


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_subcommand_leads_to_functions(command: Command) -> None:
    """A body imports what it calls only when it runs; each of these names exists."""
    source = textwrap.dedent(inspect.getsource(command.body))
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    assert imports
    for node in imports:
        module = import_module(node.module)
        for alias in node.names:
            assert hasattr(module, alias.name) or import_module(f"{node.module}.{alias.name}")
    if command.configured_by:
        import_module(command.configured_by)
    if command.check:
        assert callable(resolve(command.check))


def test_every_file_of_commands_is_in_the_table() -> None:
    files = {path.stem for path in Path(commands.__file__).parent.glob("*.py")}
    modules = {command.body.__module__.rpartition(".")[2] for command in COMMANDS}
    assert files - {"__init__", "command", "opened"} == modules
    assert len({command.name for command in COMMANDS}) == len(COMMANDS) == len(modules)
