"""Runs of a study that cost nothing, and a study of them."""

import json
import re
from pathlib import Path

import numpy as np

from t5x_selfprog.evaluation import held_out
from t5x_selfprog.evaluation.evaluation import ProblemCount, summarise
from t5x_selfprog.study import launch

PROBLEMS = 60


class FakeRuns:
    """Stands for `selfprog run`: writes a finished run whose arms gain with the amount of data."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.fail_on = ""
        self.pages = True

    def __call__(self, command, **_):
        self.commands.append(command)
        root = Path(
            next(word for word in command if word.startswith("--run_dir=")).removeprefix("--run_dir=")
        )
        outcome = type("Done", (), {"returncode": 1 if self.fail_on and self.fail_on in root.name else 0})
        if outcome.returncode:
            return outcome
        flags = dict(
            word.removeprefix("--gin.").split("=", 1) for word in command if word.startswith("--gin.")
        )
        pairs = int(flags.get("Selection.max_pairs", 800))
        rng = np.random.default_rng(int(flags["Experiment.seed"]))
        gain = 0.25 * np.log(pairs / 10)
        arms = [("base", None, root / "base", 0.1), ("verified", 0, root / "iter_000", 0.1 + gain / 3)]
        controls = re.findall(r"'(from_\w+|human)'", flags.get("loop.run.controls", "('human',)"))
        arms += [(arm, 0, root / "controls" / arm, 0.15) for arm in controls if "/" not in arm]
        for arm, iteration, folder, level in arms:
            solved = rng.binomial(100, np.clip(level * np.linspace(0, 2, PROBLEMS), 0, 1))
            counts = [ProblemCount(f"p{i}", f"P{i}", "g", 100, int(c)) for i, c in enumerate(solved)]
            about = {
                "arm": arm,
                "iteration": iteration,
                "seed": int(flags["Experiment.seed"]),
                "split": "test",
            }
            (folder / "7_eval").mkdir(parents=True, exist_ok=True)
            (folder / "7_eval" / "evaluation.json").write_text(json.dumps(about | summarise(counts, {})))
            held_out.record(str(root), {**about, "config": root.name})
            if iteration is not None:
                (folder / "6_checkpoints").mkdir(exist_ok=True)
                (folder / "6_checkpoints" / "done.json").write_text(json.dumps({"pairs": pairs, "step": 10}))
        (root / "summary.json").write_text("{}")
        if self.pages:
            (root / "report").mkdir(exist_ok=True)
            (root / "report" / "index.html").write_text("its page")
        return outcome


def grid(**more) -> launch.Study:
    data = {"data": {str(n): (f"Selection.max_pairs={n}",) for n in (25, 50, 100, 200, 400)}}
    return launch.Study(**{"gin_file": "quickstart", "axes": data, "seeds": (0, 1, 2)} | more)


def study(root: Path, only="", **more):
    return launch.run(str(root), grid(**more), only)
