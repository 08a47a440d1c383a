"""Screens the proposals of self-play batch by batch, as stage 2 screens puzzles.

A proposal is new if none like it came before.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from t5x_selfprog.puzzles.rules import Kept, PuzzleFilter
from t5x_selfprog.puzzles.shape import shape_id
from t5x_selfprog.stages.filter_puzzles import like_held_out
from t5x_selfprog.stages.policy_learning import Record, Session
from t5x_selfprog.stages.policy_settings import Proposing
from verifier.storage.records import Kind, Schema
from verifier.storage.shards import Ledger

SCREENED: Schema = {"puzzle_id": Kind.TEXT, "reason": Kind.TEXT, "novelty": Kind.FLOAT}


class Screen:
    """What was kept before, by stage 2 and in earlier batches.

    Attributes:
      batches: how many it has screened or been told of.
    """

    def __init__(self, session: Session, proposing: Proposing):
        self._session, self._proposing, self.batches = session, proposing, 0
        context = session.context
        kept = [
            puzzle["source"]
            for earlier in range(session.iteration + 1)
            for puzzle in context.run.read(earlier, "kept")
        ]
        self._filter = PuzzleFilter(proposing.rules, problems=context.problems, known=kept)
        self._shapes = Counter(shape_id(source) for source in kept)

    def remember(self, proposals: Ledger, screened: Ledger) -> None:
        """Takes in a batch that was screened before."""
        for proposal, _ in zip(proposals, screened, strict=True):
            self._offered(proposal["source"])
        self.batches += 1

    def offer(self, proposals: Sequence[Record]) -> Iterator[Record]:
        """SCREENED records of the next batch."""
        context, behaviour = self._session.context, self._proposing.behaviour
        found = [self._offered(proposal["source"]) for proposal in proposals]
        survivors = [kept.source for kept, _, _ in found if kept is not None]
        reports = self._session.workers.pool(self._proposing.limits).screen_puzzles(survivors)
        refused = {
            source: report.reason or "refused"
            for source, report in zip(survivors, reports, strict=True)
            if not report.ok
        }
        passed = [source for source in survivors if source not in refused]
        if behaviour is not None and passed:
            refused |= dict.fromkeys(like_held_out(context, passed, behaviour), "contaminated")
        self.batches += 1
        for proposal, (kept, reason, novelty) in zip(proposals, found, strict=True):
            if kept is None:
                yield {"puzzle_id": proposal["puzzle_id"], "reason": reason, "novelty": 0.0}
            else:
                reason = refused.get(kept.source, "")
                yield {"puzzle_id": kept.puzzle_id, "reason": reason, "novelty": 0.0 if reason else novelty}

    def _offered(self, source: str) -> tuple[Kept | None, str, float]:
        """The puzzle, or the reason why it is not one, and how new its shape is."""
        result = self._filter.offer(source)
        if not isinstance(result, Kept):
            return None, result.reason, 0.0
        self._shapes[result.shape] += 1
        return result, "", 1 / self._shapes[result.shape]
