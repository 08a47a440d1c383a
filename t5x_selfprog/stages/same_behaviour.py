"""Which puzzles behave alike, for stage 2 and the stages that take puzzles from elsewhere.

Reads:    known problems; of earlier iterations, 2_kept and what running their puzzles showed.
Writes:   RUN/probes.json, once.
"""

import contextlib
from collections.abc import Sequence

from t5x_selfprog.puzzles.behaviour import (
    BehaviourCheck,
    KnownBehaviours,
    Probes,
    behaviours,
    make_probes,
    of_problems,
)
from t5x_selfprog.stages.context import Context
from verifier import Limits, PuzzleError, parse_puzzle
from verifier.storage import files
from verifier.storage.shards import Ledger


def screened_path(context: Context, iteration: int) -> str:
    return context.run.stage(iteration, "screened")


class SameBehaviour:
    """Finds who behaves like a puzzle: held-out problems, train problems, puzzles kept earlier, in that order."""

    def __init__(self, context: Context, iteration: int, check: BehaviourCheck | None) -> None:
        self._against = check.against if check else ()
        self._problems, self._train, self._earlier = KnownBehaviours(), KnownBehaviours(), KnownBehaviours()
        if check is None:
            return
        for problem in _known_probes(context)["problems"]:
            side = self._train if problem["split"] == "train" else self._problems
            side.add(problem["answer_type"], problem["behaviour"], problem["name"])
        for earlier in range(iteration):
            types = {r["puzzle_id"]: r["answer_type"] for r in context.run.read(earlier, "kept")}
            for shown in Ledger.open(screened_path(context, earlier)):
                if shown["puzzle_id"] in types:
                    self._earlier.add(types[shown["puzzle_id"]], shown["behaviour"], shown["puzzle_id"])

    def fault(self, record: dict, shown: dict) -> tuple[str, str] | None:
        """Reason and detail of a rejection; a puzzle without a fault is remembered."""
        answer_type, behaviour = record["answer_type"], shown["behaviour"]
        for known, whose in ((self._problems, "held-out"), (self._train, "train")):
            if whose in self._against and (name := known.match(answer_type, behaviour)):
                return "contaminated", f"behaviour match with {name} ({whose})"
        if "earlier" in self._against and (name := self._earlier.match(answer_type, behaviour)):
            return "same_behaviour", f"as puzzle {name}"
        self._earlier.add(answer_type, behaviour, record["puzzle_id"])
        return None


def like_held_out(context: Context, sources: Sequence[str], check: BehaviourCheck) -> set[str]:
    """Those of the puzzles that behave like a held-out problem; for puzzles that did not pass through stage 2."""
    probes = run_probes(context, check)
    puzzles = []
    for source in dict.fromkeys(sources):
        with contextlib.suppress(PuzzleError):
            puzzles.append((source, parse_puzzle(source).answer_type))
    held_out = KnownBehaviours()
    for problem in _known_probes(context)["problems"]:
        if problem["split"] != "train":
            held_out.add(problem["answer_type"], problem["behaviour"], problem["name"])
    with context.pool(Limits()) as pool:
        found = behaviours(pool, puzzles, probes, check.cpu_s)
    return {
        source
        for (source, answer_type), said in zip(puzzles, found, strict=True)
        if held_out.match(answer_type, said) is not None
    }


def run_probes(context: Context, check: BehaviourCheck) -> Probes:
    """The run's probes, made once and stored with the behaviour of every known problem."""
    if not files.exists(_probes_path(context)):
        with context.pool(Limits(cpu_s=1.0)) as pool:
            probes = make_probes(context.problems, pool, check.probes)
            known = [
                {
                    "name": problem.name,
                    "split": problem.split,
                    "answer_type": problem.answer_type,
                    "behaviour": behaviour,
                }
                for problem, behaviour in of_problems(pool, context.problems, probes, check.cpu_s)
            ]
        content = {"identity": probes.identity, "probes": probes.by_type, "problems": known}
        files.write_json(_probes_path(context), content)
    return Probes({name: tuple(literals) for name, literals in _known_probes(context)["probes"].items()})


def read_probes(context: Context) -> Probes:
    """The run's probes, as stage 2 stored them."""
    return Probes({name: tuple(literals) for name, literals in _known_probes(context)["probes"].items()})


def _known_probes(context: Context) -> dict:
    return files.read_json(_probes_path(context))


def _probes_path(context: Context) -> str:
    return files.join(context.run.root, "probes.json")
