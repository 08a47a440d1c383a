"""Problems in P3's format: the real set, faulty files, the command, the download."""

import argparse
import hashlib
import http.server
import json
import os
import threading
from pathlib import Path

import pytest

from t5x_selfprog.commands.p3 import body as command
from t5x_selfprog.puzzles import download as download_module
from t5x_selfprog.puzzles.download import download
from t5x_selfprog.puzzles.p3 import in_split, load_problems, tutorial_problems
from t5x_selfprog.puzzles.source import only_function, puzzle_id
from verifier.errors import UserError
from verifier.storage.shards import Ledger

P3 = Path(os.environ.get("SELFPROG_P3_DIR", "../shared/data/p3"))
needs_p3 = pytest.mark.skipif(
    not (P3 / "puzzles.json").exists(), reason=f"P3 is not at {P3} (SELFPROG_P3_DIR)"
)


def entry(name="Double:0", **changed):
    return {
        "name": name,
        "sat": "def sat(x: int, a=6):\n    return x == 2 * a",
        "ans_type": "int",
        "sol_header": "def sol(a=6):",
        "sol_docstring": '    """Twice a."""',
        "sol_bodies": ["    return 2 * a"],
        "module": "sums.py",
        "notes": "",
        "weight": 1.0,
    } | changed


def write(folder, entries, split=None):
    folder.mkdir(exist_ok=True)
    (folder / "puzzles.json").write_text(json.dumps(entries))
    (folder / "split.json").write_text(json.dumps(split if split is not None else {"train": ["Double"]}))
    return folder


# Reading.


def test_a_problem_is_read_as_f_and_g(tmp_path):
    second = entry(
        "Double:1",
        sat="def sat(x: int, a=9):\n    return x == 2 * a",
        sol_header="def sol(a=9):",
        sol_bodies=[],
    )
    (problem,) = load_problems(write(tmp_path / "set", [second, entry()]))
    assert problem.source == "def f(x: int, a=6):\n    return x == 2 * a"
    assert problem.instances == (problem.source, "def f(x: int, a=9):\n    return x == 2 * a")
    assert problem.instance_solutions == (("def g(a=6):\n    return 2 * a",), ())
    assert (problem.name, problem.split, problem.group, problem.module) == (
        "Double",
        "train",
        "sums",
        "sums.py",
    )
    assert problem.statement == "Twice a."
    assert problem.puzzle_id == puzzle_id(problem.source)


def test_docstrings_are_kept_on_request(tmp_path):
    (problem,) = load_problems(write(tmp_path / "set", [entry()]), docstrings="keep")
    assert problem.solutions == ('def g(a=6):\n    """Twice a."""\n    return 2 * a',)


def test_the_answer_type_has_one_spelling(tmp_path):
    listed = entry(sat="def sat(x: list[int], a=6):\n    return x == [a]", ans_type="List[int]")
    assert load_problems(write(tmp_path / "set", [listed]))[0].answer_type == "List[int]"


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"sat": None}, "'sat' must be text"),
        ({"sat": "def sat(x: int:\n    return x"}, "'sat' .*invalid syntax|'sat' .*never closed"),
        ({"sat": "x = 1"}, "'sat' must be one function, found Assign"),
        ({"sat": "def f(x: int): return x"}, "'sat' must define 'sat', defines 'f'"),
        ({"sat": "def sat(x: int, y): return x"}, "one argument without default, the answer; it has 2"),
        ({"sat": "def sat(x: int, *a): return x"}, "f takes plain arguments only"),
        (
            {"sat": "def sat(x: int, a=6, a=7): return x"},
            "two arguments of f have the same name|duplicate arg",
        ),
        ({"sat": "def sat(x, a=6): return x"}, "answer 'x' has no type annotation"),
        ({"sat": "@staticmethod\ndef sat(x: int, a=6): return x"}, "no puzzle: f has a decorator"),
        ({"sat": "def sat(x: int, a=6):\n    nonlocal b\n    return x"}, "does not compile: .*nonlocal"),
        (
            {"sat": "def sat(x: str, a=6): return x"},
            "'ans_type' is int but 'sat' annotates its answer as str",
        ),
        ({"sat": "def sat(x: Foo, a=6): return x"}, "unknown answer type 'Foo'"),
        ({"sat": "def sat(x: int, a=6, f=1): return sat(x)"}, "hides the recursive use"),
        ({"sat": "def sat(x: int, a=6): return x\x00"}, "'sat' .*null byte"),
        ({"sol_header": "def sol(a):"}, "'sol_header' has an argument without a default"),
        ({"sol_header": "def sol(b=1):"}, "'sol_header' has arguments that 'sat' has not: b"),
        ({"sol_bodies": ["    return ("]}, r"sol_bodies\[0\]"),
        ({"sol_bodies": ["    return 1", "return 1"]}, r"sol_bodies\[1\]"),
        ({"sol_bodies": "    return 1"}, "'sol_bodies' must be a list"),
        ({"sol_docstring": "    x = 1"}, "'sol_docstring' must be one indented string"),
        ({"module": 3}, "'module' must be text, is int"),
        ({"name": "Half"}, "'name' must look like Problem:0"),
    ],
)
def test_a_bad_entry_is_named_with_what_is_wrong(tmp_path, changed, complaint):
    folder = write(tmp_path / "set", [entry(), entry("Half:0") | changed])
    with pytest.raises(UserError, match=complaint) as raised:
        load_problems(folder)
    assert f"{folder}/puzzles.json: entry 1 ({changed.get('name', 'Half:0')!r}): " in str(raised.value)


