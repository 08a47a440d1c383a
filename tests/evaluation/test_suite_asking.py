"""A suite's tasks in conversation: what the template makes of them, and the program in an answer."""

import json

import pytest

from t5x_selfprog.evaluation.suite_asking import SuiteAsking
from t5x_selfprog.evaluation.suite_tasks import read_suite
from t5x_selfprog.tokenizer import Tokenizer
from tests.evaluation.suite_rows import HALF, MBPP, SHARED
from tests.puzzles.chatting import chat_folder
from verifier import Pool
from verifier.errors import UserError

HALF_RIGHT = "import math\n\ndef half(x):\n    return math.floor(x / 2)\n"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return Tokenizer.load(chat_folder(tmp_path_factory.mktemp("chat") / "model"))


@pytest.fixture
def tasks(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (HALF, SHARED, MBPP)))
    return read_suite(str(path), "own").tasks


def test_the_task_is_a_question_and_the_answer_may_be_begun(tokenizer, tasks):
    for chat, end in (("begun", "```python\n"), ("free", "")):
        way = SuiteAsking.of(chat, tokenizer, "M")
        text = tokenizer.decode(tokenizer.encode(way.asked(tasks[0])))
        assert tokenizer.encode(way.asked(tasks[0]))[0] == 4096, "the template's own beginning"
        assert ">>> half(3)" in text and text.endswith(f"assistant\n{end}"), text
        assert "assert shared([1, 2], [2, 3]) == [2]" in way.asked(tasks[1])


@pytest.mark.parametrize(
    ("chat", "completion", "program"),
    [
        ("begun", HALF_RIGHT + "```\nThat is all.\n```python\nhalf = 1\n```", HALF_RIGHT),
        (
            "begun",
            HALF_RIGHT + "\ndef half_of_it(x):\n    return (",
            HALF_RIGHT,
        ),  # the limit of tokens cut it
        ("begun", "def half(x):\n    return '```'\n```", "def half(x):\n    return '```'\n"),
        (
            "free",
            f"First:\n```python\nx = 1\n```\nThen:\n```python\n{HALF_RIGHT}```\nDone. ```half```",
            HALF_RIGHT,
        ),
        (
            "free",
            f"```python\ndef half(x):\n    pass\n```\nNo:\n```\n{HALF_RIGHT}```\n```python\nhalf(3)\n```",
            HALF_RIGHT,
        ),
        ("free", f"```python\n{HALF_RIGHT}", HALF_RIGHT),
        ("free", HALF_RIGHT, HALF_RIGHT),
        ("free", "```python\nx = 1\n```\nSorry.", "x = 1\n"),
        ("free", "I cannot.", "I cannot.\n"),
    ],
)
def test_the_program_is_a_code_block_of_the_answer(tokenizer, tasks, chat, completion, program):
    way = SuiteAsking.of(chat, tokenizer, "M")
    assert way.program(tasks[0], way.asked(tasks[0]), completion) == program


def test_what_an_answer_does_not_repeat_is_not_there(tokenizer, tasks):
    """As for evalplus: the prompt's import is the model's to write."""
    way = SuiteAsking.of("free", tokenizer, "M")
    answers = [HALF_RIGHT, HALF_RIGHT.partition("\n\n")[2]]
    with Pool(workers=1) as pool:
        programs = [way.program(tasks[0], "", f"```python\n{answer}```") for answer in answers]
        outcomes = [v.outcome for v in pool.judge(tasks[0].tests.attempt(program) for program in programs)]
    assert outcomes == ["accepted", "error:NameError"]


def test_without_conversation_it_is_the_task_that_says(tokenizer, tasks):
    way = SuiteAsking.of("", tokenizer, "M")
    assert way.asked(tasks[0]) == tasks[0].asked(tokenizer.encode)
    assert way.program(tasks[0], "def half(x):", "\n    return x\nx") == "def half(x):\n    return x\n"


def test_a_model_without_a_template_and_a_way_that_is_none_are_refused(tmp_path, tokenizer):
    with pytest.raises(UserError, match="no chat template came with this model"):
        SuiteAsking.of("begun", Tokenizer.load(chat_folder(tmp_path / "plain", template=None)), "M")
    with pytest.raises(UserError, match="--chat=aloud: choose begun or free"):
        SuiteAsking.of("aloud", tokenizer, "M")
