"""What a model is asked by a suite's task, which part of its answer counts, and which files are refused."""

import ast
import json

import pytest

from t5x_selfprog.evaluation.suite_tasks import read_suite
from tests.evaluation.suite_rows import HALF, MBPP, SHARED
from verifier.storage.rows import BadRow

BYTES = lambda text: list(text.encode())  # noqa: E731


def suite(tmp_path, *rows):
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_suite(str(path), "own")


def test_a_prompt_within_a_function_is_continued_and_ends_where_that_does(tmp_path):
    (task,) = suite(tmp_path, HALF).tasks
    asked = task.asked(BYTES)
    assert task.inside and asked == HALF["prompt"].rstrip()
    program = task.program(asked, "\n    return math.floor(x / 2)\n\n\nprint(half(3))\n")
    assert program == asked + "\n    return math.floor(x / 2)\n"
    assert task.program(
        asked, "\n\n    y = x\n    # so\n\n    return y\ndef half(x):\n    return 1"
    ).endswith("return y\n")


@pytest.mark.parametrize("indent", ["  ", "\t", "   ", "        "])
@pytest.mark.parametrize("docstring", ['"""Half."""', '"""Half\n{}of it.\n{}"""', '"""Half\n"""', ""])
def test_a_function_may_be_indented_in_any_way(tmp_path, indent, docstring):
    head = f"def half(x):\n{indent}{docstring.replace('{}', indent)}".rstrip() + "\n"
    (task,) = suite(
        tmp_path, {**HALF, "prompt": head, "canonical_solution": f"{indent}return x // 2\n"}
    ).tasks
    asked = task.asked(BYTES)
    body = f"\n{indent}return x // 2\n"
    assert task.inside and asked == head.rstrip()
    assert task.program(asked, f"{body}\nThis halves it.") == asked + body


@pytest.mark.parametrize("row", [HALF, SHARED, MBPP], ids=["function", "program", "prose"])
def test_a_byte_order_mark_is_no_part_of_a_task(tmp_path, row):
    """Neither before its texts, each read from a file of its own perhaps, nor before the file of tasks."""
    (plain,) = suite(tmp_path, row).tasks
    texts = {
        name: f"\ufeff{value}" for name, value in row.items() if name != "task_id" and isinstance(value, str)
    }
    (marked,) = suite(tmp_path, row | texts).tasks
    assert (marked, marked.asked(BYTES)) == (plain, plain.asked(BYTES))
    (tmp_path / "own.jsonl").write_text(json.dumps(row), encoding="utf-8-sig")
    assert read_suite(str(tmp_path / "own.jsonl"), "own").tasks == (plain,)


def test_a_newline_that_tokens_share_with_what_follows_is_left_to_the_model(tmp_path):
    (task,) = suite(tmp_path, HALF).tasks
    assert task.asked(BYTES) == HALF["prompt"].rstrip(), "one token a byte: any end is a boundary"
    together = lambda text: [text[i : i + 4] for i in range(0, len(text), 4)]  # noqa: E731
    rest = len(HALF["prompt"].rstrip()) % 4
    assert task.asked(together) == HALF["prompt"].rstrip() + "\n" * bool(rest)


@pytest.mark.parametrize("row", [SHARED, MBPP])
def test_a_task_told_in_words_is_a_text_above_a_program(tmp_path, row):
    (task,) = suite(tmp_path, row).tasks
    asked = task.asked(BYTES)
    assert not task.inside
    (said,) = ast.parse(asked).body
    words = ast.literal_eval(said.value)
    assert "Write a function" in words and ("hello(2) == ['hello', 'hello']" in words) == (row is MBPP)
    if row is MBPP:
        assert MBPP["text"] in words, "quotes and backslashes are the task's own"


FUNCTION = "def shared(a, b):\n    return a\n"
DOCUMENTED = "def shared(a, b):\n    '''Of a\n\n    and b.'''\n    return a\n"


