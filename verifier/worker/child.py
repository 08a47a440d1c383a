"""What the sandboxed children do: compile puzzles, run solutions, check answers.

Three kinds of child, each forked from the worker for one batch and gone after it:

  prepare     reads and compiles puzzles; runs nothing
  solutions   compiles and runs solutions, leaves their answers as literals; holds no puzzle
  checks      holds puzzles and those literals, runs `f(answer) is True`; never ran a solution

A batch shares a child only if all its programs are plain (screen.py). The worker decides what runs where and what a
report means; a report from a child that ran a program that is not plain can be trusted no more than that program.
"""

import gc
import marshal
import time
from collections.abc import Iterable, Sequence
from types import CodeType
from typing import Any, NamedTuple

from verifier.language import literal
from verifier.language.answer_types import Checker
from verifier.language.puzzle import PuzzleError, read_puzzle
from verifier.language.screen import may_cache, may_call
from verifier.language.shown import shown
from verifier.worker.area import Area, pack_report
from verifier.worker.runtime import (
    COMPILE_ERRORS,
    Allowance,
    Demand,
    OutputLimit,
    Runtime,
    begin_programs,
    class_name,
    compile_program,
    describe,
    forget_cached,
    peak_kb,
    reset_shared,
)

REPORT_BYTES = 4096  # a report without its answer takes less

# What became of a solution, besides the outcomes of outcomes.py:
ANSWER = "answer"  # there is a literal to check
NOT_PLAIN = "not_plain"  # not run: it needs a process of its own
FULL = "full"  # the area has no room for the answer; the rest needs another child
SAME = "same"  # not run: the same program as another item of the puzzle has, whose number is the detail
TWIN = "twin"  # about to run: the detail is the digest that identical programs share
NO_MEMORY = "memory_limit"

RAISED = "f raised "  # begins the detail if the puzzle raised
MEMO_BYTES = 1 << 20  # a longer answer is checked anew each time


# --- prepare


class Prepared(NamedTuple):
    """A puzzle ready to be checked against, or the reason why it cannot be: `reason` is "" if it can.

    `useless`: why it can't depend on its answer, though it can be checked against; "" if it may.
    """

    reason: str
    detail: str
    answer_type: str
    plain: bool
    code: bytes  # marshalled
    useless: str = ""


def prepare_puzzles(area: Area, sources: list[str], runtime: Runtime) -> None:
    for number, source in enumerate(sources):
        area.begin(number, time.process_time())
        prepared = prepare_puzzle(source, runtime)
        data = literal.encode(tuple(prepared))
        if not area.has_room(len(data)):
            return
        area.append(number, data)


def prepare_puzzle(source: str, runtime: Runtime) -> Prepared:
    try:
        puzzle, code, useless = read_puzzle(source)
    except PuzzleError as e:
        if isinstance(e.__cause__, MemoryError):
            return refused_puzzle("too_large", "too large or too deeply nested")
        return refused_puzzle(e.reason, str(e)[:200])
    except MemoryError:
        return refused_puzzle("too_large", "too large to compile")
    plain = runtime.screen.why_not_plain(code) is None
    return Prepared("", "", puzzle.answer_type, plain, marshal.dumps(code), useless)


def refused_puzzle(reason: str, detail: str) -> Prepared:
    return Prepared(reason, detail, "", False, b"")


# --- solutions


class Attempt(NamedTuple):
    """A solution to run. `group` is equal for solutions of one puzzle, and says nothing else.

    `quoted` is the puzzle's code for a solution whose own text names `f`, else empty. It runs as if its author had
    pasted the puzzle above it, which any author could: it may call and spoil the copy, which plays no part in judging.
    """

    item: int
    group: int
    source: str
    quoted: bytes
    quoted_plain: bool


class Twin(NamedTuple):
    """A slow program, known by the digest that identical ones share, so that none of those need run."""

    item: int
    group: int
    quoted: bool
    digest: bytes


