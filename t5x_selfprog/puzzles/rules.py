"""Which generated puzzles are worth solving: the rules that run nothing, and the filter that applies them.

`RULES` is one table from rejection reason to function, tried in order: the first rule that finds fault gives the reason
in the rejection record. Rules see one puzzle at a time. `PuzzleFilter` adds the two reasons that compare it with
others: contaminated and duplicate. Whether a trivial answer solves a puzzle requires running it, so the verifier
decides that.
"""

from __future__ import annotations

import ast
import builtins
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from t5x_selfprog.bounds import Count, OneOf
from t5x_selfprog.puzzles import truth
from t5x_selfprog.puzzles.contamination import Level, protected
from t5x_selfprog.puzzles.p3 import Problem
from t5x_selfprog.puzzles.scopes import Occurrence, Scope, occurrences
from t5x_selfprog.puzzles.shape import shape_id
from t5x_selfprog.puzzles.source import SourceError, only_function, puzzle_id
from verifier.language import policy
from verifier.language.answer_types import AnswerType, parse_type
from verifier.language.puzzle import Puzzle, PuzzleError, own_nodes, parse_puzzle

OPTIONAL_RULES = ("arguments_unused", "chained_comparison", "never_true", "undefined_names", "unsafe")


@dataclass(frozen=True)
class PuzzleRules:
    """What a generated puzzle must satisfy. The defaults are ours; `paper_rules()` gives the paper's.

    Attributes:
      skip: rules to leave out, from `OPTIONAL_RULES`.
      max_chars: the longest source; None means any length.
      max_per_shape: how many puzzles may differ only in names and constants; None means any number.
      test_match, train_match: how similar a puzzle may be to a held-out or a train problem: the loosest level of
        similarity (`contamination.Level`) that is refused; None means no comparison.
    """

    skip: tuple[Annotated[str, OneOf(OPTIONAL_RULES)], ...] = ()
    max_chars: Count | None = 1000
    max_per_shape: Count | None = 4
    test_match: Level | None = "abstract"
    train_match: Level | None = "abstract"

    def __post_init__(self) -> None:
        unknown = [name for name in self.skip if name not in OPTIONAL_RULES]
        if unknown:
            raise ValueError(
                f"skip: {unknown[0]!r} is no optional rule; those are {', '.join(OPTIONAL_RULES)}"
            )


def paper_rules() -> PuzzleRules:
    """The rules of the paper, which does not compare with the test set: Haluptzok et al. 2022, arXiv:2207.14502."""
    return PuzzleRules(
        skip=OPTIONAL_RULES, max_chars=None, max_per_shape=None, test_match=None, train_match=None
    )


class Candidate:
    """A generated puzzle, with the facts that rules need, each computed once."""

    def __init__(self, source: str) -> None:
        self.source = source

    @cached_property
    def _parsed(self) -> Puzzle | PuzzleError:
        try:
            return parse_puzzle(self.source)
        except PuzzleError as error:
            return error

    def refusal(self, reason: str) -> str | None:
        """Why `parse_puzzle` refuses the source, if it does so for this reason."""
        parsed = self._parsed
        return str(parsed) if isinstance(parsed, PuzzleError) and parsed.reason == reason else None

    # The following require a source that parse_puzzle accepts, so the rules on parsing come first.

    @cached_property
    def puzzle(self) -> Puzzle:
        assert isinstance(self._parsed, Puzzle)
        return self._parsed

    @cached_property
    def function(self) -> ast.FunctionDef:
        return only_function(self.source)

    @cached_property
    def names(self) -> list[Occurrence]:
        return occurrences(ast.Module([self.function], []))

    @cached_property
    def arguments_read(self) -> set[str]:
        """Names of f's arguments that are read somewhere; other variables of the same name do not count."""
        arguments = {id(argument) for argument in self.function.args.args}
        own: Scope = next(found.scope for found in self.names if id(found.node) in arguments)
        return {found.name for found in self.names if not found.binds and found.owner is own}


Rule = Callable[[Candidate, PuzzleRules], str | None]