@pytest.mark.parametrize(
    ("entries", "split", "complaint"),
    [
        ([entry(), 7], {}, "entry 1: must be an object, is int"),
        ([entry(), {}], {}, "entry 1: has no 'name'"),
        ([entry(), entry()], {}, "entry 1 .'Double:0'.: a second entry of this name"),
        ([entry(), entry("Double:2")], {}, "problem 'Double' has 2 instances but no Double:1"),
        ([], {}, "must be a list of puzzles with at least one"),
        ({"a": 1}, {}, "must be a list of puzzles"),
        ([entry()], {"train": ["Triple"]}, "split.json: names the problem 'Triple'"),
        (
            [entry()],
            {"train": ["Double"], "test": ["Double"]},
            "'Double' stands in 'train' and again in 'test'",
        ),
        ([entry()], {"training": ["Double"]}, "split.json: must be an object with lists .* train, dev, test"),
        ([entry()], {"train": "Double"}, "'train' must be a list of problem names"),
        ([entry()], ["Double"], "split.json: must be an object"),
    ],
)
def test_a_bad_set_is_refused(tmp_path, entries, split, complaint):
    with pytest.raises(UserError, match=complaint):
        load_problems(write(tmp_path / "set", entries, split))


@pytest.mark.parametrize("name", ["puzzles.json", "split.json"])
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'[{"name": "Dou', "line 1, column 11: not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (None, r"no such file; `selfprog p3 --source=.* --download` fetches"),
    ],
)
def test_a_file_that_is_no_json_is_named(tmp_path, name, content, complaint):
    folder = write(tmp_path / "set", [entry()])
    (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=complaint) as raised:
        load_problems(folder)
    assert f"{folder}/{name}: " in str(raised.value)


def test_an_empty_split_names_those_that_exist(tmp_path):
    problems = load_problems(write(tmp_path / "set", [entry()]))
    assert in_split(problems, "train") == problems
    with pytest.raises(UserError, match="split 'test'; the set has train"):
        in_split(problems, "test")


# The real set.


@pytest.fixture(scope="module")
def p3():
    return load_problems(P3)


@needs_p3
def test_p3_has_its_155_and_228_and_the_human_eval_part_is_marked(p3):
    train, test = in_split(p3, "train"), in_split(p3, "test")
    assert (len(p3), len(train), len(test)) == (397, 155, 228)
    assert sum(problem.group == "human_eval" for problem in train) == 0
    assert sum(problem.group == "human_eval" for problem in test) == 150
    assert {problem.group for problem in p3} == {"human_eval", "rest"}
    assert sum(len(problem.instances) for problem in p3) == 1715
    assert len({problem.puzzle_id for problem in p3}) == 397


@needs_p3
def test_p3_reads_as_f_and_g_throughout_and_nothing_else_changes(p3):
    raw = {item["name"]: item for item in json.loads((P3 / "puzzles.json").read_text())}
    for problem in p3:
        for i, source in enumerate(problem.instances):
            assert source == raw[f"{problem.name}:{i}"]["sat"].replace("def sat(", "def f(", 1)
        for i, solutions in enumerate(problem.instance_solutions):
            item = raw[f"{problem.name}:{i}"]
            for solution, body in zip(solutions, item["sol_bodies"], strict=True):
                assert solution == item["sol_header"].replace("def sol(", "def g(", 1) + "\n" + body
                assert only_function(solution).name == "g"


