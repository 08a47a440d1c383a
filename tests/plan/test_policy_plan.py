"""Plans of learning from verdicts, with a stand-in for the TPU compiler: what is compiled, what is held, how long."""

import json

import jax
import pytest

import gin
from t5x_selfprog.main import main
from t5x_selfprog.partitioning import Partitioner
from t5x_selfprog.plan import lowering
from t5x_selfprog.plan.hlo_cost import Cost
from t5x_selfprog.plan.lowering import Program

MIB = 1 << 20
FLAGS = ["--model=pythia_14m", "--slice=v5e_8", "--gin.PolicyTraining.length=512"]


@pytest.fixture(autouse=True)
def no_configuration():
    yield
    gin.clear_config()


@pytest.fixture
def compiled(monkeypatch):
    """The programs that the plan asks for: names, and the number of rows of a step."""
    asked = {}
    monkeypatch.setattr(lowering, "partitioner_for", lambda wanted, mesh: Partitioner(mesh.make()))

    def stand_in(name, program):
        rows = [x.shape[0] for x in jax.tree.leaves(program.arguments[1])] if name == "train step" else []
        asked.setdefault(name, []).append(rows[0] if rows else 0)
        cost = Cost(cycles=1e6, bytes_by_links={2: 1e6})
        return Program(name, 1.0, {"arguments": MIB}, cost, asked.get("error", {}).get(name, ""))

    monkeypatch.setattr(lowering, "_compiled", stand_in)
    return asked


def planned(tmp_path, gin_file, *more):
    saved = tmp_path / "plan.json"
    assert main(["plan", f"--gin_file={gin_file}", *FLAGS, f"--save={saved}", *more]) == 0
    (plan,) = json.loads(saved.read_text())["plans"]
    gin.clear_config()
    return plan


def loaded(plan, name):
    return plan["programs"][name]["bytes"]["loaded"]


def test_grpo_is_planned_as_it_runs(compiled, tmp_path, capsys):
    plan = planned(tmp_path, "quickstart_grpo")
    said = capsys.readouterr().out
    # 16 puzzles x 8 attempts; the tutorial, a puzzle and an answer are under 256 tokens or not: a power of two of rows
    assert compiled["train step"] == [plan["rows_computed"]] and plan["policy"]["rows"] in (64, 128)
    assert plan["policy"]["attempts"] == 128 and plan["policy"]["batches"] == 20
    assert plan["policy"]["rows_at_most"] == 128
    assert "grpo.run: 20 batches of about 128 attempts" in said and "6 policy gradient" in said
    base = loaded(plan, "decode")
    assert loaded(plan, "train") == base, "the model that training began from"
    assert loaded(plan, "attempt decode") == pytest.approx(4 * base, rel=0.01), (
        "and the newest, and two moments"
    )
    assert loaded(plan, "attempt weights") == pytest.approx(3 * base, rel=0.01), "of which the newest are cut"
    assert "base" not in plan["programs"]
    hours = plan["run"]["slice_hours"]["6 policy gradient"]
    assert hours * 3600 == pytest.approx(2 * 20 * sum(plan["policy"]["batch_s"].values()))
    assert plan["run"]["verdicts"] == pytest.approx(
        0.5
        * (2 * plan["workload"]["solution_attempts"] + 3 * plan["workload"]["eval_attempts"] + 2 * 20 * 128)
    )


def test_adapters_of_a_policy_gradient_hold_less(compiled, tmp_path):
    whole = planned(tmp_path, "quickstart_grpo", "--gin.PolicyGradient.kl=0.1")
    lora = planned(
        tmp_path,
        "quickstart_grpo",
        "--gin.PolicyTraining.lora=@Lora()",
        "--gin.Lora.rank=4",
        "--gin.PolicyGradient.kl=0.1",
    )
    assert lora["lora"]["rank"] == 4 and {"merge", "base"} <= lora["programs"].keys()
    base = loaded(lora, "decode")
    # Two iterations, each beginning from the one before: the base is another model in the second.
    assert loaded(whole, "attempt decode") == pytest.approx(5 * base, rel=0.01)
    assert 3 * base < loaded(lora, "attempt decode") < 4 * base, (
        "start, base and merged weights, and small moments"
    )
    assert loaded(whole, "train") == 2 * base and loaded(lora, "train") == base, "its base is an argument"
    assert loaded(lora, "merge") < 2 * base


def test_self_play_is_planned_with_its_proposals(compiled, tmp_path, capsys):
    plan = planned(tmp_path, "quickstart_selfplay", "--simulate")
    assert {"proposal decode", "proposal prefill", "attempt decode"} <= plan["programs"].keys()
    # 4 x 8 proposals, a tenth of which is attempted, beside 4 puzzles, 4 deductions and 4 abductions
    assert plan["policy"]["proposals"] == 32
    assert plan["policy"]["attempts"] == pytest.approx(8 * (12 + 3.2))
    assert plan["simulated"]["total_s"] > 0
    assert "and 32 proposals" in capsys.readouterr().out


def test_attempts_at_each_puzzle_decide_the_batches(compiled, tmp_path):
    few, many = (
        planned(
            tmp_path,
            "quickstart_grpo",
            "--gin.sample_solutions.run.attempts=4",
            f"--gin.grpo.run.each={each}",
        )
        for each in (20, 36)
    )
    kept = few["workload"]["puzzles_kept"]
    assert (
        few["policy"]["batches"] == int(16 * kept / 128) < many["policy"]["batches"] == int(32 * kept / 128)
    )


def test_meshes_are_compared_for_the_policy_s_step(compiled, tmp_path, capsys):
    plan = planned(tmp_path, "quickstart_grpo", "--meshes=1x8x1,8x1x1", "--gin.PolicyTraining.lora=@Lora()")
    assert compiled["train step"] == [64, 64] or compiled["train step"] == [128, 128]
    by_name = {line["name"]: line["gib"] for line in plan["meshes"]}
    assert by_name["8 x 1 x 1"] > by_name["1 x 8 x 1"], "all weights on every chip"
    assert "training adapters of rank" in capsys.readouterr().out


def test_what_does_not_fit_while_learning_names_what_to_lower(compiled, tmp_path, capsys):
    compiled["error"] = {"train step": "RESOURCE_EXHAUSTED: Used 16.1G of 15.75G hbm."}
    plan = planned(tmp_path, "quickstart_grpo")
    assert any("PolicyTraining.lora = @Lora()" in way for way in plan["ways_out"])
    assert "It does not fit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--gin.PolicyTraining.lora=@Lora()", "Lora.base_dtype='int8': must be 'float32' here"),
        ("--gin.grpo/SamplingConfig.temperature=0.8", "SamplingConfig.temperature=0.8: must be 1.0"),
    ],
)
def test_what_the_stage_refuses_is_not_planned(compiled, capsys, flag, said):
    more = ["--gin.Lora.base_dtype='int8'"] if "lora" in flag else []
    assert main(["plan", "--gin_file=quickstart_grpo", *FLAGS, flag, *more]) == 2
    assert said in capsys.readouterr().err and not compiled
