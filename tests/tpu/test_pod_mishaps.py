"""What goes wrong half way on a slice, on stubs: nothing of it may cost more than the minute in which it is seen."""

import shutil

import pytest

from tests.tpu.cloud import WHERE, Cloud

WAITS = 'trap "exit 143" TERM\nwhile :; do sleep 0.1; done'


@pytest.fixture
def ready(ready):
    ready.run("mkdir -p data/p3 && echo 1 >data/p3/a && echo 2 >data/p3/b")
    return ready


def asked(cloud: Cloud, what: str) -> int:
    return sum(what in line for line in (cloud.folder / "gcloud.log").read_text().splitlines())


def gone(cloud: Cloud) -> bool:
    return not (cloud.folder / "state").exists()


# Requesting


def test_create_goes_on_waiting_for_what_it_requested_and_takes_nobody_elses(cloud):
    cloud.fault("describe .*state.state", "you are not logged in")
    done = cloud.run(f"{WHERE} scripts/tpu/create")
    assert done.returncode != 0 and asked(cloud, "resources create") == 0
    assert "you are not logged in" in done.stderr
    assert cloud.run(f"{WHERE} scripts/tpu/create --spot").returncode == 0
    again = cloud.run("scripts/tpu/create")
    assert again.returncode == 0 and asked(cloud, "resources create") == 1
    assert "is requested already" in again.stderr and again.stderr.endswith("tpu: ACTIVE\n")
    other = cloud.run("SLICE=v5e_64 scripts/tpu/create")
    assert other.returncode == 2 and "a v5litepod-8 called selfprog is there already" in other.stderr
    shutil.rmtree(cloud.folder / "home")  # another user
    for script in ("create", "keep"):
        theirs = cloud.run(f"{WHERE} scripts/tpu/{script}")
        assert theirs.returncode == 2 and "not requested from here" in theirs.stderr
    assert asked(cloud, "resources create") == 1 and asked(cloud, "tpu-vm ssh") == 0


def test_a_request_that_is_waited_for_survives_minutes_without_an_answer(cloud):
    assert cloud.run(f"{WHERE} scripts/tpu/create").returncode == 0
    (cloud.folder / "state").write_text("WAITING_FOR_RESOURCES")
    waiting = cloud.start("scripts/tpu/create")
    try:
        log = cloud.folder / "started.log"
        cloud.wait(lambda: "tpu: WAITING_FOR_RESOURCES" in log.read_text())
        cloud.fault("describe", times=2)
        cloud.wait(lambda: log.read_text().count("no answer") == 2)
        (cloud.folder / "state").write_text("ACTIVE")
        assert waiting.wait(30) == 0
    finally:
        cloud.end(waiting)


# Keeping


def test_keep_gives_the_slice_back_after_a_mistake_and_saves_what_the_logs_say(cloud):
    cloud.behave("echo why it cannot work >&2; exit 2")
    cloud.fault("resources delete", times=2)
    done = cloud.run(f"{WHERE} scripts/tpu/keep --gin_file=quickstart")
    assert done.returncode == 1 and "the run needs you: ended 2" in done.stderr and gone(cloud)
    assert done.stderr.count("the slice is still there, and costs; once more") == 2
    log = cloud.folder / "home" / ".local" / "state" / "selfprog" / "selfprog.log"
    assert log.read_text().count("why it cannot work") == 2 and str(log) in done.stderr  # one a worker
    assert "why it cannot work" in done.stderr


def test_keep_leaves_the_slice_where_that_is_asked_and_begins_anew_on_it(cloud):
    cloud.behave("exit 2")
    done = cloud.run(f"{WHERE} KEEP_SLICE=1 scripts/tpu/keep --gin_file=quickstart")
    assert done.returncode == 1 and not gone(cloud) and "costs, until scripts/tpu/delete" in done.stderr
    cloud.behave("exit 0")  # the mistake is mended
    done = cloud.run("scripts/tpu/keep --gin_file=quickstart")
    assert done.returncode == 0 and gone(cloud), done.stderr
    assert asked(cloud, "resources create") == 1