@needs_p3
def test_p3_has_five_tutorial_problems_all_in_train(p3):
    tutorial = tutorial_problems(p3)
    assert len(tutorial) == 5
    assert {(problem.split, problem.module) for problem in tutorial} == {("train", "tutorial.py")}


# The command.


def arguments(source, **given):
    return argparse.Namespace(source=str(source), **({"download": False, "output": None, "new": ""} | given))


@pytest.mark.slow  # it judges all reference solutions, as tests/verifier/test_judge.py does
@needs_p3
def test_the_command_prints_the_counts_and_writes_puzzle_records(tmp_path, capsys, p3):
    figures = command(arguments(P3, output=str(tmp_path / "records")))
    printed = capsys.readouterr().out
    assert "train     155" in printed and "test      228" in printed and "human_eval 150" in printed
    assert figures["splits"] == {"train": 155, "test": 228, "unsplit": 14}
    records = list(Ledger.open(tmp_path / "records" / "test"))
    assert [record["source"] for record in records] == [problem.source for problem in in_split(p3, "test")]
    assert [record["puzzle_id"] for record in records] == [
        problem.puzzle_id for problem in in_split(p3, "test")
    ]


def test_the_command_writes_nothing_for_a_malformed_set_and_refuses_other_records(tmp_path):
    good, bad = write(tmp_path / "good", [entry()]), write(tmp_path / "bad", [entry(sat="?")])
    output = tmp_path / "records"
    with pytest.raises(UserError):
        command(arguments(bad, output=str(output)))
    assert not output.exists()
    command(arguments(good, output=str(output)))
    command(arguments(good, output=str(output)))  # Again: the same records, nothing to do.
    other = write(tmp_path / "other", [entry(sat="def sat(x: int, a=6):\n    return x == 3 * a")])
    with pytest.raises(UserError, match="another configuration"):
        command(arguments(other, output=str(output)))


# The download.


@pytest.fixture
def server(tmp_path):
    """A web server on this machine with a folder to serve from: (url, folder)."""
    folder = write(tmp_path / "served", [entry()])

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=folder)

        def log_message(self, *args):
            """Quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", folder
        running.shutdown()
        thread.join()


def checksums(folder):
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("puzzles.json", "split.json")
    }


def test_download_fetches_once_and_the_set_loads(tmp_path, server):
    url, served = server
    target = tmp_path / "new" / "p3"
    assert download(str(target), url=url, sha256=checksums(served)) == ["puzzles.json", "split.json"]
    assert load_problems(target)[0].name == "Double"
    assert sorted(path.name for path in target.iterdir()) == ["puzzles.json", "split.json"]
    assert download(str(target), url=url, sha256=checksums(served)) == []


def test_one_wrong_file_and_neither_is_written(tmp_path, server):
    url, served = server
    wanted = checksums(served)
    (served / "split.json").write_text("<html>sign in</html>")
    with pytest.raises(UserError, match=r"split.json: arrived with sha256 .* \(20 bytes\), expected"):
        download(str(tmp_path / "p3"), url=url, sha256=wanted)
    assert not (tmp_path / "p3").exists()


def test_another_file_in_the_way_is_not_overwritten(tmp_path, server):
    url, served = server
    own = write(tmp_path / "own", [entry("Mine:0")], {})
    with pytest.raises(UserError, match=r"puzzles\.json: is there already and is another file"):
        download(str(own), url=url, sha256=checksums(served))
    assert load_problems(own)[0].name == "Mine"


@pytest.mark.parametrize("where", ["http://127.0.0.1:9", "http://nowhere.invalid", "nonsense"])
def test_without_a_connection_the_remedy_is_named(tmp_path, where):
    with pytest.raises(UserError, match=r"cannot be fetched: .* by hand and leave out --download"):
        download(str(tmp_path / "p3"), url=where, timeout_s=5)
    assert not (tmp_path / "p3").exists()


def test_a_missing_file_on_the_server_is_an_error(tmp_path, server):
    with pytest.raises(UserError, match="cannot be fetched: HTTP Error 404"):
        download(str(tmp_path / "p3"), url=server[0], sha256={"absent.json": "0" * 64})


@needs_p3
def test_the_pinned_checksums_are_those_of_p3():
    assert dict(download_module.SHA256) == checksums(P3)
