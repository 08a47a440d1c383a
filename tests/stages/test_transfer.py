"""`selfprog evaluate --suite=...` from its command line: which models are measured, what is printed and refused."""

import json
import shutil
import types

import jax
import numpy as np
import pytest

from t5x_selfprog import main
from t5x_selfprog.model import network, store
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.report.transfer import transfer
from t5x_selfprog.stages.context import Context
from tests.evaluation.suite_rows import HALF, SHARED
from tests.stages.test_evaluate_suite import ONLY_BASE, RIGHT, WRONG, Writer
from verifier.errors import UserError


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run with a tiny base and one trained iteration; the base answers wrongly, the trained model rightly."""
    config = ModelConfig(4096, 1024, 8, 1, 1, 1, 8, 8)
    base, trained = str(tmp_path / "tiny"), tmp_path / "run" / "iter_000" / "6_checkpoints"
    for folder, value in ((base, 0.0), (str(trained), 1.0)):
        shapes = network.abstract_params(config)
        params = jax.tree.map(lambda leaf, value=value: np.full(leaf.shape, value, np.float32), shapes)
        store.save(folder, config, params, store.resolve("base"))
    (trained / "done.json").write_text('{"step": 1, "identity": "trained"}')
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (HALF, SHARED)))

    def sampler(self, model, sampling, prefix=""):
        assert (sampling.stop, sampling.top_k, sampling.max_new_tokens) == ("none", 0, 512)
        wrong = {**WRONG, "HumanEval/900": ONLY_BASE}
        right = model.endswith("6_checkpoints")
        return Writer({name: [(RIGHT if right else wrong)[name]] for name in RIGHT})

    monkeypatch.setattr(Context, "sampler", sampler)
    loaded = types.SimpleNamespace(
        tokenizer=types.SimpleNamespace(encode=list), config=types.SimpleNamespace(context_length=2048)
    )
    monkeypatch.setattr(Context, "model", lambda self, path: loaded)
    return tmp_path / "run"


def evaluate(run, *more):
    base = f"--gin.Experiment.base='{run.parent / 'tiny'}'"
    return main.main(
        [
            "evaluate",
            f"--run_dir={run}",
            "--gin_file=quickstart",
            base,
            "--gin.Experiment.workers=1",
            "--json",
            *more,
        ]
    )


def test_base_and_newest_model_are_measured_and_compared(run, capsys):
    assert evaluate(run, f"--suite={run.parent / 'own.jsonl'}") == 0
    said = capsys.readouterr().out
    base, newest = json.loads(said.splitlines()[-1])["evaluations"]
    assert (base["arm"], newest["arm"], newest["iteration"]) == ("base", "verified", 0)
    assert [e["pass_at_k"]["all"]["1"]["estimate"] for e in (base, newest)] == [0.0, 1.0]
    assert (
        base["base_tests"]["pass_at_k"]["all"]["1"]["estimate"] == 0.5
        and "base by the base tests alone" in said
    )
    assert newest["versus_base"]["1"]["difference"] == 1.0
    for arm in ("base", "iter_000"):
        assert (run / "suites" / "own" / "t0_n1" / arm / "samples.jsonl").exists()
    # Other settings get another folder of the same run, whose configuration does not change.
    assert (
        evaluate(
            run,
            f"--suite={run.parent / 'own.jsonl'}",
            "--attempts=2",
            "--gin.evaluate_suite.run.prompt_buckets=(64,)",
        )
        == 0
    )
    assert (run / "suites" / "own" / "t0.8_n2" / "base" / "evaluation.json").exists()


def test_a_number_of_attempts_that_cannot_be_is_refused_as_a_flag(run, capsys):
    with pytest.raises(SystemExit, match="2"):
        evaluate(run, "--suite=nowhere.jsonl", "--attempts=0")
    assert "argument --attempts: must be a whole number of at least 1, not '0'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ["--suite=nowhere.jsonl"],
            "--suite=nowhere.jsonl: no such file; give one, or humaneval_plus or mbpp_plus",
        ),
        (["--suite=nowhere.jsonl", "--attempts=3", "--temperature=0"], "without chance all attempts"),
        (["--attempts=3"], "--attempts=3 goes with --suite"),
        (["--temperature=0.2"], "--temperature=0.2 goes with --suite"),
        (["--chat=free"], "--chat=free goes with --suite"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_any_work(run, capsys, flags, words):
    assert evaluate(run, *flags) == 2
    assert words in capsys.readouterr().err and not (run / "suites").exists()
    # Nor is a run begun for it.
    assert evaluate(run.parent / "new", *flags) == 2
    assert words in capsys.readouterr().err and not (run.parent / "new").exists()


def test_a_task_without_tests_begins_no_run(run, capsys):
    faulty = run.parent / "faulty.jsonl"
    faulty.write_text(
        json.dumps({name: value for name, value in HALF.items() if name != "base_input"}) + "\n"
    )
    assert evaluate(run.parent / "new", f"--suite={faulty}") == 2
    assert "faulty.jsonl" in capsys.readouterr().err and not (run.parent / "new").exists()


def test_a_model_without_a_template_is_not_asked_in_conversation(run, capsys):
    assert evaluate(run, f"--suite={run.parent / 'own.jsonl'}", "--chat=begun") == 2
    assert (
        "no chat template came with this model" in capsys.readouterr().err and not (run / "suites").exists()
    )


def looks(run):
    return sorted((run / "held_out").glob("*.json"))


def test_models_of_one_name_have_folders_and_rows_of_their_own(run, capsys):
    """One that is called as the run's own base is, and others whose folders are called alike."""
    suite = f"--suite={run.parent / 'own.jsonl'}"
    assert evaluate(run, suite) == 0
    trained = run / "iter_000" / "6_checkpoints"
    own = {path: path.read_bytes() for path in (run / "suites").rglob("*.json*")}
    found = []
    for name, source in (("base", trained), ("here/m", trained), ("there/m", run.parent / "tiny")):
        folder = run.parent / name
        folder.parent.mkdir(exist_ok=True)
        shutil.copytree(source, folder)
        (folder / "done.json").unlink(missing_ok=True)
        capsys.readouterr()
        assert evaluate(run, suite, f"--model={folder}") == 0
        found += json.loads(capsys.readouterr().out.splitlines()[-1])["evaluations"]
    arms = [evaluation["arm"] for evaluation in found]
    assert (
        len(set(arms)) == 3 and arms[0].startswith("base-") and all(arm.startswith("m-") for arm in arms[1:])
    )
    assert {path: path.read_bytes() for path in own} == own
    page = transfer(str(run), [])
    assert all(f">{arm}<" in page for arm in (*arms, "base", "verified 0")), (
        "none is taken for a seed of another"
    )


