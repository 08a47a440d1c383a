"""A slice from its creation to its end, on stubs: what the scripts do on workers, not only what they print."""

import shutil
import subprocess

import pytest

from tests.tpu.cloud import WHERE, Cloud

WAITS = 'trap "echo told >>\\"$HOME/told.log\\"; exit 143" TERM\nwhile :; do sleep 0.1; done'


def launch(cloud: Cloud, flags: str = "--gin_file=quickstart", variables: str = "") -> None:
    done = cloud.run(f"{variables} RUN_DIR=gs://b/runs/p scripts/tpu/launch {flags}")
    assert done.returncode == 0, done.stderr


def test_ubuntus_python_will_not_do_so_uv_brings_one_and_no_tensorflow_comes_along(ready):
    home = ready.worker(1)
    assert (home / ".local" / "bin" / "uv").exists()
    installed = (home / "pip.log").read_text()
    assert "[tpu,gcs]" in installed and "data" not in installed.split("--editable")[1]
    assert "install -y -q bubblewrap" in (home / "apt.log").read_text()


def test_where_and_what_are_told_once(ready):
    launch(ready)
    assert ready.run("scripts/tpu/status").returncode == 0
    said = (ready.folder / "gcloud.log").read_text().splitlines()
    assert all("--zone=z1" in line for line in said if line.startswith("compute"))
    ready.wait(lambda: all(ready.runs(i) for i in (0, 1)))
    (arguments,) = {tuple(ready.runs(i)) for i in (0, 1)}
    assert arguments == (
        "run --gin_file=slices/v5e_8 --gin_file=quickstart --run_dir=gs://b/runs/p --hosts=auto",
    )


def test_what_is_not_committed_goes_along_and_what_is_gone_goes(ready):
    mine = ready.tree / "gin" / "runs" / "mine.gin"
    mine.write_text("include 'runs/quickstart.gin'\nExperiment.seed = 7\n")
    (ready.tree / "t5x_selfprog" / "progress.py").unlink()
    done = ready.run("scripts/tpu/setup")
    assert "uncommitted" in done.stderr and "gin/runs/mine.gin" in done.stderr
    there = ready.worker(0) / "selfprog"
    assert (there / "gin" / "runs" / "mine.gin").read_text() == mine.read_text()
    assert not (there / "t5x_selfprog" / "progress.py").exists() and (there / ".venv").exists()
    mine.write_text("include 'runs/quickstart.gin'\nExperiment.seed = 8\n")
    launch(ready, "--gin_file=mine")  # without setup: gin files are those of now
    assert "seed = 8" in (there / "gin" / "runs" / "mine.gin").read_text()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--gin_file={folder}/mine.gin", "put it into gin/runs/"),
        ("--gin_file=includes_outside", "mine.gin: workers get the gin files under gin/ alone"),
        ("--gin_file=quickstart --gin.Experiment.sede=3", "Experiment.sede"),
        ("--gin_file=quickstart --gin.Experiment.seed=-1", "must be a whole number"),
        ("--gin_file=quickstart --gin.loop.run.controls=\"('humna',)\"", "did you mean 'human'?"),
        ("--gin_file=quickstart --iterations=3", "--iterations=3"),
    ],
)
def test_what_workers_could_not_do_is_refused_before_anything_is_stopped_or_paid(ready, flags, says):
    ready.reads_configurations = True
    (ready.folder / "mine.gin").write_text("include 'runs/quickstart.gin'\n")
    included = ready.tree / "gin" / "runs" / "includes_outside.gin"
    included.write_text(f"include '{ready.folder}/mine.gin'\n")
    asked = (ready.folder / "gcloud.log").read_text()
    done = ready.run(f"scripts/tpu/launch {flags.format(folder=ready.folder)}")
    assert done.returncode == 2 and says in done.stderr, done.stderr
    assert (ready.folder / "gcloud.log").read_text() == asked