def run_solutions(
    area: Area,
    attempts: Iterable[Attempt],
    known: Iterable[Twin],
    runtime: Runtime,
    limits: Allowance,
    *,
    plain: bool,
) -> None:
    """Runs solutions one after another; or, if not `plain`, the only one.

    Together, a program that is not plain is only reported as such; of those that compile to the same code one runs, of
    those that are `known` none. One that asked for so much memory that company might matter is reported as NO_MEMORY.
    Alone, a plain program is first reported as a TWIN, whose detail is its digest, to compare others with.
    """
    printed = begin_programs(limits.output_bytes)
    demand = Demand(limits.memory_mb, runtime.host_mb) if plain else None
    if not plain:
        gc.enable()
    twins = Twins(known)
    for attempt in attempts:
        if not area.has_room(REPORT_BYTES):
            return
        item = attempt.item
        printed.count = 0
        start = time.process_time()
        area.begin(item, start)
        code, status, detail = compile_attempt(attempt, runtime, plain=plain)
        answer: list[literal.Part] = []
        if code is not None:
            if not plain and runtime.once and runtime.screen.why_not_plain(code) is None:
                area.append(item, pack_report(TWIN, digest(code).hex(), 0.0, 0))
                area.begin(item, start)
            if plain and runtime.once:
                first = twins.first(attempt, code)
                if first != item:
                    area.append(item, pack_report(SAME, str(first), 0.0, 0))
                    continue
                area.begin(item, start, screened=True)
            status, detail, answer = solve(code, attempt, runtime, limits.output_bytes, plain=plain)
        if printed.count > printed.limit:
            status, detail, answer = "output_limit", "printed too much", []
        if demand is not None and demand.is_large():
            area.append(item, pack_report(NO_MEMORY, "it asked for much", 0.0, 0))
            return
        if answer and not area.has_room(sum(map(len, answer)) + REPORT_BYTES):
            area.append(item, pack_report(FULL, "", 0.0, 0))
            return
        if answer:
            area.append(~item, *answer)
        area.append(item, pack_report(status, detail, time.process_time() - start, peak_kb()))


def compile_attempt(attempt: Attempt, runtime: Runtime, *, plain: bool) -> tuple[CodeType | None, str, str]:
    """The code; or None, the status and the detail of a solution that is not to run here."""
    if plain and attempt.quoted and not attempt.quoted_plain:
        return None, NOT_PLAIN, ""
    try:
        code = compile_program(attempt.source, "<solution>")
        if plain and runtime.screen.why_not_plain(code) is not None:
            return None, NOT_PLAIN, ""
    except COMPILE_ERRORS as e:
        return None, "syntax", describe(e)
    except MemoryError:  # also what the parser raises when its own stack is full
        return None, NO_MEMORY, "too large or too deeply nested to compile"
    return code, "", ""


class Twins:
    """Programs of one puzzle that compile to the same code: as syntax trees they are equal."""

    def __init__(self, known: Iterable[Twin] = ()) -> None:
        # by a key that is cheap to compare: the first item and, once there is a second, items by their identity
        self._first: dict[tuple, tuple[CodeType, int]] = {}
        self._same: dict[tuple, dict[bytes, int]] = {}
        self._known = {twin[1:]: twin.item for twin in known}
        self._groups = {twin.group for twin in known}

    def first(self, attempt: Attempt, code: CodeType) -> int:
        """The item that had this code first."""
        if attempt.group in self._groups:
            item = self._known.get((attempt.group, bool(attempt.quoted), digest(code)))
            if item is not None:
                return item
        # most programs differ in this already, and it costs a tenth of an identity
        rough: list[Any] = [attempt.group, not attempt.quoted]
        for part in code.co_consts:
            if type(part) is CodeType:
                rough += [part.co_code, *(x for x in part.co_consts if type(x) is not CodeType)]
        key = tuple(rough)
        other, item = self._first.setdefault(key, (code, attempt.item))
        if other is code:
            return item
        if key not in self._same:
            self._same[key] = {identity(other): item}
        return self._same[key].setdefault(identity(code), attempt.item)


def identity(code: CodeType) -> bytes:
    """All of a code object except source positions."""
    return marshal.dumps(_without_places(code), 2)  # version 2: no references, whose places are accidents


def digest(code: CodeType) -> bytes:
    import hashlib  # by now policy.import_modules has seen to it that this doesn't load OpenSSL

    return hashlib.blake2b(identity(code), digest_size=16).digest()


