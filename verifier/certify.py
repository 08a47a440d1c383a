"""The determinism certificate: what was accepted is run again, elsewhere and with another order of sets.

The second run is in fresh processes under another hash seed. A pair that does not pass it again depends on
accidents; it is put aside as `unstable`, and counted like any other outcome.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from verifier.outcomes import INFRASTRUCTURE, UNSTABLE
from verifier.windows import take_window

if TYPE_CHECKING:
    from verifier.verdict import Judges, Verdict

WINDOW = 4096  # attempts judged before those accepted are run again


def judge_and_certify(
    items: Iterable[Mapping[str, Any]], pool: "Judges", other: "Judges"
) -> Iterator["Verdict"]:
    """Verdicts of `pool` in order, where `accepted` means that `other`, of another hash seed, says so too.

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
