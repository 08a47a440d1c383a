"""Verdicts as rewards: every shape in which trainers hand prompts, completions and columns over."""

import pytest

import verifier
from verifier import Limits, PoolError, Reward, Verdict
from verifier.errors import UserError
from verifier.rewards import code_of

PUZZLE = "def f(x: int, n=3):\n    return x == n * 2"
HEADER = "def g(n=3):"


@pytest.fixture(scope="module")
def reward():
    made = Reward(workers=1, limits=Limits(cpu_s=1.0))
    yield made
    made.close()


def test_as_trl_calls_it(reward):
    """Keywords, columns as lists, other arguments beside them, and conversations."""
    values = reward(
        prompts=[[{"role": "user", "content": "Double n."}]] * 3,
        completions=[
            [{"role": "assistant", "content": "So:\n```python\ndef g(n=3):\n    return n * 2\n```\nDone."}],
            [{"role": "assistant", "content": "def g(n=3):\n    return n"}],
            [],
        ],
        completion_ids=[[1, 2], [3], []],
        puzzle=[PUZZLE] * 3,
        trainer_state=object(),
        log_extra=None,
    )
    assert values == [1.0, 0.0, 0.0] and all(type(value) is float for value in values)
    assert reward.__name__ == "reward" == verifier.reward.__name__


def test_as_tunix_and_maxtext_call_it(reward):
    """Plain texts; columns of NumPy's, of texts or bytes."""
    numpy = pytest.importorskip("numpy")
    prompts = [f"{PUZZLE}\n\n{HEADER}"] * 3
    completions = ["\n    return n + n\n", "\n    return 7", "def g(n=3):\n    return 6"]
    for column in (numpy.array([PUZZLE] * 3), numpy.array([PUZZLE.encode()] * 3, dtype=object)):
        assert reward(prompts, completions, puzzle=column, tmvp_config=None) == [1.0, 0.0, 1.0]


def test_tests_of_every_row_are_its_own(reward):
    """In one batch: a puzzle, MBPP's tests, and HumanEval's with the prompt's own function going on."""
    stub = 'def add(a, b):\n    """Sum."""\n'
    values = reward(
        ["", "", stub, stub],
        ["def g(n=3):\n    return 6", "def two():\n    return 2", "    return a + b", "    return a - b"],
        puzzle=[PUZZLE, None, None, None],
        test_list=[None, ["assert two() == 2"], None, None],
        entry_point=[None, None, "add", "add"],
        test=[None, None, *["def check(candidate):\n    assert candidate(1, 2) == 3"] * 2],
    )
    assert values == [1.0, 1.0, 1.0, 0.0]


def test_a_task_as_one_column(reward):
    task = '{"task_id": "a", "inputs": ["1 2"], "outputs": ["3"]}'
    assert reward(["p"], ["print(sum(map(int, input().split())))"], task=[task]) == [1.0]


@pytest.mark.parametrize(
    ("completion", "code"),
    [
        ("x = 1", "x = 1"),
        ("a\n```python\nx = 1\n```", "x = 1\n"),
        ("```\nx = 1\n```\nor\n```py\nx = 2\n```\n", "x = 2\n"),
        ("```python\nx = 1", "x = 1"),
        ("```python\nx = 1\n```\nIt prints\n```\n1\n```\n", "x = 1\n"),
        ("```python\nx = 1\n```\n```text\n1\n```", "x = 1\n"),
        ("inline `x` only", "inline `x` only"),
    ],
)
def test_the_code_of_a_completion(completion, code):
    assert code_of(completion) == code


def test_messages_in_parts(reward):
    """As trainers of models that see images write them; and one without any content, a call of a tool."""
    parts = [
        {"type": "text", "text": "def g(n=3):\n"},
        {"type": "image"},
        {"type": "text", "text": "    return 6"},
    ]
    said = [[{"role": "assistant", "content": content}] for content in (parts, parts[0], None)]
    assert reward([[]] * 3, said, puzzle=[PUZZLE] * 3) == [1.0, 0.0, 0.0]


def test_what_is_no_text_is_named(reward):
    with pytest.raises(UserError, match="must be texts or conversations, one is None"):
        reward(["p"], [None], puzzle=[PUZZLE])
    with pytest.raises(UserError, match="the column `task` must be an object"):
        reward(["p"], ["c"], task=["{"])
    with pytest.raises(UserError, match="'test' must be a text"):
        reward(["p"], ["c"], test=[5], entry_point=["x"])


def test_columns_that_say_nothing(reward):
    with pytest.raises(UserError, match=r"no column `puzzle`, `task`.* there are prompt, mine"):
        reward(["p"], ["c"], mine=["x"])
    with pytest.raises(UserError, match="2 prompts and 1 completions"):
        reward(["p", "q"], ["c"], puzzle=[PUZZLE])


def test_what_could_not_be_judged_is_no_zero(monkeypatch):
    class Broken:
        def judge(self, items):
            return (Verdict("infrastructure", "the host is ill") for _ in items)

    for value in (None, float("-inf")):
        made = Reward(workers=1, infrastructure=value)
        monkeypatch.setattr(made, "_open", Broken)
        if value is None:
            with pytest.raises(PoolError, match="the host is ill"):
                made(["p"], ["c"], puzzle=[PUZZLE])
        else:
            assert made(["p"], ["c"], puzzle=[PUZZLE]) == [value]
