#!/usr/bin/env python
"""Measures the verifier and prints one JSON object.

  agreement   real model-written solutions that an independent judge accepted: how many we accept, and which we do not
  p3          P3's reference solutions: how many we accept, and which we do not
  speed       CPU of the whole process tree per verdict on mixed cases, alternating with two yardsticks in one run:
              `floor` (one process, compile and run, no isolation) and `pool` (a judge like the paper's);
              `verifier` has its defaults, `verifier_each` judges identical attempts each by itself
  loops       the same with 2% endless loops, tiers off and on, beside `pool`
  duplicates  real samples as often as the model wrote them: identical ones judged once, or each by itself
  workers     verdicts a second of two workers over those of one, alternating; beside them the same ratio for processes
              that share nothing (two floors at a time), which is the most this machine can give

  .venv/bin/python scripts/measure/measure_verifier.py --codex accepted.jsonl.gz --p3 DIR --peer judge_peer.py

Parts whose data is not given, or that --only does not name, are left out. `pool` needs the package `pebble`.
Absolute figures depend on the machine and its load: only ratios within a run count.
"""

import argparse
import gzip
import json
import os
import pathlib
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from verifier import Limits, Pool, Tiers
from verifier.calibration import calibrate
from verifier.verdict import histogram

CUT = 160  # characters of a program shown


def cpu_s() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def judge_all(pairs: list[dict], workers: int, cpu_limit_s: float) -> dict:
    """Outcomes, and every pair that was not accepted with its reason."""
    with Pool(workers, Limits(cpu_s=cpu_limit_s)) as pool:
        verdicts = list(pool.judge(pairs))
        isolation = pool.isolation
    refused = [
        {
            "name": pair.get("name", ""),
            "outcome": verdict.outcome,
            "detail": verdict.detail,
            "cpu_s": round(verdict.cpu_s, 3),
            "answer": (verdict.answer or "")[:60],
            "puzzle": pair["puzzle"][:CUT],
            "solution": pair["solution"][:CUT],
        }
        for pair, verdict in zip(pairs, verdicts, strict=True)
        if not verdict.accepted
    ]
    return {
        "pairs": len(pairs),
        "accepted": len(pairs) - len(refused),
        "share": round(1 - len(refused) / len(pairs), 5),
        "outcomes": histogram(verdict.outcome for verdict in verdicts),
        "isolation": isolation,
        "not_accepted": refused,
    }


def codex_pairs(path: str) -> list[dict]:
    with gzip.open(path, "rt") as lines:
        return [{name: row[name] for name in ("puzzle", "solution")} for row in map(json.loads, lines)]


def p3_pairs(folder: str) -> list[dict]:
    pairs = []
    for entry in json.loads(pathlib.Path(folder, "puzzles.json").read_text()):
        puzzle = re.sub(r"^def sat\(", "def f(", entry["sat"])
        header = re.sub(r"^def sol\(", "def g(", entry["sol_header"])
        for body in entry["sol_bodies"]:
            pairs.append({"name": entry["name"], "puzzle": puzzle, "solution": f"{header}\n{body}"})
    return pairs


def our_cpu_us(name: str, cases: list[dict], workers: int, limits: Limits = Limits(), **options: Any) -> dict:
    """CPU microseconds a verdict, from before the workers start until all have ended."""
    start = cpu_s()
    with Pool(workers) as pool:
        on = pool.isolation
    idle_s = cpu_s() - start
    start, wall = cpu_s(), time.perf_counter()
    with Pool(workers, limits, **options) as pool:
        accepted = sum(verdict.accepted for verdict in pool.judge(cases))
        wall_s = time.perf_counter() - wall
    used_s = cpu_s() - start
    return {
        "judge": name,
        "isolation": on,
        "accepted": accepted,
        "cpu_us_per_verdict": 1e6 * used_s / len(cases),
        "of_which_start": 1e6 * idle_s / len(cases),
        "verdicts_per_s": len(cases) / wall_s,
        "counters": dict(pool.counters),
    }


def peer_cpu_us(peer: str, judge: str, cases: str, workers: int) -> dict:
    return peers_together(1, peer, judge, cases, workers)[0]


