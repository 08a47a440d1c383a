"""A run packed and unpacked: the same files, all or nothing, and every faulty pack reported by name."""

import io
import json
import lzma
import random
import re
import tarfile
from pathlib import Path

import pytest

from t5x_selfprog.main import main
from t5x_selfprog.moving import blocks
from t5x_selfprog.moving.pack import pack
from t5x_selfprog.moving.unpack import unpack
from t5x_selfprog.run_dir import open_run
from verifier.errors import UserError
from verifier.storage.records import ATTEMPT, VERDICT
from verifier.storage.shards import Ledger


def attempt(number: int) -> dict:
    return {
        "puzzle_id": f"p{number % 7}", "puzzle": "def f(x: int, a=3):\n    return x + a == 10",
        "solution": f"def g(a=3):\n    return 10 - a  # {number}\n", "sample_index": number, "logprob": -number / 3,
        "n_tokens": 9, "stop_reason": "unindented", "checkpoint": "cafe",
    }  # fmt: skip


def judged(number: int) -> dict:
    return {
        **attempt(number), "outcome": "accepted", "detail": "", "cpu_s": 0.25, "peak_mb": 9.0, "answer": "7",
        "isolation": "full", "verifier_version": "4", "generality": None, "count": None,
    }  # fmt: skip


