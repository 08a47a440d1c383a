"""evaluation.json and the results table: what is counted, compared, refused and said."""

import json

import numpy as np
import pytest

from t5x_selfprog.evaluation.compare import models_of, seeds_spread
from t5x_selfprog.evaluation.crossed import Spread
from t5x_selfprog.evaluation.evaluation import (
    GuessedProblem,
    ProblemCount,
    markdown_table,
    summarise,
    table,
)
from t5x_selfprog.evaluation.table import comparisons, groups_shown, rows


def counts(solved: dict[int, int], problems: int = 40, n: int = 100) -> list[ProblemCount]:
    """`problems` problems, of which number i has solved.get(i, 0) accepted attempts; two groups, in turns."""
    group = ("human_eval", "rest")
    return [ProblemCount(f"id{i}", f"Problem{i}", group[i % 2], n, solved.get(i, 0)) for i in range(problems)]


def evaluation(arm, solved, iteration=None, base=None, problems=40, n=100, **about):
    summary = summarise(counts(solved, problems, n), {"accepted": sum(solved.values())}, base)
    return (
        {"arm": arm, "iteration": iteration, "seeds": "ours", "split": "test", "temperature": 0.8}
        | summary
        | about
    )


BASE = evaluation("base", {0: 5, 1: 1, 2: 30})
BETTER = evaluation("verified", dict.fromkeys(range(16), 20), iteration=1, base=BASE)


def test_is_json_and_the_same_every_time():
    again = evaluation("verified", dict.fromkeys(range(16), 20), iteration=1, base=BASE)
    assert json.dumps(BETTER, allow_nan=False) == json.dumps(again, allow_nan=False)


def test_groups_average_to_the_whole():
    groups = BASE["pass_at_k"]
    assert list(groups) == ["all", "human_eval", "rest"]
    for k in ("1", "10", "100"):
        halves = (groups["human_eval"][k]["estimate"] + groups["rest"][k]["estimate"]) / 2
        assert groups["all"][k]["estimate"] == pytest.approx(halves)
    assert groups["all"]["1"]["estimate"] == pytest.approx(36 / 4000)
    assert groups["all"]["100"]["estimate"] == pytest.approx(3 / 40)


def test_k_beyond_the_attempts_is_left_out():
    assert list(evaluation("base", {}, n=16)["pass_at_k"]["all"]) == ["1", "10"]


def test_a_problem_short_of_judgements_costs_no_more_than_itself():
    problems = [ProblemCount("lost", "Lost", "rest", 99, 99), *counts({0: 1})]
    found = summarise(problems, {"accepted": 100, "infrastructure": 1})["pass_at_k"]["all"]
    assert (found["10"]["problems"], found["100"]["problems"]) == (41, 40)
    assert found["100"]["estimate"] == pytest.approx(1 / 40)


def test_problems_never_judged_are_no_zeros():
    problems = [ProblemCount("lost", "Lost", "rest", 0, 0), *counts(dict.fromkeys(range(40), 100))]
    assert summarise(problems, {})["pass_at_k"]["all"]["1"]["estimate"] == 1


def test_a_list_of_guesses_is_tried_in_order():
    """Solved by the 1st, the 10th and the 55th guess, and not at all: no averaging over orders."""
    ranks = (1, 10, 55, None)
    problems = [
        GuessedProblem(f"id{i}", f"P{i}", "rest", 55, int(rank is not None), rank)
        for i, rank in enumerate(ranks)
    ]
    found = summarise(problems, {})["pass_at_k"]["all"]
    assert [found[k]["estimate"] for k in ("1", "10", "100")] == [0.25, 0.5, 0.75]


def test_difference_is_paired_by_puzzle_not_by_position():
    shuffled = BETTER | {"problems": list(np.random.default_rng(0).permutation(BETTER["problems"]))}
    base = {"problems": BASE["problems"][::-1]}
    rows = [ProblemCount(p["puzzle_id"], p["name"], p["group"], p["n"], p["c"]) for p in shuffled["problems"]]
    ours, straight = summarise(rows, {}, base)["versus_base"]["1"], BETTER["versus_base"]["1"]
    assert ours["difference"] == pytest.approx(straight["difference"])
    assert ours["low"] == pytest.approx(straight["low"], abs=0.01)