@pytest.mark.parametrize(
    ("kept", "dropped"),
    [
        ("import re\n" + FUNCTION, "\nassert shared(1, 2)\n"),
        ("def one():\n    return 1\n" + FUNCTION, "print(1)"),
        (FUNCTION, "\ndef more(x):\n    if x:\n"),
        (FUNCTION, '"""\nWrite another.\n'),
        (DOCUMENTED, "```\nThis"),
        (FUNCTION, "\nif __name__ == '__main__':\n    main()\n"),
    ],
)
def test_a_program_ends_where_it_begins_to_talk_of_itself(tmp_path, kept, dropped):
    (task,) = suite(tmp_path, SHARED).tasks
    asked = task.asked(BYTES)
    program = task.program(asked, "\n" + kept + dropped)
    ast.parse(program)
    assert program.removeprefix(asked).strip() == kept.strip()


def test_what_is_no_program_at_all_stays_as_it_is(tmp_path):
    (task,) = suite(tmp_path, SHARED).tasks
    for text in ("\nI can not do this.", "\nimport re\ndef shared(a, b):\n    x = ["):
        assert task.program("", text) == text + "\n", (
            "its verdict is a syntax error, not a function that is missing"
        )


def test_programs_on_standard_input_may_print(tmp_path):
    row = {"task_id": "sum", "prompt": "Add two numbers.", "inputs": ["1 2\n"], "outputs": ["3\n"]}
    (task,) = suite(tmp_path, row).tasks
    text = "\na, b = map(int, input().split())\nprint(a + b)\n"
    assert task.program(task.asked(BYTES), text).endswith("print(a + b)\n")


def test_tests_that_evalplus_added_can_be_left_out(tmp_path):
    with_plus, without = suite(tmp_path, HALF, {**HALF, "task_id": "HumanEval/901", "plus_input": []}).tasks
    assert with_plus.base_tests is not None and without.base_tests is None
    assert "-7" in with_plus.tests.puzzle and "-7" not in with_plus.base_tests.puzzle


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"prompt": None}, "'HumanEval/900': has no 'prompt'"),
        ({"prompt": "  \n"}, "'HumanEval/900': has no 'prompt'"),
        ({"prompt": 3}, "HumanEval/900'"),
        ({"entry_point": ...}, "'HumanEval/900': has no 'entry_point'"),
        ({"canonical_solution": ...}, "'HumanEval/900': has no 'canonical_solution'"),
        ({"base_input": [], "plus_input": []}, "'HumanEval/900': has no tests"),
        ({"base_input": ..., "plus_input": ...}, "'HumanEval/900': none of the fields"),
        ({"task_id": ...}, "task 1: has no task_id"),
        ({"task_id": None}, "task 1: has no task_id"),
        ({"task_id": [1]}, r"task 1: 'task_id' must be a text, is '\[1\]'"),
        (
            {"entry_point": "quarter"},
            "'HumanEval/900': its prompt ends inside 'half', and its tests call 'quarter'",
        ),
        ({"prompt": "def half(x):  # \ud800\n"}, "'HumanEval/900': 'prompt' holds half of a character"),
        ({"atol": float("nan")}, "'HumanEval/900': 'atol' must be a number of at least 0, is nan"),
        ({"atol": -1}, "'HumanEval/900': 'atol' must be a number of at least 0"),
    ],
)
def test_a_task_without_what_it_needs_is_named(tmp_path, changed, words):
    row = {name: value for name, value in {**HALF, **changed}.items() if value is not ...}
    with pytest.raises(BadRow, match=words) as raised:
        suite(tmp_path, row)
    assert str(tmp_path / "own.jsonl") in str(raised.value)


def test_a_prompt_in_words_is_no_reason_to_look_at_faulty_tests(tmp_path):
    for tests in ([1, 2], 3, "assert hello(1)", None):
        with pytest.raises(BadRow, match=r"own\.jsonl, task '7': 'test_list'"):
            suite(tmp_path, {**MBPP, "test_list": tests})


def test_tests_that_were_added_to_none_are_no_base_tests(tmp_path):
    row = {"task_id": "1", "prompt": "def f(x):\n", "entry_point": "f", "plus_input": [[1]]}
    row["test"] = "def check(candidate):\n    assert candidate(1) == 1\n"
    (task,) = suite(tmp_path, row).tasks
    assert task.inside and task.base_tests is None


def test_a_file_without_tasks_is_named(tmp_path):
    with pytest.raises(BadRow, match="no tasks"):
        suite(tmp_path)