def ledger(path: Path, schema, make, shards: int = 2, upto: int | None = None) -> None:
    made = Ledger(str(path), stage=path.name, schema=schema, shard_count=shards, seed=0, fingerprint="f")
    for shard in range(shards if upto is None else upto):
        made.commit(shard, (make(shard * 10 + i) for i in range(10)), tokens=90)
    if upto is None:
        made.finish()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished iteration, one whose attempts are half judged, and an arm; with weights, events and a claim."""
    root = tmp_path / "run"
    open_run(root, {"t5x_selfprog.Experiment.start": "'base'", "t5x_selfprog.Experiment.base": "'models/x'"})
    ledger(root / "iter_000" / "3_solutions", ATTEMPT, attempt)
    ledger(root / "iter_000" / "4_verdicts", VERDICT, judged)
    ledger(root / "iter_000" / "7_eval" / "attempts", ATTEMPT, attempt)
    ledger(root / "iter_000" / "7_eval" / "verdicts", VERDICT, judged)
    ledger(root / "iter_001" / "3_solutions", ATTEMPT, attempt)
    ledger(root / "iter_001" / "4_verdicts", VERDICT, judged, upto=1)
    texts = {
        "config.gin": "# made up\n",
        "base/7_eval/evaluation.json": json.dumps({"checkpoint": "0123456789abcdef"}),
        "iter_000/6_checkpoints/done.json": json.dumps({"identity": "aa", "step": 3}),
        "iter_000/6_checkpoints/model.json": "{}",
        "iter_000/6_checkpoints/3/params/weights": "W" * 5000,
        "iter_000/7_eval/evaluation.json": "{}",
        "controls/human/6_checkpoints/done.json": json.dumps({"identity": "bb", "step": 3}),
        "controls/human/6_checkpoints/3/params/weights": "W" * 5000,
        "events/1_puzzles/events.out": "E",
        "stuck-0.txt": "S",
        "iter_001/4_verdicts/part-00001-of-00002.claim-000001": "somebody",
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def files_of(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


LEFT_BEHIND = ("/3/params/", "events/", "stuck-", ".claim-")


def test_everything_but_weights_and_measurements_comes_back_to_the_byte(run, tmp_path):
    unpack(pack(str(run), str(tmp_path / "a.pack")), str(tmp_path / "there"))
    before = {n: b for n, b in files_of(run).items() if not any(part in n for part in LEFT_BEHIND)}
    after = {n.replace("packed_done", "done"): b for n, b in files_of(tmp_path / "there").items()}
    assert after == before


def test_attempts_travel_as_verdicts_where_all_are_judged_and_as_they_are_elsewhere(run, tmp_path):
    (path,) = pack(str(run), str(tmp_path / "a.pack"))
    with tarfile.open(path) as archive:
        names = archive.getnames()
    shards = [name for name in names if name.endswith(".tfrecord")]
    assert [name for name in shards if "3_solutions" in name or "attempts" in name] == [
        f"iter_001/3_solutions/part-0000{i}-of-00002.tfrecord" for i in range(2)
    ]


def test_the_same_run_gives_the_same_bytes_on_any_number_of_cores(run, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1000)
    pack(str(run), str(tmp_path / "a.pack"))
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    pack(str(run), str(tmp_path / "b.pack"))
    assert (tmp_path / "a.pack").read_bytes() == (tmp_path / "b.pack").read_bytes()


def test_weights_that_are_needed_again_are_marked_for_training_and_no_others(run, tmp_path):
    packed = pack(str(run), str(tmp_path / "a.pack"))
    unpack(packed, str(tmp_path / "there"))
    marked = [n for n in files_of(tmp_path / "there") if n.endswith("packed_done.json")]
    assert marked == [
        "controls/human/6_checkpoints/packed_done.json",
        "iter_000/6_checkpoints/packed_done.json",
    ]
    (run / "summary.json").write_text("{}")  # finished: nothing will be sampled from its weights
    unpack(pack(str(run), str(tmp_path / "b.pack")), str(tmp_path / "finished"))
    assert not list((tmp_path / "finished").rglob("packed_done.json"))


def test_weights_from_which_all_was_sampled_are_not_trained_again(run, tmp_path):
    solutions = run / "iter_001" / "3_solutions"
    for number, (ended, sampled) in enumerate([(False, False), (False, True), (True, True)]):
        if sampled:
            for name in ("1_puzzles", "5_dataset"):
                (run / "iter_001" / name).mkdir(exist_ok=True)
                (run / "iter_001" / name / "manifest.json").write_text('{"rows": 1}')
            (solutions / "manifest.json").write_text("{}")
        if ended:  # the run ends after the first iteration, whose model is measured
            (run / "ended.json").write_text('{"iterations": 1}')
        there = tmp_path / f"there{number}"
        unpack(pack(str(run), str(tmp_path / f"{number}.pack")), str(there))
        marked = (there / "iter_000" / "6_checkpoints" / "packed_done.json").exists()
        assert marked == (ended or not sampled)


@pytest.mark.parametrize("start", ["base", "previous"])
def test_an_iteration_that_learnt_nothing_does_not_cost_the_weights_before_it(run, tmp_path, start):
    """The next one samples from them, whether what came between has ended without a pair or may still do so."""
    text = (run / "fingerprint.json").read_text().replace("'base'", repr(start))
    (run / "fingerprint.json").write_text(text)
    texts = {"1_puzzles/manifest.json": "{}", "5_dataset/manifest.json": '{"rows": 0}'}
    for number, more in enumerate([{}, {"6_checkpoints/done.json": '{"step": 0, "pairs": 0}'}]):
        for name, text in (texts | more).items():
            (run / "iter_001" / name).parent.mkdir(exist_ok=True)
            (run / "iter_001" / name).write_text(text)
        for go_on in (False, True):
            there = tmp_path / f"there{number}{go_on}"
            unpack(pack(str(run), str(tmp_path / "a.pack")), str(there), go_on=go_on)
            checkpoints = there / "iter_000" / "6_checkpoints"
            assert (checkpoints / "3" / "params" / "weights").exists() == (start == "previous")
            assert (checkpoints / "packed_done.json").exists() == (start == "base")
            assert not (there / "iter_001" / "6_checkpoints" / "packed_done.json").exists()


@pytest.mark.parametrize("start", ["base", "previous"])
def test_what_was_sampled_while_learning_travels_and_unfinished_weights_do_not(run, tmp_path, start):
    """A policy gradient's attempts could not be made again elsewhere; from them, its weights can."""
    text = (run / "fingerprint.json").read_text().replace("'base'", repr(start))
    (run / "fingerprint.json").write_text(text)
    sampled = []
    for number in range(2):  # finished, and in the middle of its training
        folder = run / f"iter_00{number}" / "6_checkpoints"
        ledger(folder / "rollouts" / "0000", VERDICT, judged)
        ledger(folder / "rollouts" / "0001" / "attempts", VERDICT, judged, upto=1)
        ledger(folder / "programs", ATTEMPT, attempt)
        sampled += [
            str(p.relative_to(run)) for kind in ("rollouts", "programs") for p in (folder / kind).rglob("*.*")
        ]
    (run / "iter_001" / "6_checkpoints" / "2" / "rest").mkdir(parents=True)
    (run / "iter_001" / "6_checkpoints" / "2" / "rest" / "moments").write_text("M" * 5000)
    (run / "iter_001" / "6_checkpoints" / "metrics.jsonl").write_text("{}\n")
    unpack(pack(str(run), str(tmp_path / "a.pack")), str(tmp_path / "there"))
    there = files_of(tmp_path / "there")
    assert len(sampled) == 30 and all(there[name] == (run / name).read_bytes() for name in sampled)
    assert not any("/2/rest/" in name or "001/6_checkpoints/metrics" in name for name in there)
    assert ("iter_000/6_checkpoints/3/params/weights" in there) == (start == "previous")


