"""The puzzles a model wrote and solved, as searchable cards, as many as the page's size allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from t5x_selfprog.evaluation.diversity import shape
from t5x_selfprog.report.code import highlight
from t5x_selfprog.report.collect import Iteration, SolvedPuzzle, SourceProblem
from t5x_selfprog.report.markup import Markup, count, element, join, percent, plural
from t5x_selfprog.report.pieces import section
from t5x_selfprog.run_layout import RunDir

MAX_CARDS = 400
MAX_BYTES = 2_500_000
MAX_SOURCE_BYTES = 500_000
_SOURCE_SHOWN = 2_000  # characters; a puzzle may hold a very long constant
_ANSWER_SHOWN = 160  # fewer than a verdict keeps, so that every cut shows an ellipsis


def gallery(iterations: Sequence[Iteration], train: Mapping[str, SourceProblem] = {}) -> Markup:
    """Cards of solved puzzles; `train` are the problems that prompts may have shown, by puzzle id."""
    solved = [puzzle for iteration in iterations for puzzle in iteration.solved]
    cards, shown, size = [], [], 0
    chosen = choose(solved, MAX_CARDS)
    known = {puzzle.puzzle_id for puzzle in chosen} | train.keys()
    for puzzle in chosen:
        card = _card(puzzle, known)
        size += len(card.encode())
        if size > MAX_BYTES:
            break
        cards.append(card)
        shown.append(puzzle)
    distinct = len({puzzle.puzzle_id for puzzle in solved})
    lead = f"{plural(distinct, 'solved puzzle')}" + (
        f", {count(len(shown))} of them here: different shapes first, spread over iterations."
        if len(shown) < distinct
        else ", each with its shortest accepted solutions."
    )
    types = sorted({puzzle.answer_type for puzzle in shown if puzzle.answer_type})
    numbers = sorted({puzzle.iteration for puzzle in shown})
    return section(
        "gallery",
        "Gallery",
        lead,
        element(
            "form",
            element(
                "input",
                id="search",
                type="search",
                placeholder="Search puzzles and solutions ( / )",
                aria_label="Search puzzles and solutions",
                autocomplete="off",
                spellcheck="false",
            ),
            _choice("iteration", "all iterations", [(str(number), f"iteration {number}") for number in numbers]),
            _choice("type", "all types", [(name, name) for name in types]),
            element(
                "select",
                *(
                    element("option", text, value=value)
                    for value, text in (("", "as chosen"), ("hard", "hardest first"), ("easy", "easiest first"))
                ),
                id="order",
                aria_label="order",
            ),
            element("output", plural(len(shown), "puzzle"), id="found", aria_live="polite"),
            class_="filters",
            role="search",
        ),
        element("div", *cards, class_="cards", id="cards"),
        element(
            "p",
            element("button", "Earlier", id="earlier", type="button"),
            element("output", "", id="place", aria_live="polite"),
            element("button", "Later", id="later", type="button"),
            id="pages", class_="pages", hidden=True,
        ),
        _sources(shown, train),
    )  # fmt: skip


def _sources(shown: Sequence[SolvedPuzzle], train: Mapping[str, SourceProblem]) -> Markup | None:
    """The train problems in the prompts of the shown puzzles, folded until a link opens them."""
    read = dict.fromkeys(i for puzzle in shown for i in puzzle.prompt_puzzle_ids if i in train)
    cards, size = [], 0
    for puzzle_id in sorted(read, key=lambda i: train[i].name):
        problem = train[puzzle_id]
        card = element(
            "article",
            element(
                "p",
                element("span", element("b", problem.name)),
                element("span", "train problem"),
                class_="facts",
            ),
            highlight(bounded(problem.source, _SOURCE_SHOWN)),
            id=f"p-{puzzle_id}",
            tabindex=-1,
        )
        size += len(card.encode())
        if size > MAX_SOURCE_BYTES:
            break
        cards.append(card)
    if not cards:
        return None
    summary = element("summary", f"The {plural(len(cards), 'train problem')} that stood in their prompts")
    return element("details", summary, element("div", *cards, class_="cards"), id="sources")


def choose(puzzles: Sequence[SolvedPuzzle], limit: int) -> list[SolvedPuzzle]:
    """At most `limit`: the first of every shape, then the second, and so on; later iterations first.

    Deterministic; a puzzle solved in several iterations appears once, with the latest numbers.
    """
    latest = {puzzle.puzzle_id: puzzle for puzzle in puzzles}
    of_shape: dict[str, int] = {}
    ranked = []
    for puzzle in sorted(latest.values(), key=lambda puzzle: (-puzzle.iteration, puzzle.puzzle_id)):
        kind = shape(puzzle.puzzle_id, puzzle.source)
        of_shape[kind] = of_shape.get(kind, 0) + 1
        ranked.append((of_shape[kind], -puzzle.iteration, puzzle.puzzle_id, puzzle))
    return [puzzle for *_, puzzle in sorted(ranked, key=lambda item: item[:3])][:limit]


def _card(puzzle: SolvedPuzzle, known: set[str]) -> Markup:
    rate = puzzle.accepted / puzzle.tried if puzzle.tried else 0.0
    facts = [
        element("b", puzzle.answer_type or "?"),
        f"iteration {puzzle.iteration}",
        f"solved by {count(puzzle.accepted)} of {plural(puzzle.tried, 'attempt')} ({percent(rate, 0)})",
    ]
    solutions = [
        element(
            "div",
            highlight(bounded(source, _SOURCE_SHOWN)),
            _facts_of_solution(answer, generality),
            class_="solution",
        )
        for source, answer, generality in puzzle.solutions
    ]
    more = element("details", element("summary", f"{len(solutions) - 1} more"), *solutions[1:])
    return element(
        "article",
        element("p", *(element("span", fact) for fact in facts), class_="facts"),
        highlight(bounded(puzzle.source, _SOURCE_SHOWN)),
        solutions[0] if solutions else None,
        more if len(solutions) > 1 else None,
        _lineage(puzzle, known),
        id=f"p-{puzzle.puzzle_id}",
        data_iteration=puzzle.iteration,
        data_type=puzzle.answer_type,
        data_rate=f"{rate:.4f}",
        tabindex=-1,
    )


def _facts_of_solution(answer: str | None, generality: float | None) -> Markup | None:
    facts = [] if answer is None else [join(["answers ", element("code", _cut(answer))])]
    if generality is not None:
        facts.append(join([f"holds on {percent(generality, 0)} of resampled arguments"]))
    return element("p", *(element("span", fact) for fact in facts), class_="facts") if facts else None


def _lineage(puzzle: SolvedPuzzle, known: set[str]) -> Markup:
    """Where the puzzle came from: its id, its writer, and those puzzles of its prompt that are on the page."""
    others = dict.fromkeys(puzzle.prompt_puzzle_ids)
    here = [puzzle_id for puzzle_id in others if puzzle_id in known and puzzle_id != puzzle.puzzle_id]
    links = [element("a", puzzle_id[:8], href=f"#p-{puzzle_id}") for puzzle_id in here[:12]]
    parts: list[object] = [element("code", puzzle.puzzle_id)]
    if puzzle.checkpoint:
        parts += [" · written by ", _checkpoint(puzzle.checkpoint)]
    if puzzle.prompt_puzzle_ids:
        parts.append(f" after reading {plural(len(puzzle.prompt_puzzle_ids), 'puzzle')}")
    if links:
        parts += [
            ", among them " if len(links) < len(others) else ": ",
            *(part for link in links for part in (link, " ")),
        ]
    for solver in sorted(filter(None, puzzle.solvers)):
        parts += [" · solved by ", _checkpoint(solver)]
    parts += [" · records: ", *_records(puzzle)]
    return element("p", *parts, class_="lineage")


def _checkpoint(identity: str) -> Markup:
    """A link to the table of checkpoints, where every identity that wrote something has a row."""
    return element("a", identity, href=f"#c-{identity}")


def _records(puzzle: SolvedPuzzle) -> list[object]:
    """Links to the folders of raw records, from RUN/report."""
    parts: list[object] = []
    for stage in ("kept", "verdicts"):
        folder = RunDir("").stage(puzzle.iteration, stage)
        parts += [element("a", folder, href=f"../{folder}/"), " "]
    return parts[:-1]


def _choice(name: str, everything: str, options: Sequence[tuple[str, str]]) -> Markup:
    entries = [element("option", text, value=value) for value, text in [("", everything), *options]]
    return element("select", *entries, id=name, aria_label=name)


def _cut(text: str) -> str:
    """An answer, truncated where it is long."""
    return text if len(text) <= _ANSWER_SHOWN else f"{text[:_ANSWER_SHOWN]}\N{HORIZONTAL ELLIPSIS}"


def bounded(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}\n# ... {count(len(text) - limit)} characters more"
