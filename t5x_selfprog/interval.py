"""An estimate with the ends of its interval, as tables and records show it."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its interval; `high` may be infinite for a ratio."""

    estimate: float
    low: float
    high: float

    def as_dict(self, name: str = "estimate") -> dict[str, float | None]:
        """Infinity and NaN become None, because JSON has neither."""
        values = {name: self.estimate, "low": self.low, "high": self.high}
        return {key: float(value) if math.isfinite(value) else None for key, value in values.items()}
