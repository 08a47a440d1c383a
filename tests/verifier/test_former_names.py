"""Modules of the verifier are found by the names they had before they lay in wings, and are the same modules."""

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import verifier
from verifier import Pool
from verifier.former_names import FORMER

ROOT = Path(verifier.__file__).parent


@pytest.mark.parametrize("former", sorted(FORMER))
def test_a_former_name_is_the_module_itself(former):
    if former == "beam":
        pytest.importorskip("apache_beam", reason="apache-beam is not installed: pip install apache-beam")
    present = importlib.import_module(f"verifier.{FORMER[former]}")
    assert importlib.import_module(f"verifier.{former}") is present
    assert present.__spec__.name == present.__name__ == f"verifier.{FORMER[former]}"
    assert importlib.import_module(f"verifier.{FORMER[former]}") is present


def test_no_file_lies_where_a_former_name_would_find_it():
    """Or the former name would be another module. A folder may: `verifier.sandbox` is the wing."""
    files = {path.stem for path in ROOT.glob("*.py")}
    assert not files & FORMER.keys()


def test_former_names_work_first_and_from_the_package():
    """In a fresh process, whose first import of a module is by its former name."""
    code = (
        "from verifier import records, shards; import verifier.literal as l; import verifier.zygote as z\n"
        "import verifier.storage.records as r, verifier.language.literal as m, verifier.worker.process as p\n"
        "assert records is r and l is m and z is p and shards.Ledger.__module__ == 'verifier.storage.shards'\n"
        "import pickle; assert pickle.loads(pickle.dumps(shards.Ledger)) is shards.Ledger"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_name_that_never_was_is_not_found():
    assert importlib.util.find_spec("verifier.recordz") is None
    with pytest.raises(ModuleNotFoundError, match="recordz"):
        importlib.import_module("verifier.recordz")


def test_programs_that_reach_for_our_modules_find_them_by_either_name():
    """And gain nothing: what they find is what they would find by the present name."""
    puzzle = "def f(x: bool):\n    return x is True"
    program = (
        "import statistics\nm = statistics.sys.modules\n"
        "def g():\n    return m['verifier.area'] is m['verifier.worker.area'] is m['verifier'].area"
    )
    with Pool(1) as pool:
        (verdict,) = pool.judge([{"puzzle": puzzle, "solution": program}])
    assert verdict.outcome == "accepted", verdict
