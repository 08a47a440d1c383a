"""What each door imports, and how quickly `--help` answers."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

HEAVY = ("numpy", "jax", "tensorflow", "transformers", "torch", "seqio", "flax")

# The path model -> sampler -> verifier -> trainer, by folder or file.
HOT_PATH = (
    "t5x_selfprog/model",
    "t5x_selfprog/sampling",
    "t5x_selfprog/training",
    "t5x_selfprog/stages",
    "t5x_selfprog/puzzles",
    "t5x_selfprog/evaluation",
    "t5x_selfprog/partitioning.py",
    "t5x_selfprog/tokenizer.py",
    "t5x_selfprog/loop.py",
    "verifier",
)


def _modules(repository: Path, folders: tuple[str, ...]) -> list[str]:
    files = []
    for folder in folders:
        path = repository / folder
        files += [path] if path.suffix == ".py" else path.rglob("*.py")
    found = [path.relative_to(repository).with_suffix("") for path in files if path.exists()]
    names = [".".join(path.parts).removesuffix(".__init__") for path in sorted(found)]
    return [name for name in names if not name.endswith("__main__")]


def _imported_by(statement: str, environment: dict[str, str], names: tuple[str, ...]) -> list[str]:
    """Which of `names` are in sys.modules after the statement ran in a fresh process."""
    code = f"import sys\n{statement}\nprint([name for name in {names!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return eval(done.stdout.splitlines()[-1])


def test_the_verifiers_help_imports_nothing_heavy(user_environment: dict) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "verifier", "--help"],
        env=user_environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "argparse" in imported and not imported & set(HEAVY)


def test_no_module_of_the_verifier_imports_anything_heavy(repository: Path, user_environment: dict) -> None:
    # Beam and seqio live in their own modules, outside the verifier's core.
    modules = [name for name in _modules(repository, ("verifier",)) if not name.endswith("beam")]
    assert "verifier.storage.records" in modules
    heavy = (*HEAVY, "t5x_selfprog", "fsspec")
    assert _imported_by(f"import {', '.join(modules)}", user_environment, heavy) == []


def test_the_hot_path_imports_no_tensorflow(repository: Path, user_environment: dict) -> None:
    modules = [name for name in _modules(repository, HOT_PATH) if not name.endswith("beam")]
    heavy = ("tensorflow", "seqio", "tensorflow_datasets", "torch", "scipy.special")
    assert _imported_by(f"import {', '.join(modules)}", user_environment, heavy) == []


def test_packages_and_the_command_line_import_nothing_heavy(repository: Path, user_environment: dict) -> None:
    packages = [path.parent for path in (repository / "t5x_selfprog").rglob("__init__.py")]
    names = [".".join(path.relative_to(repository).parts) for path in packages]
    statement = f"import {', '.join(names)}, t5x_selfprog.main, t5x_selfprog.run_dir"
    assert _imported_by(statement, user_environment, (*HEAVY, "gin")) == []


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["nonsense"]])
def test_selfprog_answers_within_a_second(arguments: list[str], user_environment: dict) -> None:
    durations_s = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "t5x_selfprog.main", *arguments], env=user_environment, capture_output=True
        )
        durations_s.append(time.perf_counter() - started)
    assert min(durations_s) < 1.0