def test_another_problem_set_is_refused():
    with pytest.raises(ValueError, match="1 are missing from the arm, such as 'Problem40'"):
        evaluation("verified", {}, base=evaluation("base", {}, problems=41))


def test_the_same_puzzle_twice_is_refused():
    with pytest.raises(ValueError, match="'Problem0' appears twice"):
        summarise(counts({}) + counts({})[:1], {})


def test_nothing_is_refused():
    with pytest.raises(ValueError, match="no problems"):
        summarise([], {})


# The table.


def enumerator():
    problems = [
        GuessedProblem(f"id{i}", f"Problem{i}", "rest", 55, int(i < 9), i + 1 if i < 9 else None)
        for i in range(40)
    ]
    return {"arm": "enumerator", "iteration": None, "temperature": None} | summarise(problems, {}, BASE)


def test_table_orders_arms_and_fits_the_screen():
    arms = [
        enumerator(),
        evaluation("seeds_only", {0: 100}),
        BETTER,
        evaluation("unverified", {}, iteration=10),
    ]
    text = table([*arms, evaluation("verified", {3: 1}, iteration=0), evaluation("human", {3: 1}), BASE])
    lines = text.splitlines()
    first_words = [line[:13].strip() for line in lines[4:11]]
    assert first_words == [
        "base",
        "verified 0",
        "verified 1",
        "unverified 10",
        "human",
        "seeds_only",
        "enumerator",
    ]
    assert max(map(len, lines)) <= 120
    assert "16/40" in lines[6] and lines[6].endswith("improves")
    against = next(line for line in lines if line.startswith("verified 1 - base"))
    assert "+32.5" in against and against.endswith("improves")
    assert "(no model)" in lines[10]


def test_the_headline_is_of_a_k_that_models_were_measured_at():
    """The enumerator's list goes to a hundred; twenty-five attempts reach Pass@10."""
    few = [
        evaluation("base", dict.fromkeys(range(4), 1), n=25),
        evaluation("verified", dict.fromkeys(range(30), 20), iteration=0, n=25),
    ]
    text = markdown_table([*few, enumerator()])
    assert "Pass@10, one against another" in text and "Pass@100, one against" not in text
    assert "more than doubles" in next(line for line in text.splitlines() if line.startswith("| verified"))


def test_many_arms_need_more_evidence():
    """One arm ahead by six problems 'improves'; among ten arms the same six could be luck."""
    lucky = evaluation("verified", dict.fromkeys(range(6), 100) | {39: 100}, iteration=0)
    base = evaluation("base", {39: 100})
    others = [evaluation("unverified", {39: 100, i: 100}, iteration=i) for i in range(9)]
    assert "improves" in table([base, lucky]).split("\n")[5]
    assert "not shown after correction" in table([base, lucky, *others]).split("\n")[5]


def test_verified_against_every_other_arm_is_printed_and_corrected_apart():
    """Lower than human and than the guesses, with the ratio; p-values of each family are multiplied by its own size."""
    base = evaluation("base", dict.fromkeys(range(8), 10))
    human = evaluation("human", dict.fromkeys(range(30), 10), iteration=1)
    verified = evaluation("verified", dict.fromkeys(range(9), 10), iteration=1)
    unverified = evaluation("unverified", dict.fromkeys(range(9), 10), iteration=1)
    found = {c.name: c for c in comparisons(rows([base, verified, unverified, human, enumerator()]))}
    assert list(found)[3:] == [
        "verified 1 - unverified 1",
        "verified 1 - human 1",
        "verified 1 - enumerator",
        "base - enumerator",
    ]
    lower = found["verified 1 - human 1"]
    assert lower.claims[100] == "lower"
    assert lower.adjusted[100] == pytest.approx(3 * lower.at[100].p_value)
    assert found["human 1 - base"].adjusted[100] == pytest.approx(3 * found["human 1 - base"].at[100].p_value)
    assert found["base - enumerator"].adjusted[100] == found["base - enumerator"].at[100].p_value
    text = table([base, verified, unverified, human, enumerator()])
    line = next(line for line in text.splitlines() if line.startswith("verified 1 - human 1"))
    assert "-52.5" in line and "0.30 [" in line and line.endswith("lower")
    assert "One seed: intervals and words are about these models" in text


