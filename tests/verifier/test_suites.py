"""Unit tests as puzzles: every known form of them, what solutions may and may not do, and the command."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from verifier import Limits, Pool
from verifier.storage.rows import BadRow
from verifier.unit_tests import suites
from verifier.unit_tests.suite_calls import SuiteError
from verifier.unit_tests.suite_files import make_suite, read_samples, read_tasks, write_samples

REPOSITORY = Path(__file__).resolve().parents[2]
ADD = {"task_id": "add", "entry_point": "add", "inputs": [[1, 2], [3, 4]], "outputs": [3, 7]}
STDIO = {"task_id": "sum", "inputs": ["3\n1 2 3\n", "1\n5\n"], "outputs": ["6\n", "5"]}
HUMAN_EVAL = {
    "task_id": "Own/0",
    "prompt": 'import math\n\n\ndef code(s: str):\n    """Turned round."""\n    return s[::-1]\n\n\n'
    "def decode(s: str) -> str:\n"
    '    """The inverse of code.\n    >>> decode("ba")\n    \'ab\'\n    """\n',
    "entry_point": "decode",
    "canonical_solution": "    return s[::-1]\n",
    "test": "METADATA = {'author': 'us'}\n\n\ndef check(candidate):\n    from random import choice, randint\n"
    "    letters = 'abc'\n    for _ in range(20):\n"
    "        str = ''.join(choice(letters) for _ in range(randint(3, 9)))\n"
    "        assert candidate(code(str)) == str\n"
    "    assert math.fabs(len(candidate('ab')) - 2.0) < 0.1, 'length'\n"
    "    assert candidate(candidate('abc')) == 'abc'\n\n\ncheck(decode)\n",
}
MBPP = {
    "task_id": 7,
    "text": "Write a function that finds the words of a length.",
    "code": "def words(text, n):\n    return helper(text, n)\ndef helper(text, n):\n"
    "    return [w for w in text.split() if len(w) == n]",
    "test_setup_code": "N = 3",
    "test_list": ["assert words('a bcd ef', N) == ['bcd']", "assert set(words('ab cd', 2)) == {'ab', 'cd'}"],
}
PLUS = {
    "task_id": "HumanEval/900",
    "prompt": 'def half(x):\n    """Half of it."""\n',
    "entry_point": "half",
    "canonical_solution": "    return x / 2\n",
    "base_input": [[1], [3.0]],
    "plus_input": [[1e308], [-7]],
    "atol": 0,
}
MBPP_PLUS = {
    "task_id": "Mbpp/2",
    "prompt": '"""\nWrite a function to find the shared elements.\n"""\n',
    "entry_point": "similar_elements",
    "canonical_solution": "\ndef similar_elements(a, b):\n  return tuple(set(a) & set(b))\n",
    "base_input": [[[3, 4, 5], [5, 4, 9]]],
    "plus_input": [],
    "atol": 0,
}


@pytest.fixture(scope="module")
def pool():
    with Pool(1, Limits(cpu_s=2.0), reuse=0) as pool:
        yield pool


def outcome(pool: Pool, task: dict, solution: str) -> str:
    verdict = next(pool.judge([make_suite(task).attempt(solution)]))
    return verdict.outcome


