"""Files of tests and of samples: HumanEval's, MBPP's and evalplus' forms, and ours.

Tasks are JSON lines (or .gz, or one JSON list), told apart by their fields:

  entry_point, inputs, outputs                            arguments of each test and what must be returned
  inputs, outputs: texts, without entry_point             programs on standard input
  entry_point, test [, prompt]                            HumanEval: `def check(candidate)`, or assertions
  test_list [, test_setup_code or test_imports, code]     MBPP: assertions
  entry_point, base_input, plus_input, canonical_solution [, prompt, atol]
                                                          evalplus: HumanEval+, MBPP+

each with a `task_id`. Samples are evalplus' JSON lines: `task_id` and `solution`, a whole program, or `completion`,
what follows the task's prompt.
"""

import ast
import builtins
import gzip
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from verifier.language.leniency import lenient_python
from verifier.storage import files
from verifier.storage.rows import BadRow
from verifier.unit_tests import mbpp_types, suites
from verifier.unit_tests.suite_calls import SuiteError
from verifier.unit_tests.suites import Suite


def read_tasks(path: str) -> dict[str, Suite]:
    """Every task's suite by its id, in the file's order. Raises BadRow naming file, task and what is wrong."""
    return suites_of(path, read_rows(path))


def read_rows(path: str) -> Iterator[dict[str, Any]]:
    """The tasks of a file, as objects. A byte order mark before a text is of the file that it was read from.

    Python takes it for a character that no program may hold.
    """
    for row in read_objects(path):
        yield {
            name: value.removeprefix("\ufeff") if isinstance(value, str) else value
            for name, value in row.items()
        }


def suites_of(path: str, rows: Iterable[Mapping[str, Any]]) -> dict[str, Suite]:
    """As `read_tasks`, of rows already read from `path`."""
    found: dict[str, Suite] = {}
    for number, row in enumerate(rows, start=1):
        given = row.get("task_id")
        if given is not None and type(given) not in (str, int):
            raise BadRow(f"{path}, task {number}: 'task_id' must be a text, is {str(given)[:60]!r}")
        name = "" if given is None else str(given)
        if not name or name in found:
            raise BadRow(
                f"{path}, task {number}: {'a second one called ' + repr(name) if name else 'has no task_id'}"
            )
        try:
            found[name] = make_suite(row)
        except SuiteError as e:
            raise BadRow(f"{path}, task {name!r}: {e}") from e
    return found


def make_suite(row: Mapping[str, Any]) -> Suite:
    """The suite of a task, whose fields show its form. Raises SuiteError, whatever is wrong with them."""
    for name, (kind, what) in _KINDS.items():
        if not isinstance(row.get(name), kind | None):  # null counts as absent
            raise SuiteError(f"{name!r} must be {what}, is {str(row[name])[:60]!r}")
    if not 0 <= (row.get("atol") or 0) < math.inf:
        raise SuiteError(f"'atol' must be a number of at least 0, is {row['atol']!r}")
    for field, make in FORMS.items():
        if field in row:
            try:
                return make(row)
            except KeyError as e:
                raise SuiteError(f"has no {e}") from e
            except (TypeError, ValueError, IndexError, AttributeError, RecursionError, OverflowError) as e:
                raise SuiteError(f"{field!r} and what goes with it: {e}"[:300]) from e
    raise SuiteError(f"none of the fields {', '.join(FORMS)}; see verifier/unit_tests/suite_files.py")


# What a field must be, if it is there.
_TEXT, _LIST = (str, "a text"), (list | tuple, "a list")
_KINDS: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(
        ("entry_point", "prompt", "test", "code", "test_setup_code", "canonical_solution"), _TEXT
    ),
    **dict.fromkeys(("inputs", "outputs", "base_input", "plus_input", "test_list"), _LIST),
    "challenge_test_list": _LIST,
    "test_imports": (str | list | tuple, "a text or a list"),
    "atol": (int | float, "a number"),
}


def _plus(row: Mapping[str, Any]) -> Suite:
    name, prompt = row["entry_point"], row.get("prompt", "")
    task_id = str(row.get("task_id", ""))
    inputs = [*row["base_input"], *(row.get("plus_input") or [])]
    equal, above = "same", prompt
    if task_id.lower().startswith("mbpp"):
        inputs = list(mbpp_types.restore(int(task_id.rpartition("/")[2]), inputs))
        equal, above = mbpp_types.EQUAL.get(name, "same"), ""
    elif name == "find_zero":  # HumanEval/32: any root will do
        equal = "root"
    reference = f"{prompt}{row['canonical_solution']}"
    atol = float(row.get("atol") or 0.0)
    return suites.of_pairs(name, inputs, reference=reference, atol=atol, equal=equal, above=above)