def test_a_model_that_is_not_there_is_not_looked_at_with(run, capsys):
    """Neither by a name that is mistyped, nor where only the description of its training has travelled."""
    suite = f"--suite={run.parent / 'own.jsonl'}"
    assert evaluate(run, suite, f"--model={run.parent / 'tyni'}") == 2
    assert "tyni" in capsys.readouterr().err
    trained = run / "iter_000" / "6_checkpoints"
    (trained / "weights.safetensors").unlink()
    for more in ((), (f"--model={trained}",)):
        assert evaluate(run, suite, *more) == 2
        said = capsys.readouterr().err
        assert f"{trained}: its training has ended (done.json), but its weights are not there" in said
    assert not looks(run) and not (run / "suites").exists(), "nor is the base measured before that is said"


def test_a_look_is_noted_once_the_model_is_there_to_be_asked(run, monkeypatch):
    suite = f"--suite={run.parent / 'own.jsonl'}"
    with monkeypatch.context() as patch:
        patch.setattr(
            Context, "sampler", lambda *_: (_ for _ in ()).throw(UserError("no room for its weights"))
        )
        assert evaluate(run, suite) == 2
    assert not looks(run)
    with monkeypatch.context() as patch:
        patch.setattr(
            Writer, "sample", lambda *_: (_ for _ in ()).throw(UserError("killed at the first attempt"))
        )
        assert evaluate(run, suite) == 2
    (look,) = looks(run)
    assert evaluate(run, suite) == 0 and look in looks(run) and len(looks(run)) == 2, "one of each model"