@pytest.mark.parametrize(
    ("task", "solution", "wanted"),
    [
        (ADD, "def add(a, b):\n    return a + b", "accepted"),
        (ADD, "def add(a, b):\n    return float(a + b)", "accepted"),
        (ADD, "add = lambda a, b: a + b", "accepted"),
        (ADD, "class Add:\n    def __call__(self, a, b):\n        return a + b\nadd = Add()", "accepted"),
        (ADD, "def g(a, b):\n    return a + b\ndef add(a, b):\n    return g(a, b)", "accepted"),
        (ADD, "def f(a, b):\n    return a + b\ndef add(a, b):\n    return f(a, b)", "accepted"),
        (ADD, "from __future__ import annotations\ndef add(a: Int, b) -> Int:\n    return a + b", "accepted"),
        (ADD, "def add(a, b):\n    return a * b", "wrong"),
        (ADD, "def add(a, b):\n    return [a + b]", "wrong"),
        (ADD, "def add(a, b):\n    return f'{a + b}'", "wrong"),
        (ADD, "def add(a, b):\n    return iter([a + b])", "bad_answer"),
        (ADD, "def add(a):\n    return a", "error:TypeError"),
        (ADD, "def sub(a, b):\n    return a + b", "error:NameError"),
        (ADD, "def add(a, b):\n    while True: pass", "cpu_limit"),
        (ADD, "def add(a, b):", "syntax"),
        (ADD, "def add(a, b):\n    return a + b\nx = '''", "syntax"),
        (HUMAN_EVAL, "def decode(s):\n    return s[::-1]", "accepted"),
        (HUMAN_EVAL, "def decode(s):\n    return s", "wrong"),
        (HUMAN_EVAL, "def code(s):\n    return s\ndef decode(s):\n    return s", "wrong"),
        (MBPP, "def words(text, n):\n    return [w for w in text.split() if len(w) == n]", "accepted"),
        (MBPP, "def words(text, n):\n    return text.split()", "wrong"),
        (PLUS, "def half(x):\n    return x * 0.5", "accepted"),
        (PLUS, "def half(x):\n    return x * 0.5 * (1 + 1e-9)", "accepted"),
        (PLUS, "def half(x):\n    return x // 2", "wrong"),
        (
            MBPP_PLUS,
            "def similar_elements(a, b):\n    return [x for x in a + () if x in b][::-1]",
            "accepted",
        ),
        (MBPP_PLUS, "def similar_elements(a, b):\n    return (4,)", "wrong"),
        (STDIO, "n = int(input())\nprint(sum(map(int, input().split())))", "accepted"),
        (
            STDIO,
            "import sys\nn, *rest = map(int, sys.stdin.read().split())\nsys.stdout.write(str(sum(rest)))",
            "accepted",
        ),
        (
            STDIO,
            "import sys\ninput = sys.stdin.readline\ninput()\nprint(sum(map(int, input().split())), end='')\nexit()",
            "accepted",
        ),
        (
            STDIO,
            "import os, io\ninput = io.BytesIO(os.read(0, os.fstat(0).st_size)).readline\ninput()\n"
            "os.write(1, b'%d\\n' % sum(map(int, input().split())))",
            "accepted",
        ),
        (
            STDIO,
            "import sys, threading\nsys.setrecursionlimit(10**6)\ndef main():\n    input()\n    def total(n, *more):\n"
            "        return n + (total(*more) if more else 0)\n    print(total(*map(int, input().split())))\n"
            "if __name__ == '__main__':\n    t = threading.Thread(target=main)\n    t.start()\n    t.join()",
            "accepted",
        ),
        (STDIO, "print(6)", "wrong"),
        (STDIO, "input(), input(), input()", "error:EOFError"),
        (STDIO, "import sys\nsys.exit(1)", "error:SystemExit"),
        (STDIO, "import subprocess", "error:ImportError"),
        (STDIO, "print((", "error:SyntaxError"),
    ],
)
def test_outcomes(pool, task, solution, wanted):
    assert outcome(pool, task, solution) == wanted


SPY = """
def spy():
    found = []
    try:
        found.append(f.__defaults__)
    except NameError:
        pass
    for name, value in list(globals().items()):
        found.append(repr(value))
    import statistics
    for module in statistics.sys.modules.values():
        pass
    for thing in statistics.sys.modules['gc'].get_objects():
        if type(thing) in (list, tuple, dict, str):
            found.append(repr(thing)[:100_000])
    wanted = ''.join(reversed('249035768'))
    return any(wanted in text for text in map(str, found))
"""


@pytest.mark.parametrize(
    "task",
    [
        {"entry_point": "spy", "inputs": [[]], "outputs": [867530942]},
        {"entry_point": "spy", "test": "def check(candidate):\n    assert candidate() == 867530942"},
        {"entry_point": "spy", "test_list": ["assert spy() == 867530942"]},
        {"entry_point": "spy", "test": "for x, y in zip([()], [867530942]):\n    assert spy(*x) == y"},
        {
            "entry_point": "spy",
            "base_input": [[]],
            "canonical_solution": "def spy():\n    return 867530942\n",
        },
    ],
)
def test_no_expected_output_is_where_a_solution_runs(pool, task):
    """The spy answers whether it found what it should answer: it looks at names, defaults and all objects."""
    verdict = next(pool.judge([make_suite(task).attempt(SPY)]))
    assert (verdict.outcome, verdict.answer) == ("wrong", "[False]"), verdict