def test_keep_does_not_pay_for_a_slice_that_it_cannot_set_up(cloud):
    cloud.fault("tpu-vm scp", "Permission denied (publickey)", times=99)
    done = cloud.run(f"{WHERE} TRIES=2 scripts/tpu/keep --gin_file=quickstart")
    assert done.returncode == 1 and "setup and launch failed 2 times in a row" in done.stderr and gone(cloud)


def test_keep_does_not_ask_for_ever_for_what_is_refused(cloud):
    done = cloud.run(f"{WHERE} CREATE=--spott scripts/tpu/keep --gin_file=quickstart")
    assert done.returncode == 2 and asked(cloud, "resources create") == 3 and gone(cloud)


def test_keep_asks_for_nothing_before_all_that_the_run_reads_is_staged(cloud):
    cloud.run("mkdir -p data/p3 && echo 1 >data/p3/a")
    (cloud.folder / "needs").write_text("data/p3\n")
    cloud.fault("storage rsync", "no permission on the bucket")
    assert cloud.run(f"{WHERE} scripts/tpu/keep --gin_file=quickstart").returncode != 0
    assert asked(cloud, "resources create") == 0
    done = cloud.run(f"{WHERE} scripts/tpu/keep --gin_file=quickstart")
    assert done.returncode == 0 and gone(cloud), done.stderr


def test_keep_sees_a_slice_that_was_taken_away_while_its_request_is_still_active(cloud):
    cloud.behave('[[ -f "$CLOUD/finish" ]] || exec sleep 100')
    keeper = cloud.start(f"{WHERE} scripts/tpu/keep --gin_file=quickstart")
    try:
        cloud.wait(lambda: len(cloud.runs(1)) == 1)
        (cloud.folder / "finish").touch()  # the next machines' run ends at once
        (cloud.folder / "node").write_text("PREEMPTED")
        cloud.fault("tpu-vm ssh .*worker status", times=1)
        assert keeper.wait(60) == 0 and gone(cloud)
    finally:
        cloud.end(keeper)
    assert asked(cloud, "resources create") == 2


def test_one_dead_host_is_seen_by_keep_though_host_0_waits_for_it(cloud):
    cloud.behave('[[ -f "$CLOUD/finish" ]] || exec sleep 100')
    keeper = cloud.start(f"{WHERE} scripts/tpu/keep --gin_file=quickstart")
    try:
        cloud.wait(lambda: cloud.status(0).startswith("running") and cloud.status(1).startswith("running"))
        (cloud.folder / "finish").touch()
        cloud.run("pid=$(<$CLOUD/workers/w1/selfprog.service.pid); kill -KILL -- -$pid")
        assert keeper.wait(60) == 0
    finally:
        cloud.end(keeper)
    assert "ACTIVE, died while running" in (cloud.folder / "started.log").read_text()


def test_keep_does_not_take_a_folder_back_that_was_taken_from_it(cloud):
    theirs = 'echo "slice other" >"$CLOUD/buckets/b/runs/p.owner"'
    cloud.behave(f'{theirs}; kill -KILL -- -$(<"$HOME/selfprog.service.pid")')
    done = cloud.run(f"{WHERE} TAKE_OVER=1 scripts/tpu/keep --gin_file=quickstart")
    assert done.returncode == 1 and "slice other writes there" in done.stderr and gone(cloud), done.stderr
    assert (cloud.folder / "buckets" / "b" / "runs" / "p.owner").read_text() == "slice other\n"


# Staging and launching


def test_nobody_begins_with_half_of_what_was_staged(ready):
    (ready.folder / "needs").write_text("data/p3\n")
    launch = "scripts/tpu/launch --gin_file=quickstart"
    assert ready.run("scripts/tpu/stage --gin_file=quickstart && " + launch).returncode == 0
    ready.run("scripts/tpu/stop; echo 3 >data/p3/a; rm data/p3/b")
    ready.fault("storage rsync .*tree/data")
    assert ready.run("scripts/tpu/stage --gin_file=quickstart").returncode != 0
    done = ready.run(launch)
    assert done.returncode == 2 and "is there in part" in done.stderr
    assert ready.run("scripts/tpu/stage --gin_file=quickstart && " + launch).returncode == 0
    there = ready.worker(1) / "selfprog" / "data" / "p3"
    assert (there / "a").read_text() == "3\n" and not (there / "b").exists()
    (ready.folder / "buckets" / "b" / "runs" / "p.staged" / "data" / "p3" / "a").write_text("")
    done = ready.run(launch)
    assert done.returncode == 2 and "data/p3/a does not have the 2 bytes that were staged" in done.stderr


