"""The run's probes in RUN/probes.json: made once, and stored with how every known problem behaves on them."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from t5x_selfprog.puzzles.behaviour import BehaviourCheck, Probes, make_probes, of_problems
from t5x_selfprog.stages.context import Context
from verifier import Limits, Pool
from verifier.storage import files


def require_probes(
    context: Context,
    check: BehaviourCheck,
    pool: Callable[[Limits], AbstractContextManager[Pool]] | None = None,
) -> Probes:
    """The run's probes; the first caller makes them. pool: opens one; by default, `context.pool`."""
    if not files.exists(_path(context)):
        with (pool or context.pool)(Limits(cpu_s=1.0)) as workers:
            probes = make_probes(context.problems, workers, check.probes)
            known = [
                {
                    "name": problem.name,
                    "split": problem.split,
                    "answer_type": problem.answer_type,
                    "behaviour": behaviour,
                }
                for problem, behaviour in of_problems(workers, context.problems, probes, check.cpu_s)
            ]
        content = {"identity": probes.identity, "probes": probes.by_type, "problems": known}
        files.write_json(_path(context), content)
    return read_probes(context)


def read_probes(context: Context) -> Probes:
    """The run's probes, as stage 2 stored them."""
    by_type = files.read_json(_path(context))["probes"]
    return Probes({name: tuple(literals) for name, literals in by_type.items()})


def known_behaviours(context: Context) -> list[dict]:
    """Name, split, answer_type and behaviour of every known problem."""
    return files.read_json(_path(context))["problems"]


def _path(context: Context) -> str:
    return files.join(context.run.root, "probes.json")