def test_seeds_of_one_arm_share_a_row():
    seeds = [
        evaluation("verified", dict.fromkeys(range(10 + s), 50), iteration=0, checkpoint=f"s{s}")
        for s in range(3)
    ]
    text = table([BASE, *seeds])
    assert "verified 0 x3" in text and "11/40" in text
    assert "One seed" not in text and "Two seeds" not in text and "over problems and seeds" in text
    assert "Two seeds of a single arm say little" in table([BASE, *seeds[:2]])


def test_a_base_that_is_measured_with_every_seed_is_one_model():
    """Its evaluations differ by chance alone, since it is not trained again; those of an arm are of different
    models."""
    again = [evaluation("base", dict.fromkeys(range(10), 20 + s), seed=s, checkpoint="b") for s in range(3)]
    assert models_of(again) == 0
    assert (
        models_of([{**one, "checkpoint": f"b{i}"} for i, one in enumerate(again)]) == 3
    )  # bases of three seeds
    arm = [evaluation("human", {0: 50}, iteration=0, checkpoint=f"h{s}", seed=s) for s in range(3)]
    assert (models_of(arm), models_of(arm[:1]), models_of([arm[0]] * 3)) == (3, 1, 1)
    assert seeds_spread([again], 1) == Spread() and "One seed" in table([*again, arm[0]])
    assert seeds_spread([again, arm, arm[:1]], 1).freedom == 2


def test_how_far_training_varies_is_said_by_all_arms():
    """`verified` looks as sure as one seed would; `human`, whose seeds lie far apart, takes the word back."""
    many = [evaluation("base", dict.fromkeys(range(5), 50), seed=s, checkpoint="b") for s in range(3)]
    verified = [
        evaluation("verified", dict.fromkeys(range(25), 50), iteration=0, checkpoint=f"v{s}", seed=s)
        for s in range(3)
    ]
    human = [
        evaluation("human", dict.fromkeys(range(size), 50), iteration=0, checkpoint=f"h{size}", seed=s)
        for s, size in enumerate((1, 39, 5))
    ]
    alone, beside = (
        next(row for row in rows(of) if row.arm == "verified")
        for of in ([*many, *verified], [*many, *verified, *human])
    )
    assert alone.claims[1] in ("improves", "more than doubles")
    assert beside.versus_base[1].difference.low < 0 and beside.claims[1] not in (
        "improves",
        "more than doubles",
    )
    assert beside.estimates[1].low < alone.estimates[1].low


def test_table_says_what_cannot_be_compared():
    other = evaluation("verified", {0: 1}, iteration=0, problems=30)
    text = table([BASE, other])
    assert "evaluated on other problems: verified 0" in text and " - base" not in text


def test_one_group_alone():
    text = table([BASE, BETTER], group="human_eval")
    assert "20 problems (human_eval)" in text and "8/20" in text


def test_p3_is_shown_whole_and_in_its_two_parts_and_nothing_else_is():
    assert groups_shown([BASE, BETTER]) == ("all", "human_eval", "rest")
    ours = BASE | {"pass_at_k": {"all": BASE["pass_at_k"]["all"], "ints": BASE["pass_at_k"]["rest"]}}
    assert groups_shown([ours]) == ("all",)


def test_markdown_has_the_same_cells():
    plain, markdown = table([BASE, BETTER]), markdown_table([BASE, BETTER])
    row = next(line for line in markdown.splitlines() if line.startswith("| verified 1"))
    assert all(cell.strip() in plain for cell in row.strip("|").split("|"))
