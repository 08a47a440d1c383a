"""The determinism certificate: accepted pairs run again, elsewhere and with another order of sets.

The second run is in fresh processes under another hash seed. A pair that fails it depends on accidents: its outcome
becomes `unstable`, which is counted like any other.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from verifier.outcomes import INFRASTRUCTURE, UNSTABLE
from verifier.windows import take_window

if TYPE_CHECKING:
    from verifier.verdict import Judges, Verdict

WINDOW = 4096  # attempts judged before the accepted ones run again


def judge_and_certify(
    items: Iterable[Mapping[str, Any]], pool: "Judges", other: "Judges"
) -> Iterator["Verdict"]:
    """Verdicts of `pool` in order; `accepted` means that `other`, with another hash seed, accepted the pair too.

    An infrastructure failure of the second run says nothing about the pair: it is not certified, hence unstable.
    """
    source = iter(items)
    while window := take_window(source, WINDOW):
        verdicts = list(pool.judge(window))
        places = [place for place, verdict in enumerate(verdicts) if verdict.accepted]
        for place, again in zip(places, other.judge([window[place] for place in places]), strict=True):
            if not again.accepted:
                what = "could not be judged" if again.outcome == INFRASTRUCTURE else again.outcome
                detail = f"under another hash seed: {what} {again.detail}".strip()[:200]
                verdicts[place] = replace(verdicts[place], outcome=UNSTABLE, detail=detail)
        yield from verdicts