def peers_together(count: int, peer: str, judge: str, cases: str, workers: int = 1) -> list[dict]:
    command = [sys.executable, peer, judge, "--input", cases, "--workers", str(workers)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    said = [process.communicate()[0] for process in started]
    for process in started:
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
    return [json.loads(text.splitlines()[-1]) for text in said]


def make_cases(peer: str, path: str, count: int, loops: float = 0.0) -> list[dict]:
    command = [sys.executable, peer, "make", "--input", path, "--make", str(count), "--loops", str(loops)]
    subprocess.run(command, check=True, capture_output=True)
    return [json.loads(line) for line in pathlib.Path(path).read_text().splitlines()]


def ratios_by_round(runs: list[dict], below: str) -> dict[str, dict]:
    """Each judge's figure over that of `below` in the same round: the median, and all.

    On a machine whose speed changes from one second to the next (a neighbour on the same cores), the best runs of two
    judges may have had different speeds.
    """
    figures: dict[str, list[float]] = {}
    for run in runs:
        figures.setdefault(run["judge"], []).append(run["cpu_us_per_verdict"])
    found = {}
    for judge, values in figures.items():
        ratios = [value / base for value, base in zip(values, figures[below], strict=True)]
        found[judge] = {
            "median": round(statistics.median(ratios), 3),
            "all": [round(ratio, 3) for ratio in ratios],
        }
    return found


def summary(runs: list[dict], count: int, ours: str = "verifier") -> dict:
    """The best run of each judge, each over `ours`, by round and at best, and every run."""
    best = {
        judge: min(run["cpu_us_per_verdict"] for run in runs if run["judge"] == judge)
        for judge in dict.fromkeys(run["judge"] for run in runs)
    }
    start = min(run["of_which_start"] for run in runs if "of_which_start" in run)
    without_start = {judge: best[judge] - start * judge.startswith("verifier") for judge in best}
    return {
        "cases": count,
        "best_cpu_us_per_verdict": {judge: round(value, 1) for judge, value in best.items()},
        "start_us_per_verdict": round(start, 1),
        "over_" + ours: {judge: round(value / best[ours], 3) for judge, value in best.items()},
        "over_" + ours + "_by_round": ratios_by_round(runs, ours),
        "over_" + ours + "_without_its_start": {
            judge: round(value / without_start[ours], 3) for judge, value in without_start.items()
        },
        "accepted": {run["judge"]: run["accepted"] for run in runs},
        "isolation": next(run["isolation"] for run in runs if "isolation" in run),
        "counters": {run["judge"]: run["counters"] for run in runs if "counters" in run},
        "all_runs": [(run["judge"], round(run["cpu_us_per_verdict"], 1)) for run in runs],
    }


def speed(peer: str, count: int, rounds: int, workers: int) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "cases.jsonl")
        cases = make_cases(peer, path, count)
        runs: list[dict] = []
        jobs = (
            lambda: peer_cpu_us(peer, "floor", path, workers),
            lambda: our_cpu_us("verifier", cases, workers),
            lambda: peer_cpu_us(peer, "pool", path, workers),
            lambda: our_cpu_us("verifier_each", cases, workers, reuse=0),
        )
        for number in range(rounds):  # in alternating direction, so that no job always follows the same one
            runs += [job() for job in jobs[:: -1 if number % 2 else 1]]
    found = summary(runs, len(cases))
    found["over_floor_by_round"] = ratios_by_round(runs, "floor")
    floor = found["best_cpu_us_per_verdict"]["floor"]
    ours = {
        name: value for name, value in found["best_cpu_us_per_verdict"].items() if name.startswith("verifier")
    }
    found["times_the_floor"] = {name: round(value / floor, 3) for name, value in ours.items()}
    found["times_the_floor_without_start"] = {
        name: round((value - found["start_us_per_verdict"]) / floor, 3) for name, value in ours.items()
    }
    return found


def loops(peer: str, count: int, rounds: int, workers: int) -> dict:
    exact = Limits(cpu_s=1.0)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "cases.jsonl")
        cases = make_cases(peer, path, count, loops=0.02)
        runs: list[dict] = []
        for _ in range(rounds):
            runs.append(peer_cpu_us(peer, "pool", path, workers))
            runs.append(our_cpu_us("verifier", cases, workers, exact))
            for first_s in (0.1, 0.05):
                tiered = Limits(cpu_s=1.0, tiers=Tiers(first_s=first_s))
                runs.append(our_cpu_us(f"verifier_tiers_{first_s}", cases, workers, tiered))
    found = summary(runs, len(cases))
    best = found["best_cpu_us_per_verdict"]
    found["pool_over"] = {
        name: round(best["pool"] / value, 3) for name, value in best.items() if name != "pool"
    }
    return found


