"""Suites evaluated from ledger to ledger, with a scripted model and a real verifier."""

import json
import types

import jax
import numpy as np
import pytest

from t5x_selfprog.evaluation.suite_notes import too_long_notes
from t5x_selfprog.evaluation.suite_tasks import read_suite
from t5x_selfprog.model import network, store
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.run_dir import open_run
from t5x_selfprog.sampling.interface import Completion, SamplingConfig
from t5x_selfprog.stages import evaluate_suite
from t5x_selfprog.stages.context import Context, Experiment
from t5x_selfprog.stages.evaluate import Subject
from t5x_selfprog.stages.evaluate_suite import Asked
from tests.evaluation.suite_rows import HALF, MBPP, SHARED
from tests.puzzles.chatting import chat_folder
from verifier import Limits
from verifier.errors import UserError
from verifier.unit_tests.suite_files import read_samples, read_tasks

LIMITS = Limits(cpu_s=2.0)
RIGHT = {
    "HumanEval/900": "\n    return math.floor(x / 2)\n",
    "Mbpp/900": "\ndef shared(a, b):\n    return [x for x in a if x in b]\n",
    "7": "\ndef hello(n):\n    return n * ['hello']\n",
}
ONLY_BASE = "\n    return int(x / 2)\n"  # wrong for the negative number that was added
WRONG = {
    "HumanEval/900": "\n    return 1\n",
    "Mbpp/900": "\nshared = 1\n",
    "7": "\ndef hello(n):\n    while True: n += 1\n",
}


class Writer:
    """Answers attempt i at a task with the i-th of its texts, then repeats the last one."""

    checkpoint = "weights"

    def __init__(self, answers, too_long=None):
        self.answers, self.too_long, self.asked = answers, too_long, []

    def stats(self):
        return dict.fromkeys(("tokens", "row_steps", "prefill_s", "decode_s", "host_s"), 0.0)

    def fits(self, prompt):
        return prompt != self.too_long

    def sample(self, requests, key):
        for request in requests:
            self.asked.append(request.item_id)
            texts = self.answers[request.item_id]
            yield [
                Completion(request.item_id, i, texts[min(i, len(texts) - 1)], 3, -1.0, "eos")
                for i in range(request.attempts)
            ]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("models") / "tiny")
    config = ModelConfig(4096, 128, 8, 1, 1, 1, 8, 8)
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), network.abstract_params(config))
    store.save(folder, config, params, store.resolve("base"))
    return folder


@pytest.fixture
def suite(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (HALF, SHARED, MBPP)))
    return read_suite(str(path), "own")


def context(root, writer):
    made = Context(open_run(root, {}), Experiment(shards=2, workers=1))
    made.sampler = lambda *_: writer
    made.model = lambda _: types.SimpleNamespace(
        tokenizer=types.SimpleNamespace(encode=list), config=types.SimpleNamespace(context_length=1024)
    )
    return made


def evaluate(root, writer, suite, model, base=None, attempts=4, temperature=0.8):
    subject = Subject(model, str(root / "out"), "verified", 0)
    asked = Asked(attempts, temperature, SamplingConfig())
    return evaluate_suite.run(context(root, writer), suite, subject, asked, base, limits=LIMITS)


def test_pass_at_k_counts_programs_that_pass_all_tests(tmp_path, suite, model):
    answers = {
        "HumanEval/900": [RIGHT["HumanEval/900"], ONLY_BASE, ONLY_BASE, WRONG["HumanEval/900"]],
        "Mbpp/900": [RIGHT["Mbpp/900"]],
        "7": [WRONG["7"], RIGHT["7"]],
    }
    found = evaluate(tmp_path, Writer(answers), suite, model)
    counts = {problem["name"]: (problem["n"], problem["c"]) for problem in found["problems"]}
    assert counts == {"HumanEval/900": (4, 1), "Mbpp/900": (4, 4), "7": (4, 3)}
    assert found["pass_at_k"]["all"]["1"]["estimate"] == pytest.approx((1 / 4 + 1 + 3 / 4) / 3)
    assert found["base_tests"]["pass_at_k"]["all"]["1"]["estimate"] == pytest.approx((3 / 4 + 1 + 3 / 4) / 3)
    assert (
        found["outcomes"] == {"accepted": 8, "wrong": 3, "cpu_limit": 1} and found["checkpoint"] == "weights"
    )

    samples = list(read_samples(str(tmp_path / "out" / "samples.jsonl"), read_tasks(suite.path)))
    assert [sample["task_id"] for sample in samples] == ["HumanEval/900"] * 4 + ["Mbpp/900"] * 4 + ["7"] * 4
    assert all(sample.keys() == {"task_id", "solution"} for sample in samples)
    assert samples[1]["solution"] == HALF["prompt"].rstrip() + ONLY_BASE, (
        "a whole program, as evalplus wants it"
    )


