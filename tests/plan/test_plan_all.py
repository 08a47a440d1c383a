"""scripts/make/plan_all.py, whose plans take hours: what it makes, what it leaves alone, and how it goes on."""

import json

import pytest

from scripts.make import plan_all
from t5x_selfprog.gin_files import GIN_FOLDER
from t5x_selfprog.plan.command import FORM
from t5x_selfprog.plan.slices import SLICES

PYTHIAS = [f"{model}.{name}" for model, name in plan_all.every_plan() if model.startswith("pythia_1")]


@pytest.fixture
def made(monkeypatch):
    """Names of the plans that are made, without a compiler. Those in `made.broken` fail; `made.stop` is killed."""

    class Made(list):
        broken = ()
        stop = ""

    found = Made()

    def make(model, slice_name, target):
        name = f"{model}.{slice_name}"
        found.append(name)
        if name == found.stop:
            raise KeyboardInterrupt
        if name in found.broken:
            return 1
        programs = {p: {"bytes": {"arguments": 2**30}, "compile_s": 60.0} for p in ("train", "decode")}
        plan = {"form": FORM, "slice": slice_name, "programs": programs, "fits": {"train": True}}
        target.write_text(json.dumps({"plans": [plan]}))
        return 0

    monkeypatch.setattr(plan_all, "make", make)
    monkeypatch.setattr(plan_all.importlib.util, "find_spec", lambda name: object())
    return found


def run(folder, *arguments) -> int:
    return plan_all.main([f"--output={folder}", "--only=pythia_1", *arguments])


def table(folder) -> list[str]:
    return [line.split("|")[1].strip() for line in (folder / "table.md").read_text().splitlines()[2:]]


def test_every_plan_is_of_a_model_and_a_slice_that_there_are():
    for model, name in plan_all.every_plan():
        assert name in SLICES and (GIN_FOLDER / "slices" / f"{name}.gin").exists()
        assert (GIN_FOLDER / "models" / f"{model}.gin").exists(), model
    for model in plan_all.PAPER:
        assert (GIN_FOLDER / "runs" / f"paper_{model}.gin").exists()


def test_killed_and_started_again_it_makes_what_is_missing_or_of_an_older_form(made, tmp_path):
    made.stop = PYTHIAS[2]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert made == PYTHIAS[:3] and table(tmp_path) == sorted(name.split(".")[0] for name in PYTHIAS[:2])
    old = json.loads((tmp_path / f"{PYTHIAS[0]}.json").read_text())
    del old["plans"][0]["form"]
    (tmp_path / f"{PYTHIAS[0]}.json").write_text(json.dumps(old))
    made.clear()
    made.stop = ""
    assert run(tmp_path) == 0
    assert made == [PYTHIAS[0], *PYTHIAS[2:]] and len(table(tmp_path)) == len(PYTHIAS)
    made.clear()
    assert run(tmp_path) == 0 and made == []


def test_one_plan_that_fails_keeps_no_other_from_being_made_and_is_named(made, tmp_path, capsys):
    made.broken = (PYTHIAS[1],)
    assert run(tmp_path) == 1 and made == PYTHIAS
    assert f"not made (see above): {PYTHIAS[1]}\n" in capsys.readouterr().err
    assert len(table(tmp_path)) == len(PYTHIAS) - 1


def test_what_would_be_made_is_said_and_names_that_there_are_not_are_refused(made, tmp_path, capsys):
    (tmp_path / f"{PYTHIAS[1]}.json").write_text('{"plans": [{}]}')
    assert run(tmp_path, "--dry_run") == 0 and made == []
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == [f"{PYTHIAS[0]}: missing", f"{PYTHIAS[1]}: of an older form"]
    with pytest.raises(SystemExit) as refused:
        plan_all.main([f"--output={tmp_path}", "--only=pythia_1b.v5e_9"])
    assert refused.value.code == 2 and "pythia_1b.v5e_8" in capsys.readouterr().err


def test_a_missing_compiler_is_named_once_and_not_by_every_plan(made, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plan_all.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as refused:
        run(tmp_path)
    assert refused.value.code == 2 and made == [] and "pip install '.[plan]'" in capsys.readouterr().err
