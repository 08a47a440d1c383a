"""docs/pods.md, walked as it is written, on stubs: every command that it shows, and what it says they print."""

import re

import pytest

from tests.tpu.cloud import REPOSITORY, Cloud

# A run that writes its page, goes on until it is told to stop, and ends by itself once the test says so.
WORKS = r"""
page="$CLOUD/buckets/BUCKET/runs/paper/report"
mkdir -p "$page" && echo page >"$page/index.html"
[[ ! -f "$CLOUD/finish" ]] || exit 0
trap "exit 143" TERM
while :; do sleep 0.1; done
"""
READS = ("data/p3/puzzles.json", "data/p3/Codex_PAPER_1M_iter_0.txt.gz", "models/gpt-neo-2.7B/model.json")


@pytest.mark.slow  # half a minute of processes that wait for one another
def test_the_day_goes_as_it_is_told(tmp_path):
    steps = list(shown((REPOSITORY / "docs" / "pods.md").read_text()))
    assert [command.split()[0].rpartition("/")[2] for command, _ in steps if "scripts" in command] == (
        "create setup stage launch status stop launch keep report delete".split()
    )
    cloud = Cloud(tmp_path / "cloud", hosts=3)
    cloud.reads_configurations = True
    cloud.behave(WORKS)
    for name in READS:
        (cloud.tree / name).parent.mkdir(parents=True, exist_ok=True)
        (cloud.tree / name).write_text("{}")
    exports = ""
    try:
        for command, printed in steps:
            if command.startswith("export "):
                exports = f"{command}; "
                continue
            if command.startswith("scripts/tpu/keep"):  # it looks on while the run comes to its end
                (cloud.folder / "finish").touch()
                assert (
                    cloud.run(
                        "scripts/tpu/stop && scripts/tpu/launch --gin_file=paper_gpt_neo_2p7b"
                    ).returncode
                    == 0
                )
                cloud.wait(lambda: cloud.status(0).startswith("ended 0"))
            done = cloud.run(exports + command)
            exports = ""  # a new terminal need not say it again
            said = done.stdout + done.stderr
            assert done.returncode == 0, f"{command}\n{said}"
            for line in printed:
                assert line in said, f"{command} does not print {line!r} but\n{said}"
            if command.startswith("scripts/tpu/launch"):
                cloud.wait(lambda: all(cloud.status(i).startswith("running") for i in range(3)))
            if command.startswith("scripts/tpu/keep"):
                assert not (cloud.folder / "state").exists()  # given back
                where = "SLICE=v5e_64 ZONE=us-west4-a RUN_DIR=gs://BUCKET/runs/paper"
                assert (
                    cloud.run(f"{where} scripts/tpu/create").returncode == 0
                )  # for what the page does after it
        assert (cloud.tree / "fetched" / "paper" / "report" / "index.html").read_text() == "page\n"
        assert not (cloud.folder / "state").exists()
    finally:
        cloud.close()


def shown(text: str):
    """The page's commands in order, each with the lines that it is said to print."""
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *printed = part.strip().splitlines()
            yield command, printed