# The rules. Each returns what is wrong, which becomes the record's `detail`, or None.


def too_long(candidate: Candidate, rules: PuzzleRules) -> str | None:
    length = len(candidate.source)
    return f"{length} characters" if rules.max_chars is not None and length > rules.max_chars else None


def no_parse(candidate: Candidate, rules: PuzzleRules) -> str | None:
    return candidate.refusal("no_parse")


def bad_signature(candidate: Candidate, rules: PuzzleRules) -> str | None:
    if not candidate.source.startswith("def f("):
        return "does not start with 'def f('"
    return candidate.refusal("bad_signature")


def bad_type(candidate: Candidate, rules: PuzzleRules) -> str | None:
    refusal = candidate.refusal("bad_type")
    if refusal is not None:
        return refusal
    answer_type = candidate.puzzle.answer_type
    return None if _is_wanted(parse_type(answer_type)) else f"answers of type {answer_type} are not wanted"


def _is_wanted(answer_type: AnswerType) -> bool:
    """int, float, str, or lists, nested to any depth, of these or of bool."""
    if answer_type.name == "List":
        element = answer_type.arguments[0]
        return element.name == "bool" or _is_wanted(element)
    return answer_type.name in ("int", "float", "str")


def no_return(candidate: Candidate, rules: PuzzleRules) -> str | None:
    nodes = list(own_nodes(candidate.function))
    if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in nodes):
        return "a generator never returns True"
    returns = any(isinstance(node, ast.Return) and node.value is not None for node in nodes)
    return None if returns else "returns no value"


def never_true(candidate: Candidate, rules: PuzzleRules) -> str | None:
    found = truth.never_true(candidate.puzzle, candidate.function, candidate.names)
    return None if found is None else f"line {found.lineno} returns what is never True"


def answer_unused(candidate: Candidate, rules: PuzzleRules) -> str | None:
    name = candidate.puzzle.answer_name
    return None if name in candidate.arguments_read else f"{name} is never read"


def arguments_unused(candidate: Candidate, rules: PuzzleRules) -> str | None:
    unused = [arg.name for arg in candidate.puzzle.arguments if arg.name not in candidate.arguments_read]
    return f"{', '.join(unused)} never read" if unused else None


def chained_comparison(candidate: Candidate, rules: PuzzleRules) -> str | None:
    """`a == b in c` is mostly an accident in generated text; chains in one direction, `0 <= i < n`, are fine."""
    for node in ast.walk(candidate.function):
        if isinstance(node, ast.Compare) and len(node.ops) > 1 and not _is_range(node):
            return "compares " + " ".join(_OPERATORS[type(operator)] for operator in node.ops)
    return None


_OPERATORS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}


def _is_range(node: ast.Compare) -> bool:
    up = all(isinstance(operator, ast.Lt | ast.LtE) for operator in node.ops)
    down = all(isinstance(operator, ast.Gt | ast.GtE) for operator in node.ops)
    return up or down


def undefined_names(candidate: Candidate, rules: PuzzleRules) -> str | None:
    for found in candidate.names:
        if found.owner is None and found.name not in _KNOWN_NAMES:
            return f"{found.name} is not defined"
    return None


_KNOWN_NAMES = {name for name in dir(builtins) if not name.startswith("_")} | policy.TYPING_NAMES.keys()


def unsafe(candidate: Candidate, rules: PuzzleRules) -> str | None:
    """A puzzle that reaches outside itself teaches nothing; safety is the verifier's job and does not rest on this."""
    for node in ast.walk(candidate.function):
        match node:
            case ast.Import() | ast.ImportFrom():
                return "imports"
            case ast.Attribute(attr=attr) if attr.startswith("_"):
                return f"attribute {attr}"
            case ast.Attribute(attr=attr, ctx=ast.Store() | ast.Del()):
                return f"sets attribute {attr}"
            case ast.Global() | ast.ClassDef() | ast.With() | ast.AsyncFunctionDef():
                return type(node).__name__.lower()
            case ast.FunctionDef(decorator_list=[_, *_]):
                return "decorator"
    reached = {found.name for found in candidate.names if found.owner is None} & _REACHING_BUILTINS
    return f"uses {', '.join(sorted(reached))}" if reached else None


