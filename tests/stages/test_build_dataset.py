"""What training reads: pairs from a run's verdicts, in the form in which solutions are asked for."""

import json
import re
from collections import Counter
from types import SimpleNamespace

import pytest

from t5x_selfprog.puzzles.behaviour import BehaviourCheck
from t5x_selfprog.puzzles.p3 import load_problems
from t5x_selfprog.puzzles.prompts import SolvePrompt, pair_text, puzzle_of_pair, solution_key
from t5x_selfprog.run_layout import RunDir
from t5x_selfprog.stages import build_dataset
from t5x_selfprog.stages.build_dataset import Selection, by_novelty
from t5x_selfprog.stages.context import MOST_HELD, Context
from verifier import Pool
from verifier.errors import UserError
from verifier.storage.records import VERDICT
from verifier.storage.shards import Ledger

PUZZLE = "def f(x: List[int], n=3):\n    return len(x) == n"
ANSWERS = {"[7] * n": "accepted", "[n] * n": "accepted", "[n]": "wrong"}


class FromVerdicts:
    """The part of a context that the stage uses: a run whose first iteration made these verdicts."""

    shard_of, verdicts, _verdicts = Context.shard_of, Context.verdicts, None
    experiment = SimpleNamespace(shards=2, seed=0)
    train_problems = load_problems("seeds")[:3]

    def __init__(self, root, solutions):
        self.run = RunDir(str(root))
        ledger = self.ledger(self.run.stage(0, "verdicts"), "verdicts", VERDICT)
        blank = dict.fromkeys(VERDICT)
        for shard in range(2):
            ledger.commit(
                shard,
                [
                    blank | {"puzzle_id": "p", "puzzle": PUZZLE, "solution": solution, "outcome": outcome}
                    for solution, outcome in solutions[shard::2]
                ],
            )
        ledger.finish()

    def ledger(self, path, stage, schema):
        return Ledger(path, stage=stage, schema=schema, shard_count=2, seed=0, fingerprint="f")


def texts(folder):
    return sorted(pair["text"] for pair in Ledger.open(folder))


@pytest.mark.parametrize("held", [MOST_HELD, 1])
def test_the_verdicts_of_an_iteration_are_read_once_for_all_arms_if_they_are_few(tmp_path, monkeypatch, held):
    monkeypatch.setattr("t5x_selfprog.stages.context.MOST_HELD", held)
    context = FromVerdicts(
        tmp_path, [(f"def g(n=3):\n    return {text}", said) for text, said in ANSWERS.items()]
    )
    read, reads = Ledger.read, []

    def counted(ledger, shard):
        reads.append((ledger.stage, shard))
        return read(ledger, shard)

    monkeypatch.setattr(Ledger, "read", counted)
    build_dataset.run(context, 0, Selection(wrong=0.5, fixes=0.5))
    build_dataset.run_control(context, "unverified", 1)
    verdicts = [shard for stage, shard in reads if stage == "verdicts"]
    assert verdicts == [0, 1] if held > 1 else len(verdicts) > 2 and context._verdicts is None
    assert texts(context.run.stage(0, "dataset")) and texts(context.run.control("unverified", "dataset"))


@pytest.mark.parametrize("header", ["def g(n=3):", "def g(n=3) -> List[int]:"])
def test_every_arm_learns_the_headers_that_solutions_are_asked_for_with(tmp_path, header):
    typed = "->" in header
    solutions = [(f"{header}\n    return {answer}", outcome) for answer, outcome in ANSWERS.items()]
    context, prompt = FromVerdicts(tmp_path, solutions), SolvePrompt(typed=typed)
    build_dataset.run(context, 0, prompt=prompt)
    wanted = [pair_text(PUZZLE, text) for text, outcome in solutions if outcome == "accepted"]
    assert texts(context.run.stage(0, "dataset")) == sorted(wanted)
    for arm in ("human", "unverified", "seeds_only"):
        build_dataset.run_control(context, arm, 1, prompt=prompt)
        pairs = [text for text in texts(context.run.control(arm, "dataset")) if "\n\ndef g(" in text]
        assert pairs and all((" -> " in text.partition("\n\ndef g(")[2]) == typed for text in pairs)


