"""`python -m verifier doctor`: which layers of isolation this host allows, why others are off, how to turn them on."""

import os
import pathlib
import platform
from typing import Any

from verifier.calibration import calibrate
from verifier.pool import Pool
from verifier.sandbox.host_limits import too_low
from verifier.sandbox.isolation import LAYERS
from verifier.verdict import Limits

_ATTEMPT = {"puzzle": "def f(x: int):\n    return x == 7", "solution": "def g():\n    return 3 + 4"}

# Of the weakest level alone; `isolation` of every verdict says what of this is open here.
RLIMITS_LEAVE_OPEN = (
    "rlimits alone stop no call that needs no descriptor: programs may rename, delete and change the modes of files "
    "that their user may (root's are shut in an empty folder), signal his processes, leave System V objects"
)

_SETTINGS = {
    "user.max_user_namespaces": "/proc/sys/user/max_user_namespaces",
    "kernel.unprivileged_userns_clone": "/proc/sys/kernel/unprivileged_userns_clone",
    "kernel.apparmor_restrict_unprivileged_userns": "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    "security modules": "/sys/kernel/security/lsm",
}

# By layer: a setting, the value that blocks the layer, and the remedy.
_OBSTACLES = {
    "namespaces": [
        ("user.max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"),
        ("kernel.unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
        (
            "kernel.apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu 23.10 and newer), or an AppArmor profile "
            "with `userns,` for this Python",
        ),
    ],
}

_GENERAL = {
    "seccomp": [
        "the kernel needs CONFIG_SECCOMP_FILTER, and the machine a table in verifier/sandbox/seccomp.py"
    ],
    "landlock": [
        "ENOSYS (function not implemented): Linux 5.13 or newer is needed",
        "EOPNOTSUPP (not supported): boot with landlock in the list lsm=...",
        "EPERM in a container: its seccomp profile must allow landlock_create_ruleset (Docker 23+ does)",
    ],
    "namespaces": [],
}

# How to allow namespaces, by place.
_PLACES = {
    "kubernetes": [
        "GKE, in the pod's container:",
        "  securityContext: {seccompProfile: {type: Unconfined}, appArmorProfile: {type: Unconfined}}",
        "  (privileged: true is not needed, nor is SYS_ADMIN; where policy forbids this, pods keep landlock)",
        "or GKE Sandbox, runtimeClassName: gvisor, inside which namespaces work as they are",
    ],
    "tpu-vm": [
        "Cloud TPU VM: on the VM itself they work, Ubuntu 24.04 needing the sysctl above; in a container there:",
        "  docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined ...",
        "  (TPU containers that run with --privileged have all it takes; candidates get none of it)",
    ],
    "container": [
        "Docker, Podman: run --security-opt seccomp=unconfined --security-opt apparmor=unconfined",
        "  (or the default profile with unshare, mount, umount2 and pivot_root allowed)",
    ],
    "gvisor": ["gVisor: namespaces work as they are; if not, update it (runsc)"],
    "wsl": ["WSL 2: `wsl --update`; WSL 1 has none of these layers"],
    "host": ["a laptop, a VM or a server: only the settings above can be in the way"],
}


def examine() -> dict[str, Any]:
    """The findings, as plain values. Starts a worker with all layers that work, if the host's limits allow one."""
    limits = Limits()
    obstacles = too_low(limits)
    isolation, on, notes, works = "", list[str](), dict[str, str](), False
    if not obstacles:
        with Pool(1, limits) as pool:
            isolation = pool.isolation
            on = isolation.partition(" ")[0].split("+")
            notes = dict(note.partition(": ")[::2] for note in pool.notes)
            works = any(next(pool.judge([_ATTEMPT])).accepted for _ in range(3))
    settings = {name: _read(path) for name, path in _SETTINGS.items()}
    place = where()
    return {
        "isolation": isolation,
        "layers": {
            layer: "not tried" if obstacles else "on" if layer in on else notes.get(layer, "off")
            for layer in LAYERS
        },
        "remedies": {
            layer: remedies(layer, place, settings) for layer in LAYERS if layer not in on and not obstacles
        },
        "limits": obstacles,
        "rlimits_leave_open": RLIMITS_LEAVE_OPEN,
        "judges": works,
        "calibration_cpu_s": round(calibrate(), 5),
        "host": {
            "kernel": platform.release(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "cpus": len(os.sched_getaffinity(0)),
            "user": os.geteuid(),
            "place": place,
            **settings,
        },
    }


def _read(path: str) -> str:
    try:
        return pathlib.Path(path).read_text().strip()
    except OSError:
        return "not there"


def where() -> str:
    """A key of _PLACES. A container on a TPU VM counts as a TPU VM: TPU workloads nearly always run in one."""
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "kubernetes"
    if _read("/proc/version").startswith("Linux version 4.4.0 #1 SMP Sun Jan 10"):
        return "gvisor"  # it always reports this version
    if os.path.exists("/dev/accel0") or os.path.exists("/dev/vfio/0") or "TPU_WORKER_ID" in os.environ:
        return "tpu-vm"
    if "microsoft" in platform.release().lower():
        return "wsl"
    marks = ("/.dockerenv", "/run/.containerenv")
    return "container" if any(map(os.path.exists, marks)) else "host"


def remedies(layer: str, place: str, settings: dict[str, str]) -> list[str]:
    """How to turn a layer on: first the settings that block it here, then what this place needs."""
    found = [
        f"{name} is {value}: {remedy}"
        for name, value, remedy in _OBSTACLES.get(layer, [])
        if settings.get(name) == value
    ]
    return found + _GENERAL.get(layer, []) + (_PLACES[place] if layer == "namespaces" else [])


def render(found: dict[str, Any]) -> str:
    lines = [f"isolation of candidate programs on this host: {found['isolation'] or 'none'}"]
    for layer, state in found["layers"].items():
        lines.append(f"  {layer:<12} {state}")
        lines += [f"               {remedy}" for remedy in found["remedies"].get(layer, ())]
    lines += [f"LIMITS of this host are too low: {obstacle}" for obstacle in found["limits"]]
    if not found["limits"]:
        lines.append(f"  ({RLIMITS_LEAVE_OPEN})")
    lines.append(f"a first attempt was judged {'rightly' if found['judges'] else 'WRONGLY'}")
    lines.append(f"calibration: {found['calibration_cpu_s']} CPU seconds for a fixed piece of work")
    lines += [f"  {name:<46} {value}" for name, value in found["host"].items()]
    return "\n".join(lines)
