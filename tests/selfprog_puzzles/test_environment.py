"""Puzzles as an environment of the package `verifiers`: what it asks, what it rewards, and what it refuses.

The tests of episodes need that package (`SELFPROG_EXTRAS=verifiers scripts/setup`; CI installs it); the others do not.
"""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest

from selfprog_puzzles.judge import Judge, close_shared_judges
from selfprog_puzzles.rows import read_rows
from selfprog_puzzles.stub import stub_model
from t5x_selfprog.puzzles.p3 import in_split, load_problems
from t5x_selfprog.puzzles.question import solution_of_answer
from t5x_selfprog.run_layout import RunDir
from verifier import Limits
from verifier.errors import UserError
from verifier.storage.records import PUZZLE, VERDICT
from verifier.storage.shards import Ledger

MISSING = "the package verifiers is not installed (SELFPROG_EXTRAS=verifiers scripts/setup)"


@pytest.fixture(autouse=True, scope="module")
def ends_its_judges() -> Iterator[None]:
    """Tests of other files in this process look at their own processes alone."""
    yield
    close_shared_judges()


def puzzle(number: int) -> str:
    return f"def f(x: int, a={number}):\n    return x == a + 1"


def right(number: int) -> str:
    return f"def g(a={number}):\n    return a + 1\n"


@pytest.fixture
def run_folder(tmp_path: Path) -> str:
    """A run that kept puzzles 0 to 3; 0 was always solved, 1 sometimes, 2 never, 3 not judged (infrastructure)."""
    run = RunDir(str(tmp_path / "run"))

    def ledger(name: str, schema: dict, records: list[dict]) -> None:
        made = Ledger(run.stage(0, name), stage=name, schema=schema, shard_count=1, seed=0, fingerprint="f")
        made.commit(0, records)
        made.finish()

    kept = [
        dict.fromkeys(PUZZLE, "") | {
            "puzzle_id": f"p{i}", "source": puzzle(i), "prompt_puzzle_ids": [], "sample_index": 0, "logprob": 0.0,
            "n_tokens": 1,
        }
        for i in range(4)
    ]  # fmt: skip
    ledger("kept", PUZZLE, kept)
    outcomes = {
        0: ["accepted"] * 2,
        1: ["wrong", "accepted"],
        2: ["wrong", "error:ValueError"],
        3: ["infrastructure"],
    }
    verdicts = [
        {
            "puzzle_id": f"p{i}",
            "puzzle": puzzle(i),
            "solution": right(i),
            "sample_index": j,
            "outcome": outcome,
        }
        for i, found in outcomes.items()
        for j, outcome in enumerate(found)
    ]
    ledger("verdicts", {name: VERDICT[name] for name in verdicts[0]}, verdicts)
    return run.root


