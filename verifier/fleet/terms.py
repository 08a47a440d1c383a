"""The terms under which a stage's attempts are judged, kept beside the verdicts so that any host can judge.

A run's own hosts and a fleet beside them (follow.py) read the same file through the same code, and so write the same
records, whoever judges which shard.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from verifier.certify import judge_and_certify
from verifier.errors import UserError
from verifier.generality import measure_generality
from verifier.outcomes import VERSION
from verifier.storage import files
from verifier.tiers import Tiers
from verifier.verdict import Judges, Limits, Verdict

if TYPE_CHECKING:
    from verifier.pool import Pool

NAME = "terms.json"
COUNTED = ("accepted", "unstable", "infrastructure")  # outcomes, in the ledger of verdicts

MakePool = Callable[[Limits, int], contextlib.AbstractContextManager["Pool"]]  # from limits and hash seed


@dataclass(frozen=True)
class Terms:
    """How the attempts of one stage are judged.

    Attributes:
      generality_trials: every accepted solution runs again on that many variants of its puzzle; the share that passes
        is stored as `generality` (absent where there are none).
      certify_seed: every accepted solution runs again under this hash seed, and is `unstable` if it does not pass.
    """

    limits: Limits
    generality_trials: int = 0
    certify_seed: int | None = None

    def save(self, verdicts: files.Path, attempts: files.Path) -> None:
        """Writes `terms.json` into the folder of verdicts. `attempts` is a folder beside that one."""
        parent, _, name = files.join(attempts).rpartition("/")
        if parent != files.join(verdicts).rpartition("/")[0]:
            raise ValueError(f"{attempts} is not beside {verdicts}")
        files.write_json(
            files.join(verdicts, NAME), {"attempts": name, "verifier_version": VERSION, **self.as_dict()}
        )

    def as_dict(self) -> dict[str, Any]:
        """The terms as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "Terms":
        limits = dict(saved["limits"])
        tiers = limits.pop("tiers")
        return cls(**{**saved, "limits": Limits(**limits, tiers=None if tiers is None else Tiers(**tiers))})

    @classmethod
    def load(cls, verdicts: files.Path) -> tuple["Terms", str]:
        """The saved terms, and the folder of attempts. Raises UserError if another verifier version wrote them."""
        path = files.join(verdicts, NAME)
        try:
            saved = files.read_json(path)
            version, name = saved.pop("verifier_version"), saved.pop("attempts")
            terms = cls.from_dict(saved)
        except (KeyError, TypeError, json.JSONDecodeError) as e:
            raise UserError(
                f"{path}: not the terms of this version of the verifier ({e!r}); install the run's own here."
            ) from e
        if version != VERSION:
            raise UserError(
                f"{path}: the run judges by version {version} of the verifier, this is version {VERSION}; "
                "install the same project on both."
            )
        return terms, files.join(files.join(verdicts).rpartition("/")[0], name)


class ShardJudge:
    """Judges shards of attempts, whole, under given terms. Use it as a context: its pools end with the block."""

    def __init__(self, terms: Terms, make_pool: MakePool):
        self._terms, self._make_pool = terms, make_pool
        self._pools = contextlib.ExitStack()

    def __enter__(self) -> "ShardJudge":
        with contextlib.ExitStack() as pools:
            self._pool = pools.enter_context(self._make_pool(self._terms.limits, 0))
            if self._terms.certify_seed is not None:
                exact = replace(self._terms.limits, tiers=None)
                self._other = pools.enter_context(self._make_pool(exact, self._terms.certify_seed))
            self._pools = pools.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._pools.close()

    def __call__(
        self, attempts: Sequence[Mapping[str, Any]], beat: Callable[[], None] = lambda: None
    ) -> tuple[list[dict[str, Any]], dict[str, int]]:
        """The records of a shard's verdicts, one for each attempt, and the shard's counters.

        The same text for the same puzzle is judged once; every attempt keeps its verdict, so n and c hold.
        `beat` is called at every verdict, also at those of second looks, so it must be quick.
        """
        pool = _Beating(self._pool, beat)
        if self._terms.certify_seed is None:
            verdicts = pool.judge(attempts)
        else:
            verdicts = judge_and_certify(attempts, pool, _Beating(self._other, beat))
        judged = [v.as_record(attempt) for attempt, v in zip(attempts, verdicts, strict=True)]
        if self._terms.generality_trials:
            accepted = [record for record in judged if record["outcome"] == "accepted"]
            shares = measure_generality(pool, accepted, self._terms.generality_trials)
            for record, share in zip(accepted, shares, strict=True):
                record["generality"] = share
        return judged, counters(judged)


def counters(judged: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """What the ledger of verdicts keeps of a shard."""
    distinct = len({(record["puzzle"], record["solution"]) for record in judged})
    return {
        "distinct": distinct,
        **{name: sum(record["outcome"] == name for record in judged) for name in COUNTED},
    }


class _Beating:
    """A pool that calls `beat` at each verdict."""

    def __init__(self, pool: Judges, beat: Callable[[], None]):
        self._pool, self._beat = pool, beat

    def judge(self, items: Iterable[Mapping[str, Any]]) -> Iterator[Verdict]:
        for verdict in self._pool.judge(items):
            self._beat()
            yield verdict