def test_what_a_run_reads_is_staged_and_every_worker_has_it(ready):
    ready.reads_configurations = True
    flags = "--gin_file=paper_gpt_neo_125m"
    done = ready.run(f"scripts/tpu/stage {flags}")
    assert done.returncode == 2 and "selfprog import" in done.stderr
    base, p3 = ready.tree / "models" / "gpt-neo-125M", ready.tree / "data" / "p3"
    for folder, name in ((base, "model.json"), (p3, "puzzles.json"), (p3, "Codex_PAPER_1M_iter_0.txt.gz")):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    assert ready.run(f"scripts/tpu/stage {flags}").returncode == 0
    launch(ready, flags)
    for i in (0, 1):
        tree = ready.worker(i) / "selfprog"
        assert (tree / "models" / "gpt-neo-125M" / "model.json").read_text() == "model.json"
        assert (tree / "data" / "p3" / "Codex_PAPER_1M_iter_0.txt.gz").exists()
    shutil.rmtree(ready.folder / "buckets" / "b" / "runs" / "p.staged" / "models")
    done = ready.run(f"scripts/tpu/launch {flags}")
    assert done.returncode != 0 and "run scripts/tpu/stage first" in done.stderr


def test_a_mistake_is_not_tried_again_and_a_crash_is(ready):
    ready.behave("exit 2")
    launch(ready)
    ready.wait(lambda: all(ready.status(i).startswith("ended 2") for i in (0, 1)))
    assert [len(ready.runs(i)) for i in (0, 1)] == [1, 1]
    ready.behave('[[ $(wc -l <"$HOME/runs.log") -lt 4 ]] && exit 134\nexit 0')
    launch(ready)
    ready.wait(lambda: all(ready.status(i).startswith("ended 0") for i in (0, 1)))
    assert [len(ready.runs(i)) for i in (0, 1)] == [4, 4]
    ready.behave("exit 1")
    launch(ready, variables="RESTARTS=3")
    ready.wait(lambda: ready.status(0).startswith("gave up after 3"))
    assert len(ready.runs(0)) == 7


def test_a_launch_takes_the_place_of_an_older_one_and_stop_ends_it_in_good_order(ready):
    ready.behave(WAITS)
    launch(ready)
    ready.wait(lambda: len(ready.runs(0)) == 1)
    launch(ready, "--gin_file=quickstart --gin.Experiment.seed=3")
    ready.wait(lambda: len(ready.runs(0)) == 2)
    assert (ready.worker(0) / "told.log").read_text() == "told\n"  # the first, before the second began
    assert "--gin.Experiment.seed=3" in ready.runs(0)[1]
    done = ready.run("scripts/tpu/stop")
    assert done.returncode == 0 and done.stdout.count("stopped") == 2
    assert (ready.worker(1) / "told.log").read_text() == "told\ntold\n"
    assert len(ready.runs(0)) == 2  # 143 does not restart a run that was told to stop


def test_a_service_that_was_killed_is_seen(ready):
    ready.behave(WAITS)
    launch(ready)
    ready.wait(lambda: ready.status(0).startswith("running"))
    ready.run("pid=$(<$CLOUD/workers/w0/selfprog.service.pid); kill -KILL -- -$pid")
    assert "died while running" in ready.run("scripts/tpu/status").stdout


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_service_is_one_that_systemd_takes(ready, tmp_path):
    launch(ready)
    unit = tmp_path / "selfprog.service"
    text = (ready.worker(0) / "selfprog.service").read_text()
    unit.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if "selfprog.service" in line]
    assert not said, said
    assert "WantedBy=multi-user.target" in text and "KillMode=mixed" in text


@pytest.mark.slow  # half a minute of scripts; what they do is tested above, the whole day in test_pods_walk.py
def test_capacity_that_is_taken_away_comes_back_and_the_run_goes_on_to_its_end(cloud):
    cloud.behave(WAITS)
    keeper = cloud.start(f"{WHERE} scripts/tpu/keep --gin_file=quickstart")
    try:
        cloud.wait(lambda: len(cloud.runs(1)) == 1)
        cloud.take_away()
        cloud.wait(lambda: len(cloud.runs(1)) == 1, 60)  # of a new machine
        cloud.end(keeper)
        keeper = cloud.start("scripts/tpu/keep --gin_file=quickstart")  # takes up what it finds
        cloud.wait(
            lambda: "ACTIVE, running" in (cloud.folder / "started.log").read_text().split("ABSENT")[-1]
        )
        cloud.behave("exit 0")
        for name in ("w0", "w1"):
            cloud.run(f"pkill -TERM -s $(<$CLOUD/workers/{name}/selfprog.service.pid) -f behaviour")
        assert keeper.wait(120) == 0
    finally:
        cloud.end(keeper)
    created = [x for x in (cloud.folder / "gcloud.log").read_text().splitlines() if "resources create" in x]
    assert len(created) == 2 and all(line.endswith("--spot") for line in created)
    assert not (cloud.folder / "state").exists()  # given back
