"""Mistakes on every command line: status 2, no traceback; the message gives the value, its origin, what to write.

Nothing may have been made by then, because a run directory would bind the corrected configuration to the refused one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gin
import t5x_selfprog.loop  # noqa: F401 (declares what small.gin binds)
from t5x_selfprog import gin_files, main, preflight
from t5x_selfprog.gin_types import fault
from t5x_selfprog.gin_values import bound
from t5x_selfprog.model_shapes import named
from verifier.errors import UserError

SMALL = """\
include 'runs/quickstart.gin'
finetune.run.batch_size = 8
"""

# Bindings on top of SMALL, and what the message must say.
CONFIGURED: dict[str, list[str]] = {
    "loop.run.controls=('human')": ["loop.run.controls = 'human'", "a list of texts; write ('human',)"],
    "loop.run.controls=('humans',)": ["'humans'", "did you mean 'human'?"],
    "loop.run.controls=('human_bst',)": ["'human_bst'", "did you mean 'human_best'?"],
    "loop.run.controls=('human','human')": ["'human'", "twice"],
    "loop.run.iterations=-1": ["loop.run.iterations = -1", "a whole number of at least 0"],
    "loop.run.iterations=two": [
        "--gin.loop.run.iterations=two",
        "'two' is no value",
        "a whole number of at least 0",
    ],
    "loop.run.iterations=2.0": ["loop.run.iterations = 2.0", "write 2"],
    "loop.run.iterations='3'": ["loop.run.iterations = '3'", "write 3"],
    "loop.run.iterations=True": ["loop.run.iterations = True", "a whole number"],
    "loop.run.measured='lst'": ["loop.run.measured = 'lst'", "'each' or 'last'; write 'last'"],
    "loop.run.measured=last": [
        "'last' is no value",
        "text needs quotes",
        "--gin.loop.run.measured='\"last\"'",
    ],
    "loop.run.measured=Each": ["'Each' is no value", "'each' or 'last'; write 'each'"],
    "grpo.run.puzzles=0": ["grpo.run.puzzles = 0", "of at least 1"],
    "grpo.run.batches=3": ["It is PolicyTraining.batches now, with grpo.run.training = @PolicyTraining()"],
    "selfplay.run.screening=@Limits()": [
        "It is Proposing.limits now, with selfplay.run.proposing = @Proposing()"
    ],
    "Budget.seconds=-1": ["Budget.seconds=-1", "0 for no limit", "--gin.Budget.seconds=-1"],
    "Schedule.prompts=0": ["Schedule.prompts=0", "above 0", "--gin.Schedule.prompts=0"],
    "Experiment.base='models/nope'": ["No model at 'models/nope'", "'base' ships"],
    "Experiment.base='bass'": ["No model at 'bass'", "Did you mean 'base'?"],
    "Experiment.base='Qwen/Qwen2.5-Coder-0.5B'": [
        "selfprog import --model=Qwen/Qwen2.5-Coder-0.5B --output=models/Qwen2.5-Coder-0.5B",
        "Experiment.base = 'models/Qwen2.5-Coder-0.5B'",
    ],
    "Experiment.base='smollm2-135m-instruct'": ["selfprog import --model=smollm2-135m-instruct"],
    "Experiment.base='published'": ["published", "selfprog import --model=published"],
    "Experiment.base=7": ["Experiment.base = 7", "must be text"],
    "Experiment.max_eval_problems=0": ["Experiment.max_eval_problems = 0", "of at least 1 or None"],
    "Experiment.seed='abc'": ["Experiment.seed = 'abc'", "a whole number"],
    "Experiment.seed=-1": ["Experiment.seed = -1", "from 0"],
    "Experiment.seed=1e3": ["Experiment.seed = 1000.0", "write 1000"],
    "Experiment.shards=0": ["Experiment.shards = 0", "at least 1"],
    "Experiment.workers='all'": ["Experiment.workers = 'all'", "or None"],
    "Experiment.workers='none'": ["Experiment.workers = 'none'", "write None"],
    "Experiment.mesh=@MeshConfig": ["Experiment.mesh = @MeshConfig", "write @MeshConfig()"],
    "Experiment.mesh=@Schedule()": ["Experiment.mesh = @Schedule()", "a MeshConfig, as @MeshConfig()"],
    "Experiment.mesh=2": ["Experiment.mesh = 2", "a MeshConfig, as @MeshConfig()"],
    "MeshConfig.data=3": ["MeshConfig", "'data': 3", "8 devices"],
    "MeshConfig.data=0": ["MeshConfig.data = 0", "of at least 1 or -1"],
    "MeshConfig.sampling_tensor=3": ["MeshConfig.sampling_tensor=3", "choose one of 1, 2, 4, 8"],
    "Experiment.start='bas'": ["Experiment.start = 'bas'", "write 'base'"],
    "Experiment.judges='fleets'": ["Experiment.judges = 'fleets'", "write 'fleet'"],
    "Experiment.eval_split='tset'": ["Experiment.eval_split='tset'", "did you mean 'test'?"],
    "Experiment.problems='nowhere'": ["nowhere/puzzles.json", "no such file"],
    "Experiment.problems='broken'": ["broken/puzzles.json", "line 1, column 2", "not JSON"],
    "Experiment.problems='untested'": [
        "Experiment.problems='untested'",
        "no problems in split 'test'",
        "train",
    ],
    "OptimizerConfig.name='adam'": ["OptimizerConfig.name = 'adam'", "write 'adamw'"],
    "OptimizerConfig.schedule='cosin'": ["OptimizerConfig.schedule = 'cosin'", "write 'cosine'"],
    "OptimizerConfig.learning_rate='1e-4'": ["OptimizerConfig.learning_rate = '1e-4'", "write 0.0001"],
    "OptimizerConfig.learning_rate=0": ["OptimizerConfig.learning_rate = 0", "a number above 0"],
    "OptimizerConfig.b2=1": ["OptimizerConfig.b2 = 1", "from 0 to below 1"],
    "LoopConfig.remat='some'": ["LoopConfig.remat = 'some'", "'none', 'dots' or 'full'"],
    "LoopConfig.attention='cudnn'": ["LoopConfig.attention='cudnn' needs a GPU", "CPU", "attention='plain'"],
    "LoopConfig.dtype='float16'": ["LoopConfig.dtype = 'float16'", "write 'bfloat16'"],
    "LoopConfig.unroll=0": ["LoopConfig.unroll = 0", "of at least 1 or -1"],
    "LoopConfig.checkpoint_every=-1": ["LoopConfig.checkpoint_every = -1", "at least 0"],
    "finetune.run.batch_size=0": ["finetune.run.batch_size = 0", "at least 1"],
    "finetune.run.epochs=1.5": ["finetune.run.epochs = 1.5", "a whole number"],
    "finetune.run.loop=@OptimizerConfig()": ["finetune.run.loop", "@LoopConfig()"],
    "filter_puzzles.run.repair='yes'": ["filter_puzzles.run.repair = 'yes'", "write True"],
    "filter_puzzles.run.repair=1": ["filter_puzzles.run.repair = 1", "write True"],
    "filter_puzzles.run.repair=true": ["'true' is no value", "True or False; write True"],
    "filter_puzzles.run.trivial_rate=95": ["filter_puzzles.run.trivial_rate = 95", "from 0 to 1"],
    "PuzzleRules.test_match='ngrams'": ["PuzzleRules.test_match = 'ngrams'", "write 'ngram'"],
    "PuzzleRules.skip=('unsave',)": ["PuzzleRules.skip = ('unsave',)", "write ('unsafe',)"],
    "BehaviourCheck.against=('earler',)": ["BehaviourCheck.against = ('earler',)", "write ('earlier',)"],
    "SolvePrompt.tutorial='nowhere'": ["nowhere/puzzles.json", "no such file"],
    "sample_puzzles.run.prompt_tokens=2000": ["sample_puzzles.run.prompt_tokens=2000", "Lower it to"],
    "sample_solutions.run.attempts=0": ["sample_solutions.run.attempts = 0", "at least 1"],
    "solutions/SamplingConfig.temperature=-1": ["solutions/SamplingConfig.temperature = -1", "at least 0"],
    "solutions/SamplingConfig.temperature='hot'": [
        "solutions/SamplingConfig.temperature = 'hot'",
        "a number",
    ],
    "evaluation/SamplingConfig.top_p=0": ["evaluation/SamplingConfig.top_p = 0", "above 0"],
    "puzzles/SamplingConfig.max_new_tokens=5000": ["SamplingConfig.max_new_tokens", "context"],
    "puzzles/SamplingConfig.attention='triton'": ["attention='triton' (sample_puzzles.run)", "'plain'"],
    "puzzles/SamplingConfig.prompt_buckets=512": ["prompt_buckets = 512", "write (512,)"],
    "judge/Limits.cpu_s=0": ["cpu_s must be from 0.001", "--gin.judge/Limits.cpu_s=0"],
    "judge/Limits.memory_mb=1.5e3": ["judge/Limits.memory_mb = 1500.0", "write 1500"],
    "evaluation/Limits.tiers=@Tiers()": ["evaluate", "tiers", "judge/Limits only"],
    "Profile.steps=(5, 2)": ["Profile.steps=(5, 2)", "first step"],
    "Watchdog.stuck_after_s=-5": ["Watchdog.stuck_after_s=-5", "0 for never"],
    "Selection.prefer='shortest'": ["Selection.prefer = 'shortest'", "write 'short'"],
    "control_dataset.run_control.sources={'mine': 'nowhere.txt'}": ["'nowhere.txt'", "'mine'", "not there"],
    "Archive.share=0.3": ["--gin.Archive.share=0.3"],
    "puzles/SamplingConfig.temperature=0.5": ["puzles/SamplingConfig.temperature"],
    "Experimnt.seed=1": ["--gin.Experimnt.seed=1", "Did you mean 'Experiment'?"],
    "Experiment.sed=1": ["--gin.Experiment.sed=1", "Did you mean 'seed'?"],
    "Experiment.seed=": ["--gin.Experiment.seed="],
    "Experiment.seed=(1,": ["--gin.Experiment.seed=(1,", "not closed"],
}

# Whole command lines, and what the message must say.
TYPED: dict[str, list[str]] = {
    "": ["SUBCOMMAND"],
    "runn --run_dir=R": ["'runn'", "did you mean run?"],
    "run --gin_file=small.gin": ["--run_dir=DIR is needed"],
    "run small.gin --run_dir=R": ["'small.gin' is no flag of run", "did you mean --gin_file=small.gin?"],
    "run --run_dir=R": ["--gin_file", "quickstart"],
    "run --gin_file=quikstart --run_dir=R": ["--gin_file=quikstart", "did you mean runs/quickstart.gin?"],
    "run --gin_file=circle.gin --run_dir=R": ["circle.gin", "includes itself"],
    "run --gin_file=round.gin --run_dir=R": ["round.gin -> about.gin -> round.gin", "includes itself"],
    "run --gin_file=wrong.gin --run_dir=R": ["wrong.gin, line 3", "finetune.run.epochs = 0", "at least 1"],
    "run --gin_file=small.gin --run_dir=a_file": ["--run_dir=a_file: is a file", "give a folder"],
    "run --gin_file=small.gin --run_dir=a_file/R": ["--run_dir=a_file/R", "a_file is a file"],
    "run --gin_file=small.gin --run_dir=gs:/B/R": ["two slashes"],
    "run --gin_file=small.gin --run_dir=R --seed=3": ["write --gin.Experiment.seed=3"],
    "run --gin_file=small.gin --rundir=R": ["--rundir=R", "write --run_dir=R"],
    "run --gin-file=small.gin --run_dir=R": ["write --gin_file=small.gin"],
    "run --config=small.gin --run_dir=R": ["write --gin_file=small.gin"],
    "run --gin_file=small.gin --run_dir=R --iterations=3": ["write --gin.loop.run.iterations=3"],
    "run --gin_file=small.gin --run_dir=R --epoch=3": ["write --gin.finetune.run.epochs=3"],
    "run --gin_file=small.gin --run_dir=R --base=models/x": ["--gin.Experiment.base='\"models/x\"'"],
    "run --gin_file=small.gin --run_dir=R --zzzz": ["--zzzz", "selfprog run --help"],
    "generate --run_dir=R --iteration=-1": ["--iteration", "-1", "at least 0"],
    "generate --run_dir=R --iteration=one": ["--iteration", "'one'"],
    "finetune --run_dir=nowhere": ["--gin_file", "nowhere/config.gin is not there yet"],
    "evaluate --gin_file=small.gin --run_dir=R --model=nope": ["No model at 'nope'"],
    "evaluate --gin_file=small.gin --run_dir=R --gin.evaluate.run.attempts=0": ["evaluate.run.attempts = 0"],
    "pretrain --gin_file=pretrain_base --run_dir=R --gin.pretrain.run.tokens='nowhere'": [
        "nowhere/train.bin"
    ],
    "pretrain --gin_file=pretrain_base --run_dir=R --gin.pretrain.run.num_steps=0": [
        "num_steps = 0",
        "at least 1",
    ],
    "p3": ["--source"],
    "p3 --source=nowhere": ["nowhere/puzzles.json", "--download"],
    "p3 --source=broken": ["broken/puzzles.json", "not JSON"],
    "p3 --source=a_file": ["a_file"],
    "import --model=nowhere --output=out": ["nowhere"],
    "import --model=nowhere.gguf --output=out": ["nowhere.gguf"],
    "import --model=published --output=out --dtype=float8": ["float8", "float32"],
    "export --model=nope --output=out": ["No model at 'nope'"],
    "export --model=base --output=out --dtype=int8": ["int8", "bfloat16"],
    "export-data --run_dir=empty": ["empty", "no pairs to export"],
    "export-data --run_dir=nowhere": ["nowhere"],
    "export-data --run_dir=empty --formats=csv": ["--formats=csv", "jsonl"],
    "pack --run_dir=empty --output=p": ["empty is not a run directory"],
    "pack --run_dir=empty --output=p --piece_mb=0": ["--piece_mb", "0", "at least 1"],
    "unpack nowhere.pack --run_dir=R": ["nowhere.pack"],
    "unpack a_file --run_dir=R": ["a_file"],
    "report --run_dir=nowhere": ["nowhere", "no such run directory"],
    "report --run_dir=empty": ["empty", "is not a run directory"],
    "report --run_dir=a_file": ["a_file", "no such run directory"],
    "study --gin_file=studies/quik --run_dir=S": ["studies/quik", "did you mean studies/quick.gin?"],
    "study --gin_file=studies/quick --run_dir=S --cell=nope": ["--cell=nope", "--list"],
    "study --gin_file=studies/quick --run_dir=S --gin.study.run.seeds=()": [
        "study.run.seeds",
        "at least one",
    ],
    "study --gin_file=studies/quick --run_dir=S --gin.study.run.seeds=3": [
        "study.run.seeds = 3",
        "write (3,)",
    ],
    "study --gin_file=studies/quick --run_dir=S --gin.study.run.gin_file='quik'": ["quik"],
    "study --gin_file=studies/quick --run_dir=S --gin.study.run.bindings=('loop.run.controls=(\"humans\",)',)": [
        "'humans'",
        "did you mean 'human'?",
    ],
    "power --gain=abc": ["--gain", "'abc'"],
    "power --gain=5": ["--gain", "from -1 to 1", "'5'"],
    "power --gain=0.1 --k=0": ["--k", "0", "at least 1"],
    "power --gain=0.1 --k=200 --attempts=100": ["--attempts=100", "200"],
    "power --gain=0.1 --base=1.5": ["--base", "1.5"],
    "power --gain=0.1 --pilot=nowhere.json": ["nowhere.json"],
    "power --gain=0.1 --pilot=broken/puzzles.json": ["broken/puzzles.json"],
    "power --gain=0.1 --find=arms": ["--find", "'arms'", "problems"],
    "memory --problems=nowhere": ["nowhere/puzzles.json"],
    "memory --problems=untested --split=tset": ["tset"],
    "memory --problems=untested --split=train --twins=0": ["--twins", "0", "at least 1"],
    "memory --problems=untested --split=train --model=nope": ["No model at 'nope'"],
    "plan --gin_file=quickstart": ["--slice=v5e_64"],
    "plan --gin_file=quickstart --slice=v9_8": ["--slice=v9_8", "v5e_8"],
    "plan --gin_file=quickstart --slice=v5e_8 --model=nope": ["nope"],
    "plan --saved=nowhere.json --against=empty": ["nowhere.json"],
    "plan --saved=broken/puzzles.json --simulate": ["broken/puzzles.json"],
    "bench": ["job"],
    "bench sampel": ["'sampel'", "sample"],
    "bench sample --size=7b": ["--size=7b", "2p7b"],
    "bench sample --prompt=0": ["--prompt", "0", "at least 1"],
    "bench sample --prompt=3000": ["--prompt=3000", "context"],
    "bench sample --attempts=-1": ["--attempts", "-1"],
    "bench train --size=tiny --remat=some": ["remat='some'", "dots"],
    "bench train --size=tiny --attention=flash": ["attention='flash'", "plain"],
    "bench attention --attention=flash": ["--attention=flash", "plain"],
    "bench rows --size=7b": ["--size=7b"],
    "bench loop --config=quik": ["quik"],
    "models --gin.Experiment.seed=1": ["models has nothing that gin configures"],
}

VERIFIER: dict[str, list[str]] = {
    "judgee": ["judgee"],
    "judge --output out --input nowhere.jsonl": ["nowhere.jsonl"],
    "judge --output out --input a_file": ["a_file", "line 1"],
    "judge --output out --input good.jsonl --timeout_s 0": ["--timeout_s", "0"],
    "judge --output out --input good.jsonl --workers 0": ["--workers", "0"],
    "judge --output out --input good.jsonl --memory_mb 1": ["--memory_mb", "64"],
    "filter --output out --input nowhere.jsonl": ["nowhere.jsonl"],
    "serve nowhere": ["--output"],
    "tests --output out --tasks nowhere.jsonl --samples good.jsonl": ["nowhere.jsonl"],
    "follow a_file": ["a_file"],
    "http --port 99999999": ["--port", "99999999"],
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with only the files that wrong command lines name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SELFPROG_DEBUG", raising=False)
    (tmp_path / "small.gin").write_text(SMALL)
    (tmp_path / "wrong.gin").write_text(f"{SMALL}finetune.run.epochs = 0  # a comment\n")
    (tmp_path / "circle.gin").write_text("include 'circle.gin'\n")
    (tmp_path / "round.gin").write_text("include 'about.gin'\n")
    (tmp_path / "about.gin").write_text("include 'round.gin'\n")
    (tmp_path / "a_file").write_text("text\n")
    (tmp_path / "good.jsonl").write_text(
        '{"puzzle": "def f(x: int):\\n    return x == 1", "solution": "def g(): return 1"}\n'
    )
    (tmp_path / "empty").mkdir()
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "config.json").write_text("{}")
    for name, puzzles, split in (
        ("broken", "[nonsense", "{}"),
        ("untested", json.dumps([_entry("Add:0")]), '{"train": ["Add"]}'),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "puzzles.json").write_text(puzzles)
        (tmp_path / name / "split.json").write_text(split)
    yield tmp_path
    gin.clear_config()


def _entry(name: str) -> dict[str, object]:
    return {
        "name": name, "sat": "def sat(x: int, a=3):\n    return x + a == 10", "ans_type": "int",
        "sol_header": "def sol(a=3):", "sol_docstring": "", "sol_bodies": ["    return 10 - a"], "module": "mine",
    }  # fmt: skip


def _refusal(arguments: list[str], capsys: pytest.CaptureFixture, door=main.main) -> str:
    """The message for a wrong command line, which must end with status 2 and have made nothing."""
    before = sorted(os.walk("."))
    status = None
    with contextlib.suppress(SystemExit):
        status = door(arguments)
        assert status is not None, "it was let pass"
    said = capsys.readouterr()
    assert status in (None, 2), said
    assert "Traceback" not in said.err + said.out
    made = [folder for folder in sorted(os.walk(".")) if folder not in before]
    assert not made, f"made something before it refused: {made}"
    return said.err


@pytest.mark.parametrize("binding", CONFIGURED)
def test_a_wrong_value_is_refused_before_anything_is_made(binding: str, place: Path, capsys) -> None:
    said = _refusal(["run", "--gin_file=small.gin", "--run_dir=R", f"--gin.{binding}"], capsys)
    for part in CONFIGURED[binding]:
        assert part in said, said
    for remedy in re.findall(r"; write (.+?)(?: \(--gin|$)", said, re.MULTILINE):
        _require_that_helps(binding, remedy)


@pytest.mark.parametrize(
    ("binding", "part"),
    [
        ("grpo/SamplingConfig.temperature=0.8", "SamplingConfig.temperature=0.8: must be 1.0"),
        ("grpo/SamplingConfig.top_k=50", "SamplingConfig.top_k=50: must be 0"),
        ("grpo/SamplingConfig.top_p=0.9", "SamplingConfig.top_p=0.9: must be 1.0"),
        ("PolicyGradient.advantage='grp'", "'grp'"),
        ("PolicyGradient.clip_low=1.2", "above 0, of at most 1"),
        ("PolicyTraining.attempts=1", "PolicyTraining.attempts = 1: must be a whole number of at least 2"),
        ("PolicyTraining.updates=0", "of at least 1"),
        ("PolicyGradient.clip_low=-0.2", "above 0, of at most 1"),
        ("PolicyGradient.clip_high=0", "above 0"),
        ("PolicyGradient.kl=1e999", "PolicyGradient.kl = inf: must be a number of at least 0"),
        ("PolicyTraining.length=48", "PolicyTraining.length=48: a row must hold an attempt with its prompt"),
        ("PolicyTraining.batches=0", "of at least 1"),
        ("PolicyTraining.updates=129", "PolicyTraining.updates=129: each step learns another part"),
        (
            "grpo.run.each=20",
            "grpo.run.each=20: stage 3 makes 20 attempts at each puzzle (sample_solutions.run.attempts)",
        ),
        ("judge/Limits.tiers=@Tiers()", "Attempting.limits: Limits.tiers=Tiers("),
        ("SolvePrompt.chat='begun'", "no chat template came with this model"),
        ("PolicyTraining.loop=@policy/LoopConfig()|policy/LoopConfig.attention='splash'", "needs a TPU"),
    ],
)
def test_a_policy_gradient_that_cannot_be_taken_is_refused(binding, part, place: Path, capsys) -> None:
    flags = [f"--gin.{each}" for each in binding.split("|")]
    said = _refusal(["run", "--gin_file=quickstart_grpo", "--run_dir=R", *flags], capsys)
    assert part in said, said


@pytest.mark.parametrize(
    ("binding", "part"),
    [
        (
            "selfplay/SamplingConfig.temperature=0.8",
            "Attempting.sampling: SamplingConfig.temperature=0.8: must be",
        ),
        ("proposing/SamplingConfig.top_k=50", "Proposing.sampling: SamplingConfig.top_k=50: must be 0"),
        ("PolicyTraining.length=256", "PolicyTraining.length=256: a prompt for puzzles"),
        ("Proposing.prompt_tokens=5000", "PolicyTraining.length=1024: a prompt for puzzles"),
        (
            "proposing/SamplingConfig.prompt_buckets=(64,)",
            "Proposing.prompt_tokens=384: prompts have room for",
        ),
        ("ProposerReward.target='half'", "'half'"),
        ("Mix.prompts=-1", "Mix.prompts = -1"),
        (
            "loop.learn.update=@finetune.run",
            "finetune.run learns from no verdict: choose @grpo.run or @selfplay.run",
        ),
    ],
)
def test_self_play_that_cannot_be_played_is_refused(binding, part, place: Path, capsys) -> None:
    said = _refusal(["run", "--gin_file=quickstart_selfplay", "--run_dir=R", f"--gin.{binding}"], capsys)
    assert part in said, said


def _require_that_helps(binding: str, remedy: str) -> None:
    """Requires that the advice leads to no other error."""
    name = binding.partition("=")[0]
    gin_files.load(["small.gin"], [f"{name}={remedy}"])
    faults = {found: fault(value, annotation) for found, annotation, value in bound()}
    assert name in faults and not any(faults.values())


@pytest.mark.parametrize("line", TYPED)
def test_a_wrong_command_line_says_what_to_type(line: str, place: Path, capsys) -> None:
    arguments = re.findall(r"(?:[^\s(]|\([^)]*\)+)+", line)
    said = _refusal(arguments, capsys)
    for part in TYPED[line]:
        assert part in said, said


@pytest.mark.parametrize("line", VERIFIER)
def test_the_verifier_alone_refuses_as_well(line: str, place: Path, capsys) -> None:
    from verifier.cli import main as door

    said = _refusal(line.split(), capsys, door=door)
    for part in VERIFIER[line]:
        assert part in said, said


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        ("10.0.0.2:port,2,1", "ADDRESS:PORT,COUNT,INDEX"),
        ("auto", "nothing here says which processes belong together"),
        pytest.param("two", "ADDRESS:PORT,COUNT,INDEX", marks=pytest.mark.slow),
        pytest.param("a:1,2,2", "0 to 1", marks=pytest.mark.slow),
        pytest.param("a:1,0,0", "at least 1", marks=pytest.mark.slow),
    ],
)
def test_hosts_that_cannot_be_are_refused_before_anybody_waits(
    hosts: str, said: str, place: Path, user_environment: dict[str, str]
) -> None:
    """In a separate process, which exits at once: the others must not wait for it."""
    command = [sys.executable, "-m", "t5x_selfprog.main", "run", "--gin_file=small.gin", "--run_dir=R"]
    done = subprocess.run(
        [*command, f"--hosts={hosts}"], env=user_environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2 and f"--hosts={hosts}" in done.stderr and said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not (place / "R").exists()


def test_all_that_is_wrong_is_told_at_once(place: Path, capsys) -> None:
    flags = ["--gin.Experiment.shards=0", "--gin.loop.run.iterations=-1", "--gin.finetune.run.epochs='many'"]
    said = _refusal(["run", "--gin_file=small.gin", "--run_dir=R", *flags], capsys)
    assert all(flag.removeprefix("--gin.").partition("=")[0] in said for flag in flags)
    assert all(f"({flag})" in said for flag in flags)


def test_a_value_behind_a_macro_is_found(place: Path, capsys) -> None:
    (place / "macro.gin").write_text(f"{SMALL}EPOCHS = -3\nfinetune.run.epochs = %EPOCHS\n")
    said = _refusal(["run", "--gin_file=macro.gin", "--run_dir=R"], capsys)
    assert "finetune.run.epochs = -3" in said and "macro.gin, line 4: finetune.run.epochs = %EPOCHS" in said


def test_a_model_that_no_card_here_can_train_is_refused_with_ways_out(place: Path) -> None:
    gin_files.load(["small.gin"], [])
    large = named("gpt_neo_2p7b")
    with pytest.raises(
        UserError, match=r"2,\d+,\d+,\d+ weights.*at least 39\.\d+ GiB.*has 24\.00 GiB.*adafactor"
    ):
        preflight.check_memory(large, 24 * 2**30)
    preflight.check_memory(large, 24 * 2**30, parts=4)
    preflight.check_memory(large, 80 * 2**30)
    gin_files.load(["small.gin"], ["OptimizerConfig.name='adafactor'"])
    preflight.check_memory(large, 24 * 2**30)
    gin_files.load(["small.gin"], ["finetune.run.lora=@Lora()"])
    preflight.check_memory(large, 24 * 2**30)
    with pytest.raises(UserError, match=r"training adapters of them takes at least 19\.\d+ GiB"):
        preflight.check_memory(large, 16 * 2**30)


def test_a_policy_gradient_is_counted_with_what_it_keeps(place: Path) -> None:
    large = named("gpt_neo_2p7b")
    gin_files.load(["quickstart_grpo"], [])
    preflight.check_memory(large, 48 * 2**30)  # fine-tuning
    with pytest.raises(UserError, match=r"at least 49\.\d+ GiB.*train adapters alone \(PolicyTraining.lora"):
        preflight.check_memory(large, 48 * 2**30, stage="grpo.run")
    gin_files.load(["quickstart_grpo"], ["PolicyTraining.lora=@Lora()"])
    preflight.check_memory(large, 24 * 2**30, stage="grpo.run")


def test_only_what_a_command_samples_by_is_looked_at(place: Path) -> None:
    """A suite has its own prompts; room for puzzle prompts does not matter to an evaluation."""

    def check(command: str, **flags: str) -> None:
        preflight.check_run(argparse.Namespace(command=command, run_dir="R", **flags))

    def refused(command: str, **flags: str) -> bool:
        try:
            check(command, **flags)
        except UserError as error:
            return "max_new_tokens" in str(error)
        return False

    gin_files.load(["small.gin"], ["evaluation/SamplingConfig.max_new_tokens=1024"])
    assert [refused(command) for command in ("run", "evaluate", "generate", "solve", "finetune")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert not refused("evaluate", suite="mbpp_plus")
    gin_files.load(["small.gin"], ["puzzles/SamplingConfig.max_new_tokens=1024"])
    assert [refused(command) for command in ("run", "generate", "evaluate")] == [True, True, False]


def test_there_are_enough_of_them() -> None:
    assert len(CONFIGURED) + len(TYPED) + len(VERIFIER) >= 160
