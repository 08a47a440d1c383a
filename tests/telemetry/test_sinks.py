"""Files of numbers: truncated by a kill, resumed, and in a store that cannot append."""

import json
import struct

import fsspec
import pytest

from t5x_selfprog.telemetry import sinks
from t5x_selfprog.telemetry.sinks import Events, Lines, read_lines
from t5x_selfprog.training.metrics import MetricsWriter
from tests.telemetry.events import scalars
from verifier.storage import files
from verifier.storage.remote_files import BucketUnreachable


@pytest.fixture(params=["local", "remote"])
def folder(request, tmp_path):
    if request.param == "local":
        yield str(tmp_path)
    else:
        yield f"memory://{tmp_path.name}"
        fsspec.filesystem("memory").store.clear()


def test_lines_come_back_and_a_line_that_a_kill_cut_does_not(folder):
    path = files.join(folder, "deep", "metrics.jsonl")
    lines = Lines(path)
    for step in range(3):
        lines.write({"step": step, "loss": 0.5})
    lines.close()
    files.write_atomic(path, files.read_bytes(path) + b'{"step": 3, "lo')
    again = Lines(path)
    again.write({"step": 4})
    again.close()
    assert [line["step"] for line in read_lines(path)] == [0, 1, 2, 4]
    assert all(json.loads(line) for line in files.read_bytes(path).splitlines())


def test_what_follows_a_first_line_that_a_kill_cut_is_whole(folder):
    path = files.join(folder, "metrics.jsonl")
    files.write_atomic(path, b'{"step": 0, "lo')
    lines = Lines(path)
    lines.write({"step": 0})
    lines.close()
    assert files.read_bytes(path) == b'{"step": 0}\n'


def test_a_store_sees_lines_and_events_before_the_end(monkeypatch, tmp_path):
    monkeypatch.setattr(sinks, "EVERY_S", 0.0)
    root = f"memory://{tmp_path.name}"
    lines, events = Lines(f"{root}/metrics.jsonl"), Events(f"{root}/events")
    for step in range(2):
        lines.write({"step": step})
        events.write(step, {"loss": float(step)})
    assert [line["step"] for line in read_lines(f"{root}/metrics.jsonl")] == [0, 1]
    names = files.listdir(f"{root}/events")
    assert scalars(f"{root}/events", names) == {"loss": {0: 0.0, 1: 1.0}}


def test_a_store_that_is_not_reached_ends_no_run_and_is_tried_again(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sinks, "EVERY_S", 0.0)
    path, down = f"memory://{tmp_path.name}/metrics.jsonl", True
    write = files.write_atomic

    def unreliable(path, data):
        if down:
            raise BucketUnreachable(f"{path}: not reached.")
        write(path, data)

    monkeypatch.setattr(sinks.files, "write_atomic", unreliable)
    lines = Lines(path)
    for step in range(3):
        lines.write({"step": step})
    said = capsys.readouterr().err
    assert said.count("metrics.jsonl: not reached. The run goes on") == 1 and not files.exists(path)
    down = False
    lines.close()
    assert [line["step"] for line in read_lines(path)] == [0, 1, 2]


def test_a_store_is_not_written_at_every_line(tmp_path):
    path = f"memory://{tmp_path.name}/metrics.jsonl"
    lines = Lines(path)
    for step in range(100):
        lines.write({"step": step})
    assert not files.exists(path)
    lines.close()
    assert len(read_lines(path)) == 100


def test_two_writers_of_one_file_mix_whole_lines(tmp_path):
    path = str(tmp_path / "metrics.jsonl")
    first, second = Lines(path), Lines(path)
    for step in range(50):
        first.write({"step": step, "by": 1})
        second.write({"step": step, "by": 2})
    assert len(read_lines(path)) == 100


def test_events_of_several_processes_lie_side_by_side(folder):
    for life in range(3):
        events = Events(files.join(folder, "events"), purge_step=life)
        events.write(life, {"loss": life / 2, "padding": 0.25})
        events.close()
    names = files.listdir(files.join(folder, "events"))
    assert len(names) == 3 and all(name.startswith("events.out.tfevents.") for name in names)
    expected = struct.unpack("f", struct.pack("f", 0.25))[0]
    assert scalars(f"{folder}/events", names) == {
        "loss": {0: 0.0, 1: 0.5, 2: 1.0},
        "padding": dict.fromkeys(range(3), expected),
    }


def test_training_drops_the_lines_of_steps_it_makes_again_and_counts_them(folder):
    with MetricsWriter(folder) as metrics:
        for step in (2, 4, 6, 7):
            metrics.write(step, {"loss": 1.0, "step_s": 0.5})
        assert (metrics.lost_steps, metrics.lost_s) == (0, 0.0)
    with MetricsWriter(folder, 3) as metrics:
        metrics.write(4, {"loss": 2.0, "step_s": 0.5})
        assert (metrics.lost_steps, metrics.lost_s) == (4, 2.0)  # 4, 5, 6 and 7 of half a second each
    lines = read_lines(files.join(folder, "metrics.jsonl"))
    assert [(line["step"], line["loss"]) for line in lines] == [(2, 1.0), (4, 2.0)]
