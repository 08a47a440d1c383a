"""How fine-tuning went: loss and learning rate over steps, one panel each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from t5x_selfprog.report.lines import Line, line_panel
from t5x_selfprog.report.markup import Markup, count, element
from t5x_selfprog.report.pieces import captioned, fallback, pair, section, table
from t5x_selfprog.run_layout import CONTROLS, iteration_number

_LEAST = 2  # logged steps needed for a line
_ROWS = 12  # of the table, evenly spaced


def training(steps: Mapping[str, Sequence[Mapping[str, float]]]) -> Markup | None:
    """Panels of every fine-tuning with a line to draw; None where there is none."""
    drawn = {stage: logged for stage, logged in steps.items() if len(logged) >= _LEAST}
    if not drawn:
        return None
    panels, body = [], []
    for stage, logged in drawn.items():
        name = _name(stage)
        losses = [Line("loss", "verified", [(s["step"], s["loss"]) for s in logged])]
        held = [(s["step"], s["heldout_loss"]) for s in logged if s.get("heldout_loss") is not None]
        if held:
            losses.append(Line("held out", "base", held))
        rates = [(s["step"], s["learning_rate"]) for s in logged if s.get("learning_rate") is not None]
        panels.append(
            pair(
                captioned(f"{name}: loss", line_panel(f"{name}: loss over steps", losses)),
                captioned(
                    "Learning rate",
                    line_panel(f"{name}: learning rate over steps", [Line("", "human", rates)]),
                )
                if len(rates) >= _LEAST
                else None,
            )
        )
        chosen = sorted({round(i * (len(logged) - 1) / (_ROWS - 1)) for i in range(_ROWS)})
        body += [
            [
                name,
                count(logged[i]["step"]),
                f"{logged[i]['loss']:.3f}",
                f"{logged[i].get('learning_rate') or 0:.2e}",
            ]
            for i in chosen
        ]
    return section(
        "training",
        "Training",
        "Each fine-tuning by its logged steps. A loss that is still falling at the end has not seen enough; one near "
        "zero has learnt its few pairs by heart.",
        element("div", *panels, class_="panels"),
        fallback("Numbers", table(["fine-tuning", "step", "loss", "learning rate"], body)),
    )


def _name(stage: str) -> str:
    """`Iteration 0` of iter_000/6_checkpoints, `human` of controls/human/6_checkpoints."""
    parts = stage.split("/")
    number = iteration_number(parts[0])
    if number is not None:
        return f"Iteration {number}"
    return " ".join(parts[1:-1]) if parts[0] == CONTROLS and len(parts) > 2 else stage
