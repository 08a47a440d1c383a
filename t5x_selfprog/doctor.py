"""`selfprog doctor`: what this machine has for a run, what is missing, and what to install."""

from __future__ import annotations

import importlib.util
import os
import shutil
from typing import Any

from t5x_selfprog import versions
from verifier.errors import UserError

GIB = 2**30
# Packages that parts of the project need, by the extra that installs them.
OPTIONAL = {
    "data": (("seqio", "pyarrow", "tensorflow"), "seqio tasks, TFDS, Parquet"),
    "gguf": (("gguf",), "importing GGUF files"),
    "wandb": (("wandb",), "numbers at Weights & Biases too"),
    "gcs": (("gcsfs",), "run directories in a bucket"),
    "plan": (("libtpu",), "`selfprog plan`"),
}
ENOUGH_GIB = 4.0  # of memory and of disk: what the quickstart needs, with room to spare


def examine() -> dict[str, Any]:
    """The findings as plain values; starts JAX's devices and a worker of the verifier."""
    from verifier import doctor as sandbox

    devices, trouble = _devices()
    judged = sandbox.examine()
    missing = {
        extra: about
        for extra, (modules, about) in OPTIONAL.items()
        if not all(importlib.util.find_spec(module) for module in modules)
    }
    memory, disk = _memory_bytes() / GIB, shutil.disk_usage(".").free / GIB
    problems = [*trouble]
    if not judged["judges"]:
        problems.append("the verifier cannot judge here: python -m verifier doctor says why")
    elif "namespaces" not in judged["isolation"]:
        problems.append(
            "candidate programs are not fully isolated: python -m verifier doctor says how to change that"
        )
    for what, there in (("memory", memory), ("disk here", disk)):
        if there < ENOUGH_GIB:
            problems.append(f"{there:.1f} GiB of {what} are free; the quickstart wants {ENOUGH_GIB:g}")
    return {
        "versions": versions.versions(),
        "devices": devices,
        "isolation": judged["isolation"],
        "judges": judged["judges"],
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "disk_gib": round(disk, 1),
        "missing_extras": missing,
        "problems": problems,
    }


def _devices() -> tuple[list[dict[str, Any]], list[str]]:
    """The devices, and what is wrong with them."""
    from t5x_selfprog.devices import require_devices, unused_gpu

    try:
        there = require_devices()
    except UserError as error:
        return [], [str(error)]
    found = []
    for device in there:
        limit = (device.memory_stats() or {}).get("bytes_limit") if device.platform != "cpu" else None
        memory = round(limit / GIB, 1) if limit else None
        found.append({"platform": device.platform, "kind": device.device_kind, "memory_gib": memory})
    passed_by = unused_gpu(there[0].platform)
    return found, [passed_by] if passed_by else []


def _memory_bytes() -> float:
    """This host's free memory."""
    with open("/proc/meminfo") as file:
        fields = dict(line.split(":") for line in file)
    return 1024.0 * int(fields["MemAvailable"].split()[0])


def render(found: dict[str, Any]) -> str:
    lines = ["versions   " + ", ".join(f"{name} {version}" for name, version in found["versions"].items())]
    for device in found["devices"] or [{"platform": "none", "kind": "no device", "memory_gib": None}]:
        memory = f", {device['memory_gib']} GiB" if device["memory_gib"] else ""
        lines.append(f"device     {device['kind']} ({device['platform']}{memory})")
    lines += [
        f"host       {found['cores']} cores; {found['memory_gib']} GiB of memory and {found['disk_gib']} of disk free",
        f"sandbox    {found['isolation'] or 'none'}, {'judges rightly' if found['judges'] else 'DOES NOT JUDGE'}",
    ]
    lines += [
        f"missing    {about}: SELFPROG_EXTRAS={extra} scripts/setup, or pip install -e '.[{extra}]'"
        for extra, about in found["missing_extras"].items()
    ]
    lines += [f"PROBLEM    {problem}" for problem in found["problems"]]
    if not found["problems"]:
        lines.append("All is well. Begin with: selfprog run --gin_file=quickstart --run_dir=runs/quickstart")
    return "\n".join(lines)
