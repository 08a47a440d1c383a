"""Self-play with a tiny model: the test makes up its proposals, everything else is real."""

import contextlib
import dataclasses
import json
import zlib
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from t5x_selfprog import hosts
from t5x_selfprog.model import network, store
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.puzzles.prompts import SolvePrompt
from t5x_selfprog.puzzles.proposing import ProposerReward
from t5x_selfprog.run_dir import open_run
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.stages import selfplay
from t5x_selfprog.stages.context import Context, Experiment
from t5x_selfprog.stages.policy_settings import Attempting, Mix, PolicyTraining, Proposing
from t5x_selfprog.training.lora import Lora
from t5x_selfprog.training.optimizers import OptimizerConfig
from t5x_selfprog.training.train_loop import LoopConfig
from tests.puzzles.chatting import chat_folder
from verifier.errors import UserError
from verifier.storage.records import PUZZLE, VERDICT
from verifier.storage.shards import Ledger

SAMPLING = SamplingConfig(
    prompts_in_flight=4, rows_per_prompt=4, max_new_tokens=6, prompt_buckets=(160,), prompts_per_load=1, chunk_steps=6,
    tail_prompts=0, temperature=1.0,
)  # fmt: skip
LOOP = LoopConfig(
    OptimizerConfig(learning_rate=1e-2, warmup_steps=1, schedule="constant"), log_every=1, checkpoint_every=1
)
BATCHES, ATTEMPTS = 3, 4
MIX = Mix(prompts=2, puzzles=2, deductions=2, abductions=1)
REWARD = ProposerReward("r_zero", valid=0.1, novel=0.2, rate=0.7)
ATTEMPTING = Attempting(SAMPLING, SolvePrompt(tutorial="none"))
PROPOSING = Proposing(SAMPLING, prompt_tokens=150, behaviour=None, reward=REWARD)
TRAINING = PolicyTraining(loop=LOOP, batches=BATCHES, attempts=ATTEMPTS, length=192)
KEPT = [f"def f(x: int, a={i}):\n    return x == a * a + {i}" for i in range(3)]


@pytest.fixture(autouse=True)
def optax_promotion():
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("base"))
    config = ModelConfig(4096, 256, 16, 1, 2, 1, 8, 32)
    store.save(folder, config, network.init(config, jax.random.key(0)), store.resolve("base"))
    return folder


def proposal(number, completion, begun=""):
    """One of: no puzzle, a puzzle that was kept before, a trivial one, and several of two shapes."""
    kind = zlib.crc32(completion.encode()) % 8
    return {
        0: "def f(x: int):\n    return (",
        1: KEPT[0],
        2: "def f(x: int, a=3):\n    return x == 5 or a == x",
    }.get(kind) or f"def f(x: int, a={kind + 300}):\n    return x {'+' if kind % 2 else '-'} 3 == a"


class Judge:
    """A pool that accepts half of the attempts; dies at one of its calls to `judge`."""

    def __init__(self, dies_at=None):
        self.calls, self.dies_at, self.judged = 0, dies_at, []

    def judge(self, items):
        self.calls += 1
        if self.calls == self.dies_at:
            raise ConnectionError("killed")
        for item in items:
            self.judged.append(item)
            good = zlib.crc32(f"{item['puzzle']}{item['solution']}".encode()) % 2
            yield SimpleNamespace(outcome="accepted" if good else "wrong")

    def screen_puzzles(self, sources):
        for source in sources:
            yield SimpleNamespace(ok="== 5" not in source, reason="trivial" if "== 5" in source else "")

    def answers(self, solutions):
        for solution in solutions:
            space = {}
            exec(f"from typing import *\n{solution}", space)
            with contextlib.suppress(Exception):
                yield (space["g"](),)
                continue
            yield None


def play(root, base, judge=None, mix=MIX, attempting=None, **more):
    made = Context(open_run(root, {}), Experiment(shards=2, start="previous"))
    if jax.process_count() == 1 and jax.device_count() == 8:  # as tests have it
        made.partitioner = Partitioner(MeshConfig(1, 1, 1).make(jax.devices()[:1]))
    made.pool = lambda limits: contextlib.nullcontext(judge or Judge())
    kept = made.ledger(made.run.stage(0, "kept"), "kept", PUZZLE, shards=1)
    verdicts = made.ledger(made.run.stage(0, "verdicts"), "verdicts", VERDICT, shards=1)
    if hosts.is_first() and not kept.is_complete():
        kept.commit(0, [{"puzzle_id": f"p{i}", "source": source} for i, source in enumerate(KEPT)])
        kept.finish()
        solved = {"solution": "def g(a=0):\n    return a * a", "puzzle": KEPT[0]}
        verdicts.commit(
            0,
            [
                {"puzzle_id": f"p{i}", "outcome": outcome, **solved}
                for i in range(3)
                for outcome in ("accepted", "wrong")
            ],
        )
        verdicts.finish()
    hosts.barrier("what there was")
    output = made.run.stage(0, "checkpoints")
    training = dataclasses.replace(TRAINING, **more)
    done = selfplay.run(made, 0, base, output, attempting or ATTEMPTING, PROPOSING, training, mix)
    return done, output