def test_a_spy_that_can_find_it_does(pool):
    """Where the arguments hold what is expected, they are there to be found: the test above can fail."""
    task = {"entry_point": "spy", "inputs": [[867530942]], "outputs": [867530942]}
    verdict = next(pool.judge([make_suite(task).attempt(SPY.replace("spy():", "spy(x):"))]))
    assert verdict.answer == "[True]"


@pytest.mark.parametrize(
    "cheat",
    [
        "class Yes(int):\n    __eq__ = lambda a, b: True\n    __hash__ = None\ndef add(a, b):\n    return Yes()",
        "def g():\n    return [3, 7]\ndef add(a, b):\n    raise SystemExit",
        "verifier_plain = verifier_tests = verifier_entry = lambda *a: 3\ndef add(a, b):\n    return 3",
        "def add(a, b, seen=[]):\n    seen.append(a)\n    return seen",
        "def add(a, b):\n    import builtins\n    return 3",
        "def add(a, b):\n    global g\n    g = lambda: [3, 7]\n    raise ValueError",
    ],
)
def test_cheats(pool, cheat):
    assert outcome(pool, ADD, cheat) != "accepted"


def test_outputs_are_copied_when_they_come(pool):
    task = {"entry_point": "grow", "inputs": [[1], [2]], "outputs": [[1], [1, 2]]}
    assert outcome(pool, task, "seen = []\ndef grow(x):\n    seen.append(x)\n    return seen") == "accepted"


@pytest.mark.parametrize(
    ("entry_point", "inputs", "reference", "right", "wrong"),
    [
        ("sum_div", [[6]], "return 6", "return 0", "return 5"),
        (
            "digit_distance_nums",
            [[23, 156], [1, 2]],
            "return 6",
            "return [7, 1][a == 1]",
            "return [8, 1][a == 1]",
        ),
        ("surface_Area", [[3, 4]], "return 33", "return 35", "return 34"),
        ("check_str", [["x"]], "return True", "return 'anything'", "return None"),
        ("are_equivalent", [[1, 2]], "return True", "return False", "raise ValueError"),
        ("Diff", [[[1], [2]]], "return [1, 2]", "return (2, 1)", "return [1]"),
    ],
)
def test_tasks_of_evalplus_with_more_than_one_answer(pool, entry_point, inputs, reference, right, wrong):
    head = f"def {entry_point}({', '.join('ab'[: len(inputs[0])])}):\n    "
    task = {"task_id": "Mbpp/1000", "entry_point": entry_point, "base_input": inputs, "atol": 0}
    task["canonical_solution"] = head + reference
    outcomes = [outcome(pool, task, head + body) for body in (right, wrong)]
    assert outcomes == ["accepted", "error:ValueError" if "raise" in wrong else "wrong"]


def test_any_root_of_a_polynomial_will_do(pool):
    task = {
        "task_id": "HumanEval/32",
        "entry_point": "find_zero",
        "prompt": "def find_zero(xs):\n",
        "canonical_solution": "    return 1.0\n",
        "base_input": [[[-1, 0, 1]]],
        "atol": 1e-4,
    }
    answers = [
        outcome(pool, task, f"def find_zero(xs):\n    return {x}")
        for x in ("-1.00001", "0.9", "float('nan')")
    ]
    assert answers == ["accepted", "wrong", "wrong"]


def test_values_of_every_kind_arrive_as_they_are(pool):
    values = [
        None,
        True,
        -(2**70),
        0.1,
        float("inf"),
        "\ud800\n'\"",
        b"\0",
        1j,
        [[], ()],
        {1: {"a"}},
        set(),
        frozenset({1}),
    ]
    task = suites.of_pairs("same", [[value] for value in values], values)
    attempt = task.attempt("def same(x):\n    return x")
    assert next(pool.judge([attempt])).outcome == "accepted"
    nan = suites.of_pairs("same", [[float("nan")]], [True]).attempt("def same(x):\n    return x != x")
    assert next(pool.judge([nan])).outcome == "accepted"