def test_a_folder_that_all_workers_see_takes_the_place_of_a_bucket(ready):
    (ready.folder / "needs").write_text("data/p3\ndata/q q\n")
    run_dir = ready.folder / "shared" / "my runs" / "p"
    ready.run("echo 12345 >'data/q q'")
    both = "scripts/tpu/stage --gin_file=quickstart && scripts/tpu/launch --gin_file=quickstart"
    for text in ("1\n", "22\n"):
        (ready.tree / "data" / "p3" / "a").write_text(text)
        done = ready.run(f"export RUN_DIR='{run_dir}'; {both}")
        assert done.returncode == 0, done.stderr
        there = ready.worker(1) / "selfprog" / "data"
        assert (there / "p3" / "a").read_text() == text and (there / "q q").read_text() == "12345\n"
        (ready.tree / "data" / "p3" / "b").unlink(missing_ok=True)
    assert not (there / "p3" / "b").exists()
    ready.wait(lambda: ready.status(1).startswith("ended 0"))
    assert ready.runs(1)[-1].endswith(f"--run_dir={run_dir} --hosts=auto")


def test_a_launch_that_cannot_begin_leaves_the_run_in_progress_alone(ready):
    ready.behave(WAITS)
    assert ready.run("scripts/tpu/launch --gin_file=quickstart").returncode == 0
    (ready.folder / "needs").write_text("data/p3\n")
    done = ready.run("scripts/tpu/launch --gin_file=paper_gpt_neo_125m")
    assert done.returncode == 2 and "run scripts/tpu/stage first" in done.stderr
    assert [ready.status(i).startswith("running") for i in (0, 1)] == [True, True]
    assert [len(ready.runs(i)) for i in (0, 1)] == [1, 1]


def test_two_slices_do_not_write_to_one_folder(ready, tmp_path):
    ready.behave(WAITS)
    launch = "scripts/tpu/launch --gin_file=quickstart"
    assert ready.run(launch).returncode == 0 and ready.run(launch).returncode == 0
    shutil.rmtree(ready.folder / "home")  # another user
    theirs = f"{WHERE} NAME=theirs scripts/tpu/"
    for script in ("launch", "keep"):
        done = ready.run(f"{theirs}{script} --gin_file=quickstart")
        assert done.returncode == 2 and "RUN_DIR=gs://b/runs/p: slice selfprog in z1 of" in done.stderr
    assert asked(ready, "resources create") == 1 and ready.status(0).startswith("running")
    owner = ready.folder / "buckets" / "b" / "runs" / "p.owner"
    assert ready.run(f"{WHERE} scripts/tpu/stop").returncode == 0 and not owner.exists()
    owner.write_text("slice lost of n\n")
    assert ready.run(f"{WHERE} scripts/tpu/delete").returncode == 0 and owner.exists()  # not ours to free
    taken = ready.run(f"TAKE_OVER=1 {theirs}create; TAKE_OVER=1 {theirs}setup; TAKE_OVER=1 {theirs}launch")
    assert taken.returncode == 0, taken.stderr


OWN = f"export POLL_S=0.1 {WHERE}; source scripts/tpu/common.sh; own"


def askers(cloud: Cloud, names: list[str], variables: str = "") -> list[int]:
    """Statuses of slices of these names that ask for the run directory at the same moment."""
    asking = [cloud.start(f"export NAME={name} {variables}; {OWN}") for name in names]
    return [process.wait(120) for process in asking]


