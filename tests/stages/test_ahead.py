"""The programs compiled ahead are those that the stages will ask for."""

from types import SimpleNamespace

import pytest

import gin
import t5x_selfprog.configurables
import t5x_selfprog.stages.sample_puzzles
import t5x_selfprog.stages.sample_solutions  # noqa: F401
from t5x_selfprog.stages import ahead
from t5x_selfprog.tokenizer import Tokenizer
from tests.puzzles.chatting import chat_folder

CONFIG = """
sample_puzzles.run.sampling = @puzzles/SamplingConfig()
sample_puzzles.run.attempts = 32
puzzles/SamplingConfig.rows_in_flight = 64
puzzles/SamplingConfig.temperature = 0.7
sample_solutions.run.sampling = @solutions/SamplingConfig()
sample_solutions.run.prompt = @SolvePrompt()
SolvePrompt.tutorial = 'seeds'
solutions/SamplingConfig.prompts_in_flight = 5
"""


@pytest.fixture
def begun(monkeypatch):
    found = []
    gin.clear_config()  # of what an earlier test of this process has bound
    monkeypatch.setattr(ahead, "compile_ahead", lambda *arguments: found.append(arguments))
    yield found
    gin.clear_config()


def test_the_programs_of_puzzles_and_solutions_are_begun_as_gin_has_them(begun):
    gin.parse_config(CONFIG)
    ahead.begin(SimpleNamespace(config="shape", tokenizer="tokenizer", path="m"), "mesh")
    (*of, puzzles, prefix, mesh), (*_, solutions, tutorial, _) = begun
    assert (of, prefix, mesh) == (["shape", "tokenizer"], "", "mesh")
    assert (puzzles.temperature, puzzles.rows_per_prompt, puzzles.prompts_in_flight) == (0.7, 2, 32)
    assert solutions.prompts_in_flight == 5 and tutorial.endswith("assert f(g())\n\n")


def test_conversations_begin_as_their_template_says(begun, tmp_path):
    pytest.importorskip("jinja2", reason="scripts/setup installs it")
    tokenizer = Tokenizer.load(chat_folder(tmp_path / "model"))
    gin.parse_config(CONFIG + "sample_puzzles.run.chat = True\nSolvePrompt.chat = 'free'\n")
    ahead.begin(SimpleNamespace(config="shape", tokenizer=tokenizer, path="m"), "mesh")
    (_, _, puzzles, _, _), (_, _, solutions, prefix, _) = begun
    assert not puzzles.document_start and puzzles.stop == "unindented"
    assert not solutions.document_start and solutions.stop == "none" and "<|im_start|>" in prefix


def test_what_gin_does_not_say_is_left_to_the_stage(begun):
    gin.clear_config()
    ahead.begin(SimpleNamespace(config="shape", tokenizer="tokenizer", path="m"), "mesh")
    assert begun == []
