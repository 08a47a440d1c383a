"""A study resolves its runs' configurations, which locks gin's one configuration: it is left as it was found."""

import pytest

import gin


@pytest.fixture(autouse=True)
def _gin_is_left_clear():
    yield
    gin.clear_config()
