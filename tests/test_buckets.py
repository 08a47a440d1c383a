"""A run directory in a bucket equals one on disk, whatever the bucket does and whichever process is killed.

The bucket is an emulator of Google Cloud Storage on this machine (tests/bucket.py); gcsfs, TensorStore and Google's
client talk to it as they would to the real one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import gin

pytest.importorskip("gcsfs")
pytest.importorskip("gcp_storage_emulator")

from t5x_selfprog.budget import TOOK
from tests.bucket import Bucket, Fault
from tests.test_loop import few_problems
from verifier.errors import UserError
from verifier.storage import files, records, remote_files
from verifier.storage.shards import Ledger

ROOT = "gs://bucket/some/run"
MEASURED = (TOOK, "metrics.jsonl", "goodput.json", "provenance.json", "index.html", "commit_success.txt")
CONFIG = """
include 'runs/quickstart.gin'
Experiment.eval_split = 'dev'
Experiment.problems = {problems!r}
Experiment.shards = 2
Experiment.workers = 1
loop.run.iterations = 1
loop.run.controls = ('seeds_only',)
sample_puzzles.run.prompts = 6
sample_puzzles.run.attempts = 32
sample_solutions.run.attempts = 8
evaluate.run.attempts = 2
finetune.run.steps = 4
LoopConfig.checkpoint_every = 2
"""


@pytest.fixture(scope="module")
def server():
    with Bucket().serving() as bucket:
        yield bucket


@pytest.fixture
def bucket(server, monkeypatch):
    """An empty bucket; gcsfs in this process finds it."""
    import gcsfs

    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    server.storage.objects.clear()
    server.faults.clear()
    server.requests.clear()
    gcsfs.GCSFileSystem.clear_instance_cache()
    yield server
    gcsfs.GCSFileSystem.clear_instance_cache()


@pytest.fixture(autouse=True)
def no_configuration():
    """Unlocks gin, which a command locks, because other tests declare configurables."""
    yield
    gin.clear_config()


def selfprog(bucket: Bucket, environment: dict, cwd: Path, *arguments: str) -> subprocess.Popen:
    cache = {"JAX_COMPILATION_CACHE_DIR": str(cwd / "xla")}
    return subprocess.Popen(
        [sys.executable, "-m", "t5x_selfprog.main", *arguments],
        env=environment | bucket.environment | cache,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen, status: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=1500)
    assert process.returncode == status, err[-3000:]
    return out, err


def pairs(root: str) -> Ledger:
    return Ledger(root, stage="pairs", schema=records.PAIR, shard_count=2, seed=1, fingerprint="abc")


def rows(shard: int) -> list[dict]:
    return [{"puzzle_id": f"{shard}{i}", "text": "x\r" * i, "weight": 0.5, "iteration": i} for i in range(5)]


def fill(root: str) -> None:
    ledger = pairs(root)
    for shard in ledger.pending():
        assert ledger.claim(shard, "host", 60.0) and ledger.commit(shard, rows(shard))
    ledger.finish()


def test_compiled_programs_lie_beside_a_run_in_a_bucket_and_the_next_machine_reads_them(
    bucket, user_environment
):
    script = """
