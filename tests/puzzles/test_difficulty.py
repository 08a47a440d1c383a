"""What is learnable lies between always and never; the archive keeps one puzzle of each form."""

import json

import pytest
from scipy.stats import beta, binomtest

from t5x_selfprog.puzzles.archive import Archive
from t5x_selfprog.puzzles.difficulty import Difficulty, difficulties, learnability, write
from t5x_selfprog.puzzles.prompts import Example, PuzzlePrompts, puzzle_from_completion
from verifier.errors import UserError


def made(name: str, accepted: int, tried: int = 20, source: str = "") -> Difficulty:
    return Difficulty(
        name, source or f"def f(x: int, a={len(name)}):\n    return x == a", "w", accepted, tried
    )


@pytest.mark.parametrize(("accepted", "tried"), [(0, 5), (3, 20), (50, 100), (100, 100)])
def test_rates_and_learnability_against_scipy(accepted, tried):
    rate = made("a", accepted, tried).rate
    wilson = binomtest(accepted, tried).proportion_ci(method="wilson")
    assert (rate.low, rate.high) == (
        pytest.approx(wilson.low, abs=1e-7),
        pytest.approx(wilson.high, abs=1e-7),
    )
    expected = beta(accepted + 0.5, tried - accepted + 0.5).expect(lambda p: 4 * p * (1 - p))
    assert learnability(accepted, tried) == pytest.approx(expected, rel=1e-6)


def test_the_middle_teaches_most_and_doubt_counts():
    rates = [learnability(c, 100) for c in (0, 10, 50, 90, 100)]
    assert max(rates) == rates[2] and rates[0] == pytest.approx(rates[4])
    assert learnability(0, 8) > 5 * learnability(0, 800)


def test_counts_follow_the_verdicts(tmp_path):
    verdicts = [
        {"puzzle_id": "a", "puzzle": "s", "checkpoint": "w", "outcome": outcome, "count": count}
        for outcome, count in (("accepted", 3), ("wrong", None), ("infrastructure", 9))
    ]
    (found,) = difficulties(verdicts)
    assert (found.accepted, found.tried) == (3, 4)
    write(str(tmp_path / "d.jsonl"), [found])
    line = json.loads((tmp_path / "d.jsonl").read_text())
    assert line["rate"] == 0.75 and line["low"] < 0.75 < line["high"]


def test_the_archive_keeps_the_most_learnable_of_each_form():
    same = [made(name, c) for name, c in (("aa", 1), ("bbb", 10), ("c", 19), ("dddd", 0))]
    other = made("other", 2, source="def f(x: int):\n    return x * x == 169")
    text = made("text", 2, source="def f(x: str, a='b'):\n    return x == a")
    unsolved = made("never", 0, source="def f(x: int):\n    return x ** 3 == 27")
    types = {p.puzzle_id: "int" for p in [*same, other, unsolved]} | {"text": "str"}
    train = [Example(f"t{i}", "def f(x: int): ...") for i in range(6)]
    found = Archive(share=0.25).examples([*same, other, text, unsolved], types, train)
    names = {example.puzzle_id for example in found} - {f"t{i}" for i in range(6)}
    assert names == {"bbb", "other", "text"}
    own = sum(example.weight for example in found if example.puzzle_id in names)
    assert own / sum(example.weight for example in found) == pytest.approx(0.25)
    assert Archive(cells=1).examples([*same, other], types, train)[-1].puzzle_id == "bbb"
    assert Archive().examples([unsolved], types, train) == train


def test_a_rate_asked_for_is_noted_above_what_was_measured_and_above_what_is_asked():
    shapes = ["return x == a", "return x * a > 7", "return x - 1 == a + 2"]
    sources = [f"def f(x: int, a=3):\n    {shape}" for shape in shapes]
    known = [made(str(i), accepted, 20, sources[i]) for i, accepted in enumerate((1, 9, 20))]
    types, train = dict.fromkeys("012", "int"), [Example("t", "def f(x: str):\n    return x == 'abc'")]
    archive = Archive(share=0.9, asked_rate=0.5)
    examples = archive.examples(known, types, train)
    assert {e.puzzle_id: e.note for e in examples} == {
        "t": "", "0": "# solved: 5%", "1": "# solved: 40%", "2": "# solved: 100%",
    }  # fmt: skip
    drawer = PuzzlePrompts(examples, budget_tokens=1000, count_tokens=len, note=archive.asked_note)
    prompt = drawer.draw((0,))
    blocks = prompt.text.split("\n\n")
    assert blocks[-1] == "# solved: 50%\ndef f5("
    place = prompt.puzzle_ids.index("1") + 1
    assert blocks[place - 1] == "# solved: 40%\n" + sources[1].replace("def f(", f"def f{place}(")
    assert puzzle_from_completion(5, "x: int):\n    return x == 1\n\n# solved: 40%\ndef f6(") == (
        "def f(x: int):\n    return x == 1"
    )
    plain = PuzzlePrompts(train, budget_tokens=1000, count_tokens=len, note=archive.asked_note).draw((0,))
    assert "#" not in plain.text, "no model has seen what a rate means here"
    with pytest.raises(UserError, match=r"Archive\.asked_rate=1"):
        Archive(asked_rate=1.0)
