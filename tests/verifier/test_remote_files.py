"""A bucket whose network fails in every way loses nothing, shows nothing half, and says what was wrong."""

from __future__ import annotations

import errno
import random
import re
from typing import Any

import pytest

from verifier.errors import UserError
from verifier.storage import files, records, remote_files
from verifier.storage.claims import Claims
from verifier.storage.shards import Ledger

fsspec = pytest.importorskip("fsspec")
from fsspec.implementations.memory import MemoryFileSystem  # noqa: E402

FILE = "faulty://bucket/run/file"


class HttpError(Exception):
    """As gcsfs has it: the status is in `code`, a number or text."""

    def __init__(self, code: int | str) -> None:
        super().__init__(f"injected, {code}")
        self.code = code


class Lost(Exception):
    """The operation is carried out, and then this happens to its answer."""


class Half(Exception):
    """Half of the bytes come, or are stored, and nobody complains."""


class FaultyFileSystem(MemoryFileSystem):
    """In memory; `plan` has the faults of the coming calls of each operation, None for a call that works."""

    protocol = "faulty"
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    plan: dict[str, list[Any]] = {}  # noqa: RUF012
    storm: random.Random | None = None
    calls: list[str] = []  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("faulty://", "memory://"))

    def _fault(self, name: str) -> Any:
        self.calls.append(name)
        if self.storm is not None:
            faults = [TimeoutError("slow"), ConnectionResetError("reset"), HttpError(503), Lost(), Half()]
            return self.storm.choice(faults) if self.storm.random() < 0.15 else None
        todo = self.plan.get(name)
        return todo.pop(0) if todo else None

    def _do(self, name: str, path: str, *args: Any, **kwargs: Any) -> Any:
        fault, operation = self._fault(name), getattr(super(), name)
        if isinstance(fault, Exception) and not isinstance(fault, Lost | Half):
            raise fault
        result = operation(path, *args, **kwargs)
        if isinstance(fault, Lost):
            raise TimeoutError("no answer")
        return self._halved(name, path, args, result) if isinstance(fault, Half) else result

    def _halved(self, name: str, path: str, args: tuple, result: Any) -> Any:
        if name == "cat_file":
            return result[: len(result) // 2]
        if name in ("pipe_file", "put_file"):
            stored = self.store[self._strip_protocol(path if name == "pipe_file" else args[0])]
            stored.truncate(stored.size // 2)
        if name == "get_file":
            with open(args[0], "r+b") as file:
                file.truncate(1)
        return result

    def info(self, path, **kwargs):
        return self._do("info", path, **kwargs)

    def ls(self, path, detail=True, **kwargs):
        return self._do("ls", path, detail=detail, **kwargs)

    def cat_file(self, path, **kwargs):
        return self._do("cat_file", path, **kwargs)

    def get_file(self, path, local, **kwargs):
        return self._do("get_file", path, local, **kwargs)

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        return self._do("pipe_file", path, value, mode=mode, **kwargs)

    def put_file(self, local, path, **kwargs):
        return self._do("put_file", local, path, **kwargs)

    def rm_file(self, path):
        return self._do("rm_file", path)


fsspec.register_implementation("faulty", FaultyFileSystem, clobber=True)
PATIENCE = remote_files.Patience(tries=5, first_wait_s=0.001, longest_wait_s=0.002)

OPERATIONS = {
    "read": ("cat_file", lambda: files.read_bytes(FILE)),
    "look up": ("info", lambda: files.size(FILE)),
    "list": ("ls", lambda: files.listdir("faulty://bucket/run")),
    "write": ("put_file", lambda: files.write_atomic(FILE, b"content")),
    "create": ("pipe_file", lambda: files.create_exclusive(FILE + "2", b"content")),
    "remove": ("rm_file", lambda: files.remove(FILE)),
}
BY_OPERATION = pytest.mark.parametrize(
    ("operation", "call", "action"), [(k, *v) for k, v in OPERATIONS.items()]
)


@pytest.fixture(autouse=True)
def system(monkeypatch):
    """A bucket with one file, calm."""
    monkeypatch.setattr(remote_files, "PATIENCE", PATIENCE)
    cls = FaultyFileSystem
    cls.store.clear()
    cls.plan.clear()
    cls.storm = None
    files.write_atomic(FILE, b"content")
    cls.calls.clear()
    yield cls
    cls.storm = None


TRANSIENT = [
    TimeoutError("slow"),
    ConnectionResetError("reset by peer"),
    BrokenPipeError("pipe"),
    OSError(errno.EHOSTUNREACH, "no route"),
    HttpError(429),
    HttpError("503"),
    HttpError(500),
    HttpError(408),
]


@pytest.mark.parametrize("error", TRANSIENT, ids=repr)
@BY_OPERATION
def test_what_may_pass_is_tried_again_and_told_in_one_line_each(
    system, capsys, operation, call, action, error
):
    expected = action()
    capsys.readouterr()
    files.remove(FILE + "2")
    files.write_atomic(FILE, b"content")
    system.plan[call] = [error, error]
    assert action() == expected
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    for number, line in enumerate(lines, start=2):
        assert line.startswith(f"could not {operation} faulty://bucket/run")
        assert f"try {number} of 5" in line and type(error).__name__ in line


@BY_OPERATION
def test_what_does_not_pass_ends_with_path_operation_and_tries(system, capsys, operation, call, action):
    system.plan[call] = [TimeoutError("slow")] * 50
    with pytest.raises(
        UserError, match=rf"could not {operation} faulty://bucket/run.*: 5 tries .*TimeoutError: slow"
    ):
        action()
    assert system.calls.count(call) == 5
    assert len(capsys.readouterr().err.splitlines()) == 4


def test_no_try_begins_after_the_time_is_up(system, monkeypatch):
    monkeypatch.setattr(
        remote_files, "PATIENCE", remote_files.Patience(tries=9, first_wait_s=0.02, total_s=0.03)
    )
    system.plan["cat_file"] = [TimeoutError("slow")] * 50
    with pytest.raises(remote_files.BucketUnreachable):
        files.read_bytes(FILE)
    assert 2 <= system.calls.count("cat_file") <= 5


FORBIDDEN = [
    PermissionError("no"),
    HttpError(403),
    HttpError("401"),
    OSError("Forbidden: b/bucket/o\nme@example.com lacks storage.objects.list"),
]


@pytest.mark.parametrize("error", FORBIDDEN, ids=repr)
@BY_OPERATION
def test_what_is_forbidden_is_asked_once_and_names_bucket_operation_and_fix(
    system, capsys, operation, call, action, error
):
    system.plan[call] = [error]
    with pytest.raises(UserError) as caught:
        action()
    said = str(caught.value)
    assert (
        said.startswith(f"cannot {operation} faulty://bucket/run")
        and "'bucket'" in said
        and "credentials" in said
    )
    assert system.calls.count(call) == 1 and not capsys.readouterr().err
    if "lacks" in str(error):
        assert "me@example.com lacks storage.objects.list" in said


@pytest.mark.parametrize("error", [ValueError("bug"), IsADirectoryError("folder"), HttpError(400)], ids=repr)
def test_anything_else_is_raised_as_it_is_at_once(system, capsys, error):
    system.plan["cat_file"] = [error]
    with pytest.raises(type(error)) as caught:
        files.read_bytes(FILE)
    assert caught.value is error
    assert system.calls.count("cat_file") == 1 and not capsys.readouterr().err


def test_a_failing_network_is_no_missing_file(system):
    system.plan["info"] = [TimeoutError("slow")] * 50
    with pytest.raises(remote_files.BucketUnreachable):
        files.exists(FILE)
    system.plan["info"] = [TimeoutError("slow")]
    assert files.exists(FILE)
    assert not files.exists(FILE + "nowhere") and files.listdir("faulty://bucket/nowhere") == []
    with pytest.raises(FileNotFoundError):
        files.read_bytes(FILE + "nowhere")


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_read_that_came_back_short_is_not_taken_for_the_file(system, monkeypatch, capsys, in_memory):
    if not in_memory:
        monkeypatch.setattr(remote_files, "IN_MEMORY_BYTES", 3)
    system.plan["cat_file" if in_memory else "get_file"] = [Half(), Half()]
    with files.open_read(FILE) as file:
        assert file.read(3) == b"con" and file.read() == b"tent"
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_half_an_upload_called_done_is_overwritten(system):
    system.plan["put_file"] = [Half(), Half()]
    files.write_atomic(FILE, b"another content")
    assert files.read_bytes(FILE) == b"another content"


def test_half_an_upload_does_not_stay_when_the_tries_are_over(system):
    system.plan["put_file"] = [Half()] * 50
    with pytest.raises(remote_files.BucketUnreachable, match="7 bytes instead of 15"):
        files.write_atomic(FILE, b"another content")
    assert not files.exists(FILE)


def test_uploads_that_fail_leave_what_was_there(system):
    system.plan["put_file"] = [ConnectionResetError("reset")] * 50
    with pytest.raises(remote_files.BucketUnreachable):
        files.write_atomic(FILE, b"another content")
    assert files.read_bytes(FILE) == b"content"


def test_a_block_that_raises_uploads_nothing(system):
    with pytest.raises(RuntimeError, match="died"), files.open_atomic(FILE) as file:
        file.write(b"half")
        raise RuntimeError("died")
    assert "put_file" not in system.calls and files.read_bytes(FILE) == b"content"


def test_an_upload_whose_answer_was_lost_is_one_file(system):
    system.plan["put_file"] = [Lost()]
    files.write_atomic(FILE, b"another content")
    assert files.listdir("faulty://bucket/run") == ["file"] and files.read_bytes(FILE) == b"another content"


def test_a_creation_whose_answer_was_lost_was_ours(system):
    system.plan["pipe_file"] = [Lost()]
    assert files.create_exclusive(FILE + "2", b"mine") is True
    assert files.create_exclusive(FILE + "2", b"theirs") is False
    assert files.read_bytes(FILE + "2") == b"mine"


def test_a_creation_that_somebody_else_was_quicker_with_is_not_ours(system, monkeypatch):
    # The first try never arrives; before the second, another host makes the file.
    system.plan["pipe_file"] = [TimeoutError("slow")]
    monkeypatch.setattr(remote_files.time, "sleep", lambda _: MemoryFileSystem.pipe_file(
        FaultyFileSystem(), FILE + "2", b"theirs"
    ))  # fmt: skip
    assert files.create_exclusive(FILE + "2", b"mine") is False
    assert files.read_bytes(FILE + "2") == b"theirs"


def test_a_file_created_half_is_made_whole(system):
    system.plan["pipe_file"] = [Half()]
    assert files.create_exclusive(FILE + "2", b"content") is True
    assert files.read_bytes(FILE + "2") == b"content"


def test_a_removal_whose_answer_was_lost_is_done(system):
    system.plan["rm_file"] = [Lost()]
    files.remove(FILE)
    assert not files.exists(FILE)


def test_of_two_hosts_one_holds_a_claim_whatever_answers_are_lost(system):
    for seed in range(40):
        draw = random.Random(seed)
        folder = f"faulty://bucket/claims{seed}"
        hosts = {name: Claims(folder) for name in ("a", "b")}
        system.plan["pipe_file"] = [draw.choice([None, Lost(), TimeoutError("slow")]) for _ in range(6)]
        order = draw.sample(sorted(hosts), 2)
        won = [name for name in order if hosts[name].claim("shard", name, 60.0)]
        assert won == order[:1]
        assert hosts[won[0]].holds("shard")


def test_two_processes_of_one_name_do_not_both_make_a_claim(system):
    system.plan["pipe_file"] = [None, Lost()]
    path = "faulty://bucket/run/x.claim-000001"
    Claims("faulty://bucket/run").claim("x", "same name", 60.0)
    first = files.read_bytes(path)
    Claims("faulty://bucket/other").claim("x", "same name", 60.0)
    second = files.read_bytes("faulty://bucket/other/x.claim-000001")
    assert first != second, "else each would find its own content and think it made the file"


def _rows(shard: int) -> list[dict]:
    return [
        {"puzzle_id": f"{shard}-{i}", "text": "x" * 9 * i, "weight": 0.5, "iteration": i} for i in range(9)
    ]


def _fill(root: str) -> dict[str, bytes]:
    ledger = Ledger(root, stage="pairs", schema=records.PAIR, shard_count=4, seed=1, fingerprint="abc")
    for shard in ledger.pending():
        assert ledger.claim(shard, "host", 60.0)
        assert ledger.commit(shard, _rows(shard), seen=9)
    ledger.finish()
    assert list(Ledger.open(root)) == [row for shard in range(4) for row in _rows(shard)]
    return {name: files.read_bytes(files.join(root, name)) for name in files.listdir(root)}


def test_a_ledger_written_in_a_storm_ends_in_the_same_bytes(system, monkeypatch, capsys):
    monkeypatch.setattr(remote_files, "PATIENCE", remote_files.Patience(12, 0.0001, 0.0002))
    calm = _fill("faulty://bucket/calm")
    assert len(calm) == 10
    for seed in range(8):
        system.storm = random.Random(seed)
        assert _fill(f"faulty://bucket/storm{seed}") == calm
        system.storm = None
    assert len(re.findall(r"^could not ", capsys.readouterr().err, re.MULTILINE)) > 100


def test_a_ledger_that_gave_up_in_a_storm_is_gone_on_with(system, monkeypatch):
    calm = _fill("faulty://bucket/calm")
    monkeypatch.setattr(remote_files, "PATIENCE", remote_files.Patience(2, 0.0001, 0.0002))
    gave_up = 0
    for seed in range(6):
        system.storm, found = random.Random(seed), None
        while found is None:
            try:
                found = _fill(f"faulty://bucket/storm{seed}")
            except remote_files.BucketUnreachable:
                gave_up += 1
                assert gave_up < 500
        assert found == calm
        system.storm = None
    assert gave_up > 10


def test_a_scheme_nobody_knows_says_so():
    with pytest.raises(UserError, match="nonsense://"):
        files.exists("nonsense://bucket/x")