def test_rows_are_a_sets_split_or_what_a_run_kept(run_folder: str) -> None:
    problems = in_split(load_problems("seeds"), "dev")
    assert [row.source for row in read_rows("seeds", "dev")] == [problem.source for problem in problems]
    found = {
        solved: [row.puzzle_id for row in read_rows(run_folder, solved=solved)]
        for solved in ("any", "some", "mixed")
    }
    assert found == {"any": ["p0", "p1", "p2", "p3"], "some": ["p0", "p1"], "mixed": ["p1"]}
    assert [row.solution for row in read_rows(run_folder)] == [right(0), right(1), "", ""]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "nowhere"),
        (("seeds", "exam"), "exam"),
        (("seeds", "train", "easy"), "easy"),
        (("seeds", "train", "mixed"), "what a run's attempts came to"),
    ],
)
def test_what_cannot_be_read_is_named(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_rows(*arguments)


def test_a_run_without_such_a_puzzle_is_named(tmp_path: Path) -> None:
    (tmp_path / "iter_000").mkdir()
    with pytest.raises(UserError, match="kept no puzzle yet"):
        read_rows(str(tmp_path))


def test_verdicts_come_to_those_who_asked() -> None:
    judge = Judge(Limits(cpu_s=1.0), workers=1)

    async def all_of_them() -> list[str]:
        asked = [judge.verdict(puzzle(i), right(i if i % 3 else i + 1)) for i in range(12)]
        return [verdict.outcome for verdict in await asyncio.gather(*asked)]

    try:
        assert asyncio.run(all_of_them()) == ["accepted" if i % 3 else "wrong" for i in range(12)]
    finally:
        judge.close()


def test_a_judge_that_fails_says_so_and_goes_on() -> None:
    judge = Judge(Limits(cpu_s=1.0), workers=1)
    try:
        with pytest.raises(TypeError):
            asyncio.run(judge.verdict(puzzle(0), None))  # type: ignore[arg-type]
        assert asyncio.run(judge.verdict(puzzle(0), right(0))).outcome == "accepted"
    finally:
        judge.close()


def test_without_the_package_the_remedy_is_said(repository: Path, user_environment: dict) -> None:
    hidden = (
        "import sys; sys.modules['verifiers'] = None; import selfprog_puzzles; selfprog_puzzles.PuzzleTaskset"
    )
    done = subprocess.run(
        [sys.executable, "-c", hidden], cwd=repository, env=user_environment, capture_output=True, text=True
    )
    assert done.returncode and "SELFPROG_EXTRAS=verifiers scripts/setup" in done.stderr


def test_the_environment_loads_no_jax(repository: Path, user_environment: dict) -> None:
    code = "import sys, selfprog_puzzles.rows, selfprog_puzzles.judge; print({'jax', 'numpy'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=repository,
        env=user_environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "set()"


def test_a_model_earns_what_the_verifier_says(run_folder: str) -> None:
    pytest.importorskip("verifiers", reason=MISSING)
    from selfprog_puzzles.__main__ import earned

    def answer(asked: str) -> str:
        """Right, except wrong at puzzle 1 and without code at puzzle 2."""
        number = next(i for i in range(4) if puzzle(i) in asked)
        code = right(number if number != 1 else 7)
        return "I cannot." if number == 2 else f"Look:\n```python\n{code}```\nDone."

    with stub_model(answer) as base_url:
        episodes = asyncio.run(earned(run_folder, 4, base_url))
    found = {trace.task.data.id: trace for episode in episodes for trace in episode.traces}
    assert {name: trace.reward for name, trace in found.items()} == {
        "p0": 1.0,
        "p1": 0.0,
        "p2": 0.0,
        "p3": 1.0,
    }
    assert [name for name, value in found["p1"].metrics.items() if value] == ["wrong"]
    assert [name for name, value in found["p2"].metrics.items() if value] == ["syntax"]
    assert all(episode.ok for episode in episodes) and found["p0"].task.key == "p0"
    asked = json.dumps([message.model_dump() for message in found["p0"].messages[:1]])
    assert (
        "def g(a=0):" in asked and right(0).splitlines()[1].strip() not in asked
    )  # the known solution stays here


def test_what_could_not_be_judged_is_no_reward(monkeypatch: pytest.MonkeyPatch, run_folder: str) -> None:
    pytest.importorskip("verifiers", reason=MISSING)
    from selfprog_puzzles import taskset
    from selfprog_puzzles.__main__ import earned
    from verifier.verdict import infrastructure

    class Ill:
        async def verdict(self, puzzle: str, solution: str):
            return infrastructure("no workers")

    monkeypatch.setattr(taskset, "shared_judge", lambda *_: Ill())
    with stub_model(lambda asked: "def g(): pass") as base_url:
        (episode,) = asyncio.run(earned(run_folder, 1, base_url))
    assert not episode.ok and "no workers" in str(episode.traces[0].last_error)
    assert not episode.traces[0].rewards.get("solved")


def test_known_solutions_are_accepted_where_the_environment_is_validated() -> None:
    vf = pytest.importorskip("verifiers.v1", reason=MISSING)
    tasks = list(vf.load_taskset(_taskset_config(vf)).take(6))
    found = Counter(asyncio.run(_validated(tasks)))
    assert found[False] == 0 and found[True] >= 4


def _taskset_config(vf):
    from verifiers.v1.utils.loaders import taskset_config_type

    return taskset_config_type("selfprog-puzzles").model_validate({"id": "selfprog-puzzles", "split": "dev"})


async def _validated(tasks: list) -> list[bool | None]:
    return list(await asyncio.gather(*(task.validate(None) for task in tasks)))


def test_an_answer_in_prose_is_read_as_our_own_stages_read_it() -> None:
    assert (
        solution_of_answer("Sure.\n```python\nimport os\ndef g():\n    return 1\n```")
        == "def g():\n    return 1\n"
    )


def test_workers_that_cannot_start_are_every_rollout_s_error_and_nobody_waits():
    judge = Judge(Limits(cpu_s=1.0), workers=0)
    for _ in range(2):
        with pytest.raises(ValueError, match="workers must be at least 1"):
            asyncio.run(asyncio.wait_for(judge.verdict(puzzle(1), right(1)), timeout=20))
    judge.close()


def test_a_rollout_that_is_cancelled_takes_no_other_along():
    """Trainers give up on slow rollouts; those judged together with one get their verdicts all the same."""
    items = [({"puzzle": puzzle(i), "solution": right(i)}, Future()) for i in range(3)]
    items[0][1].cancel()
    pool = SimpleNamespace(judge=lambda asked: (item["puzzle"] for item in asked))
    Judge._answer(pool, items)
    assert [answer.result(0) for _, answer in items[1:]] == [puzzle(1), puzzle(2)]
