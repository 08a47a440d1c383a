"""Settings for every test: 8 virtual CPU devices, strict promotion, quick compiling, and the location of the real P3.

JAX reads these variables when it is first imported, so tests that never import it stay light. Processes started by
tests inherit them; those that must see the machine as a user does use `user_environment`.
"""

from __future__ import annotations

import gc
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# XLA ends a process that is given a flag it does not know; jaxlib 0.11.2 does not know this one any more.
_HAS_EMITTERS_FLAG = importlib.metadata.version("jaxlib").split(".")[:2] == ["0", "10"]
_JAX_SETTINGS = {
    "JAX_NUM_CPU_DEVICES": "8",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    # XLA's own passes are unchanged, but code generation takes a third of the time; small programs run no slower.
    "XLA_FLAGS": " ".join(
        [
            os.environ.get("XLA_FLAGS", ""),
            "--xla_backend_optimization_level=0",
            "--xla_llvm_disable_expensive_passes=true",
            *(["--xla_cpu_use_fusion_emitters=false"] if _HAS_EMITTERS_FLAG else []),
            "--xla_cpu_parallel_codegen_split_count=1",
        ]
    ).strip(),
}
LONG_FILES = {
    "test_loop.py", "test_notebook.py", "test_pods.py", "test_sampler.py", "test_train_loop.py", "test_cache.py",
    "test_finetune.py", "test_schedule.py", "test_hostile.py",
}  # fmt: skip
os.environ.update(_JAX_SETTINGS)
os.environ.setdefault("JAX_PLATFORMS", "cpu")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # The files that take longest come first, so that processes that are given whole files end together.
    items.sort(key=lambda item: item.path.name not in LONG_FILES)
    skip = pytest.mark.skip(reason="slow; run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.timeout(2400) if config.getoption("--slow") else skip)


@pytest.fixture(autouse=True)
def gin_unlocked():
    """Unlocks gin, which a command locks for the rest of its process, so that other tests may declare configurables."""
    yield
    if "gin.config" in sys.modules:
        sys.modules["gin.config"]._set_config_is_locked(False)


@pytest.fixture(autouse=True, scope="module")
def memory_of_earlier_files():
    """Frees it and freezes the rest: otherwise stages, which collect garbage before they load a model, take seconds
    more."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def user_environment() -> dict[str, str]:
    """The environment without this file's settings, and with our packages importable from anywhere."""
    environment = {name: value for name, value in os.environ.items() if name not in _JAX_SETTINGS}
    environment["PYTHONPATH"] = str(REPOSITORY)
    return environment


@pytest.fixture(scope="session")
def quick_environment(
    user_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """`user_environment` for whole runs: they compile as quickly as the tests do, and each program only once.

    The folder of compiled programs is shared by the processes of the suite, and is gone with it.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    compiled = {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "XLA_FLAGS": _JAX_SETTINGS["XLA_FLAGS"],
    }
    return user_environment | compiled


@pytest.fixture(scope="session")
def p3_dir() -> Path:
    """The folder with P3's puzzles.json and split.json; skips the test if there is none."""
    folder = Path(os.environ.get("SELFPROG_P3_DIR", REPOSITORY.parent / "shared" / "data" / "p3"))
    if not (folder / "puzzles.json").is_file():
        pytest.skip(f"no P3 in {folder}; `selfprog p3 --source=DIR --download`, then SELFPROG_P3_DIR=DIR")
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A page of headless Chromium; the test skips where it does not start."""
    from tests.report import chromium

    try:
        with chromium.page(tmp_path_factory.mktemp("profile")) as page:
            yield page
    except (RuntimeError, subprocess.SubprocessError) as error:
        pytest.skip(f"Chromium does not start here: {error}")