@pytest.fixture(scope="module")
def whole(tmp_path_factory, base):
    patch = pytest.MonkeyPatch()
    patch.setattr(selfplay, "puzzle_from_completion", proposal)
    with patch.context(), jax.numpy_dtype_promotion("standard"):
        yield play(tmp_path_factory.mktemp("whole"), base)
    patch.undo()


def read(output, number, name):
    return list(Ledger.open(f"{output}/rollouts/{number:04d}/{name}"))


def test_a_batch_has_its_four_parts(whole):
    done, output = whole
    for number in range(BATCHES):
        proposals, screened, attempts = (
            read(output, number, name) for name in ("proposals", "screened", "attempts")
        )
        assert len(proposals) == len(screened) == MIX.prompts * ATTEMPTS
        new = {shown["puzzle_id"] for shown in screened if not shown["reason"]}
        asked = {name: {r["puzzle_id"] for r in attempts if r["task"] == name} for name in selfplay.TASKS}
        assert asked["proposal"] == new and len(asked["puzzle"]) == MIX.puzzles
        assert len(asked["deduction"]) == MIX.deductions and len(asked["abduction"]) == MIX.abductions
        assert set(Counter(r["puzzle_id"] for r in attempts).values()) == {ATTEMPTS}
    assert done["attempts"] == sum(len(read(output, number, "attempts")) for number in range(BATCHES))
    assert done["step"] == BATCHES and store.load(output).identity == done["identity"]


def test_what_is_proposed_is_screened_in_the_order_of_the_batches(whole):
    """Nothing is new twice, a kept puzzle is never new, and a shape is worth less each time."""
    seen: set[str] = set()
    shapes = Counter()
    for number in range(BATCHES):
        for proposed, shown in zip(
            read(whole[1], number, "proposals"), read(whole[1], number, "screened"), strict=True
        ):
            source, reason = proposed["source"], shown["reason"]
            if source[-1] == "(":
                assert reason == "no_parse"
            elif source in seen or source == KEPT[0]:
                assert reason == "duplicate"
            elif "== 5" in source:
                seen.add(source)
                assert reason == "trivial"
            elif reason == "duplicate":  # there are four of its shape already
                assert shapes["+" in source] == 4
            else:
                seen.add(source)
                shapes["+" in source] += 1
                assert reason == "" and shown["novelty"] == pytest.approx(1 / shapes["+" in source])
    assert sum(shapes.values()) > 2


def test_the_proposers_reward_and_its_shares_are_reported(whole):
    done, output = whole
    worth, parts = [], Counter()
    for number in range(BATCHES):
        rates = {}
        for record in read(output, number, "attempts"):
            rates.setdefault(record["puzzle_id"], []).append(record["outcome"] == "accepted")
        for shown in read(output, number, "screened"):
            reason, tried = shown["reason"], rates.get(shown["puzzle_id"], [])
            rate = sum(tried) / len(tried) if not reason else 0.0
            each = {
                "valid": 0.1 * (reason in ("", "duplicate")),
                "novel": 0.2 * shown["novelty"],
                "rate": 0.0 if reason or rate in (0.0, 1.0) else 0.7 * (1 - 2 * abs(rate - 0.5)),
            }
            worth.append(sum(each.values()))
            parts.update(each)
    said = done["proposals"]
    assert said["asked"] == len(worth) and said["reward"] == pytest.approx(sum(worth) / len(worth), abs=1e-6)
    assert said["shares"] == {n: pytest.approx(v / sum(worth), abs=1e-6) for n, v in parts.items()}
    assert all(share > 0 for share in said["shares"].values()), said


def test_what_is_learnt_from_is_what_was_sampled(whole):
    """In all four parts, the sampler and the trainer agree on prompt, tokens and log-probabilities."""
    with open(f"{whole[1]}/metrics.jsonl") as file:
        lines = [json.loads(line) for line in file]
    assert len(lines) == BATCHES and all(
        abs(line["old_kl"]) < 1e-6 and line["clipped"] == 0.0 for line in lines
    )


def test_killed_anywhere_it_ends_in_the_same_bytes(whole, base, tmp_path, monkeypatch):
    done, output = whole
    monkeypatch.setattr(selfplay, "puzzle_from_completion", proposal)
    for dies_at in (
        2,
        4,
    ):  # in the first batch's second shard; then two batches later, with the screening on disk
        with pytest.raises(ConnectionError):
            play(tmp_path, base, Judge(dies_at))
    again, other = play(tmp_path, base)
    assert again == done
    for number in range(BATCHES):
        for name, parts in (("proposals", 2), ("screened", 1), ("attempts", 2)):
            for file in ("manifest.json", *(f"part-{i:05d}-of-{parts:05d}.tfrecord" for i in range(parts))):
                path = f"rollouts/{number:04d}/{name}/{file}"
                with open(f"{output}/{path}", "rb") as one, open(f"{other}/{path}", "rb") as two:
                    assert one.read() == two.read(), path
    assert play(tmp_path, base, Judge(dies_at=1))[0] == done, "nothing is left to do"