def test_of_slices_that_ask_at_the_same_moment_one_gets_the_folder(cloud):
    owner = cloud.folder / "buckets" / "b" / "runs" / "p.owner"
    names = [f"s{i}" for i in range(5)]
    statuses = askers(cloud, names)
    assert sorted(statuses) == [0, 2, 2, 2, 2], (cloud.folder / "started.log").read_text()
    assert owner.read_text().startswith(f"slice {names[statuses.index(0)]} in z1 of ")
    assert askers(cloud, [names[statuses.index(0)]]) == [0]  # ours already
    # One of two that take it over at the same moment; the other is told who was faster.
    owner.write_text("slice lost in z9 of n\n")
    statuses = askers(cloud, names[:2], "TAKE_OVER=1")
    assert owner.read_text() != "slice lost in z9 of n\n" and statuses.count(0) >= 1
    winner = names[:2][statuses.index(0)] if statuses.count(0) == 1 else owner.read_text().split()[1]
    assert owner.read_text().startswith(f"slice {winner} in z1 of ")


def test_one_name_in_two_zones_is_two_slices_and_no_answer_is_no_leave(cloud):
    assert askers(cloud, ["mine"]) == [0]
    done = cloud.run(f"export NAME=mine; {OWN.replace('ZONE=z1', 'ZONE=z2')}")
    assert done.returncode == 2 and "slice mine in z1 of" in done.stderr
    cloud.fault("storage c", "HTTPError 403: no permission on the bucket", times=99)
    done = cloud.run(f"export NAME=other; {OWN}")
    assert done.returncode == 1 and "403" in done.stderr and "p.owner cannot be written" in done.stderr


def test_gin_files_are_found_from_any_folder_and_odd_values_arrive_as_they_were_given(ready):
    (ready.tree / "gin" / "runs" / "mine.gin").write_text("include 'runs/quickstart.gin'\n")
    ready.behave('printf "%s\\n" "$@" >"$HOME/last"')
    odd = """--gin.Wandb.project='"a b; $HOME \\n `x`"' '--gin.SolvePrompt.tutorial="it'"'"'s"'"""
    done = ready.run(
        f"cd gin/runs && ../../scripts/tpu/launch --gin_file mine.gin --gin_file=quickstart {odd}"
    )
    assert done.returncode == 0, done.stderr
    last = ready.worker(1) / "last"
    ready.wait(last.exists)
    ready.wait(lambda: ready.status(1).startswith("ended 0"))
    assert last.read_text().splitlines() == [
        "run",
        "--gin_file=slices/v5e_8",
        "--gin_file=gin/runs/mine.gin",
        "--gin_file=gin/runs/quickstart.gin",
        '--gin.Wandb.project="a b; $HOME \\n `x`"',
        '--gin.SolvePrompt.tutorial="it\'s"',
        "--run_dir=gs://b/runs/p",
        "--hosts=auto",
    ]


def test_new_code_reaches_no_run_half_way_and_a_tree_needs_no_repository(ready):
    ready.behave(WAITS)
    assert ready.run("scripts/tpu/launch --gin_file=quickstart").returncode == 0
    ready.wait(lambda: ready.status(0).startswith("running"))
    shutil.rmtree(ready.tree / ".git")
    (ready.tree / "t5x_selfprog" / "new.py").write_text("")
    done = ready.run("scripts/tpu/setup")
    assert done.returncode == 0, done.stderr
    assert ready.status(0).startswith("stopped") and ready.status(1).startswith("stopped")
    assert (ready.worker(1) / "selfprog" / "t5x_selfprog" / "new.py").exists()


def test_machines_that_are_not_set_up_or_not_there_say_so(cloud):
    assert cloud.run(f"{WHERE} scripts/tpu/create").returncode == 0
    assert cloud.run("scripts/tpu/status").stdout == "ACTIVE\n" + 2 * "not set up\n"
    assert cloud.run("scripts/tpu/stop").stdout == 2 * "not set up\n"
    done = cloud.run("scripts/tpu/launch --gin_file=quickstart")
    assert done.returncode == 2 and "not set up: scripts/tpu/setup" in done.stderr
    (cloud.folder / "state").write_text("WAITING_FOR_RESOURCES")
    done = cloud.run("scripts/tpu/status")
    assert done.returncode == 0 and done.stdout == "WAITING_FOR_RESOURCES\n"