@pytest.mark.parametrize(
    ("right", "returned", "wanted"),
    [
        ("inf", "float('inf')", "accepted"),
        ("inf", "5.0", "wrong"),
        ("inf", "10**400", "wrong"),
        ("inf", "-float('inf')", "wrong"),
        ("inf", "float('nan')", "wrong"),
        ("nan", "5.0", "wrong"),
        ("1.0", "1.0000001", "accepted"),
        ("1.0", "float('inf')", "wrong"),
    ],
)
def test_nothing_is_near_infinity_but_itself(pool, right, returned, wanted):
    for outputs, answer in (([float(right)], returned), ([[0.5, float(right)]], f"[0.5, {returned}]")):
        task = {"entry_point": "x", "inputs": [[1]], "outputs": outputs}
        assert outcome(pool, task, f"def x(n):\n    return {answer}") == wanted


def test_a_program_may_read_what_holds_its_place(pool):
    task = {"inputs": ["a 'verifier program' b"], "outputs": ["a 'verifier program' b"]}
    assert outcome(pool, task, "print(input())") == "accepted"


def test_a_return_at_the_very_end_of_a_check_is_none(pool):
    task = {"entry_point": "x", "test": "def check(c):\n    assert c(1) == 2\n    return"}
    assert outcome(pool, task, "def x(n):\n    return n + 1") == "accepted"
    assert outcome(pool, task, "def x(n):\n    return n") == "wrong"


def test_subclasses_count_as_what_they_equal(pool):
    task = {"entry_point": "count", "inputs": [["aab"]], "outputs": [{"a": 2, "b": 1}]}
    assert outcome(pool, task, "from collections import Counter\ncount = Counter") == "accepted"


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"entry_point": "x", "test": "assert all(x(i) for i in [1])"}, "where calls cannot be taken out"),
        ({"entry_point": "x", "test": "assert list(map(x, [1]))"}, "used without being called"),
        ({"entry_point": "x", "test": "try:\n    x(1)\nexcept ValueError:\n    pass"}, "cannot be taken out"),
        ({"entry_point": "x", "test": "while x(1):\n    pass"}, "how long to go on"),
        ({"entry_point": "x", "test": "assert y(1)"}, "no test calls x"),
        ({"entry_point": "x y", "test": "assert x(1)"}, "no test calls"),
        ({"entry_point": "x", "test": "assert ("}, "not Python"),
        ({"entry_point": "x", "inputs": [[1]], "outputs": []}, "1 inputs and 0 outputs"),
        ({"inputs": [1], "outputs": ["1"]}, "must be texts"),
        ({"test_list": ["assert a(1) == b(2)"]}, "which function is tested"),
        ({"unknown": 1}, "none of the fields"),
        (
            {"entry_point": "x", "test": "def check(c):\n    if c(1):\n        return\n    assert c(2)"},
            "returns before",
        ),
        ({"entry_point": ["x"], "inputs": [[1]], "outputs": [1]}, "'entry_point' must be a text"),
        ({"entry_point": "x", "test": 5}, "'test' must be a text"),
        ({"test_list": "assert x(1) == 1"}, "'test_list' must be a list"),
        ({"test_list": [None]}, "'test_list' and what goes with it"),
        ({"entry_point": "x", "inputs": [5], "outputs": [1]}, "'inputs' and what goes with it"),
        ({"entry_point": "x", "inputs": [[5]]}, "has no 'outputs'"),
        ({"entry_point": "x", "inputs": [[5]], "outputs": None}, "has no 'outputs'"),
        ({"inputs": ["5"], "outputs": None}, "has no 'outputs'"),
        (
            {"entry_point": "x", "base_input": [[1]], "canonical_solution": "", "task_id": "mbpp/x"},
            "invalid literal",
        ),
        ({"entry_point": "x", "base_input": [[1]], "canonical_solution": "", "atol": "0"}, "'atol' must be"),
    ],
)
def test_tests_that_cannot_be_taken_apart_are_named(task, words):
    with pytest.raises(SuiteError, match=words):
        make_suite(task)


