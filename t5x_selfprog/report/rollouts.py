"""How learning from verdicts went: what was right, what groups taught, clipping and divergence, batch by batch.

For self-play also what became of the proposals, how often those attempted were solved, and who was rewarded for what.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from t5x_selfprog.evaluation.diversity import solve_rate_histogram
from t5x_selfprog.evaluation.rollout_accounts import TASKS, BatchAccount, TaskCount
from t5x_selfprog.puzzles.proposing import Proposed, ProposerReward
from t5x_selfprog.report.learnt import Learnt
from t5x_selfprog.report.lines import Line, line_panel
from t5x_selfprog.report.markup import EN_DASH, Markup, count, element, join, percent, plural
from t5x_selfprog.report.pieces import captioned, fallback, pair, section, table
from t5x_selfprog.report.plots import Bar, bar_panel, column_panel

_LEAST = 2  # batches or logged steps needed for a line
_ROWS = 12  # of the table of batches, evenly spaced
_SHARE_OF_ALL = 0.005  # smaller outcomes of the screening are shown together
_NAMES = {
    "proposal": "proposed puzzles",
    "puzzle": "puzzles",
    "deduction": "deductions",
    "abduction": "abductions",
    "proposer": "the proposer",
}
_STYLES = {"proposal": "verified", "puzzle": "human", "deduction": "base", "abduction": "unverified"}
_TARGETS = {
    "absolute_zero": "1 less the solve rate, and nothing at 0% and 100%",
    "r_zero": "nearness to a solve rate of one half",
}
_STEPS = (("clipped", "clipped"), ("old_kl", "from the sampler"), ("base_kl", "from the base"))


def rollouts(learnt: Sequence[Learnt]) -> Markup | None:
    """The section; None where no iteration learnt from verdicts."""
    parts = [_iteration(one) for one in learnt if one.batches]
    if not parts:
        return None
    return section(
        "rollouts",
        "Learning from verdicts",
        "Batches of attempts by the newest weights. Groups whose attempts were all right or all wrong have nothing to "
        "compare and are dropped; tokens whose probability moved too far since they were sampled are clipped.",
        join(parts),
    )


def _iteration(learnt: Learnt) -> Markup:
    name = f"Iteration {learnt.iteration}"
    tasks = [task for task in TASKS if any(task in batch.tasks for batch in learnt.batches)]
    proposals = any(batch.reasons for batch in learnt.batches)
    rewards = Counter[str]()
    for batch in learnt.batches:
        rewards.update(batch.rewards(learnt.reward))
    panels = [*_over_batches(name, learnt.batches, tasks), *_over_steps(name, learnt.steps)]
    if len(rewards) > 1 and rewards.total():
        panels.append(_reward_bars(name, rewards))
    return join(
        [
            element("h3", f"{name}: {plural(len(learnt.batches), 'batch', 'es')}"),
            _proposals(name, learnt) if proposals else None,
            pair(*panels) if panels else None,
            element("div", _kinds(learnt, tasks, rewards), class_="wide", tabindex=0),
            fallback("Numbers by batch", _batches(learnt, tasks)),
            fallback("Numbers by step", _steps(learnt.steps)) if learnt.steps else None,
        ]
    )


def _over_batches(name: str, batches: Sequence[BatchAccount], tasks: Sequence[str]) -> list[Markup]:
    if len(batches) < _LEAST:
        return []
    right = [
        Line(_NAMES[task] if len(tasks) > 1 else "", _STYLES[task], points)
        for task in tasks
        if len(points := _points(batches, task)) >= _LEAST
    ]
    dropped = [(b.number, b.whole.alike / b.whole.groups) for b in batches if b.whole.groups]
    found = []
    if right:
        panel = line_panel(f"{name}: share of right answers over batches", right, "batch")
        found.append(captioned(f"{name}: right answers by batch", panel))
    if len(dropped) >= _LEAST:
        line = Line("", "refused", dropped)
        panel = line_panel(f"{name}: share of groups dropped over batches", [line], "batch")
        found.append(captioned("Groups dropped, all right or all wrong", panel))
    return found


def _points(batches: Sequence[BatchAccount], task: str) -> list[tuple[float, float]]:
    return [
        (batch.number, batch.tasks[task].accepted / batch.tasks[task].attempts)
        for batch in batches
        if task in batch.tasks
    ]


def _over_steps(name: str, steps: Sequence[Mapping[str, float]]) -> list[Markup]:
    found = []
    for caption, fields in (("Share of tokens clipped", _STEPS[:1]), ("Divergence (k3)", _STEPS[1:])):
        lines = [
            Line(label, style, points)
            for (key, label), style in zip(fields, ("unverified", "base"), strict=False)
            if len(points := [(s["step"], s[key]) for s in steps if s.get(key) is not None]) >= _LEAST
        ]
        if lines:
            found.append(captioned(caption, line_panel(f"{name}: {caption.lower()} over steps", lines)))
    return found


def _proposals(name: str, learnt: Learnt) -> Markup:
    """What became of the proposals, and how often those that were attempted were solved."""
    reasons = sum((Counter(batch.reasons) for batch in learnt.batches), Counter[str]())
    attempted = [p for batch in learnt.batches for p in batch.proposed if p.tried]
    panels = [
        captioned(
            f"{name}: {plural(reasons.total(), 'proposal')}",
            bar_panel(f"{name}: proposals by the outcome of screening", _outcome_bars(reasons), "human"),
        )
    ]
    if attempted:
        rates = [(p.accepted, p.tried) for p in attempted]
        bars = []
        for entry in solve_rate_histogram(rates):
            label = "0" if entry["above"] is None else f"≤{percent(entry['up_to'], 0)}"
            bars.append(
                Bar(label, entry["count"], count(entry["count"]), f"puzzles, {percent(entry['share'])}")
            )
        caption = f"{plural(len(attempted), 'proposal')} attempted, by solve rate"
        panels.append(
            captioned(
                caption, column_panel(f"{name}: {caption}", bars, "verified", "share of attempts accepted")
            )
        )
    return join([pair(*panels), element("p", _target(learnt.reward, attempted), class_="note")])


def _outcome_bars(reasons: Mapping[str, int]) -> list[Bar]:
    """New ones first, then what was refused, commonest first; rare outcomes together."""
    whole = sum(reasons.values())
    refused = sorted(((n, reason) for reason, n in reasons.items() if reason), reverse=True)
    shown = [(n, reason) for n, reason in refused if n >= _SHARE_OF_ALL * whole]
    rest = sum(n for n, _ in refused) - sum(n for n, _ in shown)
    bars = [Bar("valid and new", reasons.get("", 0), percent(reasons.get("", 0) / whole), style="verified")]
    bars += [Bar(reason.replace("_", " "), n, percent(n / whole)) for n, reason in shown]
    return bars + ([Bar("other", rest, percent(rest / whole))] if rest else [])


def _target(reward: ProposerReward | None, attempted: Sequence[Proposed]) -> str:
    """The target of the solve rate, and how near the proposals came."""
    if reward is None:
        return "What the proposer was rewarded for is known when the iteration is over."
    said = f"The proposer aims at {_TARGETS[reward.target]}"
    if not attempted or not reward.rate:
        return said + "."
    near = sum(reward.parts(p)["rate"] for p in attempted) / len(attempted) / reward.rate
    rate = sum(p.accepted / p.tried for p in attempted) / len(attempted)
    return (
        f"{said}: by that measure the attempted proposals were worth {near:.2f} of 1, at a mean solve rate of "
        f"{percent(rate)}."
    )


def _reward_bars(name: str, rewards: Mapping[str, float]) -> Markup:
    whole = sum(rewards.values())
    bars = [
        Bar(
            _NAMES[kind], rewards[kind], percent(rewards[kind] / whole), style=_STYLES.get(kind, "enumerator")
        )
        for kind in ("proposer", *TASKS)
        if kind in rewards
    ]
    return captioned(
        "Shares of the reward", bar_panel(f"{name}: shares of the reward by kind", bars, "human")
    )


def _kinds(learnt: Learnt, tasks: Sequence[str], rewards: Mapping[str, float]) -> Markup:
    """A row for each kind of task: groups, dropped, right, and its share of the reward."""
    whole = sum(rewards.values())
    body: list[list[object]] = []
    made = [p for batch in learnt.batches for p in batch.proposed]
    if learnt.reward is not None and any(batch.reasons for batch in learnt.batches):
        asked = sum(sum(batch.reasons.values()) for batch in learnt.batches)
        parts = ", ".join(
            f"{name} {percent(share, 0)}" for name, share in learnt.reward.shares(made).items() if share
        )
        mean = rewards["proposer"] / len(made) if made else 0.0
        cell = percent(rewards["proposer"] / whole) if whole else EN_DASH
        text = f"{mean:.3f}" + (f" ({parts})" if parts else "")
        body.append([_NAMES["proposer"], "", "", count(asked), "", text, cell])
    for task in tasks:
        total = sum((batch.tasks.get(task, TaskCount()) for batch in learnt.batches), TaskCount())
        right = total.accepted / total.attempts if total.attempts else 0.0
        body.append(
            [
                _NAMES[task],
                count(total.groups),
                f"{count(total.alike)} ({percent(total.alike / total.groups, 0)})",
                count(total.attempts),
                f"{count(total.accepted)} ({percent(right)})",
                f"{right:.3f}",
                percent(rewards[task] / whole) if whole else EN_DASH,
            ]
        )
    head = ["rewarded", "groups", "dropped", "attempts", "right", "mean reward", "share of the reward"]
    return table(head, body)


def _batches(learnt: Learnt, tasks: Sequence[str]) -> Markup:
    head = ["batch", *(f"{_NAMES[task]} right" for task in tasks), "groups", "dropped"]
    proposals = any(batch.reasons for batch in learnt.batches)
    if proposals:
        head += ["proposals", "valid and new"]
    body = []
    for batch in _spaced(learnt.batches):
        shares = [
            percent(batch.tasks[task].accepted / batch.tasks[task].attempts)
            if task in batch.tasks
            else EN_DASH
            for task in tasks
        ]
        row = [count(batch.number), *shares, count(batch.whole.groups), count(batch.whole.alike)]
        if proposals:
            row += [count(sum(batch.reasons.values())), count(batch.reasons.get("", 0))]
        body.append(row)
    return table(head, body)


def _steps(steps: Sequence[Mapping[str, float]]) -> Markup:
    present = [(key, label) for key, label in _STEPS if any(step.get(key) is not None for step in steps)]
    body = [
        [
            count(step["step"]),
            *(f"{step[key]:.4f}" if step.get(key) is not None else EN_DASH for key, _ in present),
        ]
        for step in _spaced(steps)
    ]
    heads = {"clipped": "tokens clipped", "old_kl": "KL from the sampler", "base_kl": "KL from the base"}
    return table(["step", *(heads[key] for key, _ in present)], body)


def _spaced(items: Sequence) -> list:
    """At most `_ROWS` of them, evenly spaced, the ends included."""
    chosen = sorted({round(i * (len(items) - 1) / (_ROWS - 1)) for i in range(_ROWS)}) if items else []
    return [items[i] for i in chosen]
