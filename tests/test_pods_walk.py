"""docs/pods.md, walked as it is written, on stubs: every command that it shows, and what it says they print."""

import re

from tests.cloud import REPOSITORY, Cloud

WORKS = (
    'echo working\n[[ ! -f "$CLOUD/finish" ]] || exit 0\ntrap "exit 143" TERM\nwhile :; do sleep 0.1; done'
)


def test_the_day_goes_as_it_is_told(tmp_path):
    text = (REPOSITORY / "docs" / "pods.md").read_text()
    cloud = Cloud(tmp_path / "cloud", hosts=16)
    cloud.behave(WORKS)
    for name in (
        "data/p3/puzzles.json",
        "data/p3/Codex_PAPER_1M_iter_0.txt.gz",
        "models/gpt-neo-2.7B/model.json",
    ):
        (cloud.tree / name).parent.mkdir(parents=True, exist_ok=True)
        (cloud.tree / name).write_text("{}")
    exports, walked = "", 0
    try:
        for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, *printed = part.strip().splitlines()
                if command.startswith("export "):
                    exports = f"{command}; "
                    continue
                if command.startswith("scripts/tpu/keep"):  # the run ends while it looks on
                    (cloud.folder / "finish").touch()
                    cloud.run("scripts/tpu/stop; scripts/tpu/launch --gin_file=paper_gpt_neo_2p7b")
                    cloud.wait(lambda: cloud.status(0).startswith("ended 0"))
                done = cloud.run(exports + command if walked == 0 else command)  # later ones remember
                said = done.stdout + done.stderr
                assert done.returncode == 0, f"{command}\n{said}"
                for line in printed:
                    assert line in said, f"{command} does not print {line!r} but\n{said}"
                walked += 1
                if command.startswith("scripts/tpu/launch"):
                    cloud.wait(lambda: cloud.status(15).startswith("running"))
                if command.startswith("scripts/tpu/keep"):
                    assert cloud.run("scripts/tpu/create").returncode == 0  # for what the page does after it
        assert walked == 10
    finally:
        cloud.close()
