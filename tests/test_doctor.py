"""The doctor through its command, and the messages for devices that do not start."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from t5x_selfprog import banner, devices, doctor
from t5x_selfprog.main import main


def test_the_doctor_says_what_there_is(capsys) -> None:
    assert main(["doctor", "--json"]) == 0
    *shown, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert found["judges"] and found["devices"][0]["platform"] == "cpu" and found["cores"] >= 1
    for word in ("versions", "device", "host", "sandbox"):
        assert any(line.startswith(word) for line in shown)
    assert found["memory_gib"] > 0 and "jax" in found["versions"]


def test_each_problem_is_a_line_and_none_is_all_well(monkeypatch) -> None:
    found = doctor.examine()
    sick = doctor.render(
        found | {"problems": ["no sandbox", "no memory"], "missing_extras": {"gguf": "GGUF files"}}
    )
    assert "PROBLEM    no sandbox" in sick and "PROBLEM    no memory" in sick and "All is well" not in sick
    assert "SELFPROG_EXTRAS=gguf scripts/setup" in sick
    assert "All is well" in doctor.render(found | {"problems": []})


def test_a_gpu_that_jax_passes_by_is_said_loudly(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr(devices, "gpu_is_there", lambda: True)
    said = "\n".join(banner.warnings(str(tmp_path), "cpu", 0.0))
    assert "ATTENTION" in said and "SELFPROG_EXTRAS=cuda scripts/setup" in said
    assert banner.warnings(str(tmp_path), "gpu", 0.0) == []
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert banner.warnings(str(tmp_path), "cpu", 0.0) == []


def test_a_full_disk_is_said(tmp_path) -> None:
    assert "are free" in "\n".join(banner.warnings(str(tmp_path / "new" / "run"), "cpu", 1e18))


@pytest.mark.skipif(devices.gpu_is_there(), reason="here a run on cuda begins")
@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("cuda", ("JAX_PLATFORMS=cuda", "GPU")),
        pytest.param("nonsense", ("cpu, cuda or tpu",), marks=pytest.mark.slow),
    ],
)
def test_a_platform_that_is_not_installed_is_no_traceback(asked, words, tmp_path, user_environment) -> None:
    command = [
        sys.executable,
        "-m",
        "t5x_selfprog.main",
        "run",
        "--gin_file=quickstart",
        f"--run_dir={tmp_path}/R",
    ]
    environment = user_environment | {"JAX_PLATFORMS": asked}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stderr and all(word in done.stderr for word in words)
    assert not os.path.exists(tmp_path / "R")
