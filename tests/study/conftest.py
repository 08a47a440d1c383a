"""A study resolves its runs' configurations, which locks gin's one configuration: it is left as it was found."""

import pytest

import gin
from t5x_selfprog.study import foresight


@pytest.fixture(autouse=True)
def _gin_is_left_clear():
    yield
    gin.clear_config()


@pytest.fixture(autouse=True)
def _power_is_asked_briefly(monkeypatch):
    monkeypatch.setattr(foresight, "TRIALS", 8)
