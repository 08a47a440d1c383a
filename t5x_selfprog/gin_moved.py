"""Bindings of earlier versions that have another name now; each is refused with it, and never used silently."""

from __future__ import annotations

_ATTEMPTING = {
    "sampling": "Attempting.sampling",
    "prompt": "Attempting.prompt",
    "limits": "Attempting.limits",
}
_TRAINING = {
    name: f"PolicyTraining.{name}"
    for name in ("objective", "loop", "lora", "batches", "attempts", "updates", "length")
}
_PROPOSING = {
    "proposing": "Proposing.sampling",
    "screening": "Proposing.limits",
    **{name: f"Proposing.{name}" for name in ("prompt_tokens", "rules", "behaviour", "reward")},
}

# By configurable and parameter as they were.
MOVED: dict[str, dict[str, str]] = {
    "grpo.run": _ATTEMPTING | _TRAINING,
    "selfplay.run": _ATTEMPTING | _TRAINING | _PROPOSING,
}
# What a configurable must be handed for a new name to have an effect.
_HOLDERS = {
    "Attempting": "attempting = @Attempting()",
    "PolicyTraining": "training = @PolicyTraining()",
    "Proposing": "proposing = @Proposing()",
}


def moved(configurable: str, parameter: str) -> str:
    """A sentence with the new name of a binding, "" if it has not moved."""
    new = MOVED.get(configurable, {}).get(parameter)
    if new is None:
        return ""
    holder = f"{configurable}.{_HOLDERS[new.partition('.')[0]]}"
    return f"It is {new} now, with {holder} beside it."
