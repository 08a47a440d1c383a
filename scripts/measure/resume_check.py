#!/usr/bin/env python3
"""Kills a run at random moments, restarts it each time, and compares what it made with a run that was left alone.

  scripts/measure/resume_check.py --gin_file=quickstart --kills 10 --output /tmp/resume   twice the run's time, and more
  scripts/measure/resume_check.py --gin_file=quickstart --devices 8 --hosts 4,4,2 --kills 2 --output /tmp/hosts
  scripts/measure/resume_check.py --compare runs/one runs/other   two runs that are there, in seconds

--devices sets the number of virtual CPU devices; --hosts the number of processes in each life of the killed run (the
last for all that follow), which share those devices; the run left alone has them all in one process.

Kills every process of the run with SIGKILL. Compares all records (puzzles, attempts, verdicts, pairs; without their
measured times), every funnel, dataset, evaluation and the identity of all weights. Prints one JSON object; the status
is 0 if nothing differs. Further arguments go to `selfprog run` as they are.
"""

import argparse
import hashlib
import json
import os
import platform
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
if Path(sys.prefix) != REPOSITORY / ".venv" and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), __file__, *sys.argv[1:]])
sys.path.insert(0, str(REPOSITORY))

from verifier.storage.shards import Ledger

MEASURED = ("cpu_s", "peak_mb")  # what no rerun can repeat
JSON_FILES = ("evaluation.json", "done.json", "funnel.json")


def start(
    run_dir: Path, arguments: list[str], hosts: int = 1, devices: int | None = None
) -> list[subprocess.Popen]:
    """Starts the run as a user does, each process in a group of its own; host I writes to RUN.I.log."""
    environment = dict(os.environ)
    if devices is not None:
        environment["JAX_NUM_CPU_DEVICES"] = str(devices // hosts)
        environment["JAX_COMPILATION_CACHE_DIR"] = str(run_dir.parent / f"xla_{hosts}")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    processes = []
    for i in range(hosts):
        command = [sys.executable, "-m", "t5x_selfprog.main", "run", f"--run_dir={run_dir}", *arguments]
        if devices is not None:  # one process too: see hosts.connect
            command.append(f"--hosts=127.0.0.1:{port},{hosts},{i}")
        with open(run_dir.with_suffix(f".{i}.log"), "a") as log:
            processes.append(
                subprocess.Popen(
                    command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log, start_new_session=True
                )
            )
    return processes


def finish(processes: list[subprocess.Popen], run_dir: Path) -> None:
    for i, process in enumerate(processes):
        if process.wait():
            kill(processes)
            sys.exit(f"host {i} failed:\n{run_dir.with_suffix(f'.{i}.log').read_text()[-3000:]}")


def kill(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def digests(run_dir: Path) -> dict[str, str]:
    """What a run made, by path: a digest of each ledger's records and of each JSON file."""
    found = {}
    for ledger in sorted(run_dir.rglob("ledger.json")):
        rows = [
            {k: v for k, v in row.items() if k not in MEASURED} for row in Ledger.open(str(ledger.parent))
        ]
        found[str(ledger.parent.relative_to(run_dir))] = _digest(rows)
    for name in JSON_FILES:
        for path in sorted(run_dir.rglob(name)):
            found[str(path.relative_to(run_dir))] = _digest(json.loads(path.read_text()))
    return found


def compare(one: Path, other: Path) -> dict[str, Any]:
    left, right = digests(one), digests(other)
    if not left:
        sys.exit(f"{one}: there is no run here")
    differing = sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))
    return {"compared": len(left), "differing": differing}


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=repr).encode()).hexdigest()[:16]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="folder for the two runs; made if missing")
    parser.add_argument("--compare", nargs=2, type=Path, metavar="RUN", help="run nothing, compare these")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--gin_file", default="quickstart")
    parser.add_argument("--devices", type=int, help="virtual CPU devices, of all processes together")
    parser.add_argument("--hosts", default="1", help="processes of each life of the killed run (%(default)s)")
    parser.add_argument(
        "--lives", type=float, nargs=2, default=(0.03, 0.12), metavar=("LEAST", "MOST"),
        help="how long each killed life is, as a share of the time that the run alone takes",
    )  # fmt: skip
    options, others = parser.parse_known_args()
    if options.compare:
        result = compare(*options.compare)
        print(json.dumps(result))
        return bool(result["differing"])
    if not options.output:
        parser.error("--output, or --compare, is required")
    arguments = [f"--gin_file={options.gin_file}", "--quiet", *others]
    options.output.mkdir(parents=True, exist_ok=True)
    alone, killed = options.output / "alone", options.output / "killed"

    begin = time.monotonic()
    finish(start(alone, arguments, 1, options.devices), alone)
    whole_s = time.monotonic() - begin
    print(f"left alone: {whole_s:.0f} s", file=sys.stderr)

    draw = random.Random(options.seed)
    moments: list[float] = []
    hosts = [int(number) for number in options.hosts.split(",")]
    lives: list[int] = []
    while True:
        lives.append(hosts[min(len(lives), len(hosts) - 1)])
        processes = start(killed, arguments, lives[-1], options.devices)
        if len(moments) < options.kills:
            # Each life is long enough for some progress, and the kills spread over the run.
            wait_s = draw.uniform(*options.lives) * whole_s
            try:
                processes[0].wait(wait_s)
            except subprocess.TimeoutExpired:
                kill(processes)
                moments.append(round(wait_s, 1))
                print(f"killed after {wait_s:.0f} s ({len(moments)} of {options.kills})", file=sys.stderr)
                continue
        finish(processes, killed)
        break

    result = {
        "arguments": arguments,
        "devices": options.devices,
        "hosts_of_each_life": lives,
        "killed_after_s": moments,
        "seconds_alone": round(whole_s, 1),
        **compare(alone, killed),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    print(json.dumps(result))
    return bool(result["differing"])


if __name__ == "__main__":
    sys.exit(main())
