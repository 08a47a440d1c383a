"""What a proposed puzzle is worth, by hand."""

import pytest

from t5x_selfprog.puzzles.proposing import Proposed, ProposerReward
from verifier.errors import UserError

SOLVED = [Proposed(True, 0.5, accepted, 8) for accepted in (0, 2, 4, 6, 8)]


@pytest.mark.parametrize(
    ("target", "worth"),
    [("absolute_zero", [0, 0.75, 0.5, 0.25, 0]), ("r_zero", [0, 0.5, 1, 0.5, 0])],
)
def test_a_solve_rate_is_worth_what_its_target_says(target, worth):
    reward = ProposerReward(target, valid=0, novel=0, rate=1)
    assert [reward.of(proposed) for proposed in SOLVED] == worth


def test_parts_are_weighted_and_their_shares_add_up_to_one():
    reward = ProposerReward("r_zero", valid=0.1, novel=0.2, rate=0.5)
    assert reward.parts(SOLVED[1]) == {"valid": 0.1, "novel": 0.1, "rate": 0.25}
    assert reward.of(Proposed()) == 0 and reward.of(Proposed(valid=True)) == 0.1
    shares = reward.shares([SOLVED[1], Proposed(valid=True), Proposed()])
    assert shares == {
        "valid": round(0.2 / 0.55, 6),
        "novel": round(0.1 / 0.55, 6),
        "rate": round(0.25 / 0.55, 6),
    }
    assert reward.shares([Proposed()]) == {"valid": 0.0, "novel": 0.0, "rate": 0.0}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"target": "half"}, "ProposerReward.target='half'"),
        ({"novel": -1.0}, "ProposerReward.novel=-1.0"),
        ({"valid": 0.0, "novel": 0.0, "rate": 0.0}, "nothing would be rewarded"),
    ],
)
def test_what_is_no_reward_is_refused(wrong, said):
    with pytest.raises(UserError, match=said):
        ProposerReward(**wrong)