def test_from_the_previous_iteration_the_newest_weights_travel(run, tmp_path):
    text = (run / "fingerprint.json").read_text().replace("'base'", "'previous'")
    (run / "fingerprint.json").write_text(text)
    unpack(pack(str(run), str(tmp_path / "a.pack")), str(tmp_path / "there"))
    assert (tmp_path / "there/iter_000/6_checkpoints/3/params/weights").exists()
    assert not (tmp_path / "there/controls/human/6_checkpoints/3").exists()


def test_going_on_sets_the_end_aside_and_keeps_it(run, tmp_path):
    for name in ("summary.json", "ended.json", "table.md"):
        (run / name).write_text(f'"{name}"')
    unpack(pack(str(run), str(tmp_path / "a.pack")), str(tmp_path / "there"), go_on=True)
    there = files_of(tmp_path / "there")
    assert there["earlier/part_000/summary.json"] == b'"summary.json"'
    assert "earlier/part_000/controls/human/6_checkpoints/done.json" in there
    assert not [
        name for name in there if name in ("summary.json", "ended.json") or name.startswith("controls")
    ]
    assert "iter_000/6_checkpoints/packed_done.json" in there


def test_what_a_living_run_removes_while_it_is_packed_is_left_out(run, tmp_path, monkeypatch):
    from t5x_selfprog.moving import contents
    from t5x_selfprog.moving import pack as packing

    listed = contents.members

    def then_removed(root: str, start: str):
        found = listed(root, start)
        (run / "iter_000" / "6_checkpoints" / "model.json").unlink()
        return found

    monkeypatch.setattr(packing.contents, "members", then_removed)
    unpack(pack(str(run), str(tmp_path / "a.pack")), str(tmp_path / "there"))
    assert not (tmp_path / "there/iter_000/6_checkpoints/model.json").exists()
    assert (tmp_path / "there/iter_000/7_eval/evaluation.json").exists()


def test_pieces_in_any_order_are_one_pack(run, tmp_path):
    blob = random.Random(0).randbytes(3 << 20)
    (run / "noise").write_bytes(blob)
    pieces = pack(str(run), str(tmp_path / "a.pack"), piece_mb=1)
    assert len(pieces) == 4 and not (tmp_path / "a.pack").exists()
    for number in (4, 5):  # of an earlier, larger pack
        (tmp_path / f"a.pack.{number:02d}").write_bytes(b"old")
    assert pack(str(run), str(tmp_path / "a.pack"), piece_mb=1) == pieces
    assert sorted(map(str, tmp_path.glob("a.pack.*"))) == pieces
    unpack(pieces[::-1], str(tmp_path / "there"))
    assert (tmp_path / "there" / "noise").read_bytes() == blob
    with pytest.raises(UserError, match=r"not a whole pack|damaged|incomplete"):
        unpack(pieces[:2], str(tmp_path / "half"))
    with pytest.raises(UserError, match=r"not a whole pack|damaged|not made by"):
        unpack(pieces[1:], str(tmp_path / "half"))
    assert not (tmp_path / "half").exists() and not (tmp_path / "half.unpacking").exists()