def _human_eval(row: Mapping[str, Any]) -> Suite:
    prompt = row.get("prompt", "")
    above = prompt if _is_stub(prompt) else ""
    return suites.of_asserts(row["entry_point"], row["test"], helpers=above, above=above)


def _mbpp(row: Mapping[str, Any]) -> Suite:
    test = "\n".join([*row["test_list"], *row.get("challenge_test_list", ())])
    imports = row.get("test_imports") or []
    helpers = "\n".join(
        [row.get("test_setup_code") or "", *([imports] if isinstance(imports, str) else imports)]
    )
    return suites.of_asserts(row.get("entry_point") or _entry_point(row, test), test, helpers=helpers)


def _pairs(row: Mapping[str, Any]) -> Suite:
    if row.get("entry_point"):
        prompt = row.get("prompt", "")
        above = prompt if _is_stub(prompt) else ""
        return suites.of_pairs(
            row["entry_point"], row["inputs"], _outputs(row), atol=float(row.get("atol") or 0.0), above=above
        )
    for name in ("inputs", "outputs"):
        if not all(isinstance(text, str) for text in row[name] or ()):
            raise SuiteError(f"{name} of a program must be texts; for a function name its entry_point")
    return suites.of_programs(row["inputs"], _outputs(row))


def _outputs(row: Mapping[str, Any]) -> list[Any]:
    if row["outputs"] is None:  # there is no reference that could say
        raise KeyError("outputs")
    return list(row["outputs"])


FORMS: dict[str, Callable[[Mapping[str, Any]], Suite]] = {
    "base_input": _plus,
    "test": _human_eval,
    "test_list": _mbpp,
    "inputs": _pairs,
}


def _entry_point(row: Mapping[str, Any], test: str) -> str:
    """The function that MBPP's assertions call: the one its own solution defines, or the only one they name."""
    called = {
        node.func.id: None
        for node in ast.walk(suites.parse(test))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    defined = {
        node.name for node in suites.parse(row.get("code") or "").body if isinstance(node, ast.FunctionDef)
    }
    chosen = [name for name in called if name in defined] or [
        name for name in called if name not in dir(builtins)
    ]
    if len(chosen) != 1:
        raise SuiteError(
            f"which function is tested? the tests call {', '.join(chosen) or 'none'}; say `entry_point`"
        )
    return chosen[0]


def _is_stub(prompt: str) -> bool:
    """Whether a prompt is the beginning of a program, with imports and helpers, and not a text about one."""
    try:
        return any(isinstance(node, ast.FunctionDef) for node in suites.parse(prompt).body)
    except SuiteError:
        return False


# Samples.


def read_samples(path: str, tasks: Mapping[str, Suite]) -> Iterator[dict[str, Any]]:
    """evalplus' samples, with `solution` in every one. Raises BadRow for an unknown task."""
    for number, row in enumerate(read_objects(path), start=1):
        suite = tasks.get(str(row.get("task_id")))
        if suite is None:
            raise BadRow(f"{path}, sample {number}: no task {row.get('task_id')!r}")
        text = row.get("solution", row.get("completion"))
        if not isinstance(text, str):
            raise BadRow(f"{path}, sample {number}: has no text 'solution' or 'completion'")
        yield row if "solution" in row else {**row, "solution": suite.above + text}


def write_samples(path: str, samples: Iterable[Mapping[str, Any]]) -> int:
    """Writes evalplus' form, `task_id` and `solution`, whole or not at all; returns how many."""
    count = 0
    with files.open_atomic(path) as file:
        for sample in samples:
            row = {"task_id": sample["task_id"], "solution": sample["solution"]}
            file.write(json.dumps(row).encode("ascii") + b"\n")
            count += 1
    return count


def read_objects(path: str) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines (or .gz, or one JSON list). Raises BadRow."""
    try:
        with files.open_read(path) as file:
            data = file.read()
        text = (gzip.decompress(data) if path.endswith(".gz") else data).decode("utf-8-sig")
        with lenient_python():  # HumanEval+ has integers of any length
            if text.lstrip().startswith("["):
                values = json.loads(text)
            else:
                values = [json.loads(line) for line in text.split("\n") if line.strip()]
    except (ValueError, RecursionError, gzip.BadGzipFile, EOFError) as e:
        raise BadRow(f"{path}: not JSON lines: {e}") from e
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise BadRow(f"{path}, {number}: must be an object, is {str(value)[:60]!r}")
        yield value
