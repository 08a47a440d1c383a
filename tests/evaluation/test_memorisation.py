"""A model that has seen the test puzzles is told from one that just reads Python."""

import ast
import json
import math

import numpy as np
import pytest

from t5x_selfprog.evaluation.memorisation import canonical, examine, preferences, twins
from t5x_selfprog.main import main
from t5x_selfprog.model import store
from t5x_selfprog.puzzles.p3 import in_split, load_problems
from t5x_selfprog.puzzles.shape import shape_id
from t5x_selfprog.stages.likelihoods import Kept, log_likelihoods
from verifier.errors import UserError

SOURCES = [problem.source for problem in in_split(load_problems("seeds"), "dev")][:60]
PUZZLE = "def f(s: str, n=3):\n    return sum([i for i in range(n) if s[i] == 'a']) == len(s) - n"


def length_score(texts, seen=()):
    """A reader who likes short texts, and those it knows by heart."""
    rng = np.random.default_rng(0)
    return [-0.3 * len(text) + rng.normal(0, 1) + 15 * (text in seen) for text in texts]


def test_twins_are_the_same_puzzle_by_other_names():
    made = twins(PUZZLE, 4)
    assert len(set(made)) == 4 and made == twins(PUZZLE, 4)
    for twin in made:
        assert shape_id(twin) == shape_id(PUZZLE) and twin != canonical(PUZZLE)
        names = {node.arg for node in ast.walk(ast.parse(twin)) if isinstance(node, ast.arg)}
        assert len(names) == 2 and "sum" in twin and twin.startswith("def f(")
    assert twins("def f(", 4) == []


def test_seen_puzzles_are_noticed():
    test, control = SOURCES[:30], SOURCES[30:]
    seen = {canonical(source) for source in test}
    assert examine(test, control, lambda texts: length_score(texts, seen)).claim == "remembers some"
    assert examine(test, control, length_score).claim == "no memory shown"


def test_controls_that_were_seen_too_show_nothing():
    seen = {canonical(source) for source in SOURCES}
    memory = examine(SOURCES[:30], SOURCES[30:], lambda texts: length_score(texts, seen))
    assert memory.preference > 10 and memory.claim == "no memory shown"


def test_what_cannot_be_scored_is_left_out():
    found = preferences([PUZZLE, "def f("], lambda texts: [math.nan] * len(texts), 2)
    assert len(found) == 0
    with pytest.raises(ValueError, match="0 test puzzles"):
        examine([], SOURCES[:3], length_score)


def test_log_likelihoods_are_the_models_own():
    """Against logits taken one position at a time, and additive in the tokens."""
    import jax

    from t5x_selfprog.model import network

    model = store.load("base")
    text = "def f(x: int):\n    return x == 3"
    (whole,) = log_likelihoods(model, [text])
    ids = [model.tokenizer.eos_id, *model.tokenizer.encode(text)]
    row = np.asarray([ids], np.int32)
    positions, segments = np.arange(len(ids), dtype=np.int32)[None], np.ones_like(row)
    hidden = network.forward(model.config, model.params, row, positions, segments)
    logs = jax.nn.log_softmax(network.bind(model.config, model.params).logits(hidden))
    expected = sum(float(logs[0, i, ids[i + 1]]) for i in range(len(ids) - 1))
    assert whole == pytest.approx(expected, rel=1e-4)
    assert math.isnan(log_likelihoods(model, ["x = 1\n" * 2000])[0])
    # Neighbours in its row change nothing, nor does being asked for twice.
    beside = log_likelihoods(model, [*SOURCES, text, "", text])
    assert beside[-3] == beside[-1] == pytest.approx(whole, rel=1e-5) and math.isnan(beside[-2])


def test_interrupted_likelihoods_resume_to_the_same_file(tmp_path, monkeypatch):
    model = store.load("base")
    identity = store.stored_identity("base")
    written, write = [], Kept.write

    def interrupted(self, **more):
        write(self, **more)
        written.append(self.path)
        if len(written) == 3:
            raise KeyboardInterrupt

    whole, resumed = tmp_path / "whole.json", tmp_path / "resumed.json"
    expected = log_likelihoods(model, SOURCES, Kept(str(whole), identity))
    with monkeypatch.context() as patch:
        patch.setattr(Kept, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            log_likelihoods(model, SOURCES, Kept(str(resumed), identity))
    before = len(json.loads(resumed.read_text())["likelihoods"])
    assert 0 < before < len(SOURCES)
    assert log_likelihoods(model, SOURCES, Kept(str(resumed), identity)) == expected
    assert resumed.read_bytes() == whole.read_bytes()
    # Nothing is left to compute.
    monkeypatch.setattr(Kept, "put", lambda *_: pytest.fail("computed again"))
    assert log_likelihoods(model, SOURCES, Kept(str(resumed), identity)) == expected


@pytest.mark.parametrize(
    "content, told",
    [
        ('{"model": "another", "likelihoods": {}}', "of the model another, not of mine"),
        ('{"likelihoods": []}', "does not hold likelihoods"),
        ('{"model": "mine", "likelihoods": {"ab": NaN}}', "the likelihood of ab is nan"),
        ('{"model": "mine", "likeli', "not JSON"),
    ],
)
def test_a_file_that_is_not_this_models_is_refused_and_kept(tmp_path, content, told):
    path = tmp_path / "memory.json"
    path.write_text(content)
    with pytest.raises(UserError, match=told):
        Kept(str(path), "mine")
    assert path.read_text() == content


@pytest.mark.parametrize(
    "path, told", [("", "is a folder; name a file in it"), ("file/x.json", "is no folder")]
)
def test_an_output_that_cannot_be_written_is_refused_before_any_work(tmp_path, capsys, path, told):
    (tmp_path / "file").write_text("")
    output = str(tmp_path / path)
    assert main(["memory", f"--problems={tmp_path}", f"--output={output}"]) == 2
    error = capsys.readouterr().err
    assert f"--output={output}: " in error and told in error and "likelihoods:" not in error
