"""The doctor: what it finds here, and what it would say elsewhere."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from verifier import doctor
from verifier.isolation import LAYERS

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