def test_files(tmp_path):
    path = tmp_path / "tasks.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(t) + "\n" for t in (ADD, HUMAN_EVAL, STDIO)).encode()))
    tasks = read_tasks(str(path))
    assert list(tasks) == ["add", "Own/0", "sum"]
    rows = [{"task_id": "Own/0", "completion": "    return s\n"}, {"task_id": "add", "solution": "x"}]
    assert (
        write_samples(str(tmp_path / "s.jsonl"), [{**row, "solution": "y", "more": 1} for row in rows]) == 2
    )
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    first, second = read_samples(str(tmp_path / "t.jsonl"), tasks)
    assert first["solution"] == HUMAN_EVAL["prompt"] + "    return s\n" and second["solution"] == "x"
    assert [row["task_id"] for row in read_samples(str(tmp_path / "s.jsonl"), tasks)] == ["Own/0", "add"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("tasks", '{"task_id": "a"}', "task 'a': none of the fields"),
        ("tasks", '{"inputs": []}', "task 1: has no task_id"),
        ("tasks", json.dumps(ADD) + "\n" + json.dumps(ADD), "task 2: a second one called 'add'"),
        ("tasks", '{"task_id": "a", "test": "x"}', "task 'a': has no 'entry_point'"),
        ("tasks", "{", "not JSON"),
        ("tasks", "[1]", "must be an object"),
        ("samples", '{"task_id": "b", "solution": ""}', "sample 1: no task 'b'"),
        ("samples", '{"task_id": "add"}', "sample 1: has no text"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, words):
    (tmp_path / "f").write_text(content)
    with pytest.raises(BadRow, match=words):
        if name == "tasks":
            read_tasks(str(tmp_path / "f"))
        else:
            list(read_samples(str(tmp_path / "f"), {"add": make_suite(ADD)}))


def test_the_command(tmp_path):
    tasks, samples, output, accepted = (
        tmp_path / name for name in ("t.jsonl", "s.jsonl", "o.jsonl", "a.jsonl")
    )
    tasks.write_text("".join(json.dumps(task) + "\n" for task in (ADD, HUMAN_EVAL)))
    good, bad = "def add(a, b):\n    return a + b", "def add(a, b):\n    return 3"
    rows = [
        {"task_id": "add", "solution": good, "answer": "mine"},
        {"task_id": "add", "solution": bad},
        {"task_id": "Own/0", "completion": HUMAN_EVAL["canonical_solution"]},
    ]
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["--tasks", tasks, "--samples", samples, "--output", output, "--accepted", accepted, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "verifier", "tests", *map(str, arguments), "--workers", "1"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert (
        figures["outcomes"] == {"accepted": 2, "wrong": 1}
        and figures["pass@1"] == 0.75
        and figures["cpu_s"] > 0
    )
    judged = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["passed"] for row in judged] == [True, False, True]
    assert judged[0]["input_answer"] == "mine" and "test 1: 3 instead of 7" in judged[1]["detail"]
    kept = [json.loads(line) for line in accepted.read_text().splitlines()]
    assert (
        kept[0] == {"task_id": "add", "solution": good} and kept[1]["task_id"] == "Own/0" and len(kept) == 2
    )


def test_a_hidden_puzzle_is_pasted_above_nothing(pool):
    puzzle = "def f(x: int, secret=42):\n    return x == secret"
    solution = "def g():\n    return f.__defaults__[0]"
    assert next(pool.judge([{"puzzle": puzzle, "solution": solution}])).accepted
    hidden = next(pool.judge([{"puzzle": "# hidden\n" + puzzle, "solution": solution}]))
    assert hidden.outcome == "error:NameError"


def test_any_type_is_for_hidden_puzzles_alone(pool):
    shown, hidden = "def f(x: Any):\n    return x == 7", "# hidden\ndef f(x: Any):\n    return x == 7"
    assert next(pool.judge([{"puzzle": shown, "solution": "g = lambda: 7"}])).outcome == "error:PuzzleError"
    assert next(pool.judge([{"puzzle": hidden, "solution": "g = lambda: 7"}])).outcome == "accepted"
    assert [report.reason for report in pool.screen_puzzles([shown, hidden])] == ["bad_type", "trivial"]