def test_every_arm_learns_the_form_in_which_puzzles_are_asked(tmp_path):
    solutions = [(f"def g(n=3):\n    return {answer}", outcome) for answer, outcome in ANSWERS.items()]
    context, prompt = FromVerdicts(tmp_path, solutions), SolvePrompt(returns=True)
    build_dataset.run(context, 0, prompt=prompt)
    for arm in ("human", "unverified"):
        build_dataset.run_control(context, arm, 1, prompt=prompt)
    for path in (
        context.run.stage(0, "dataset"),
        *(context.run.control(arm, "dataset") for arm in ("human", "unverified")),
    ):
        found = texts(path)
        assert found and all(text.partition("\n")[0].endswith(") -> bool:") for text in found)


def many(tmp_path):
    right = [(f"def g(n=3):\n    return [{i}] * n", "accepted") for i in range(10)]
    return FromVerdicts(tmp_path, [*right, *((f"def g(n=3):\n    return [{i}]", "wrong") for i in range(40))])


@pytest.mark.parametrize(("share", "wrong"), [(0.0, 0), (0.2, 2), (1.0, 10)])
def test_a_gate_lets_a_share_through_and_the_number_of_pairs_stays(tmp_path, share, wrong):
    context = many(tmp_path)
    build_dataset.run(context, 0, Selection(max_solutions=10, wrong=share))
    found = texts(context.run.stage(0, "dataset"))
    assert len(set(found)) == len(found) == 10
    assert sum("* n" not in text for text in found) == wrong


def test_fixes_come_beside_the_pairs_and_are_none(tmp_path):
    context = many(tmp_path)
    build_dataset.run(context, 0, Selection(max_solutions=10, fixes=0.5))
    found = texts(context.run.stage(0, "dataset"))
    others = [text for text in found if puzzle_of_pair(text) is None]
    assert len(found) == 11 and len(others) == 1, "one puzzle, failed in one way"
    assert others[0].startswith(f"{PUZZLE}\n\n# assert f(g()): wrong\n# def g(n=3):\n")


def test_the_unverified_arm_draws_distinct_attempts_blindly_and_parses_few(tmp_path, monkeypatch):
    """As many as were accepted, right as often as any; parsing 100,000 attempts at the end of a run takes too long."""
    right = [(f"def g(n=3):\n    return [{i}] * n", "accepted") for i in range(40)]
    spaced = [(text.replace(" * ", "*"), said) for text, said in right]
    wrong = [(f"def g(n=3):\n    return [{i}]", "wrong") for i in range(360)]
    broken = [(f"def g(n=3):\n    return [{i}", "syntax") for i in range(100)]
    context = FromVerdicts(tmp_path, [*right, *spaced, *wrong, *broken])
    parsed = []

    def counted(text):
        parsed.append(text)
        return solution_key(text)

    monkeypatch.setattr(build_dataset, "solution_key", counted)
    build_dataset.run_control(context, "unverified", 1, Selection(max_solutions=40))
    found = texts(context.run.control("unverified", "dataset"))
    assert len({text.replace(" * ", "*") for text in found}) == 40
    assert 1 <= sum("*" in text for text in found) <= 16, "a tenth of the attempts is right"
    assert len(parsed) < 200, "the 80 accepted, and little more than is drawn; 540 were sampled"


