"""A cloud without a slice and one whose slice is set up, made once and copied for each test."""

import pytest

from tests.tpu.cloud import WHERE, Cloud


@pytest.fixture(scope="session")
def bare(tmp_path_factory) -> Cloud:
    """No slice yet."""
    return Cloud(tmp_path_factory.mktemp("bare") / "cloud")


@pytest.fixture(scope="session")
def set_up(bare, tmp_path_factory) -> Cloud:
    made = Cloud(tmp_path_factory.mktemp("ready") / "cloud", like=bare)
    done = made.run(f"export {WHERE}; scripts/tpu/create && scripts/tpu/setup")
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def cloud(bare, tmp_path):
    made = Cloud(tmp_path / "cloud", like=bare)
    yield made
    made.close()


@pytest.fixture
def ready(set_up, tmp_path):
    made = Cloud(tmp_path / "cloud", like=set_up)
    yield made
    made.close()