def test_cut_anywhere_it_is_not_a_whole_pack(run, tmp_path, monkeypatch):
    """Also between two of the streams that it is made of, where the decompressor sees nothing wrong."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 2048)
    (path,) = pack(str(run), str(tmp_path / "a.pack"))
    whole = Path(path).read_bytes()
    streams = [found.start() for found in re.finditer(rb"\xfd7zXZ\x00", whole)]
    assert len(streams) > 20
    streams = streams[:-6]  # the archive ends in zeros, without which every file is there
    for end in [*streams[::3], *(cut + 40 for cut in streams[::9])]:
        Path(path).write_bytes(whole[:end])
        with pytest.raises(UserError, match=r"not a whole pack|incomplete|not made by|is damaged"):
            unpack([path], str(tmp_path / "there"))
        assert not (tmp_path / "there").exists()


def _altered(path: str, change) -> None:
    """Rewrites a pack with `change` made to its list of (name, data)."""
    with tarfile.open(path) as archive:
        members = [(m.name, archive.extractfile(m).read()) for m in archive]
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, data in change(members):
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    Path(path).write_bytes(lzma.compress(raw.getvalue()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: [(m[0][0], m[0][1].replace(b'"format": 1', b'"format": 9')), *m[1:]], "format 9"),
        (lambda m: m[:-1], "incomplete, 1 files are missing"),
        (lambda m: m[1:], "not made by `selfprog pack`"),
        (lambda m: [*m[:-1], (m[-1][0], m[-1][1] + b"x")], "damaged"),
        (lambda m: [*m, ("../outside", b"x")], "not a name"),
        (lambda m: [*m, ("surplus", b"x")], "does not belong there"),
        (lambda m: [(m[0][0], m[0][1][:99]), *m[1:]], r"its pack\.json is damaged"),
        (
            lambda m: [(m[0][0], m[0][1].replace(b'"rebuilt"', b'"built"')), *m[1:]],
            r"its pack\.json is damaged",
        ),
        (lambda m: [(m[0][0], b"[]"), *m[1:]], r"its pack\.json is damaged"),
        (
            lambda m: [(m[0][0], m[0][1].replace(b"/3_solutions/part-00000", b"/../../part-00000")), *m[1:]],
            "not a name",
        ),
        (
            lambda m: [
                (m[0][0], m[0][1].replace(b"/3_solutions/part-00000", b"/5_dataset/part-00000")),
                *m[1:],
            ],
            "not a name",
        ),
    ],
)
def test_what_is_wrong_with_a_pack_is_said_and_nothing_is_left(run, tmp_path, change, said):
    (path,) = pack(str(run), str(tmp_path / "a.pack"))
    _altered(path, change)
    with pytest.raises(UserError, match=said):
        unpack([path], str(tmp_path / "there"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pack", "run"]


def test_a_pack_of_another_base_is_refused_with_both_identities(run, tmp_path):
    packed = pack(str(run), str(tmp_path / "a.pack"))
    with pytest.raises(
        UserError, match=r"--base=base: has identity [0-9a-f]{16}, .* made from 0123456789abcdef"
    ):
        unpack(packed, str(tmp_path / "there"), base="base")
    assert not (tmp_path / "there").exists()


def test_commands_say_what_they_made_and_refuse_what_they_must(run, tmp_path, capsys):
    there = str(tmp_path / "there")
    assert main(["pack", f"--run_dir={run}", f"--output={tmp_path}/a.pack"]) == 0
    assert main(["unpack", f"{tmp_path}/a.pack", f"--run_dir={there}"]) == 0
    out = capsys.readouterr().out
    assert "selfprog unpack" in out and "4 made again from verdicts" in out and "0123456789abcdef" in out
    assert main(["unpack", f"{tmp_path}/a.pack", f"--run_dir={there}"]) == 2
    assert main(["unpack", f"{tmp_path}/none.pack", f"--run_dir={there}2"]) == 2
    assert main(["pack", f"--run_dir={tmp_path}", f"--output={tmp_path}/b.pack"]) == 2
    assert main(["pack", f"--run_dir={run}", f"--output={run}/b.pack"]) == 2
    assert main(["pack", f"--run_dir={run}", f"--output={tmp_path}"]) == 2
    assert main(["pack", f"--run_dir={run}", "--output=/proc/b.pack"]) == 2  # where even root cannot write
    assert main(["unpack", str(run), f"--run_dir={there}3"]) == 2
    assert main(["unpack", f"{tmp_path}/a.pack", f"--run_dir={tmp_path}/a.pack"]) == 2
    with pytest.raises(SystemExit, match="2"):
        main(["pack", f"--run_dir={run}", f"--output={tmp_path}/b.pack", "--piece_mb=0"])
    err = capsys.readouterr().err
    for said in (
        "is there already",
        "no such file",
        "not a run directory",
        "inside the run",
        "is a folder; name a file in it",
        "/proc is no folder that you can write to",
        "Is a directory",
        "a.pack: is there already",
        "--piece_mb: must be a whole number of at least 1, not '0'",
    ):
        assert said in err
    assert not (tmp_path / "b.pack").exists() and "Traceback" not in err
