"""The report's section on learning from verdicts: every number from the batches on disk, and nothing without them."""

import re

import numpy as np
import pytest

from t5x_selfprog.evaluation.rollout_accounts import accounts
from t5x_selfprog.report import learnt
from t5x_selfprog.report.collect import collect
from t5x_selfprog.report.rollouts import rollouts
from t5x_selfprog.run_layout import RunDir
from tests.report.synthetic_run import make_run, write_rollouts
from verifier.outcomes import ACCEPTED
from verifier.storage import files
from verifier.storage.shards import Ledger

REWARD = {"target": "r_zero", "valid": 0.2, "novel": 0.2, "rate": 1.0}


@pytest.fixture
def run(tmp_path):
    made = RunDir(str(tmp_path / "run"))
    write_rollouts(made.stage(0, "checkpoints"), np.random.default_rng(3), selfplay=True)
    write_rollouts(made.stage(1, "checkpoints"), np.random.default_rng(4), selfplay=False)
    return made


def page(run, steps=()):
    place = "iter_000/6_checkpoints"
    missing = []
    shown = rollouts(learnt.read(run, run.iterations(), {place: list(steps)}, missing))
    return shown, missing


def row(shown, name):
    """The cells of a table's row."""
    found = re.search(rf'<th scope="row">{name}</th>(.*?)</tr>', shown)
    return re.findall(r"<td>(.*?)</td>", found[1])


def test_a_run_that_learnt_pairs_has_no_such_section(tmp_path):
    run = RunDir(str(tmp_path / "run"))
    files.write_json(files.join(run.stage(0, "checkpoints"), "done.json"), {"step": 3})
    assert page(run) == (None, [])
    assert rollouts([]) is None


def test_the_numbers_are_those_of_the_batches(run):
    attempts = [
        record
        for number in range(6)
        for record in Ledger.open(f"{run.stage(0, 'checkpoints')}/rollouts/{number:04d}/attempts")
    ]
    files.write_json(files.join(run.stage(0, "checkpoints"), "done.json"), {"step": 6, "reward": REWARD})
    shown, missing = page(run)
    assert missing == [] and shown.count("<h3>") == 2
    solved, by_kind = 0, {}
    for task, name in (("puzzle", "puzzles"), ("deduction", "deductions"), ("abduction", "abductions")):
        mine = [r for r in attempts if r["task"] == task]
        right = sum(r["outcome"] == ACCEPTED for r in mine)
        by_name = {}
        for r in mine:
            by_name.setdefault(r["puzzle_id"], set()).add(r["outcome"])
        alike = sum(len(found) == 1 for found in by_name.values())
        cells = row(shown, name)
        assert cells[0] == "18" and cells[1].startswith(f"{alike} (") and cells[2] == "72"
        assert cells[3] == f"{right} ({100 * right / 72:.1f}%)" and cells[4] == f"{right / 72:.3f}"
        by_kind[name], solved = right, solved + right
    solved += sum(r["outcome"] == ACCEPTED for r in attempts if r["task"] == "proposal")
    # The proposer: valid 0.2 for four of eight, and 0.1 + nearness to one half for the three attempted.
    worth = 0.0
    for number in range(6):
        for name in range(3):
            mine = [
                r["outcome"] == ACCEPTED for r in attempts if r["puzzle_id"] == f"proposal-{number}-{name}"
            ]
            rate = sum(mine) / len(mine)
            worth += 0.2 * 0.5 + (1 - 2 * abs(rate - 0.5) if 0 < rate < 1 else 0.0)
        worth += 4 * 0.2
    cells = row(shown, "the proposer")
    assert cells[2] == "48" and cells[4].startswith(f"{worth / 48:.3f} (valid")
    assert cells[5] == f"{100 * worth / (worth + solved):.1f}%"
    for name, right in by_kind.items():
        assert row(shown, name)[5] == f"{100 * right / (worth + solved):.1f}%"


def test_the_outcomes_of_screening_are_shown_and_stay_text(run):
    shown, _ = page(run)
    assert "valid and new: 37.5%" in shown and "no parse: 25.0%" in shown and "duplicate: 12.5%" in shown
    assert "&lt;b&gt;odd" in shown and "<b>odd" not in shown
    assert "known when the iteration is over" in shown, "no reward is known yet"
    assert "the proposer" not in re.findall(r'<th scope="row">(.*?)</th>', shown)


def test_a_batch_under_way_is_left_out_and_a_damaged_one_is_said(run):
    output = run.stage(1, "checkpoints")
    files.remove(files.join(output, "rollouts", "0005", "manifest.json"))
    assert [batch.number for batch in accounts(output)] == [0, 1, 2, 3, 4]
    shown, missing = page(run)
    assert "Iteration 1: 5 batches" in shown and not missing
    with open(files.join(output, "rollouts", "0002", "part-00001-of-00004.tfrecord"), "r+b") as file:
        file.seek(20)
        file.write(b"\xff\xff\xff")
    shown, missing = page(run)
    assert (
        "Iteration 1: 2 batches" in shown
        and "iteration 1: the attempts it learnt from are damaged" in missing[0]
    )


def test_steps_show_clipping_and_divergence_where_they_were_measured(run):
    steps = [{"step": i, "loss": 0.0, "clipped": i / 100, "old_kl": i / 1000} for i in (1, 2, 3)]
    shown, _ = page(run, steps)
    assert "share of tokens clipped over steps" in shown and "divergence (k3) over steps" in shown
    assert (
        row(shown.partition("Numbers by step")[2], "3") == ["0.0300", "0.0030"]
        and "KL from the base" not in shown
    )
    without, _ = page(run)
    assert "clipped over steps" not in without and "Numbers by step" not in without


def test_one_batch_of_one_group_draws_no_line(tmp_path):
    run = RunDir(str(tmp_path / "run"))
    write_rollouts(run.stage(0, "checkpoints"), np.random.default_rng(0), selfplay=False, batches=1)
    shown, missing = page(run)
    assert "Iteration 0: 1 batch<" in shown and "<svg" not in shown and not missing


def test_a_whole_page_holds_it(tmp_path):
    made = collect(str(make_run(tmp_path / "run")))
    assert [one.iteration for one in made.learnt] == [0, 1] and made.learnt[0].reward.target == "r_zero"
    assert len(made.learnt[0].steps) == 12
