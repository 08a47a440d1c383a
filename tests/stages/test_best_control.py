"""What the best form of a control arm checks before it trains anything."""

from typing import Any

import pytest

from t5x_selfprog.stages import best_control
from verifier.errors import UserError


def test_too_few_attempts_for_its_k_are_refused_at_once() -> None:
    context: Any = None  # the check comes before any use of the run
    with pytest.raises(UserError, match=r"attempts=2: Pass@10 needs at least 10"):
        best_control.run(context, "human", 1, {"step": 10, "batch_rows": 4}, attempts=2)
