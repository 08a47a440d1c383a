#!/usr/bin/env python3
"""How often the claims of tables and studies are right, in simulated experiments: results/statistics.

    .venv/bin/python scripts/measure/simulate_statistics.py --output=results/statistics/simulated.jsonl --seconds=500

Writes a JSON line for each setting, and prints one for people. Settings already in the output are not computed again,
and none begins after --seconds; the same command continues. About 5 ms of CPU for each comparison, ten minutes for all.
Each has 100 attempts and five arms under Holm, whose seeds together show how far training varies; the lines say what
else differs.

Left out: other numbers of attempts and arms (`selfprog power` takes those).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from t5x_selfprog.evaluation.crossed import Table, Trained, spread_of
from t5x_selfprog.evaluation.power import Design, Experiments, claims_gain
from t5x_selfprog.evaluation.statistics import difference_and_test, prepare, ratio_interval

ARMS = 5
# Standard deviations between problems, in log odds: of an arm that helps all alike, and of one that also hurts some.
PER_PROBLEM = (0.5, 2.0)


def settings(trials: int) -> Iterator[dict[str, Any]]:
    """A doubling of 8% by one arm of five; no gain; a doubling by all five.

    Each at several k, base rates, numbers of problems and of seeds, and differences between seeds.
    """
    no_gain = [
        *((k, base, 228, seeds, 0.6) for seeds in (2, 3) for k, base in ((10, 0.05), (1, 0.02), (100, 0.08))),
        *((100, 0.08, 228, seeds, per_seed) for per_seed in (0.3, 0.0) for seeds in (3, 2)),
        (100, 0.08, 228, 1, 0.0),
        (100, 0.08, 20, 3, 0.6),
        *((k, base, 228, 5, 0.6) for k, base in ((100, 0.08), (10, 0.05))),
        *((100, 0.08, 228, 5, per_seed) for per_seed in (0.3, 0.0)),
    ]
    doubling = [(100, 0.08, 228, seeds, per_seed) for per_seed in (0.1, 0.3) for seeds in (3, 1, 2, 5)]
    for gain, others, (design, per_problem) in (
        *((0.08, 0.0, one) for one in itertools.product(doubling, PER_PROBLEM)),
        *((0.0, 0.0, one) for one in itertools.product(no_gain, PER_PROBLEM)),
        *((0.08, 0.08, one) for one in itertools.product(doubling, PER_PROBLEM)),
    ):
        names = ("k", "base", "problems", "seeds", "per_seed")
        of_design = dict(zip(names, design, strict=True))
        yield {
            **of_design,
            "gain": gain,
            "others": others,
            "per_problem": per_problem,
            "trials": trials if gain else trials // 2,
        }


def of_two_arms(trials: int) -> Iterator[dict[str, Any]]:
    """No gain: the first of five trained arms against the four others, as verified against controls."""
    for seeds, (k, base), per_problem in itertools.product(
        (2, 3), ((100, 0.08), (10, 0.05), (1, 0.02)), PER_PROBLEM
    ):
        yield {
            "k": k,
            "base": base,
            "problems": 228,
            "seeds": seeds,
            "per_seed": 0.6,
            "gain": 0.0,
            "others": 0.0,
            "per_problem": per_problem,
            "trials": trials // 2,
            "against": "arms",
        }


def experiments(made_up: Experiments, trials: int, compared: int) -> Iterator[tuple[Table, list[Table]]]:
    """Base and arms; the draws for comparing the first `compared` arms are made for a hundred comparisons at once."""
    at_once = 100 // compared
    for start in range(0, trials, at_once):
        found = [made_up.draw(trial, ARMS) for trial in range(start, min(trials, start + at_once))]
        prepare([(arm, base) for base, arms in found for arm in arms[:compared]], seed=0)
        yield from found


def gains(design: Design, trials: int) -> dict[str, float]:
    """A doubling: how often it is shown (Holm over five arms), and what is said of its ratio, which is 2."""
    made_up = Experiments.of(design)
    shown = covered = doubled = 0
    for base, arms in experiments(made_up, trials, 1):
        trained = Trained(spread_of(arms), len(base))
        shown += claims_gain(*difference_and_test(arms[0], base, seed=0, trained=trained), ARMS)
        ratio = ratio_interval(arms[0], base, seed=0, trained=trained)
        covered += ratio.low <= 2 <= ratio.high
        doubled += ratio.low > 2
    return {"improves": shown / trials, "ratio_covered": covered / trials, "ratio_above_2": doubled / trials}


def no_gain(design: Design, trials: int) -> dict[str, float]:
    """Five arms that are as good as the base: how often any is said to improve, and the plain interval's level."""
    made_up = Experiments.of(design)
    family = single = above = below = words = 0
    for base, arms in experiments(made_up, trials, ARMS):
        trained = Trained(spread_of(arms), len(base))
        found = [difference_and_test(arm, base, seed=0, trained=trained) for arm in arms]
        intervals = [interval for interval, _ in found]
        improves = [claims_gain(interval, p_value, ARMS) for interval, p_value in found]
        worsens = [interval.high < 0 and p_value * ARMS < 0.05 for interval, p_value in found]
        family += any(improves)
        words += any(improves) or any(worsens)
        single += sum(improves)
        above += sum(interval.low > 0 for interval in intervals)
        below += sum(interval.high < 0 for interval in intervals)
    arms_tried = trials * ARMS
    return {
        "an_arm_improves": family / trials,
        "a_word_of_an_arm": words / trials,
        "this_arm_improves": single / arms_tried,
        "interval_above_zero": above / arms_tried,
        "interval_below_zero": below / arms_tried,
    }


