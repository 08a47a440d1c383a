"""Which held-out problems a run's training came near."""

from types import SimpleNamespace

from t5x_selfprog.evaluation import clean
from t5x_selfprog.evaluation.compare import compare
from t5x_selfprog.evaluation.evaluation import ProblemCount, summarise
from t5x_selfprog.evaluation.table import table
from t5x_selfprog.puzzles.prompts import puzzle_list
from tests.data.pairs_run import make_pairs_run, puzzle

LONG = "def f(s: str, n=3):\n    return all(s.count(c) == i for i, c in enumerate(sorted(set(s)))) and len(s) == n"


def problem(name: str, source: str):
    return SimpleNamespace(name=name, instances=(source,), source=source)


def test_each_level_is_found_and_the_strictest_named():
    problems = [problem("same", puzzle(0, 3)), problem("renamed", puzzle(7, 7)), problem("part", LONG)]
    problems.append(problem("apart", "def f(x: str):\n    return x[::-1] == 'ab'"))
    trained = [puzzle(0, 3), LONG.replace("len(s) == n", "s != ''"), "def f("]
    found = clean.soiled(problems, trained)
    assert found == {"same": "exact", "renamed": "abstract", "part": "ngram"}
    assert clean.soiled(problems[1:2], [puzzle(1, 2)]) == {"renamed": "abstract"}


def test_documents_of_several_puzzles_are_looked_through_too():
    """They have no canonical form, as one function has; what their text says counts all the same."""
    both = puzzle_list([puzzle(0, 3), LONG])
    problems = [
        problem("part", LONG.replace("n=3", "n=4")),
        problem("apart", "def f(x: str):\n    return x[::-1] == 'ab'"),
    ]
    assert clean.soiled(problems, [both]) == {"part": "ngram"}


def test_a_runs_datasets_are_looked_through(tmp_path):
    run = make_pairs_run(tmp_path / "run", (3,))
    assert puzzle(0, 2) in clean.puzzles_trained_on(str(run))
    written = clean.write(str(run), [problem("seen", puzzle(0, 2)), problem("new", LONG)])
    assert written == {"problems": 2, "clean": 1, "soiled": {"seen": "exact"}}


def test_the_clean_subset_is_compared_as_the_whole_is():
    counts = [ProblemCount(f"id{i}", f"P{i}", "g", 10, i % 3) for i in range(30)]
    whole = {"arm": "base", "iteration": None} | summarise(counts, {})
    part = clean.restrict(whole, {f"P{i}" for i in range(12)})
    comparison = compare([part], [part], 1)
    assert comparison is not None and comparison.problems == 12
    assert "12 problems" in table([part])
    note = clean.note(
        {"problems": 30, "clean": 12, "soiled": {f"P{i}": "ngram" for i in range(12, 30)}}, [whole]
    )
    assert note.startswith("12 of 30 problems are clean") and "Pass@10 there: base 66.7" in note
