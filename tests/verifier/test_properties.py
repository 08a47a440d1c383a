"""Properties of literals and types over random values, and of the judge over random and mutated programs."""

import ast
import math
import random
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from verifier import Limits, Pool
from verifier.language.answer_types import AnswerType, compile_checker, parse_type
from verifier.language.literal import CorruptLiteral, LiteralTooBig, decode, encode

SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

texts = st.text(st.characters(), max_size=12)  # lone surrogates too
floats = st.floats(allow_nan=True, allow_infinity=True)
integers = st.one_of(st.integers(), st.integers(-(2**31) - 2, 2**31 + 2), st.integers(-(2**700), 2**700))
scalars = st.one_of(
    st.none(), st.booleans(), integers, floats, st.complex_numbers(), texts, st.binary(max_size=12)
)
hashables = st.recursive(
    scalars, lambda inner: st.one_of(st.tuples(inner, inner), st.frozensets(inner, max_size=3)), max_leaves=6
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=20),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(hashables, inner, max_size=3),
        st.sets(hashables, max_size=3),
        st.frozensets(hashables, max_size=3),
    ),
    max_leaves=25,
)
long_lists = st.one_of(
    st.lists(integers, min_size=8, max_size=60),
    st.lists(floats, min_size=8, max_size=60),
    st.lists(texts, min_size=8, max_size=30),
    st.lists(st.one_of(st.booleans(), st.integers()), min_size=8, max_size=60),
)


def same(a, b) -> bool:
    """Equal, of equal types all the way down, NaN being NaN and -0.0 not 0.0."""
    if type(a) is not type(b):
        return False
    if type(a) is float:
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if type(a) is complex:
        return same(a.real, b.real) and same(a.imag, b.imag)
    if type(a) in (list, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if type(a) is dict:
        return same(list(a.items()), list(b.items()))
    if type(a) in (set, frozenset):  # the order of equal sets may differ, and NaN equals nothing
        return len(a) == len(b) and sorted(map(spelled, a)) == sorted(map(spelled, b))
    return a == b


def spelled(value) -> str:
    """As repr, whatever the order of sets within."""
    if type(value) in (tuple, frozenset):
        inside = [spelled(item) for item in value]
        return f"{type(value).__name__}({', '.join(inside if type(value) is tuple else sorted(inside))})"
    return repr(value)


@SETTINGS
@given(st.one_of(values, long_lists))
def test_literals_survive(value):
    assert same(decode(encode(value)), value)


@SETTINGS
@given(values, st.integers(0, 200))
def test_a_size_limit_is_kept(value, limit):
    size = len(encode(value))
    try:
        assert len(encode(value, limit)) == size <= limit
    except LiteralTooBig:
        assert size > limit


@SETTINGS
@given(st.binary(max_size=80))
def test_any_bytes_decode_to_a_value_or_are_refused(data):
    try:
        value = decode(data)
    except CorruptLiteral:
        return
    assert same(decode(encode(value)), value)


@SETTINGS
@given(st.one_of(values, long_lists), st.data())
def test_damaged_literals_decode_to_a_value_or_are_refused(value, data):
    encoded = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        encode(decode(bytes(encoded)))
    except CorruptLiteral:
        return


names = st.sampled_from(["int", "float", "str", "bool", "bytes", "complex", "None"])
types = st.recursive(
    names.map(AnswerType),
    lambda inner: st.one_of(
        st.builds(lambda a: AnswerType("List", (a,)), inner),
        st.builds(lambda a: AnswerType("Tuple", (a,), True), inner),
        st.lists(inner, max_size=3).map(lambda parts: AnswerType("Tuple", tuple(parts))),
        st.builds(lambda a, b: AnswerType("Dict", (a, b)), names.map(AnswerType), inner),
        st.builds(lambda a: AnswerType("Set", (a,)), names.map(AnswerType)),
        st.builds(lambda a: AnswerType("FrozenSet", (a,)), names.map(AnswerType)),
    ),
    max_leaves=6,
)
SCALAR_VALUES = {
    "int": integers,
    "float": floats,
    "str": texts,
    "bool": st.booleans(),
    "bytes": st.binary(max_size=5),
    "complex": st.complex_numbers(),
    "None": st.none(),
}


def of_type(wanted: AnswerType) -> st.SearchStrategy:
    """Values that are exactly of a type."""
    if wanted.name in SCALAR_VALUES:
        return SCALAR_VALUES[wanted.name]
    inner = [of_type(argument) for argument in wanted.arguments]
    if wanted.name == "List":
        return st.lists(inner[0], max_size=4)
    if wanted.name == "Tuple":
        return st.lists(inner[0], max_size=4).map(tuple) if wanted.variadic else st.tuples(*inner)
    if wanted.name == "Dict":
        return st.dictionaries(inner[0], inner[1], max_size=3)
    sets = {"Set": st.sets, "FrozenSet": st.frozensets}[wanted.name]
    return sets(inner[0], max_size=3)


@SETTINGS
@given(types)
def test_types_survive_both_spellings(wanted):
    assert parse_type(str(wanted)) == wanted
    modern = str(wanted)
    for name in ("List", "Tuple", "Dict", "FrozenSet", "Set"):
        modern = modern.replace(f"{name}[", f"{name.lower()}[").replace("frozenlist[", "frozenset[")
    assert parse_type(modern.replace("frozenSet", "frozenset")) == wanted
    assert parse_type(repr(str(wanted))) == wanted  # quoted


@SETTINGS
@given(types.flatmap(lambda wanted: st.tuples(st.just(wanted), of_type(wanted))))
def test_values_of_a_type_pass_its_checker(pair):
    wanted, value = pair
    assert compile_checker(wanted)(value)
    assert compile_checker(wanted)(decode(encode(value)))
    assert compile_checker(parse_type(f"Optional[{wanted}]"))(value)
    assert compile_checker(parse_type(f"{wanted} | None"))(None)


@SETTINGS
@given(types, values)
def test_checkers_accept_nothing_else(wanted, value):
    def is_of(wanted: AnswerType, value) -> bool:
        """The definition, written as slowly as it reads."""
        inner = wanted.arguments
        if wanted.name == "None":
            return value is None
        if wanted.name in SCALAR_VALUES:
            return type(value).__name__ == wanted.name
        if type(value).__name__ != wanted.name.lower():
            return False
        if wanted.name == "Dict":
            return all(is_of(inner[0], k) and is_of(inner[1], v) for k, v in value.items())
        if wanted.name == "Tuple" and not wanted.variadic:
            return len(value) == len(inner) and all(map(is_of, inner, value))
        return all(is_of(inner[0], item) for item in value)

    assert compile_checker(wanted)(value) is is_of(wanted, value)


# --- programs

SEEDS = [
    "def g(n=3):\n    return [n] * n",
    "def g(n=3):\n    total = 0\n    for i in range(n):\n        total += i\n    return [total, n]",
    "import math\n\ndef g(n=3):\n    return [math.gcd(n, 12), *range(n)]",
    "def g(n=3):\n    try:\n        return [int('x')]\n    except ValueError:\n        return [0]",
    "class A:\n    def __eq__(self, other):\n        return True\n\ndef g(n=3):\n    return [A()]",
    "def g(n=3):\n    return sorted({n, 1, 2}, key=lambda x: -x)",
]
WORDS = [
    *"()[]{}:,.+-*/%=<>\n\t\\'\"#@;0123456789",
    *[
        "return ",
        "while True:",
        "lambda x: ",
        "__class__",
        "exec",
        "yield ",
        "import os\n",
        "f(",
        "g()",
        "None",
        "True",
    ],
    *[
        "9**9**9",
        "'a' * 10**12",
        "[[]] * 9",
        "\0",
        "\ud800",
        "del ",
        "global f\n",
        "raise ",
        "assert ",
        "**",
        "~",
        "*x",
    ],
]


def mutated(rng: random.Random) -> str:
    source = rng.choice(SEEDS)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(source) + 1)
        to = min(len(source), at + rng.choice([0, 0, 1, 2, 8]))
        source = source[:at] + rng.choice([rng.choice(WORDS), "", source[at:to] * 2]) + source[to:]
    return source