def against_arms(design: Design, trials: int) -> dict[str, float]:
    """How often the first arm is said to be higher than one of the others, and to be higher or lower."""
    made_up = Experiments.of(design)
    higher = words = 0
    for start in range(0, trials, 25):
        drawn = [made_up.draw(trial, ARMS)[1] for trial in range(start, min(trials, start + 25))]
        prepare([(arms[0], arm) for arms in drawn for arm in arms[1:]], seed=0)
        for arms in drawn:
            trained = Trained(spread_of(arms), design.seeds, design.seeds)
            found = [difference_and_test(arms[0], arm, seed=0, trained=trained) for arm in arms[1:]]
            higher += any(claims_gain(interval, p_value, ARMS - 1) for interval, p_value in found)
            words += any(
                not interval.low <= 0 <= interval.high and p_value * (ARMS - 1) < 0.05
                for interval, p_value in found
            )
    return {"higher_than_an_arm": higher / trials, "a_word_of_an_arm": words / trials}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument(
        "--part", default="0/1", help="I/N: every Nth setting from the Ith on, for several machines"
    )
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--output", default="results/statistics/simulated.jsonl")
    args = parser.parse_args()
    end = time.monotonic() + args.seconds
    done = set()
    if os.path.exists(args.output):
        with open(args.output) as file:
            done = {json.dumps(json.loads(line)["setting"], sort_keys=True) for line in file}
    part, parts = map(int, args.part.split("/"))
    for setting in [*settings(args.trials), *of_two_arms(args.trials)][part::parts]:
        if json.dumps(setting, sort_keys=True) in done:
            continue
        if time.monotonic() > end:
            print("there is more to compute: the same command goes on")
            return
        of_design = {name: value for name, value in setting.items() if name not in ("trials", "against")}
        design = Design(
            **of_design | {"gain": setting["gain"] or 1e-9, "others": setting["others"] or 1e-9, "arms": ARMS}
        )
        simulate = against_arms if "against" in setting else gains if setting["gain"] else no_gain
        found = simulate(design, setting["trials"])
        os.makedirs(os.path.dirname(args.output) or ".", exist_ok=True)
        with open(args.output, "a") as file:
            file.write(json.dumps({"setting": setting, "found": found}) + "\n")
        print(setting, {name: round(share, 3) for name, share in found.items()}, flush=True)


if __name__ == "__main__":
    main()
