"""The share of a run's wall time spent in useful device steps, and where the rest went: RUN/goodput.json.

A run that is killed and restarted has several lives. Each life adds its seconds to those of earlier ones; time between
lives is not counted. What a kill undid (training steps after the last checkpoint, sampling after the last shard) is
moved from the useful parts to "lost". A life that is killed outright loses at most the last `EVERY_S` seconds of its
account.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from t5x_selfprog.telemetry.clock import PARTS, USEFUL
from verifier.storage import files

EVERY_S = 10.0  # sinks.EVERY_S where the run directory is remote
NAME = "goodput.json"
SAMPLING = ("prefill", "decode")
SLOWEST = 12  # programs listed in the file


@dataclasses.dataclass
class Account:
    """Sums over the lives of a run.

    Attributes:
      stages: seconds by stage and part; they sum to the wall time.
      uncommitted: useful seconds, by stage and part, whose results are not on disk yet.
      waits: for each place where judging follows sampling, seconds of sampling, and of judging after its end.
      programs: for each compiled program, its count, its seconds, and how many came from the cache.
    """

    lives: int = 0
    devices: int = 0
    lost_steps: int = 0
    stages: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    uncommitted: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    waits: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    programs: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)

    def add(self, later: "Account") -> "Account":
        """Both lives together; what the earlier one had not committed at its end counts as lost."""
        stages = _sum(self.stages, {})
        for stage, parts in self.uncommitted.items():
            for part, seconds in parts.items():
                taken = min(seconds, stages.get(stage, {}).get(part, 0.0))
                stages = _sum(stages, {stage: {part: -taken, "lost": taken}})
        return Account(
            lives=self.lives + later.lives,
            devices=later.devices or self.devices,
            lost_steps=self.lost_steps + later.lost_steps,
            stages=_sum(stages, later.stages),
            uncommitted=later.uncommitted,
            waits=_sum(self.waits, later.waits),
            programs=_sum(self.programs, later.programs),
        )

    def figures(self) -> dict[str, Any]:
        """The content of goodput.json: shares first, then sums."""
        parts = {part: sum(of.get(part, 0.0) for of in self.stages.values()) for part in PARTS}
        wall_s = sum(parts.values())
        useful_s = sum(parts[part] for part in USEFUL)
        sampling = {place: wait["sampling_s"] + wait["waited_s"] for place, wait in self.waits.items()}
        slowest = sorted(self.programs.items(), key=lambda item: -item[1]["seconds"])
        return {
            "goodput": useful_s / max(wall_s, 1e-9),
            "waiting_for_verdicts": parts["verdicts"] / max(wall_s, 1e-9),
            "wall_s": round(wall_s, 3),
            "useful_s": round(useful_s, 3),
            "parts": {part: round(seconds, 3) for part, seconds in parts.items()},
            "stages": _rounded(self.stages),
            "overlap": {
                place: {
                    **{name: round(seconds, 3) for name, seconds in wait.items()},
                    "idle_share": wait["waited_s"] / max(sampling[place], 1e-9),
                }
                for place, wait in self.waits.items()
            },
            "lost_steps": self.lost_steps,
            "lives": self.lives,
            "devices": self.devices,
            "compilations": {
                "compiled": sum(int(p["times"] - p["cached"]) for p in self.programs.values()),
                "cached": sum(int(p["cached"]) for p in self.programs.values()),
                "slowest": dict(_rounded(dict(slowest[:SLOWEST]))),
            },
            "account": dataclasses.asdict(self),
        }


def read(root: files.Path) -> Account:
    """The lives so far."""
    try:
        found = files.read_json(files.join(root, NAME))["account"]
    except FileNotFoundError:
        return Account()
    known = {field.name for field in dataclasses.fields(Account)}
    return Account(**{name: value for name, value in found.items() if name in known})


def write(root: files.Path, account: Account) -> None:
    files.write_json(files.join(root, NAME), account.figures())


def sentence(figures: Mapping[str, Any]) -> str:
    """One line to print at the end of a run."""
    wall, parts = figures["wall_s"], figures["parts"]
    rest = {part: seconds for part, seconds in parts.items() if part not in USEFUL and seconds > 0.005 * wall}
    others = ", ".join(
        f"{part} {seconds / wall:.1%}" for part, seconds in sorted(rest.items(), key=lambda item: -item[1])
    )
    again = f"; {figures['lost_steps']} training steps made again" if figures["lost_steps"] else ""
    lives = f" in {figures['lives']} lives" if figures["lives"] > 1 else ""
    return (
        f"Goodput: {figures['goodput']:.1%} of {wall:,.0f} s{lives} in useful device steps; chips waited for verdicts "
        f"{figures['waiting_for_verdicts']:.1%}; the rest: {others or 'nothing'}{again}."
    )


def _sum(
    left: Mapping[str, Mapping[str, float]], right: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    total = {name: dict(of) for name, of in left.items()}
    for name, of in right.items():
        into = total.setdefault(name, {})
        for part, seconds in of.items():
            into[part] = into.get(part, 0.0) + seconds
    return total


def _rounded(table: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {name: {part: round(value, 3) for part, value in of.items()} for name, of in table.items()}