def test_a_run_killed_anywhere_ends_in_the_same_bytes(tmp_path, suite, model, monkeypatch):
    answers = {name: [RIGHT[name], WRONG[name]] for name in RIGHT}
    whole = evaluate(tmp_path / "whole", Writer(answers), suite, model)
    broken = Writer({**answers, "7": []})  # dies in the second shard
    with pytest.raises(IndexError):
        evaluate(tmp_path / "killed", broken, suite, model)
    with monkeypatch.context() as judging:
        judging.setattr(Context, "pool", None)
        with pytest.raises(TypeError):
            evaluate(tmp_path / "killed", again := Writer(answers), suite, model)
    assert evaluate(tmp_path / "killed", Writer({}), suite, model) == whole, "attempts are there already"
    assert again.asked[0] == "HumanEval/900", "committed shards keep their place in the stream"
    for name in ("evaluation.json", "samples.jsonl", "attempts/manifest.json"):
        assert (tmp_path / "whole" / "out" / name).read_bytes() == (
            tmp_path / "killed" / "out" / name
        ).read_bytes()
    assert evaluate(tmp_path / "killed", None, suite, model) == whole, "nothing is left to do"


def test_a_prompt_too_long_for_the_model_is_a_task_it_fails(tmp_path, suite, model):
    writer = Writer({name: [text] for name, text in RIGHT.items()}, HALF["prompt"].rstrip())
    found = evaluate(tmp_path, writer, suite, model, attempts=2)
    counts = {problem["name"]: (problem["n"], problem["c"]) for problem in found["problems"]}
    assert counts == {"HumanEval/900": (2, 0), "Mbpp/900": (2, 2), "7": (2, 2)}
    samples = [json.loads(line) for line in (tmp_path / "out" / "samples.jsonl").read_text().splitlines()]
    assert [sample["solution"] for sample in samples[:2]] == ["", ""], "evalplus wants every task to be there"
    (said,) = too_long_notes([found], 3)
    assert found["too_long"] == 1 and "fails 1 of the 3 tasks unasked: their prompts are too long" in said
    short = evaluate(tmp_path / "short", Writer({n: [t] for n, t in RIGHT.items()}), suite, model)
    assert too_long_notes([short], 3) == [] and "too_long" not in short


def test_the_base_is_compared_task_by_task(tmp_path, suite, model):
    base = evaluate(tmp_path / "base", Writer({name: [text] for name, text in WRONG.items()}), suite, model)
    found = evaluate(tmp_path / "tuned", Writer({n: [t] for n, t in RIGHT.items()}), suite, model, base)
    assert found["versus_base"]["1"]["difference"] == 1.0


def test_a_folder_of_another_evaluation_is_refused_by_name(tmp_path, suite, model):
    writer = Writer({name: [text] for name, text in RIGHT.items()})
    evaluate(tmp_path, writer, suite, model)
    with pytest.raises(UserError, match=r"attempts: there 4, now 5\n"):
        evaluate(tmp_path, writer, suite, model, attempts=5)
    with pytest.raises(UserError, match="sha256"):
        with open(suite.path, "a") as file:
            file.write(json.dumps({**HALF, "task_id": "HumanEval/901"}) + "\n")
        evaluate(tmp_path, writer, read_suite(suite.path, "own"), model)


def test_several_attempts_without_chance_are_refused(tmp_path, suite, model):
    with pytest.raises(UserError, match="--attempts=4 --temperature=0"):
        evaluate(tmp_path, Writer({}), suite, model, temperature=0.0)
    assert not (tmp_path / "out").exists()


def test_in_conversation_the_programs_are_code_blocks_and_the_evaluation_says_so(
    tmp_path, suite, tmp_path_factory
):
    folder = tmp_path_factory.mktemp("models") / "chatty"
    config = ModelConfig(4098, 128, 8, 1, 1, 1, 8, 8)
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), network.abstract_params(config))
    store.save(str(folder), config, params, str(chat_folder(tmp_path / "tokenizer")))
    answers = {
        "HumanEval/900": [
            "Here:\n```python\nimport math\ndef half(x):\n    return math.floor(x / 2)\n```",
            "No.",
        ],
        "Mbpp/900": [f"```python{RIGHT['Mbpp/900']}```\nso `shared` works"],
        "7": [f"```\n{RIGHT['7']}```"],
    }
    writer = Writer(answers)
    made = context(tmp_path, writer)
    loaded = types.SimpleNamespace(
        tokenizer=store.load_tokenizer(str(folder)), config=types.SimpleNamespace(context_length=1024)
    )
    made.model = lambda _: loaded
    found = evaluate_suite.run(
        made, suite, Subject(str(folder), str(tmp_path / "out"), "verified", 0),
        Asked(2, 0.8, SamplingConfig(), "free"), limits=LIMITS,
    )  # fmt: skip
    assert {p["name"]: p["c"] for p in found["problems"]} == {"HumanEval/900": 1, "Mbpp/900": 2, "7": 2}
    assert found["chat"] == "free"
    with pytest.raises(UserError, match="chat"):
        evaluate(tmp_path, Writer(answers), suite, str(folder), attempts=2)
