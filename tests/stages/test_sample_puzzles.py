"""Stage 1 with a scripted model: what is recorded, from which weights, and what is refused."""

from types import SimpleNamespace

import pytest

from t5x_selfprog.puzzles.p3 import SEEDS_FOLDER, in_split, load_problems
from t5x_selfprog.run_layout import RunDir
from t5x_selfprog.sampling.interface import Completion, SamplingConfig
from t5x_selfprog.stages import sample_puzzles
from tests.stages.test_attempts import OneShard, Writer
from verifier.errors import UserError
from verifier.storage.shards import Ledger


class PuzzleWriter(Writer):
    longest_prompt = 2000

    def __init__(self, returns=""):
        super().__init__()
        self.prompts: list[str] = []
        self.returns = returns

    def prompt_tokens(self, text):
        return len(text)

    def sample(self, requests, key):
        for r in requests:
            self.prompts.append(r.prompt)
            yield [
                Completion(
                    r.item_id,
                    i,
                    f"x: int, a={i}){self.returns}:\n    return x == a\n\n",
                    3,
                    -1.0,
                    "unindented",
                )
                for i in range(r.attempts)
            ]


class FirstStage(OneShard):
    experiment = SimpleNamespace(base="the base", writer="newest", seed=5)

    def __init__(self, root, returns=""):
        super().__init__()
        self.writer, self.run, self.loaded = PuzzleWriter(returns), RunDir(str(root)), []
        self.train_problems = in_split(load_problems(SEEDS_FOLDER), "train")[:20]

    def key(self, iteration, stage):
        return (iteration, stage)

    def sampler(self, path, sampling):
        self.loaded.append(path)
        return self.writer


def written(root, iteration=0, writes="", **more):
    context = FirstStage(root, writes)
    asked = {"prompts": 3, "attempts": 4, "prompt_tokens": 900} | more
    sample_puzzles.run(context, iteration, sample_puzzles.Settings(SamplingConfig(), **asked))
    return context, list(Ledger.open(context.run.stage(iteration, "puzzles")))


def test_every_completion_is_a_puzzle_that_names_its_prompt(tmp_path):
    context, records = written(tmp_path)
    assert [r["origin"] for r in records] == [f"iter_000/0/{p}/{i}" for p in range(3) for i in range(4)]
    assert records[5]["source"] == "def f(x: int, a=1):\n    return x == a" and context.loaded == ["the base"]
    shown = {problem.puzzle_id: problem.source for problem in context.train_problems}
    for prompt, record in zip(context.writer.prompts, records[::4], strict=True):
        assert len(prompt) <= 900 and record["prompt_puzzle_ids"]
        for name in record["prompt_puzzle_ids"]:
            body = shown[name].partition("\n")[2]
            assert body in prompt


@pytest.mark.parametrize("writes", [" -> bool", "", " -> List[int]"])
def test_puzzles_are_shown_as_returning_a_bool_and_kept_as_if_nothing_had_been_said(tmp_path, writes):
    plain, _ = written(tmp_path / "plain")
    context, records = written(tmp_path / "said", writes=writes, returns=True, prompt_tokens=2000)
    assert records[5]["source"] == "def f(x: int, a=1):\n    return x == a"
    for prompt in context.writer.prompts:
        *shown, asked = prompt.split("def f")
        assert len(shown) > 3 and all(" -> bool:\n" in one for one in shown[1:]) and "->" not in asked
    assert not any("-> bool" in prompt for prompt in plain.writer.prompts)


def test_prompts_depend_on_seed_iteration_and_number_alone(tmp_path):
    first, again, more = (
        written(tmp_path / name, prompts=n)[0].writer.prompts for name, n in (("a", 3), ("b", 3), ("c", 5))
    )
    assert first == again == more[:3] and len(set(more)) == 5
    assert written(tmp_path / "a", iteration=1)[0].writer.prompts != first


def test_a_prompt_longer_than_the_model_takes_is_refused_with_both_numbers(tmp_path):
    with pytest.raises(UserError, match=r"sample_puzzles.run.prompt_tokens=2001: .* room for 2000 tokens"):
        written(tmp_path, prompt_tokens=2001)