def noise(rng: random.Random) -> str:
    return "def g(n=3):\n    " + "".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 30)))


def fuzz(count: int, seed: int) -> None:
    """Nothing is accepted by a puzzle that accepts nothing; honest neighbours are; every attempt gets its verdict."""
    rng = random.Random(seed)
    impossible = "def f(x: List[int], n=3):\n    return x == x and n != n"
    honest = {"puzzle": "def f(x: List[int], n=3):\n    return x == [n] * n", "solution": SEEDS[0]}
    items = []
    for i in range(count):
        items.append({"puzzle": impossible, "solution": rng.choice([mutated, noise])(rng)})
        if i % 20 == 0:
            items.append(honest | {"solution": f"{SEEDS[0]}  # {i}"})
    with Pool(2, Limits(cpu_s=0.1, wall_s=3, memory_mb=256, output_bytes=1 << 20)) as pool:
        before = pool.isolation, pool.pids()
        verdicts = list(pool.judge(items))
        assert (pool.isolation, pool.pids()) == before  # no worker was lost
    assert len(verdicts) == len(items)
    for item, verdict in zip(items, verdicts, strict=True):
        assert verdict.accepted == (item["puzzle"] != impossible), (item, verdict)
        assert verdict.outcome != "infrastructure", (item, verdict)


def test_fuzz_briefly():
    fuzz(400, seed=1)


@pytest.mark.slow
def test_fuzz_long():
    for seed in range(2, 12):
        fuzz(3000, seed)


def test_mutants_that_python_refuses_are_syntax_errors():
    """The judge and Python's own parser agree about what is a program."""
    rng = random.Random(5)
    sources = [mutated(rng) for _ in range(150)]
    with Pool(1, Limits(cpu_s=0.1, memory_mb=256, output_bytes=1 << 20)) as pool:
        outcomes = [
            v.outcome
            for v in pool.judge(
                {"puzzle": "def f(x: int):\n    return False", "solution": s} for s in sources
            )
        ]
    digits = sys.get_int_max_str_digits()
    for source, outcome in zip(sources, outcomes, strict=True):
        try:
            sys.set_int_max_str_digits(0)
            if source.rstrip("\n").endswith("\\"):  # one thing that is let pass
                source += "\n\n"
            ast.parse(source)
            compile(source, "x", "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            assert outcome == "syntax", (source, outcome)
        except (MemoryError, RecursionError, OverflowError):
            continue
        else:
            assert outcome != "syntax", source
        finally:
            sys.set_int_max_str_digits(digits)
