"""`python -m selfprog_puzzles [PUZZLES]`: runs the environment with a stub model and prints its rewards."""

import asyncio
import sys
from collections import Counter

import verifiers.v1 as vf

from selfprog_puzzles.stub import stub_model
from verifier.errors import UserError


async def earned(puzzles: str, count: int, base_url: str) -> list[vf.Episode]:
    """Episodes of the first `count` puzzles of a set or a run, each answered once by the model at `base_url`."""
    config = vf.SingleAgentEnvConfig.model_validate(
        {
            "taskset": {"id": "selfprog-puzzles", "puzzles": puzzles, "task": {"workers": 2}},
            "agent": {"runtime": {"type": "subprocess"}},
        }
    )
    env = vf.load_environment(config)
    model = vf.ModelContext(
        model="stub", client=vf.EvalClientConfig(base_url=base_url, api_key_var="STUB_KEY")
    )
    async with env.serving():
        slots = [slot for task in env.taskset.take(count) for slot in env.slots(task)]
        return list(await asyncio.gather(*(env.run_slot(slot, model) for slot in slots)))


def main() -> None:
    from selfprog_puzzles.rows import read_rows

    puzzles = sys.argv[1] if len(sys.argv) > 1 else "seeds"
    try:
        known = {row.source.strip("\n"): row.solution for row in read_rows(puzzles) if row.solution}
    except UserError as error:
        sys.exit(f"error: {error}")

    def answer(asked: str) -> str:
        """Right where a solution is known and its length is even, else wrong."""
        solution = next((known[source] for source in known if source in asked), "")
        said = solution if solution and len(solution) % 2 == 0 else "def g():\n    return None"
        return f"Here it is.\n```python\n{said}\n```"

    with stub_model(answer) as base_url:
        episodes = asyncio.run(earned(puzzles, 8, base_url))
    for episode in episodes:
        for trace in episode.traces:
            outcome = next((name for name, value in trace.metrics.items() if value), trace.last_error)
            print(f"{trace.reward:.0f}  {outcome}  {trace.task.data.name}")
    print(Counter(trace.reward for episode in episodes for trace in episode.traces))


if __name__ == "__main__":
    main()