import jax, jax.numpy as jnp
from t5x_selfprog.compilation import keep_compiled
keep_compiled("gs://bucket/runs/p")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
seen = []
jax.monitoring.register_event_listener(lambda name, **about: seen.append(name))
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((8, 8)))
print([sum(name.endswith(kind) for name in seen) > 0 for kind in ("cache_hits", "cache_misses")])
"""
    environment = {k: v for k, v in user_environment.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    said = [
        subprocess.run(
            [sys.executable, "-c", script],
            env=environment | bucket.environment,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for _ in range(2)
    ]
    assert said == ["[False, True]", "[True, False]"]
    assert any(name.endswith("-cache") for name in bucket.contents("runs/p.xla"))


def test_a_ledger_in_a_bucket_has_the_bytes_of_one_on_disk_through_failures(bucket, tmp_path, capsys):
    bucket.faults += [
        Fault("503", "POST", "upload"),
        Fault("hang up", "GET", "alt=media"),
        Fault("429", "GET", "part-00000"),
        Fault("lose", "POST", "uploadType=multipart&ifGenerationMatch=0"),
        Fault("lose", "DELETE"),
    ]
    fill(f"{ROOT}/pairs")
    fill(str(tmp_path / "pairs"))
    assert list(Ledger.open(f"{ROOT}/pairs")) == [row for shard in range(2) for row in rows(shard)]
    on_disk = {path.name: path.read_bytes() for path in (tmp_path / "pairs").iterdir()}
    assert bucket.contents("some/run/pairs") == on_disk
    assert not any(fault.times for fault in bucket.faults), "every fault was met"


@pytest.mark.parametrize("mebibytes", [0, 1, 12])
def test_files_of_all_sizes_come_back_as_they_were_written(bucket, monkeypatch, mebibytes):
    monkeypatch.setattr(remote_files, "IN_MEMORY_BYTES", 4 << 20)
    data = os.urandom(mebibytes << 20) + b"\r\n"
    files.write_atomic(f"{ROOT}/file", data)
    assert files.size(f"{ROOT}/file") == len(data) and files.read_bytes(f"{ROOT}/file") == data
    assert files.listdir(ROOT) == ["file"] and files.is_folder(ROOT) and not files.is_folder(f"{ROOT}/other")


def test_what_gcsfs_made_without_hearing_of_it_is_ours_and_anothers_is_not(bucket):
    bucket.faults.append(Fault("lose", "POST", "ifGenerationMatch=0"))
    assert files.create_exclusive(f"{ROOT}/mine", b"by me") is True
    assert files.create_exclusive(f"{ROOT}/mine", b"by another") is False
    assert bucket.contents("some/run") == {"mine": b"by me"}


@pytest.mark.parametrize("status", ["401", "403"])
@pytest.mark.parametrize(
    ("method", "operation", "action"),
    [
        ("POST", "write", lambda: files.write_atomic(f"{ROOT}/x", b"x")),
        ("POST", "create", lambda: files.create_exclusive(f"{ROOT}/x", b"x")),
        ("GET", "list", lambda: files.listdir(ROOT)),
        ("GET", "look up", lambda: files.exists(f"{ROOT}/x")),
        ("GET", "read", lambda: files.read_bytes(f"{ROOT}/x")),
        ("DELETE", "remove", lambda: files.remove(f"{ROOT}/x")),
    ],
)
def test_a_bucket_without_permission_names_itself_the_operation_and_the_fix(
    bucket, status, method, operation, action
):
    bucket.faults.append(Fault(status, method, times=99))
    with pytest.raises(UserError) as caught:
        action()
    said = str(caught.value)
    for part in (
        f"cannot {operation} gs://bucket/some/run",
        "not permitted in bucket 'bucket'",
        f"injected {status}",
        "gcloud auth application-default login",
        "gcloud storage buckets add-iam-policy-binding gs://bucket",
        "roles/storage.objectAdmin",
    ):
        assert part in said
    assert bucket.faults[0].times >= 96, "not tried again; gcsfs looks up in three ways"


def test_a_bucket_that_is_not_there_says_so_at_the_first_file(bucket, capsys, monkeypatch, tmp_path):
    from t5x_selfprog.main import main

    monkeypatch.chdir(tmp_path)
    assert main(["run", "--gin_file=quickstart", "--run_dir=gs://no-bucket/run", "--quiet"]) == 2
    err = capsys.readouterr().err
    assert "there is no bucket 'no-bucket'" in err and "gcloud storage buckets create gs://no-bucket" in err
    assert "Traceback" not in err and set(bucket.storage.buckets) == {"bucket"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["study", "--gin_file=studies/quick", f"--run_dir={ROOT}"],
        ["pretrain", "--gin_file=pretrain_base", f"--run_dir={ROOT}"],
        ["import", f"--model={ROOT}", "--output=models/x"],
        ["export", "--model=base", f"--output={ROOT}"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_works_on_folders_alone_refuses_a_bucket_before_it_does_anything(
    bucket, capsys, monkeypatch, tmp_path, arguments
):
    from t5x_selfprog.main import main

    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert ROOT in said and "not in a bucket" in said and "gcloud storage cp -r" in said
    assert not bucket.requests and not list(tmp_path.iterdir())


def test_one_slash_too_few_makes_no_folder_here(capsys, monkeypatch, tmp_path):
    from t5x_selfprog.main import main

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["run", "--gin_file=quickstart", "--run_dir=gs:/bucket/run"])
    assert "two slashes" in capsys.readouterr().err and not list(tmp_path.iterdir())


_WITHOUT_TENSORFLOW = """
import sys
from t5x_selfprog.model import store
found = [store.load(path) for path in sys.argv[1:]]
assert "tensorflow" not in sys.modules
tokens = [model.tokenizer.encode("def f(x):") for model in found]
print(*(model.identity for model in found), tokens[0] == tokens[1])
"""


def test_models_in_a_bucket_load_as_those_on_disk_in_both_layouts(bucket, user_environment, tmp_path):
    # The shipped model, copied there, and a training run's last checkpoint, saved there by Orbax.
    trained = """
import sys
from t5x_selfprog.model import store
from t5x_selfprog.training.checkpoints import Checkpoints
from verifier.storage import files
model = store.load("base")
for output in sys.argv[1:]:
    store.describe(output, model.config, model.path)
    with Checkpoints(output) as checkpoints:
        checkpoints.save_final(3, model.params)
        assert checkpoints.latest_step() == 3
    files.write_json(files.join(output, "done.json"), {"step": 3, "identity": "trained"})
