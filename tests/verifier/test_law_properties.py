"""Random batches of honest, failing and hostile programs: whole, shuffled, split, one by one, outcomes are equal."""

import pathlib
import random
from collections.abc import Callable

import pytest

from verifier import Limits, Pool, Verdict
from verifier.sandbox.isolation import LAYERS

LIMITS = Limits(cpu_s=0.4, memory_mb=256, output_bytes=4 << 20)
Pair = tuple[str, str]

ANY_INT = "def f(x: int):\n    return x >= 0"
LISTS = "def f(x: List[int], n={n}):\n    return len(x) == n"
TEXT = (
    "def f(s: str, words=['b', 'a']):\n    from collections import Counter\n"
    "    return Counter(s)['a'] == {n} and '{{}}'.format(s) == s"
)
TYPED = "def f(x: int):\n    return len(str(List[{value}])) == x"
SEEN = "def f(x: int, seen=[]):\n    seen.append(x)\n    return len(seen) == 1"
REGISTERS = (
    "def f(x: int):\n    from collections import ChainMap\n    ChainMap.register(str)\n    return x >= {n}"
)
FORGETS = "def f(x: int):\n    import re\n    return re.compile('a', {value}).flags >= 0 and x >= {n}"
FLAGS = ("1", "True", "1.0", "2", "re.I")
SLOW_PUZZLE = "def f(x: int):\n    while x == {n}:\n        pass\n    return True"


def honest(rng: random.Random) -> Pair:
    n = rng.randrange(1, 9)
    return rng.choice(
        [
            (LISTS.format(n=n), f"def g(n={n}):\n    return [0] * n"),
            (LISTS.format(n=n), f"def g(n={n}):\n    return list(range({rng.randrange(9)}))"),
            (TEXT.format(n=n), f"def g(words=['b', 'a']):\n    return 'a' * {n} + words[0]"),
            (SEEN, f"def g(seen=[]):\n    seen.append({n})\n    return len(seen)"),
            (ANY_INT, f"import random\n\ndef g():\n    return random.randrange(10 ** {n})"),
            (ANY_INT, f"def g():\n    return next(x for x in range(10 ** 6) if f(x - {n}))"),
            (ANY_INT, f"import re\n\ndef g():\n    return re.compile('a', {rng.choice(FLAGS)}).flags"),
            (ANY_INT, f"import statistics\n\ndef g():\n    return int(statistics.mean([{n}, 3]))"),
            (TYPED.format(value=rng.choice(["1", "True", "1.0"])), f"def g():\n    return {rng.choice([14, 17, 16])}"),
        ]
    )  # fmt: skip


def failing(rng: random.Random) -> Pair:
    n = rng.randrange(1, 9)
    return rng.choice(
        [
            (ANY_INT, f"def g():\n    return [{n}"),
            (ANY_INT, f"def g():\n    return {{}}[{n}]"),
            (ANY_INT, f"def g():\n    return 'x' * {n}"),
            (ANY_INT, f"def g():\n    return lambda: {n}"),
            (ANY_INT, f"def g():\n    return open({n})"),
            (ANY_INT, f"def g():\n    def h(k):\n        return h(k + {n})\n    return h(0)"),
            (REGISTERS.format(n=n), "def g():\n    return 4"),
            (FORGETS.format(n=n, value=rng.choice(["1", "1.0", "True"])), "def g():\n    return 4"),
            (f"def f(x):\n    return {n}", "def g():\n    return 4"),
        ]
    )


def needy(rng: random.Random) -> Pair:
    """Wants time, memory or room."""
    n = rng.randrange(1, 9)
    mb = rng.choice([20, 60, 120, 200, 400])
    return rng.choice(
        [
            (ANY_INT, f"def g():\n    n = {n}\n    while True:\n        n += 1"),
            (SLOW_PUZZLE.format(n=n), f"def g():\n    return {rng.randrange(1, 9)}"),
            (ANY_INT, f"def g():\n    return len(bytes({mb} << 20))"),
            (
                ANY_INT,
                f"def g():\n    try:\n        return len(bytes({mb} << 20))\n    except:\n        return {n}",
            ),
            (ANY_INT, f"def g():\n    return len([{n}] * ({mb} << 14))"),
            ("def f(s: str):\n    return len(s) > 3", f"def g():\n    return 'a' * ({mb} << 15)"),
            (f"def f(x: int):\n    return len(bytes({mb} << 20)) >= x", f"def g():\n    return {n}"),
            (
                ANY_INT,
                f"def g():\n    for i in range({mb << 10}):\n        print(i, 'x' * 30)\n    return {n}",
            ),
        ]
    )