@pytest.mark.parametrize("number", [8, 60])
def test_lists_of_few_puzzles_differ_and_those_of_long_ones_are_short(tmp_path, number):
    """Rows of 512 tokens dropped 57 of the 74 lists of P3's train problems, and eight puzzles always gave one list."""
    context = many(tmp_path)
    context.train_problems = [
        problem for problem in load_problems("seeds") if problem.split == "train" and problem.solutions
    ][:number]
    build_dataset.run_control(context, "human", 1, Selection(max_solutions=1, lists=1.0))
    found = texts(context.run.control("human", "dataset"))
    lists = [text for text in found if puzzle_of_pair(text) is None]
    assert len(lists) == number and max(map(len, lists)) < 1000
    assert len(set(lists)) == number
    listed = Counter(puzzle for text in lists for puzzle in re.split(r"\n\n(?=def f\d)", text))
    bodies = Counter()
    for puzzle, times in listed.items():
        bodies[re.sub(r"\bf\d+\(", "f(", puzzle)] += times
    assert bodies.keys() == {problem.source.strip("\n") for problem in context.train_problems}
    assert max(bodies.values()) - min(bodies.values()) <= 1, "each in turn"


@pytest.mark.parametrize("bad", [{"wrong": 1.5}, {"wrong": -0.1}, {"fixes": -1.0}, {"hindsight": -1.0}])
def test_what_makes_no_sense_is_named(bad):
    name, value = next(iter(bad.items()))
    with pytest.raises(UserError, match=rf"Selection\.{name}={value}"):
        Selection(**bad)


OPEN = "def f(x: int, a=30):\n    return x + a == 777"
OTHER = "def f(x: int, a=30):\n    return x * a == 9000"
DOES_THE_SAME = (
    "def f(n: int, b=747):\n    for k in [b]:\n        if n == k:\n            return True\n    return False"
)


@pytest.mark.parametrize(("behaviour", "kept"), [(BehaviourCheck(), [OTHER]), (None, [DOES_THE_SAME, OTHER])])
def test_pairs_from_elsewhere_pass_the_firewall(tmp_path, behaviour, kept):
    entry = {
        "name": "Add:0", "sat": OPEN.replace("f(", "sat(", 1), "ans_type": "int", "sol_header": "def sol(a=30):",
        "sol_docstring": "", "sol_bodies": ["    return 777 - a"], "module": "m",
    }  # fmt: skip
    (tmp_path / "puzzles.json").write_text(json.dumps([entry]))
    (tmp_path / "split.json").write_text(json.dumps({"test": ["Add"]}))
    context = FromVerdicts(tmp_path / "run", [])
    context.problems = load_problems(tmp_path)
    context.pool = lambda limits: Pool(1, limits)
    pairs = [(OPEN, "def g(a=30):\n    return 747"), (DOES_THE_SAME, "def g(b=747):\n    return b")]
    pairs.append((OTHER, "def g(a=30):\n    return 300"))
    lines = [json.dumps({"puzzle": puzzle, "solution": solution}) for puzzle, solution in pairs]
    (tmp_path / "theirs.jsonl").write_text("\n".join(lines))
    build_dataset.run_control(
        context, "theirs", 1, sources={"theirs": str(tmp_path / "theirs.jsonl")}, behaviour=behaviour
    )
    found = Ledger.open(context.run.control("theirs", "dataset"))
    assert sorted(puzzle_of_pair(pair["text"]) for pair in found) == sorted(kept)
    assert found.manifest()["stage_counters"] == {"contaminated": 3 - len(kept)}


def test_weights_of_pairs():
    plain, learnable = Selection(easy_rate=1.0), Selection(easy_rate=1.0, learnability=1.0)
    assert plain.weight(1, 100) == plain.weight(50, 100) == 1.0
    assert learnable.weight(50, 100) > 5 * learnable.weight(1, 100)
    assert Selection(learnability=1.0).weight(100, 100) < Selection().weight(100, 100) == 0.25


def test_diverse_solutions_come_before_variations():
    texts = ["return a", "return b + a", "return a + b", "return sorted(a)[0]", "return max(a)"]
    ranked = [{"solution": f"def g(a=1, b=2):\n    {text}"} for text in texts]
    chosen = [v["solution"].partition("\n    ")[2] for v in by_novelty(ranked, 3)]
    assert chosen == ["return a", "return sorted(a)[0]", "return b + a"]
    assert by_novelty([], 3) == []