"""
    from t5x_selfprog.model import store

    for name in os.listdir(os.path.join(store.SHIPPED, "base")):
        files.write_atomic(f"gs://bucket/base/{name}", Path(store.SHIPPED, "base", name).read_bytes())
    environment = user_environment | bucket.environment
    done = subprocess.run(
        [sys.executable, "-c", trained, f"{ROOT}/6_checkpoints", str(tmp_path / "6_checkpoints")],
        env=environment, capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    on_disk = {
        str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file() and p.parent.name != "d"
    }
    there = {name for name in bucket.contents("some/run") if "/d/" not in name}
    assert there == on_disk
    loaded = subprocess.run(
        [sys.executable, "-c", _WITHOUT_TENSORFLOW, "gs://bucket/base", "base", f"{ROOT}/6_checkpoints"],
        env=environment, capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert loaded.returncode == 0, loaded.stderr
    copied, shipped, trained_identity, same_tokens = loaded.stdout.split()
    assert copied == shipped and trained_identity == "trained" and same_tokens == "True"


def comparable(contents: dict[str, bytes], root: str) -> dict[str, object]:
    """The results of a run by name, except measured times and random names.

    Verdicts are compared without the times of judging, checkpoints by the identity in done.json and their items. The
    name of a held-out evaluation is left out, because it is a hash that includes the run's path.
    """
    found: dict[str, object] = {}
    for name, data in contents.items():
        folder, _, last = name.rpartition("/")
        if folder == "times" or "/events" in name or last in MEASURED:
            continue
        if "/6_checkpoints/" in name and last not in ("done.json", "model.json", "tokenizer.json"):
            found.setdefault("steps", set()).add(name.partition("/d/")[0].partition("/ocdbt.process")[0])  # type: ignore
        elif "verdicts" in folder:
            found[folder] = sorted(n.rpartition("/")[2] for n in contents if n.startswith(folder + "/"))
        elif folder == "held_out":
            found.setdefault(folder, []).append(data.decode().replace(root, "RUN"))  # type: ignore
            found[folder].sort()  # type: ignore
        else:
            found[name] = data.decode("latin-1").replace(root, "RUN")
    return found


def verdicts(root: str) -> list[list[dict]]:
    paths = [
        f"{root}/iter_000/4_verdicts",
        f"{root}/base/7_eval/verdicts",
        f"{root}/iter_000/7_eval/verdicts",
    ]
    measured = ("cpu_s", "peak_mb")
    return [
        [{k: v for k, v in row.items() if k not in measured} for row in Ledger.open(path)] for path in paths
    ]


@pytest.mark.slow
def test_a_run_in_a_failing_bucket_killed_and_resumed_equals_one_on_disk(bucket, user_environment, tmp_path):
    config = tmp_path / "small.gin"
    config.write_text(CONFIG.format(problems=str(few_problems(tmp_path / "problems"))))
    local = tmp_path / "local"

    def start(*arguments: str) -> subprocess.Popen:
        return selfprog(bucket, user_environment, tmp_path, *arguments, "--quiet")

    finish(start("run", f"--gin_file={config}", f"--run_dir={local}"))
    on_disk = {str(p.relative_to(local)): p.read_bytes() for p in local.rglob("*") if p.is_file()}

    # Killed in the middle of an evaluation, and while Orbax is writing; meanwhile one request in a hundred fails.
    bucket.fail_every = 100
    for mark in ("base/7_eval/attempts/part-00000-of-00002.json", "iter_000/6_checkpoints/2/"):
        process = start("run", f"--gin_file={config}", f"--run_dir={ROOT}")
        while not any(name.startswith(mark) for name in bucket.contents("some/run")):
            assert process.poll() is None, finish(process)
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    _, err = finish(start("run", f"--run_dir={ROOT}"))  # the configuration is the one saved there
    assert "Report: gs://bucket/some/run/report/index.html" in err
    bucket.fail_every = 0
    assert comparable(bucket.contents("some/run"), ROOT) == comparable(on_disk, str(local))
    assert verdicts(ROOT) == verdicts(str(local))

    # Single stages, with and without existing input.
    for command in ("generate", "solve", "verify", "finetune", "evaluate"):
        out, _ = finish(start(command, f"--run_dir={ROOT}", "--iteration=0", "--json"))
        assert json.loads(out.splitlines()[-1])
    finish(start("evaluate", f"--run_dir={ROOT}", f"--model={ROOT}/iter_000/6_checkpoints"))
    done = json.loads(bucket.contents()["some/run/iter_000/6_checkpoints/done.json"])
    name = f"6_checkpoints-{done['identity'][:8]}"
    assert f"some/run/models/{name}/7_eval/evaluation.json" in bucket.contents()
    out, _ = finish(start("report", f"--run_dir={ROOT}", f"--against={local}"))
    assert out.split() == [f"{ROOT}/report/index.html", f"{ROOT}/report/versus-local.html"]
    before = set(bucket.contents())
    out, _ = finish(start("generate", f"--run_dir={ROOT}"))
    assert "some/run/iter_001/2_kept/manifest.json" in set(bucket.contents()) - before
