"""A study resolves its runs' configurations, which locks gin's one configuration: it is left as it was found."""

import pytest

import gin
from t5x_selfprog.study import foresight, launch
from tests.study.fake_runs import FakeRuns, study

TRIALS = 8  # of the question whether the study will show anything


@pytest.fixture(autouse=True)
def _gin_is_left_clear():
    yield
    gin.clear_config()


@pytest.fixture(autouse=True)
def _power_is_asked_briefly(monkeypatch):
    monkeypatch.setattr(foresight, "TRIALS", TRIALS)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The directory of a study of five amounts of data and three seeds, its summary, and the commands of its runs."""
    root, runs = tmp_path_factory.mktemp("studies") / "by data", FakeRuns()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(foresight, "TRIALS", TRIALS)
        patch.setattr(launch.subprocess, "run", runs)
        summary = study(root)
    gin.clear_config()
    return root, summary, runs.commands
