"""Published suites (HumanEval+, MBPP+, files of their form): each task's prompt, and the program in an answer.

A prompt that ends inside a function is continued, and the program ends where the function does. Any other prompt
becomes a string at the head of a program, as in MBPP, below which the model writes; the program ends where the model
begins to comment on it (another string, assertions, a call of `print`), as in evalplus for models that only continue.
The verifier judges both (verifier/unit_tests/suite_files.py). For conversations see suite_asking.py.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from t5x_selfprog.puzzles.prompts import ends_at_token_boundary
from t5x_selfprog.sampling.stop import StopRule
from verifier.language.leniency import lenient_python
from verifier.storage import files
from verifier.storage.rows import BadRow
from verifier.unit_tests.suite_files import make_suite, read_rows, suites_of
from verifier.unit_tests.suites import Suite

# Where a program asked for in prose ends. The second group is for functions only: whole programs need those lines.
_ENDS = ('\n"""', "\n'''", "\n```")
_ENDS_OF_FUNCTIONS = ("\nassert ", "\nprint(", "\nif __name__")
_INDENTS = ("    ", "\t", "  ")
_DROPPED_LINES = 64  # at most, from the end of a program that does not parse

Encode = Callable[[str], Sequence[int]]


@dataclass(frozen=True)
class SuiteTask:
    """One task.

    Attributes:
      text: what the model continues; the beginning of a Python program.
      indent: if `text` ends inside a function, what its next line begins with, else "".
      tests: all tests of the task.
      base_tests: the tests without evalplus' additions; None where there are none.
    """

    task_id: str
    text: str
    indent: str
    entry_point: str
    tests: Suite
    base_tests: Suite | None = None

    @property
    def inside(self) -> bool:
        return bool(self.indent)

    def asked(self, encode: Encode) -> str:
        """The prompt, ending at a token boundary of the expected continuation."""
        text = self.text.rstrip()
        follows = f"\n{self.indent}return" if self.inside else "\ndef "
        return text if ends_at_token_boundary(text, follows, encode) else f"{text}\n"

    def program(self, asked: str, completion: str) -> str:
        """The whole program, from a completion of `asked`."""
        if self.inside:
            kept = StopRule("unindented").cut(completion.encode(), asked.endswith("\n")).decode()
            return (asked + kept).rstrip() + "\n"
        return whole_lines(asked, self._before_its_end(completion), self.entry_point).rstrip() + "\n"

    def _before_its_end(self, completion: str) -> str:
        ends = _ENDS if self.tests.around else _ENDS + _ENDS_OF_FUNCTIONS
        places = [place for end in ends if (place := completion.find(end, 1)) >= 0]
        return completion[: min(places, default=len(completion))]


@dataclass(frozen=True)
class SuiteFile:
    """The tasks of a file, in its order.

    Attributes:
      name: short, for folders and tables.
      sha256: of the file.
    """

    name: str
    path: str
    sha256: str
    tasks: tuple[SuiteTask, ...]

    @property
    def inside(self) -> bool:
        """Whether every prompt ends inside a function, so that sampling can stop where the function ends."""
        return all(task.inside for task in self.tasks)


def read_suite(path: str, name: str) -> SuiteFile:
    """Raises BadRow with file, task and fault: a missing field, no tests, no prompt, or one that cannot be answered."""
    rows = list(read_rows(path))
    texts = [
        _text(row, f"{path}, task {row.get('task_id', number)!r}") for number, row in enumerate(rows, start=1)
    ]
    tasks = []
    for (task_id, tests), row, (text, indent) in zip(suites_of(path, rows).items(), rows, texts, strict=True):
        if indent and tests.entry_point and (begun := _function_at_the_end(text)[0]) != tests.entry_point:
            raise BadRow(
                f"{path}, task {task_id!r}: its prompt ends inside {begun!r}, and its tests call "
                f"{tests.entry_point!r}, so no answer can be right"
            )
        base = (
            make_suite({**row, "plus_input": []}) if row.get("plus_input") and row.get("base_input") else None
        )
        tasks.append(SuiteTask(task_id, text, indent, tests.entry_point, tests, base))
    if not tasks:
        raise BadRow(f"{path}: no tasks")
    return SuiteFile(name, path, hashlib.sha256(files.read_bytes(path)).hexdigest(), tuple(tasks))


def _text(row: Mapping[str, Any], place: str) -> tuple[str, str]:
    """What the model continues, and the indentation if that ends inside a function."""
    prompt = row.get("prompt") or row.get("text")
    if not isinstance(prompt, str) or not prompt.strip():
        raise BadRow(f"{place}: has no 'prompt' (a text), and nothing else says what a model is asked")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise BadRow(f"{place}: 'prompt' holds half of a character: {error.object[error.start]!r}") from error
    name, indent = _function_at_the_end(prompt)
    if name:
        return prompt, indent
    if _parses(prompt) and not _is_prose(prompt):
        return prompt, ""
    tests = row["test_list"] if isinstance(row.get("test_list"), list) else []
    shown = [prompt.strip(), *(line for line in tests if isinstance(line, str))]
    said = "\n".join(shown).replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f'"""\n{said}\n"""\n', ""


def _function_at_the_end(prompt: str) -> tuple[str, str]:
    """The name of the function that it ends inside, and what its next line begins with; "" where there is none.

    That is how some line of the prompt is indented, the last ones first, or if none shows it, as one likes.
    """
    text = prompt.rstrip()
    shown = (line[: len(line) - len(line.lstrip())] for line in reversed(text.split("\n")))
    for indent in dict.fromkeys((*shown, *_INDENTS)):
        tree = _tree(f"{text}\n{indent}pass") if indent else None
        last = tree.body[-1] if tree is not None and tree.body else None
        if isinstance(last, ast.FunctionDef | ast.AsyncFunctionDef):
            return last.name, indent
    return "", ""


def _is_prose(prompt: str) -> bool:
    """Whether it parses by accident ("Add" is an expression): only expressions other than strings, no comment first."""
    tree = _tree(prompt)
    assert tree is not None
    return all(
        isinstance(node, ast.Expr)
        and not (isinstance(node.value, ast.Constant) and isinstance(node.value.value, str))
        for node in tree.body
    ) and not prompt.lstrip().startswith("#")


def whole_lines(asked: str, completion: str, entry_point: str) -> str:
    """The program, without last lines that keep it from parsing (a token limit cut it), if its function remains."""
    lines = completion.split("\n")
    for count in range(len(lines), max(0, len(lines) - _DROPPED_LINES), -1):
        kept = "\n".join(lines[:count])
        if entry_point in kept and kept.strip() and _parses(asked + kept):
            return asked + kept
    return asked + completion


def _parses(text: str) -> bool:
    return _tree(text) is not None


def _tree(text: str) -> ast.Module | None:
    try:
        with lenient_python():
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