def stored(output):
    """The bytes of all ledgers under a training's folder, by path."""
    kept = [path for path in Path(output).rglob("*") if path.suffix in (".tfrecord", ".json")]
    inside = ("rollouts", "programs")
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in kept
        if path.relative_to(output).parts[0] in inside
    }


@pytest.mark.slow
def test_killed_after_every_single_write_it_ends_in_the_same_bytes(whole, base, tmp_path, monkeypatch):
    done, output = whole
    monkeypatch.setattr(selfplay, "puzzle_from_completion", proposal)
    lives, reals = 0, {name: getattr(Ledger, name) for name in ("commit", "finish")}

    def dying(name):
        def write(ledger, *given, **more):
            wrote = not ledger.is_complete() and (name == "finish" or given[0] in ledger.pending())
            result = reals[name](ledger, *given, **more)
            if wrote and "6_checkpoints" in ledger.path:
                raise ConnectionError("killed")
            return result

        return write

    while True:
        with monkeypatch.context() as patch:
            for name in reals:
                patch.setattr(Ledger, name, dying(name))
            lives += 1
            try:
                again, other = play(tmp_path, base)
                break
            except ConnectionError:
                continue
    # Programs: a shard and its end; each batch: five shards and three ends.
    assert lives == 1 + 2 + BATCHES * 8
    assert again == done and stored(other) == stored(output)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"attempting": {"sampling": SamplingConfig(temperature=0.8)}},
            r"Attempting.sampling: SamplingConfig.temperature=0.8",
        ),
        (
            {"proposing": {"sampling": SamplingConfig(temperature=1.0, top_k=50)}},
            r"Proposing.sampling: SamplingConfig.top_k=50",
        ),
        (
            {"training": {"length": 64}},
            r"PolicyTraining.length=64: a prompt for puzzles \(Proposing.prompt_tokens=150\)",
        ),
        ({"training": {"lora": Lora(base_dtype="int8")}}, r"PolicyTraining.lora: Lora.base_dtype='int8'"),
    ],
)
def test_what_cannot_be_played_is_refused(wrong, said):
    settings = {"attempting": ATTEMPTING, "proposing": PROPOSING, "training": TRAINING, "mix": MIX}
    selfplay.require_playable(**settings)
    changed = {name: dataclasses.replace(settings[name], **fields) for name, fields in wrong.items()}
    with pytest.raises(UserError, match=said):
        selfplay.require_playable(**settings | changed)


def test_without_puzzles_and_programs_nothing_is_trained(base, tmp_path, monkeypatch):
    monkeypatch.setattr(selfplay, "candidates", lambda *_: iter(()))
    assert play(tmp_path, base, mix=Mix(0, 2, 0, 0), batches=1)[0] is None
    assert not (tmp_path / "iter_000/6_checkpoints/rollouts").exists()


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(UserError, match="all 0"):
        Mix(0, 0, 0, 0)


@pytest.mark.parametrize("chat", ["begun", pytest.param("free", marks=pytest.mark.slow)])
def test_programs_are_reasoned_about_in_conversation(tmp_path, chat):
    pytest.importorskip("jinja2", reason="scripts/setup installs it")
    config = ModelConfig(4098, 320, 16, 1, 2, 1, 8, 32)
    folder = str(tmp_path / "talks")
    words = str(chat_folder(tmp_path / "words"))
    store.save(folder, config, network.init(config, jax.random.key(0)), words)
    sampling = dataclasses.replace(SAMPLING, prompt_buckets=(256,))
    attempting = Attempting(sampling, SolvePrompt(tutorial="none", chat=chat))
    done, output = play(
        tmp_path / "run", folder, mix=Mix(0, 0, 2, 2), attempting=attempting, batches=1, length=300
    )
    attempts = read(output, 0, "attempts")
    assert Counter(r["task"] for r in attempts) == {"deduction": 2 * ATTEMPTS, "abduction": 2 * ATTEMPTS}
    assert done["tasks"]["deduction"]["groups"] == done["tasks"]["abduction"]["groups"] == 2
    with open(f"{output}/metrics.jsonl") as file:
        (line,) = map(json.loads, file)
    assert abs(line["old_kl"]) < 1e-6, "the sampler's prompts are the trainer's"


@pytest.mark.slow
def test_a_batch_may_come_to_nothing(base, tmp_path, monkeypatch):
    """No proposal is a puzzle, so nothing is attempted, and no group has anything to compare."""
    monkeypatch.setattr(selfplay, "puzzle_from_completion", lambda *_: "def f(x: int):\n    return (")
    done, output = play(tmp_path, base, mix=Mix(1, 0, 0, 0), batches=1)
    assert (done["groups"], done["attempts"]) == (0, 0) and done["proposals"]["valid"] == 0
    assert store.load(output).identity == done["identity"], (
        "the optimizer may let weights decay; nothing else does"
    )