# `id` and `hash` differ from run to run.
_REACHING_BUILTINS = policy.REFLECTIVE_BUILTINS | policy.REMOVED_BUILTINS | {"__import__", "id", "hash"}

RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        too_long,  # First, so that no other rule parses a megabyte.
        no_parse,
        bad_signature,
        bad_type,
        no_return,
        answer_unused,
        arguments_unused,
        chained_comparison,
        undefined_names,
        unsafe,
        never_true,
    )
}


# The filter.


@dataclass(frozen=True)
class Kept:
    """A puzzle that passed. `shape` is its abstract identity."""

    puzzle_id: str
    source: str
    answer_type: str
    shape: str


@dataclass(frozen=True)
class Rejected:
    """A rejected puzzle: `reason` is a name in `RULES`, "contaminated" or "duplicate"; `detail` explains it."""

    reason: str
    detail: str


def check(source: str, rules: PuzzleRules) -> Kept | Rejected:
    """Checks one puzzle by itself: everything but contamination and duplicates."""
    candidate = Candidate(source.rstrip())
    for name, rule in RULES.items():
        if name in rules.skip:
            continue
        try:
            detail = rule(candidate, rules)
        except (
            RecursionError
        ):  # Python compiles long sums and long elif chains that our visitors cannot traverse
            return Rejected("no_parse", "nested too deeply")
        if detail is not None:
            return Rejected(name, detail)
    try:
        identity, shape = puzzle_id(candidate.source), shape_id(candidate.source)
    except SourceError as error:  # Python can parse it but not unparse it.
        return Rejected("no_parse", str(error))
    return Kept(identity, candidate.source, candidate.puzzle.answer_type, shape)


class PuzzleFilter:
    """Takes candidates one by one and decides which to keep; earlier candidates determine duplicates.

    The result depends only on the sequence, not on how it is split into batches or shards.
    """

    def __init__(
        self, rules: PuzzleRules, *, problems: Iterable[Problem] = (), known: Iterable[str] = ()
    ) -> None:
        """
        Args:
            rules: what a puzzle must satisfy.
            problems: those of the train split are compared by `rules.train_match`, all others by `rules.test_match`.
            known: sources of puzzles kept before, for instance in earlier iterations; they count as already seen.
        """
        self._rules = rules
        problems = list(problems)
        held_out = protected(tuple(problem for problem in problems if problem.split != "train"))
        train = protected(tuple(problem for problem in problems if problem.split == "train"))
        self._protected = [(held_out, rules.test_match, "held-out"), (train, rules.train_match, "train")]
        self._seen: set[str] = set()
        self._shapes: Counter[str] = Counter()
        for source in known:
            self._remember(puzzle_id(source), shape_id(source))

    def offer(self, source: str) -> Kept | Rejected:
        """Judges the next candidate, and remembers it if kept."""
        result = check(source, self._rules)
        if isinstance(result, Kept):
            result = self._compare(result)
        if isinstance(result, Kept):
            self._remember(result.puzzle_id, result.shape)
        return result

    def _compare(self, puzzle: Kept) -> Kept | Rejected:
        for index, level, whose in self._protected:
            match = index.match(puzzle.source, upto=level) if level is not None else None
            if match is not None:
                return Rejected("contaminated", f"{match} ({whose})")
        if puzzle.puzzle_id in self._seen:
            return Rejected("duplicate", f"puzzle {puzzle.puzzle_id} again")
        limit = self._rules.max_per_shape
        if limit is not None and self._shapes[puzzle.shape] >= limit:
            return Rejected("duplicate", f"shape {puzzle.shape} has {limit} puzzles already")
        return puzzle

    def _remember(self, identity: str, shape: str) -> None:
        self._seen.add(identity)
        self._shapes[shape] += 1
