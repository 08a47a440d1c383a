"""Puzzles are screened while others are sampled: with a scripted model and real workers, interrupted and resumed."""

import contextlib
import json
import shutil
import threading
import time
from types import SimpleNamespace

import pytest

import gin
from t5x_selfprog import loop
from t5x_selfprog.puzzles.p3 import SEEDS_FOLDER
from t5x_selfprog.run_dir import open_run
from t5x_selfprog.run_layout import RunDir
from t5x_selfprog.sampling.interface import Completion
from t5x_selfprog.stages import filter_puzzles, sample_puzzles
from t5x_selfprog.stages.context import Context, Experiment
from t5x_selfprog.stages.screening import SCREENED
from tests.stages.test_sample_puzzles import PuzzleWriter
from verifier.errors import UserError
from verifier.storage.shards import Ledger, MissingStage

CONFIG = """
sample_puzzles.run.sampling = @puzzles/SamplingConfig()
sample_puzzles.run.prompts = 6
sample_puzzles.run.attempts = 4
sample_puzzles.run.prompt_tokens = 900
BehaviourCheck.probes = 24
"""
SHARDS = 3  # of two prompts each
# The same answers are right, in other words.
GREETINGS = ("'hello' + ' world'", "' '.join(['hello', 'world'])", "'dlrow olleh'[::-1]")


def written(prompt):
    """What the model writes: every decision of stage 2, most of them by what earlier shards held."""
    return [
        f"x: int, a={1000 + prompt}):\n    return x * x == a * a and x > 500",  # as many of a shape as may be, and two
        "x: int, a=77):\n    return x == a * 100",  # always the same
        f"x: int):\n    return x > {prompt}",  # a guess solves it
        f"s: str):\n    return s == {GREETINGS[prompt // 2]}" if prompt % 2 else "x: int, a:\n    return a",
    ]


class Scripted(PuzzleWriter):
    """Calls `before(prompt)` before it writes."""

    def __init__(self, before):
        super().__init__()
        self._before = before

    def sample(self, requests, key):
        for request in requests:
            prompt = int(request.item_id.partition("/")[2])
            self._before(prompt)
            yield [
                Completion(request.item_id, i, text + "\n\n", 3, -1.0, "unindented")
                for i, text in enumerate(written(prompt))
            ]


class Run(Context):
    def __init__(self, root, problems, before=lambda prompt: None):
        super().__init__(open_run(root, {}), Experiment(problems=problems, shards=SHARDS, workers=1))
        self._writer = Scripted(before)

    def require_room(self, path, sampling):
        """Always enough: the model is scripted."""

    def model(self, path):
        return SimpleNamespace(tokenizer=SimpleNamespace(encode=list))

    def sampler(self, path, sampling):
        return self._writer


@pytest.fixture(autouse=True, scope="module")
def configured():
    gin.clear_config()
    gin.parse_config(CONFIG)
    yield
    gin.clear_config()


@pytest.fixture(scope="module")
def problems(tmp_path_factory):
    folder = tmp_path_factory.mktemp("problems")
    split = json.loads((SEEDS_FOLDER / "split.json").read_text())
    split = {"train": split["train"][:6], "test": split["test"][:2]}
    names = {name for part in split.values() for name in part}
    entries = json.loads((SEEDS_FOLDER / "puzzles.json").read_text())
    kept = [entry for entry in entries if entry["name"].rpartition(":")[0] in names]
    (folder / "puzzles.json").write_text(json.dumps(kept))
    (folder / "split.json").write_text(json.dumps(split))
    return str(folder)


@pytest.fixture(scope="module")
def in_turn(problems, tmp_path_factory):
    """The files of a run that samples all puzzles before it screens any."""
    root = tmp_path_factory.mktemp("in_turn")
    context = Run(root, problems)
    sample_puzzles.run(context, 0)
    filter_puzzles.run(context, 0)
    return files_of(root)


def files_of(root):
    return {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
    }


def screened(root):
    return Ledger.open(RunDir(str(root)).stage(0, "screened"))


def await_screened(root, shard):
    until = time.monotonic() + 60
    while not _is_screened(root, shard):
        assert time.monotonic() < until
        time.sleep(0.02)


def _is_screened(root, shard):
    with contextlib.suppress(MissingStage):  # the thread is not there yet
        return shard in screened(root).committed()
    return False


def nobody_screens():
    return not [thread for thread in threading.enumerate() if thread.name == "judge"]


def test_the_script_meets_every_decision(in_turn, problems, tmp_path):
    loop.write_puzzles(Run(tmp_path, problems), 0)
    run = RunDir(str(tmp_path))
    kept = [record["origin"] for record in run.read(0, "kept")]
    assert kept == [f"iter_000/0/{place}" for place in ("0/0", "0/1", "1/0", "1/3", "2/0", "3/0")]
    reasons = sorted(record["reason"] for record in run.read(0, "rejected"))
    assert reasons == sorted(["duplicate"] * 9 + ["no_parse"] * 3 + ["same_behaviour"] * 2 + ["trivial"] * 4)


def test_puzzles_are_screened_while_others_are_sampled_and_nothing_differs(in_turn, problems, tmp_path):
    def before(prompt):
        if prompt == 4:  # the last shard; the one before it is not committed yet
            await_screened(tmp_path, 0)

    loop.write_puzzles(Run(tmp_path, problems, before), 0)
    assert files_of(tmp_path) == in_turn and nobody_screens()


def test_a_run_that_was_killed_beside_its_screening_ends_in_the_same_bytes(in_turn, problems, tmp_path):
    def before(prompt):
        if prompt == 4:
            await_screened(tmp_path / "whole", 0)
            shutil.copytree(tmp_path / "whole", tmp_path / "killed")

    loop.write_puzzles(Run(tmp_path / "whole", problems, before), 0)
    assert screened(tmp_path / "killed").pending() == [1, 2]
    loop.write_puzzles(Run(tmp_path / "killed", problems), 0)
    assert files_of(tmp_path / "killed") == in_turn


@pytest.mark.parametrize("at", [0, 2, 5], ids="at prompt {}".format)
def test_an_interrupt_of_sampling_ends_both_at_once(in_turn, problems, tmp_path, at):
    def before(prompt):
        if prompt == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.write_puzzles(Run(tmp_path, problems, before), 0)
    assert nobody_screens()
    loop.write_puzzles(Run(tmp_path, problems), 0)
    assert files_of(tmp_path) == in_turn


def test_shards_that_were_deleted_are_made_again(in_turn, problems, tmp_path):
    for name, data in in_turn.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    for stage, shard in (("screened", 1), ("kept", 2)):
        (tmp_path / RunDir("").stage(0, stage) / f"part-0000{shard}-of-00003.json").unlink()
    loop.write_puzzles(Run(tmp_path, problems), 0)
    assert files_of(tmp_path) == in_turn


def test_what_screening_refuses_is_said_after_sampling(problems, tmp_path):
    """Another version of the program shared out survivors, not what was sampled."""
    context = Run(tmp_path, problems)
    ledger = context.ledger(RunDir(str(tmp_path)).stage(0, "screened"), "screened", SCREENED)
    for shard in range(SHARDS):
        ledger.commit(shard, [])
    with pytest.raises(UserError, match=r"2_screened lacks \d+ of \d+ puzzles: another version"):
        loop.write_puzzles(context, 0)
    assert not context.run.read(0, "puzzles").pending()
