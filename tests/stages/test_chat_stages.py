"""Conversations through the stages: a tiny model with a chat template writes puzzles, solves, is evaluated, learns."""

import json

import jax
import pytest

from t5x_selfprog.main import main
from t5x_selfprog.model import network, store
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.puzzles.p3 import SEEDS_FOLDER
from t5x_selfprog.puzzles.prompts import SolvePrompt, pair_text
from t5x_selfprog.run_dir import open_run
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.stages import finetune, sample_puzzles
from t5x_selfprog.stages.attempts import Solving, sample_attempts
from t5x_selfprog.stages.context import Context, Experiment
from tests.puzzles.chatting import chat_folder
from verifier.errors import UserError
from verifier.storage.records import PAIR
from verifier.storage.shards import Ledger

pytest.importorskip("jinja2", reason="scripts/setup installs it")

PUZZLE = "def f(x: int, a=3):\n    return x == a"
SMALL = SamplingConfig(prompts_in_flight=1, rows_per_prompt=2, max_new_tokens=12, prompt_buckets=(256,))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A tiny model with a chat template, and the same without one."""
    folder = tmp_path_factory.mktemp("models")
    config = ModelConfig(4098, 512, 16, 1, 2, 1, 8, 16)
    params = network.init(config, jax.random.key(0))
    found = []
    for name, template in (("talks", {}), ("mute", {"template": None})):
        words = chat_folder(folder / f"{name}-words", **template)
        store.save(str(folder / name), config, params, str(words))
        found.append(str(folder / name))
    return found


@pytest.fixture
def context(tmp_path, models):
    return Context(open_run(tmp_path / "run", {}), Experiment(base=models[0], shards=1))


@pytest.mark.parametrize("chat", ["begun", "free"])
def test_attempts_are_sampled_in_conversation(context, models, tmp_path, chat):
    seen = []
    made = context.sampler

    def sampler(model, sampling, prefix=""):
        seen.append((sampling, prefix))
        return made(model, sampling, prefix)

    context.sampler = sampler
    prompt = SolvePrompt("none", typed=True, chat=chat)
    sample_attempts(
        context, [("p", PUZZLE)], str(tmp_path / "3"), Solving(3, SMALL, prompt), model=models[0],
        key=jax.random.key(0), label="0.3",
    )  # fmt: skip
    ((sampling, prefix),) = seen
    assert not sampling.document_start and sampling.stop == ("none" if chat == "free" else "unindented")
    assert "<|im_start|>" in prefix
    records = list(Ledger.open(str(tmp_path / "3")))
    assert len(records) == 3 and all(r["logprob"] < 0 for r in records)
    if chat == "begun":
        assert all(r["solution"].startswith("def g(a=3) -> int:") for r in records)


def test_puzzles_are_asked_for_in_conversation(context):
    asked = sample_puzzles.Settings(SMALL, prompts=1, attempts=2, prompt_tokens=200, chat=True)
    sample_puzzles.run(context, 0, asked)
    records = list(context.run.read(0, "puzzles"))
    assert len(records) == 2 and all(record["source"].startswith("def f(") for record in records)


def test_pairs_are_learnt_in_conversation(context, models, tmp_path):
    ledger = Ledger(str(tmp_path / "5"), stage="dataset", schema=PAIR, shard_count=1, seed=0, fingerprint="f")
    text = pair_text(PUZZLE, "def g(a=3):\n    return a")
    ledger.commit(0, [{"puzzle_id": "p", "text": text, "weight": 1.0, "iteration": 0}])
    ledger.finish()
    counted = {}
    for chat in ("", "begun"):
        with jax.numpy_dtype_promotion("standard"):
            counted[chat] = finetune.run(
                context, [str(tmp_path / "5")], models[0], str(tmp_path / f"6{chat}"),
                finetune.Settings(steps=1, batch_size=8, length=256, prompt=SolvePrompt("none", chat=chat)),
            )["tokens"]  # fmt: skip
    assert counted["begun"] > 2 * counted[""] > 20, "the question and its template are learnt too"


def test_a_model_without_a_template_is_refused_before_anything_is_sampled(context, models, tmp_path):
    with pytest.raises(UserError, match=r"mute: no chat template"):
        sample_attempts(
            context, [("p", PUZZLE)], str(tmp_path / "3"), Solving(3, SMALL, SolvePrompt("none", chat="begun")),
            model=models[1], key=jax.random.key(0), label="0.3",
        )  # fmt: skip
    assert not list((tmp_path / "3").glob("*.tfrecord"))


def test_evaluate_asks_in_conversation_where_gin_says_so(models, tmp_path, capsys):
    problems = tmp_path / "problems"
    problems.mkdir()
    split = json.loads((SEEDS_FOLDER / "split.json").read_text())
    names = {*split["dev"][:2], *split["train"][:1]}
    entries = json.loads((SEEDS_FOLDER / "puzzles.json").read_text())
    kept = [entry for entry in entries if entry["name"].rpartition(":")[0] in names]
    (problems / "puzzles.json").write_text(json.dumps(kept))
    (problems / "split.json").write_text(json.dumps({"dev": split["dev"][:2], "train": split["train"][:1]}))
    arguments = ["evaluate", "--gin_file=quickstart", "--json", "--quiet"]
    bindings = {
        "Experiment.problems": str(problems), "Experiment.eval_split": "dev", "SolvePrompt.tutorial": "none",
        "SolvePrompt.chat": "begun", "Experiment.workers": 1, "evaluate.run.attempts": 2, "Experiment.shards": 1,
        "evaluation/SamplingConfig.max_new_tokens": 8, "evaluation/SamplingConfig.prompt_buckets": (256,),
        "evaluation/SamplingConfig.prompts_in_flight": 1, "evaluation/SamplingConfig.rows_per_prompt": 2,
    }  # fmt: skip
    gin = [f"--gin.{name}={value!r}" for name, value in bindings.items()]
    talks, mute = models
    assert main([*arguments, f"--run_dir={tmp_path / 'run'}", f"--model={talks}", *gin]) == 0
    (found,) = json.loads(capsys.readouterr().out.splitlines()[-1])["evaluations"]
    assert sum(found["outcomes"].values()) == 4
    assert (
        main([*arguments, f"--run_dir={tmp_path / 'run2'}", f"--model={mute}", *gin]) == UserError.EXIT_CODE
    )
    assert "mute: no chat template" in capsys.readouterr().err