def _without_places(code: CodeType) -> CodeType:
    constants = tuple(_without_places(c) if type(c) is CodeType else c for c in code.co_consts)
    return code.replace(co_firstlineno=1, co_linetable=b"", co_consts=constants)


def solve(
    code: CodeType, attempt: Attempt, runtime: Runtime, output_bytes: int, *, plain: bool
) -> tuple[str, str, list[literal.Part]]:
    """(status, detail, encoded answer) of one solution."""
    space = runtime.space(plain=plain)
    reset_shared(attempt.source, attempt.quoted)
    try:
        if attempt.quoted and may_call(code, "f"):
            exec(marshal.loads(attempt.quoted), space)
        exec(code, space)
        if "g" not in space:
            return "error:NameError", "the solution defines no g", []
        return ANSWER, "", literal.encode_parts(space["g"](), output_bytes)
    except literal.NotLiteral as e:
        return "bad_answer", str(e)[:200], []
    except (literal.LiteralTooBig, OutputLimit) as e:
        return "output_limit", str(e)[:200] or "printed too much", []
    except MemoryError:
        return NO_MEMORY, "MemoryError", []
    except BaseException as e:
        return f"error:{class_name(e)}", describe(e), []
    finally:
        space.clear()
        if plain and (attempt.quoted or may_cache(code)):
            forget_cached()


# --- checks


class Check(NamedTuple):
    item: int
    code: bytes  # of the puzzle, marshalled
    checker: Checker
    proofs: bytes
    answer: literal.Buffer  # encoded
    plain: bool  # the puzzle


def run_checks(
    area: Area, checks: Sequence[Check], runtime: Runtime, limits: Allowance, *, alone: bool = False
) -> None:
    """Checks answers one after another. All puzzles are plain, or there is one check only, which is then `alone`.

    A plain puzzle says the same of equal answers, so it is asked once. One that asked for so much memory that company
    might matter is reported as NO_MEMORY.
    """
    printed = begin_programs(limits.output_bytes)
    demand = None if alone else Demand(limits.memory_mb, runtime.host_mb)
    if alone:
        gc.enable()
    loaded: dict[bytes, Any] = {}
    said: dict[tuple[bytes, bytes], bytes] = {}
    for check in checks:
        printed.count = 0
        start = time.process_time()
        area.begin(check.item, start)
        key = check.code, bytes(check.answer) if len(check.answer) <= MEMO_BYTES else b""
        if key in said:
            area.append(check.item, said[key])
            continue
        if check.code not in loaded:
            code = marshal.loads(check.code)
            loaded[check.code] = code, may_cache(code)
        code, caches = loaded[check.code]
        outcome, detail, text = check_answer(check, code, runtime)
        if caches:
            forget_cached()
        if demand is not None and demand.is_large():
            area.append(check.item, pack_report(NO_MEMORY, "it asked for much", 0.0, 0))
            return
        report = pack_report(outcome, detail, time.process_time() - start, peak_kb(), text)
        area.append(check.item, report)
        if key[1] and runtime.once:
            said[key] = report


def check_answer(check: Check, code: Any, runtime: Runtime) -> tuple[str, str, str]:
    """(outcome, detail, the answer's bounded repr)."""
    text = ""
    try:
        answer = literal.decode(check.answer)
        text = shown(answer, len(check.answer))
        if check.answer[0] not in check.proofs and not check.checker(answer):
            return "wrong_type", "", text
        space = runtime.space(plain=check.plain)
        reset_shared("", check.code)
        result = call_puzzle(code, space, answer)
    except literal.CorruptLiteral as e:
        return "bad_answer", f"corrupt: {e}"[:200], text
    except MemoryError:
        return NO_MEMORY, "MemoryError in the puzzle", text
    except OutputLimit:
        return "output_limit", "the puzzle printed too much", text
    except BaseException as e:
        return "wrong", f"{RAISED}{class_name(e)}: {describe(e)}"[:200], text
    if result is True:
        return "accepted", "", text
    return "wrong", "" if result is False else f"f returned {class_name(result)}", text


def call_puzzle(code: Any, space: dict[str, Any], answer: object) -> object:
    """`f(answer)` of a freshly made f: defaults that an earlier call changed are not seen."""
    exec(code, space)
    try:
        return space["f"](answer)
    finally:
        space.clear()
