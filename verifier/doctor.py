"""`python -m verifier doctor`: which layers of isolation this host allows, why others are off, how to turn them on."""

import os
import pathlib
import platform
from typing import Any

from verifier.isolation import LAYERS
from verifier.pool import Pool
from verifier.verdict import Limits

# A fixed piece of work; its CPU seconds say how fast this host is.
_CALIBRATION = {
    "puzzle": "def f(x: int):\n    return x == 333332833333500000",
    "solution": "def g():\n    return sum(i * i for i in range(10**6))",
}

_SETTINGS = {
    "user.max_user_namespaces": "/proc/sys/user/max_user_namespaces",
    "kernel.unprivileged_userns_clone": "/proc/sys/kernel/unprivileged_userns_clone",
    "kernel.apparmor_restrict_unprivileged_userns": "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    "security modules": "/sys/kernel/security/lsm",
}

_REMEDIES = {
    "seccomp": [
        "the kernel needs CONFIG_SECCOMP_FILTER, and the machine a table in verifier/seccomp.py",
    ],
    "landlock": [
        "ENOSYS: Linux 5.13 or newer is needed; EOPNOTSUPP: boot with landlock in the list lsm=...",
        "EPERM in a container: its seccomp profile must allow landlock_create_ruleset (Docker 23+ does)",
    ],
    "namespaces": [
        "laptop or VM: sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces=15000, and on Ubuntu "
        "24.04+ kernel.apparmor_restrict_unprivileged_userns=0",
        "Docker: --security-opt seccomp=unconfined (or a profile that allows unshare, mount and pivot_root)",
        "GKE: a securityContext with seccompProfile Unconfined and appArmorProfile Unconfined; inside gVisor "
        "(runtimeClassName gvisor) namespaces work as they are",
        "Cloud TPU VM: works on the VM itself; in a container on it, as for Docker",
    ],
}


def examine() -> dict[str, Any]:
    """What was found out, as plain values. Starts a worker, with all layers that work."""
    with Pool(1, Limits(cpu_s=60)) as pool:
        on = pool.isolation.split("+")
        notes = dict(note.partition(": ")[::2] for note in pool.notes)
        works = [verdict.cpu_s for verdict in pool.judge([_CALIBRATION] * 5) if verdict.accepted]
    return {
        "isolation": "+".join(on),
        "layers": {layer: "on" if layer in on else notes.get(layer, "off") for layer in LAYERS},
        "remedies": {layer: _REMEDIES[layer] for layer in LAYERS if layer not in on},
        "calibration_cpu_s": round(min(works), 4),
        "host": {
            "kernel": platform.release(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "cpus": len(os.sched_getaffinity(0)),
            "user": os.geteuid(),
            "container": _container(),
            **{name: _read(path) for name, path in _SETTINGS.items()},
        },
    }


def _read(path: str) -> str:
    try:
        return pathlib.Path(path).read_text().strip()
    except OSError:
        return "not there"


def _container() -> str:
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "kubernetes"
    return "docker" if os.path.exists("/.dockerenv") else "none seen"


def render(found: dict[str, Any]) -> str:
    lines = ["isolation of candidate programs on this host"]
    for layer, state in found["layers"].items():
        lines.append(f"  {layer:<12} {state}")
        lines += [f"               {remedy}" for remedy in found["remedies"].get(layer, ())]
    lines.append(f"calibration: {found['calibration_cpu_s']} CPU seconds for a fixed piece of work")
    lines += [f"  {name:<46} {value}" for name, value in found["host"].items()]
    return "\n".join(lines)