def duplicates(codex: str, rounds: int, workers: int) -> dict:
    """Every solution as often as the model wrote it, puzzle by puzzle, in a random order."""
    rng = random.Random(0)
    of_puzzle: dict[str, list[dict]] = {}
    with gzip.open(codex, "rt") as lines:
        for row in map(json.loads, lines):
            pair = {name: row[name] for name in ("puzzle", "solution")}
            of_puzzle.setdefault(row["puzzle"], []).extend([pair] * row["count"])
    samples = [pair for pairs in of_puzzle.values() for pair in rng.sample(pairs, len(pairs))]
    runs = []
    for _ in range(rounds):
        runs.append(our_cpu_us("verifier_each", samples, workers, reuse=0))
        runs.append(our_cpu_us("verifier", samples, workers))
    texts = len({(pair["puzzle"], pair["solution"]) for pair in samples})
    return summary(runs, len(samples)) | {"distinct_texts": texts}


def workers(peer: str, count: int, rounds: int) -> dict:
    """Ours exclude the workers' start, as a floor's own clock excludes its start."""
    rates: dict[str, dict[int, list[float]]] = {"verifier": {1: [], 2: []}, "floor": {1: [], 2: []}}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "cases.jsonl")
        cases = make_cases(peer, path, count)
        for _ in range(rounds):
            for number in (1, 2):
                rates["verifier"][number].append(our_rate(cases, number))
                floors = peers_together(number, peer, "floor", path)
                rates["floor"][number].append(sum(floor["verdicts_per_s"] for floor in floors))
    ratios = {
        name: [round(two / one, 3) for one, two in zip(found[1], found[2], strict=True)]
        for name, found in rates.items()
    }
    return {
        "cases": count,
        "verdicts_per_s": {
            name: {number: [round(rate, 1) for rate in of] for number, of in found.items()}
            for name, found in rates.items()
        },
        "two_over_one": ratios,
        "median": {name: sorted(found)[len(found) // 2] for name, found in ratios.items()},
        "load_average": os.getloadavg(),
    }


def our_rate(cases: list[dict], workers: int) -> float:
    with Pool(workers) as pool:
        list(pool.judge(cases[:1]))
        time.sleep(1.0)  # until all have started
        begin = time.perf_counter()
        list(pool.judge(cases))
        return len(cases) / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--codex", metavar="FILE", help="accepted pairs, one JSON object a line, gzipped")
    parser.add_argument("--p3", metavar="DIR", help="folder with P3's puzzles.json")
    parser.add_argument("--peer", metavar="FILE", help="the yardsticks, judge_peer.py")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--timeout_s", type=float, default=1.0, help="CPU seconds")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", metavar="PART")
    options = parser.parse_args()
    count, rounds = options.cases, options.rounds
    parts: Iterable[tuple[str, object, Callable[[], dict]]] = (
        (
            "agreement",
            options.codex,
            lambda: judge_all(codex_pairs(options.codex), options.workers, options.timeout_s),
        ),
        ("p3", options.p3, lambda: judge_all(p3_pairs(options.p3), options.workers, options.timeout_s)),
        ("speed", options.peer, lambda: speed(options.peer, count, rounds, options.workers)),
        ("loops", options.peer, lambda: loops(options.peer, count, rounds, options.workers)),
        ("duplicates", options.codex, lambda: duplicates(options.codex, rounds, options.workers)),
        ("workers", options.peer, lambda: workers(options.peer, 4 * count, rounds)),
    )
    found: dict = {
        "command": " ".join(["scripts/measure/measure_verifier.py", *map(os.path.basename, sys.argv[1:])]),
        "machine": {
            "cpus": os.cpu_count(),
            "load_average": os.getloadavg(),
            "calibration_cpu_s": calibrate(),
        },
    }
    for name, given, measure in parts:
        if given and (not options.only or name in options.only):
            found[name] = measure()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
