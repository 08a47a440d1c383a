"""The doctor: what it finds here, and what it would say elsewhere."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from verifier import doctor
from verifier.sandbox.isolation import LAYERS

REPOSITORY = Path(__file__).resolve().parents[2]
CLEAR = {
    "user.max_user_namespaces": "15000",
    "kernel.unprivileged_userns_clone": "not there",
    "kernel.apparmor_restrict_unprivileged_userns": "0",
}


def test_it_says_what_is_on_and_judges():
    done = subprocess.run(
        [sys.executable, "-m", "verifier", "doctor", "--json"], cwd=REPOSITORY, capture_output=True, text=True
    )
    found = json.loads(done.stdout)
    assert set(found["layers"]) == set(LAYERS) and found["layers"]["rlimits"] == "on" and found["judges"]
    assert set(found["remedies"]) == {layer for layer, state in found["layers"].items() if state != "on"}
    assert found["calibration_cpu_s"] > 0
    text = doctor.render(found)
    assert all(layer in text for layer in LAYERS) and "judged rightly" in text


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("user.max_user_namespaces", "0"),
        ("kernel.unprivileged_userns_clone", "0"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1"),
    ],
)
def test_the_setting_in_the_way_comes_first(setting, value):
    said = doctor.remedies("namespaces", "host", CLEAR | {setting: value})
    assert said[0].startswith(f"{setting} is {value}: sysctl {setting}=")
    assert doctor.remedies("namespaces", "host", CLEAR)[0].startswith("a laptop")


@pytest.mark.parametrize(
    ("environment", "place", "word"),
    [
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes", "securityContext"),
        ({"TPU_WORKER_ID": "0"}, "tpu-vm", "docker run --security-opt"),
    ],
)
def test_it_knows_the_place(monkeypatch, environment, place, word):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert doctor.where() == place
    assert any(word in line for line in doctor.remedies("namespaces", place, CLEAR))


def test_every_layer_off_has_a_remedy():
    for layer in LAYERS[1:]:
        for place in ("kubernetes", "tpu-vm", "container", "gvisor", "wsl", "host"):
            assert doctor.remedies(layer, place, CLEAR)


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("AS", 700 << 20, "--memory_mb=700"),
        pytest.param("DATA", 500 << 20, "--memory_mb=500", marks=pytest.mark.slow),
        ("CPU", 2, "--timeout_s"),
        pytest.param("FSIZE", 4 << 20, "--output_mb", marks=pytest.mark.slow),
        ("NOFILE", 64, "RLIMIT_NOFILE"),
    ],
)
def test_a_hosts_own_hard_limit_is_said_at_once(tmp_path, name, value, word):
    """Not as `infrastructure` of every attempt: by every command, in one line, with exit status 2."""
    import resource

    def lower() -> None:
        which = getattr(resource, f"RLIMIT_{name}")
        resource.setrlimit(which, (value, value))

    (tmp_path / "a.jsonl").write_text(
        '{"puzzle": "def f(x: int):\\n    return x == 7", "solution": "g = lambda: 7"}\n'
    )
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "COMPLETE").touch()
    commands = [
        ["doctor"],
        ["judge", "--input", f"{tmp_path}/a.jsonl", "--output", f"{tmp_path}/b.jsonl"],
        ["filter", "--input", f"{tmp_path}/a.jsonl", "--output", f"{tmp_path}/b.jsonl"],
        ["serve", f"{tmp_path}/in", "--output", f"{tmp_path}/out"],
        ["follow", f"{tmp_path}/run", "--once"],
    ]
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "verifier", *command],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            preexec_fn=lower,
        )
        said = done.stdout if command == ["doctor"] else done.stderr
        assert done.returncode == 2 and word in said and "Traceback" not in done.stderr, (command, done)
    assert not (tmp_path / "b.jsonl").exists()


def test_a_hosts_soft_limit_is_no_obstacle(tmp_path):
    import resource

    def lower() -> None:
        for which, value in ((resource.RLIMIT_AS, 500 << 20), (resource.RLIMIT_FSIZE, 1 << 20)):
            resource.setrlimit(which, (value, resource.getrlimit(which)[1]))

    done = subprocess.run(
        [sys.executable, "-m", "verifier", "doctor"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        preexec_fn=lower,
    )
    assert done.returncode == 0 and "judged rightly" in done.stdout
