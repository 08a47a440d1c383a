"""The report's section on suites: what was measured, what it shares with the run's own problems, and nothing else."""

from collections import Counter

from t5x_selfprog.evaluation.evaluation import ProblemCount, summarise
from t5x_selfprog.evaluation.suite_notes import overlap_note
from t5x_selfprog.report.transfer import transfer
from verifier.storage import files

P3 = {"problems": [{"group": "human_eval"}] * 150 + [{"group": "rest"}] * 78}
OTHER = {"problems": [{"group": "sums"}] * 60}


def measure(root, suite, settings, arm, solved):
    """An evaluation of ten tasks, the first of which are solved by every attempt."""
    counts = [ProblemCount(f"{suite}/{i}", f"{suite}/{i}", suite, 1, int(i < solved)) for i in range(10)]
    about = {"arm": arm, "iteration": None if arm == "base" else 0, "suite": suite, "temperature": 0.0}
    outcomes = Counter(accepted=solved, wrong=10 - solved)
    base = {"base_tests": {"pass_at_k": summarise(counts, outcomes)["pass_at_k"]}}
    found = about | summarise(counts, outcomes) | base
    files.write_json(files.join(root, "suites", suite, settings, arm, "evaluation.json"), found)


def test_a_run_without_suites_has_no_such_section(tmp_path):
    assert transfer(str(tmp_path), [P3]) is None
    files.makedirs(str(tmp_path / "suites" / "mbpp_plus" / "t0_n1" / "base" / "attempts"))
    assert transfer(str(tmp_path), [P3]) is None, "nor one whose evaluation is under way"


def test_each_suite_has_its_table_and_says_what_it_shares(tmp_path):
    for suite, solved in (("humaneval_plus", 3), ("mbpp_plus", 5), ("<b>own", 1)):
        measure(str(tmp_path), suite, "t0_n1", "base", 2)
        measure(str(tmp_path), suite, "t0_n1", "verified", solved)
    page = transfer(str(tmp_path), [P3])
    assert (
        page.count("<table") == 3
        and "verified 0" in page
        and "5/10" in page
        and "by the base tests alone" in page
    )
    assert page.count("150 of this run") == 1 and page.count("it is the independent one") == 1
    assert "<b>own" not in page and "&lt;b&gt;own" in page


def test_humaneval_is_called_dependent_only_where_it_is():
    assert "not independent here: 150 of this run's 228" in overlap_note("humaneval_plus", 150, 228)[0]
    assert "measured on none" in overlap_note("humaneval_plus", 0, 60)[0]
    assert overlap_note("own", 150, 228) == []
