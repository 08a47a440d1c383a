"""The scripts for slices and fleets, dry: what they would run, and what they refuse."""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "scripts" / "tpu"
# What each distribution that a fleet's machines install brings.
BRINGS = {"gcsfs": {"gcsfs", "fsspec"}, "google-crc32c": {"google_crc32c"}, "protobuf": {"google"}}
OPTIONAL = {"tqdm", "apache_beam"}  # a courtesy; another door


def dry(script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "DRY_RUN": "1",
        "SELFPROG_VENV": sys.prefix,
        "ZONE": "z1",
        **variables,
    }
    return subprocess.run([SCRIPTS / script, *arguments], env=environment, capture_output=True, text=True)


def commands(said: str) -> list[str]:
    return [line[2:] for line in said.splitlines() if line.startswith("+ ")]


def test_a_slice_from_its_creation_to_its_end():
    slice_ = {"SLICE": "v5e_64", "RUN_DIR": "/runs/p3"}
    created = commands(dry("create", "--spot", **slice_).stderr)
    assert created[0].startswith("gcloud compute tpus queued-resources create selfprog --zone=z1")
    assert "--accelerator-type=v5litepod-64" in created[0] and created[0].endswith("--spot")
    *_, stopped, launched = commands(dry("launch", "--gin_file=quickstart", **slice_).stderr)
    assert "worker stop" in stopped and "--worker=all" in stopped
    assert "--worker=all" in launched and "slices/v5e_64" in launched and "--hosts=auto" in launched
    assert launched.index("slices/v5e_64") < launched.index("quickstart")
    assert "selfprog.tar.gz" in commands(dry("setup").stderr)[0]
    assert (
        "tail" in commands(dry("logs", WORKER="3").stderr)[0]
        and "--worker=3" in commands(dry("logs", WORKER="3").stderr)[0]
    )
    assert "delete selfprog --zone=z1 --force" in commands(dry("delete").stderr)[0]


@pytest.mark.parametrize("given", ["gs://b/runs/p", "gs://b/runs/p/", "gs://b/runs/p p/"])
def test_what_lies_beside_a_run_is_named_after_it(given):
    done = dry("launch", "--gin_file=quickstart", RUN_DIR=given, SLICE="v5e-8")
    launched = commands(done.stderr)[-1]
    folder = given.rstrip("/")
    (said,) = re.findall(r"--run_dir=(.*?) --hosts=auto", launched)
    assert shlex.split(said.replace(r"\\", "\\"))[0] == folder
    assert "slices/v5e_8" in launched


@pytest.mark.parametrize(
    "script", "create delete fleet keep launch logs report setup stage status stop".split()
)
def test_help_asks_for_nothing_else(script, tmp_path):
    done = subprocess.run(
        [SCRIPTS / script, "--gin_file=quickstart", "--help"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and f"scripts/tpu/{script}" in done.stdout and not done.stderr


def test_a_fleet_stands_in_the_runs_bucket():
    done = dry("fleet", "create", "--provisioning-model=SPOT", COUNT="3", RUN_DIR="gs://b/runs/p3")
    assert done.returncode == 0
    archive, upload, create = commands(done.stderr)
    assert archive.startswith("tar ") and upload.endswith("gs://b/runs/p3.fleet/verifier.tar.gz")
    assert "create selfprog-fleet-0 selfprog-fleet-1 selfprog-fleet-2 --zone=z1" in create
    assert create.endswith("--provisioning-model=SPOT")
    assert "python -m verifier follow gs://b/runs/p3 --require=seccomp" in done.stderr
    assert "selfprog-fleet-0" in commands(dry("fleet", "delete").stderr)[0]


def test_a_fleets_machines_install_what_the_verifier_imports():
    said = dry("fleet", "create", RUN_DIR="gs://b/r").stderr
    (line,) = re.findall(r"pip install -q (.*)", said)
    installed = {re.split(r"[<>=]", name.strip("'"))[0] for name in line.split()}
    assert installed == set(BRINGS)
    imported = set()
    for path in (REPOSITORY / "verifier").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"verifier", "__future__"} - OPTIONAL
    assert foreign <= set().union(*BRINGS.values())


@pytest.mark.parametrize(
    ("script", "arguments", "variables", "says"),
    [
        ("create", (), {"SLICE": "v9_1"}, "SLICE=v9_1: no such slice; there are: v4_128"),
        ("create", (), {"SLICE": "v5e_7"}, "SLICE=v5e_7: no such slice"),
        ("create", (), {"SLICE": "v5e_64_x2"}, "several slices are launched as a JobSet"),
        ("create", (), {"SLICE": "tpu7x_8"}, "it is launched on GKE"),
        ("create", (), {"SLICE": "h200_1"}, "SLICE=h200_1: a machine, but not a slice"),
        ("launch", ("--gin_file",), {"RUN_DIR": "/r"}, "--gin_file"),
        ("keep", (), {"RUN_DIR": "gs://b/r"}, "keep acts on what it finds"),
        ("keep", (), {"RUN_DIR": "/mnt/runs", "SLICE": "v5e_8"}, "what is on a slice's disks goes with it"),
        ("launch", (), {"RUN_DIR": "/r", "SLICE": "v9_1"}, "no gin/slices/v9_1.gin"),
        ("launch", (), {}, "RUN_DIR"),
        ("launch", (), {"RUN_DIR": "gs:/b/r"}, "RUN_DIR=gs:/b/r: give a folder in a bucket"),
        ("launch", (), {"RUN_DIR": "gs://b"}, "RUN_DIR=gs://b: give"),  # gs://b.staged is another bucket
        ("launch", (), {"RUN_DIR": "gs://b//"}, "RUN_DIR=gs://b//: give"),
        ("stage", (), {"RUN_DIR": "runs/p"}, "RUN_DIR=runs/p: give"),  # of each worker's own disk
        ("launch", (), {"RUN_DIR": "gs://b/r", "RESTARTS": "-1"}, "RESTARTS=-1: give a number"),
        ("create", (), {"NAME": "My_run"}, "NAME=My_run: Google wants"),
        ("setup", (), {"NAME": "../x"}, "NAME=../x"),
        ("fleet", ("create",), {"RUN_DIR": "/runs/p3"}, "share no disk with the run; give gs://"),
        ("fleet", ("create",), {"RUN_DIR": "gs://b/r", "COUNT": "many"}, "COUNT=many: give a number"),
        ("fleet", (), {}, "COUNT=8 ZONE="),
    ],
)
def test_mistakes_are_named(script, arguments, variables, says):
    done = dry(script, *arguments, **variables)
    assert done.returncode != 0 and says in done.stderr + done.stdout
    assert not commands(done.stderr)
