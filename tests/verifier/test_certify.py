"""The second look at what was accepted: another hash seed, other instances."""

import pytest

from verifier import Limits, Pool
from verifier.calibration import calibrate
from verifier.certify import judge_and_certify
from verifier.generality import measure_generality, variants

WORDS = "def f(s: str, words=['alpha', 'beta', 'gamma', 'delta']):\n    return s == {}"
FIRST_OF_SET = "def g(words=['alpha', 'beta', 'gamma', 'delta']):\n    return next(iter(set(words)))"


@pytest.fixture(scope="module")
def pools():
    with Pool(1, Limits(cpu_s=0.5)) as pool, Pool(1, Limits(cpu_s=0.5), hash_seed=1) as other:
        yield pool, other


def test_what_depends_on_the_hash_seed_is_put_aside(pools):
    first, _ = pools
    (seen,) = first.judge([{"puzzle": "def f(s: str):\n    return False", "solution": FIRST_OF_SET}])
    lucky = {"puzzle": WORDS.format(seen.answer), "solution": FIRST_OF_SET}
    honest = {
        "puzzle": WORDS.format("min(words)"),
        "solution": "def g(words=['beta', 'alpha']):\n    return 'alpha'",
    }
    wrong = {"puzzle": WORDS.format("'x'"), "solution": FIRST_OF_SET}
    assert next(first.judge([lucky])).accepted
    verdicts = list(judge_and_certify([honest, lucky, wrong, honest], *pools))
    assert [v.outcome for v in verdicts] == ["accepted", "unstable", "wrong", "accepted"]
    assert verdicts[1].detail.startswith("under another hash seed: wrong")
    assert not verdicts[1].accepted


def test_generality_tells_the_lucky_from_the_general(pools):
    puzzle = "def f(x: int, a=3, b=11):\n    return x + a == b"
    general, lucky, other = (
        {"puzzle": puzzle, "solution": f"def g(a=3, b=11):\n    return {text}"}
        for text in ("b - a", "8", "None or 8")
    )
    none = {"puzzle": "def f(x: int):\n    return x > 1000", "solution": "def g():\n    return 1001"}
    shares = measure_generality(pools[0], [general, lucky, none, general, other], 4)
    assert shares[0] == shares[3] == 1.0
    assert shares[1] < 1.0 and shares[2] is None
    assert variants(puzzle, general["solution"], 4) == variants(puzzle, general["solution"], 4)


def test_calibration_is_a_positive_time():
    assert 0.0005 < calibrate() < 10
