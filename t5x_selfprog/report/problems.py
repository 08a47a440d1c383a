"""The held-out problems as searchable cards: which arms solved each, how often, and with what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from t5x_selfprog.evaluation.contrasts import ENUMERATOR
from t5x_selfprog.evaluation.table import rows
from t5x_selfprog.report.code import highlight
from t5x_selfprog.report.gallery import bounded
from t5x_selfprog.report.markup import Markup, count, element, join, plural
from t5x_selfprog.report.pieces import section
from t5x_selfprog.report.plots import arm_style
from t5x_selfprog.report.tried import Arm, Tried

MAX_BYTES = 2_500_000
_SOLUTION_SHOWN, _SAID_SHOWN, _SOURCE_SHOWN = 600, 160, 1500


def problems(arms: Sequence[Arm], sources: Mapping[str, str]) -> Markup | None:
    """One card per problem, those on which arms differ most first; None where nothing was evaluated."""
    if not arms:
        return None
    labels = [_label(arm) for arm in arms]
    order = [problem["puzzle_id"] for problem in arms[0].evaluation["problems"]]
    by_arm = [{problem["puzzle_id"]: problem for problem in arm.evaluation["problems"]} for arm in arms]
    order = [puzzle_id for puzzle_id in order if all(puzzle_id in known for known in by_arm)]
    cards, size = [], 0
    for puzzle_id in sorted(order, key=lambda one: _interest(one, arms, by_arm)):
        card = _card(puzzle_id, arms, labels, by_arm, sources)
        size += len(card.encode())
        if size > MAX_BYTES:
            break
        cards.append(card)
    if not cards:
        return None
    left_out = len(order) - len(cards)
    lead = (
        "Each dot is an arm: full where at least one of its attempts was right. Those on which arms differ most come "
        "first."
        + (f" {plural(left_out, 'further problem')} would make the page too heavy." if left_out else "")
    )
    return section("problems", "Held-out problems", lead, _filters(labels, len(cards)),
                   element("div", *cards, class_="problems", id="problem-list"))  # fmt: skip


def _label(arm: Arm) -> str:
    return rows([arm.evaluation])[0].label


def _interest(puzzle_id: str, arms: Sequence[Arm], by_arm: Sequence[Mapping[str, dict]]) -> tuple[float, str]:
    shares = [
        known[puzzle_id]["c"] / max(1, known[puzzle_id]["n"])
        for arm, known in zip(arms, by_arm, strict=True)
        if arm.evaluation["arm"] != ENUMERATOR
    ]
    return (min(shares) - max(shares) if shares else 0.0, by_arm[0][puzzle_id]["name"])


def _filters(labels: Sequence[str], number: int) -> Markup:
    options = [element("option", "all problems", value="")]
    options += [element("option", f"solved by {label}", value=f"+{i}") for i, label in enumerate(labels)]
    options += [element("option", f"not solved by {label}", value=f"-{i}") for i, label in enumerate(labels)]
    options += [
        element("option", "solved by none", value="none"),
        element("option", "solved by some, not by all", value="some"),
    ]
    return element(
        "form",
        element("input", id="problem-search", type="search", placeholder="Search problems and attempts",
                aria_label="Search problems and attempts", autocomplete="off", spellcheck="false"),
        element("select", *options, id="problem-solved", aria_label="solved by"),
        element("output", plural(number, "problem"), id="problems-found", aria_live="polite"),
        class_="filters", role="search",
    )  # fmt: skip


def _card(
    puzzle_id: str, arms: Sequence[Arm], labels: Sequence[str], by_arm: Sequence[Mapping[str, dict]],
    sources: Mapping[str, str],
) -> Markup:  # fmt: skip
    entries = [known[puzzle_id] for known in by_arm]
    solved = [i for i, entry in enumerate(entries) if entry["c"]]
    dots = [
        element(
            "i",
            class_=f"dot {arm_style(arm.evaluation['arm'])}{'' if entry['c'] else ' empty'}",
            title=f"{label}: {count(entry['c'])} of {count(entry['n'])}",
        )
        for arm, label, entry in zip(arms, labels, entries, strict=True)
    ]
    summary = element(
        "summary",
        element("b", entries[0]["name"]),
        element("span", *dots, class_="dots", role="img", aria_label=_spoken(solved, labels)),
        element("span", entries[0]["group"], class_="quiet"),
    )
    attempts = [
        _of_arm(label, entry, arm.tried.get(puzzle_id))
        for label, entry, arm in zip(labels, entries, arms, strict=True)
    ]
    source = sources.get(puzzle_id)
    return element(
        "details",
        summary,
        highlight(bounded(source, _SOURCE_SHOWN)) if source else None,
        *attempts,
        id=f"h-{puzzle_id}",
        data_solved=" ".join(map(str, solved)),
    )


def _spoken(solved: Sequence[int], labels: Sequence[str]) -> str:
    return f"solved by {', '.join(labels[i] for i in solved)}" if solved else "solved by none"


def _of_arm(label: str, entry: Mapping[str, int], tried: Tried | None) -> Markup:
    parts: list[object] = [
        element(
            "p",
            element("b", label),
            f" {count(entry['c'])} of {plural(entry['n'], 'attempt')} right",
            class_="facts",
        )
    ]
    if tried is not None:
        told = [
            f"{outcome.replace('_', ' ')} {count(number)}"
            for outcome, number in tried.outcomes.most_common(6)
        ]
        parts.append(element("p", ", ".join(told), class_="facts"))
        parts += [
            _attempt("accepted", solution, f"answers {answer}" if answer else "")
            for solution, answer in tried.accepted
        ]
        parts += [_attempt(*other) for other in tried.others]
    return element("div", *parts, class_="solution")


def _attempt(outcome: str, solution: str, said: str) -> Markup:
    style = "up" if outcome == "accepted" else "none"
    about = join(
        [element("span", outcome.replace("_", " "), class_=f"word {style}"), " ", element("span", _cut(said))]
    )
    return join([element("p", about, class_="facts"), highlight(bounded(solution, _SOLUTION_SHOWN))])


def _cut(text: str) -> str:
    return text if len(text) <= _SAID_SHOWN else f"{text[:_SAID_SHOWN]}\N{HORIZONTAL ELLIPSIS}"
