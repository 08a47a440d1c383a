#!/usr/bin/env python3
"""Compares `selfprog plan --simulate` with real runs of 1, 2 and 4 local processes.

  scripts/measure/check_simulation.py --output /tmp/check                     about ten minutes on two idle cores
  scripts/measure/check_simulation.py --output /tmp/check --hosts 1,2

It is the same small run each time: four virtual devices over N processes, one verifier process on each, and second
looks at what was accepted (400 variants of its puzzle) so that judging takes about as long as sampling. Each run gives
the seconds that sampling took and those that one verifier took for a shard; from these the simulation predicts how
long chips wait for the last verdicts, and how long each stage takes in all. Writes DIR/simulation.json.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
if Path(sys.prefix) != REPOSITORY / ".venv" and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), __file__, *sys.argv[1:]])

DEVICES, SHARDS = 4, 8
SETTINGS = {
    "loop.run.iterations": 1,
    "loop.run.controls": "()",
    "Experiment.eval_split": "'dev'",
    "Experiment.max_eval_problems": 16,
    "Experiment.shards": SHARDS,
    "Experiment.workers": 1,
    "MeshConfig.data": DEVICES,
    "MeshConfig.fsdp": 1,
    "judge_solutions.run.generality_trials": 400,
    "sample_puzzles.run.prompts": 8,
    "sample_solutions.run.attempts": 32,
    "evaluate.run.attempts": 16,
    "finetune.run.epochs": 1,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--hosts", default="1,2,4", help="numbers of processes (%(default)s)")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for hosts in map(int, options.hosts.split(",")):
        run_dir = options.output / f"hosts_{hosts}"
        run(run_dir, hosts)
        rows += compare(run_dir, hosts)
        result = {"settings": {k: str(v) for k, v in SETTINGS.items()}, "devices": DEVICES, "stages": rows}
        (options.output / "simulation.json").write_text(json.dumps(result, indent=1) + "\n")
    print_table(rows)


def run(run_dir: Path, hosts: int) -> None:
    """Starts or continues one run of this many processes."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    processes = []
    for i in range(hosts):
        environment = os.environ | {
            "JAX_NUM_CPU_DEVICES": str(DEVICES // hosts),
            "JAX_COMPILATION_CACHE_DIR": str(run_dir.parent / f"xla_{hosts}"),
        }
        command = [sys.executable, "-m", "t5x_selfprog.main", "run", "--gin_file=quickstart", "--quiet"]
        command += [f"--run_dir={run_dir}", *(f"--gin.{name}={value}" for name, value in SETTINGS.items())]
        if hosts > 1:
            command.append(f"--hosts=127.0.0.1:{port},{hosts},{i}")
        log = open(run_dir.parent / f"hosts_{hosts}.{i}.log", "a")  # noqa: SIM115 (the process owns it)
        processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=REPOSITORY))
    failed = [i for i, process in enumerate(processes) if process.wait() != 0]
    if failed:
        sys.exit(f"process {failed[0]} of {hosts} failed: {run_dir.parent}/hosts_{hosts}.{failed[0]}.log")


def compare(run_dir: Path, hosts: int) -> list[dict[str, Any]]:
    """How long each stage that judges waited, and what the simulation predicts."""
    from t5x_selfprog.plan.events import Cluster, Stage, simulate
    from t5x_selfprog.telemetry.sinks import read_lines

    lines = list(read_lines(run_dir / "metrics.jsonl"))
    overlap = json.loads((run_dir / "goodput.json").read_text())["overlap"]
    rows = []
    for place, waited in overlap.items():
        verdicts = place.replace("3_solutions", "4_verdicts").replace("attempts", "verdicts")
        # Host 0 writes the metrics: the shards that it judged stand for all.
        judged = [line["seconds"] for line in lines if line["kind"] == "judge" and _place(line) == verdicts]
        if not judged:  # the others were quicker each time
            print(f"{place}: host 0 judged no shard of {hosts} hosts'; not compared", file=sys.stderr)
            continue
        shard_s = statistics.mean(judged)
        stage = Stage(place, waited["sampling_s"], shard_s * SHARDS, SHARDS)
        found = simulate([stage], Cluster(hosts, 1, straggling=0.0))
        rows.append(
            {
                "hosts": hosts,
                "stage": place,
                "sampling_s": waited["sampling_s"],
                "judging_s_a_shard": round(shard_s, 3),
                "judged_by_host_0": len(judged),
                "waited_s": waited["waited_s"],
                "simulated_waiting_s": round(found.waiting_s, 3),
                "total_s": round(waited["sampling_s"] + waited["waited_s"], 3),
                "simulated_total_s": round(found.total_s, 3),
            }
        )
    return rows


def _place(line: dict[str, Any]) -> str:
    return line["stage"] if line["iteration"] is None else f"iter_{line['iteration']:03d}/{line['stage']}"


def print_table(rows: list[dict[str, Any]]) -> None:
    print(
        "| processes | stage | sampling s | judging s a shard | waited s, simulated | total s, simulated | off |"
    )
    print("|---|---|---|---|---|---|---|")
    for r in rows:
        off = r["simulated_total_s"] / r["total_s"] - 1
        print(
            f"| {r['hosts']} | {r['stage']} | {r['sampling_s']:.1f} | {r['judging_s_a_shard']:.1f} | "
            f"{r['waited_s']:.1f}, {r['simulated_waiting_s']:.1f} | {r['total_s']:.1f}, {r['simulated_total_s']:.1f} | "
            f"{off:+.1%} |"
        )


if __name__ == "__main__":
    main()