# Tricks that stay within a process; what they do to it must not be seen from another's place.
HOSTILE = [
    path.read_text()
    for pattern in (
        "neighbour_*",
        "cheat_patch_*",
        "cheat_poison_*",
        "cheat_twin_*",
        "cheat_exit_status",
        "cheat_abort",
    )
    for path in sorted((pathlib.Path(__file__).parent / "hostile").glob(f"{pattern}.py"))
]


def hostile(rng: random.Random) -> Pair:
    return ANY_INT, rng.choice(HOSTILE)


KINDS: list[tuple[Callable[[random.Random], Pair], float]] = [
    (honest, 0.5),
    (failing, 0.2),
    (needy, 0.1),
    (hostile, 0.2),
]


def make_batch(rng: random.Random, size: int) -> list[Pair]:
    makers = rng.choices([kind for kind, _ in KINDS], [share for _, share in KINDS], k=size)
    return [make(rng) for make in makers]


def told(verdict: Verdict) -> tuple[str, str, str | None]:
    """All of a verdict but times and sizes."""
    return verdict.outcome, verdict.detail, verdict.answer


def check_law(seed: int, size: int, isolation: str, batch_sizes: tuple[int, ...]) -> dict[Pair, tuple]:
    rng = random.Random(seed)
    pairs = make_batch(rng, size)
    options = {"isolation": isolation, "reuse": 0}
    expected: dict[Pair, tuple] = {}
    with Pool(1, LIMITS, batch_size=1, **options) as alone:
        distinct = list(dict.fromkeys(pairs))
        items = [{"puzzle": puzzle, "solution": solution} for puzzle, solution in distinct]
        for pair, verdict in zip(distinct, alone.judge(items), strict=True):
            expected[pair] = told(verdict)
    for batch_size in batch_sizes:
        with Pool(rng.choice([1, 2]), LIMITS, batch_size=batch_size, **options) as pool:
            for _ in range(2):  # the second time its workers are old, and the order is another
                items = [{"puzzle": puzzle, "solution": solution} for puzzle, solution in pairs]
                for pair, verdict in zip(pairs, pool.judge(items), strict=True):
                    assert told(verdict) == expected[pair], (seed, isolation, batch_size, pair, verdict)
                rng.shuffle(pairs)
    return expected


def test_batches_of_all_kinds_make_no_difference():
    outcomes = {outcome for outcome, _, _ in check_law(1, 60, "auto", (1024,)).values()}
    assert {"accepted", "wrong", "syntax", "bad_answer", "wrong_type", "cpu_limit"} <= outcomes


def test_every_hostile_program_beside_every_other():
    """All tricks and the kinds that could be their victims, in one batch, forwards and backwards."""
    pairs = [(ANY_INT, text) for text in HOSTILE]
    with Pool(1, LIMITS, reuse=0) as pool:
        items = [{"puzzle": puzzle, "solution": solution} for puzzle, solution in pairs]
        apart = [told(next(pool.judge([item]))) for item in items]
        assert [told(verdict) for verdict in pool.judge(items)] == apart
        assert [told(verdict) for verdict in pool.judge(items[::-1])] == apart[::-1]


@pytest.mark.slow
@pytest.mark.parametrize("isolation", ["auto", *LAYERS])
def test_at_every_level_and_in_batches_of_any_size(isolation):
    for seed in range(2, 8):
        check_law(seed, 300, isolation, (7, 64, 1024))


@pytest.mark.slow
def test_levels_agree_about_what_only_computes():
    by_level = [check_law(100, 150, isolation, ()) for isolation in LAYERS]
    for pair, verdict in by_level[0].items():
        if "_os" not in pair[1]:
            assert all(found[pair] == verdict for found in by_level[1:]), pair
