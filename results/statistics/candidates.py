"""Ways to count what seeds add, compared before one was chosen; the t test in closed form in place of the bootstrap.

    python results/statistics/candidates.py > results/statistics/candidates.txt

Made-up experiments as in evaluation/power.py: 228 problems, 100 attempts, a base and five arms, corrected as Holm's
first step does. In units of MS_AB (of arm - base) the variance of a mean difference is b + x, where b is MS_B and x is
what a way takes seeds to add. Each way comes with its degrees of freedom, as Satterthwaite combines them.

    one       nothing is added, as where there is one seed
    ex        the arm's own excess, MS_A - MS_AB of its differences to the base; S - 1 degrees, as the next two
    2/d2,2.5  its excess beyond 1 + 2 / (S - 1)^2, the whole at least 2.5: in use for a while
    t         the interval of Student's t over the seeds alone
    diffs     the mean of all five arms' excess of their differences to the base; 5 (S - 1) degrees, as the next two
    odds      the mean of all arms' own excess, in shares of the square of m (1 - m), m their Pass@k: equal in log odds
    pooled    the mean of all arms' own excess, in points: chosen
    single    the arm's own excess by its own seeds: what is chosen makes of a table with one arm
    known     the true excess, as nobody knows it: the most that any way could show at this level

A line is one setting. Without a gain, three shares for each way: families of five in which an arm improves; plain
intervals above zero; families in which there is a word at all, improves or worsens. With a gain: shown; plain intervals
above zero; plain intervals that hold the gain. `single` is a family of one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from t5x_selfprog.evaluation.power import Design, Experiments

Array = NDArray[np.float64]  # [trials, arms]
TRIALS, ARMS, PROBLEMS = 600, 5, 228
BASES = {100: 0.08, 10: 0.05, 1: 0.02}  # by k


class Drawn:
    """Mean squares of many experiments, [trials, arms]: of arm - base, and of the arm's `own`."""

    def __init__(self, experiments: list[tuple[Array, list[Array]]]) -> None:
        bases = np.stack([base for base, _ in experiments])[:, None]  # [trials, 1, seeds, problems]
        arms = np.stack([np.stack(found) for _, found in experiments])  # [trials, arms, seeds, problems]
        self.seeds = arms.shape[2]
        difference = arms - bases
        self.mean, self.level = difference.mean((2, 3)), arms.mean((2, 3))
        by_problem = difference.mean(2)
        largest = np.abs(by_problem).max(2, keepdims=True)  # the two problems that the bootstrap imagines
        self.b = self.seeds * np.concatenate([by_problem, largest, -largest], 2).var(2, ddof=1)
        if self.seeds > 1:
            self.a, self.ab = _mean_squares(difference)
            self.own_a, self.own_ab = _mean_squares(arms)


def _mean_squares(tables: NDArray[np.float64]) -> tuple[Array, Array]:
    """MS_A and MS_AB of tables [..., seeds, problems]."""
    seeds, problems = tables.shape[-2:]
    by_seed = tables.mean(-1)
    rest = tables - by_seed[..., None] - tables.mean(-2, keepdims=True) + by_seed.mean(-1)[..., None, None]
    together = (rest**2).sum((-1, -2)) / ((seeds - 1) * (problems - 1))
    return problems * by_seed.var(-1, ddof=1), np.maximum(together, 1e-30)


# A way: the whole variance, the part of it that seeds add, and to how many degrees that is known.
Way = Callable[[Drawn], tuple[Array, Array, float]]


def own_excess(found: Drawn) -> tuple[Array, Array, float]:
    excess = np.maximum(0, found.a - found.ab)
    return found.b + excess, excess, found.seeds - 1


def beyond_doubt(found: Drawn) -> tuple[Array, Array, float]:
    d = found.seeds - 1
    excess = np.maximum(0, found.a - (1 + 2 / d**2) * found.ab)
    return np.maximum(found.b + excess, (1 + min(1.5, 6 / d)) * found.ab), excess, d


def students(found: Drawn) -> tuple[Array, Array, float]:
    return found.a, found.a, found.seeds - 1


def of_differences(found: Drawn) -> tuple[Array, Array, float]:
    return _pooled(found, found.a - found.ab, np.ones_like(found.a))


def equal_in_odds(found: Drawn) -> tuple[Array, Array, float]:
    slope = np.maximum(1e-6, found.level * (1 - found.level)) ** 2
    return _pooled(found, found.own_a - found.own_ab, slope)


def pooled(found: Drawn) -> tuple[Array, Array, float]:
    return _pooled(found, found.own_a - found.own_ab, np.ones_like(found.a))


def _pooled(found: Drawn, excess: Array, scale: Array) -> tuple[Array, Array, float]:
    of_all = np.maximum(0, excess.sum(1, keepdims=True) / scale.sum(1, keepdims=True)) * scale
    return found.b + of_all, of_all, ARMS * (found.seeds - 1)


def single(found: Drawn) -> tuple[Array, Array, float]:
    excess = np.maximum(0, found.own_a - found.own_ab)
    return found.b + excess, excess, found.seeds - 1


def known(found: Drawn) -> tuple[Array, Array, float]:
    truth = np.maximum(0, (found.own_a - found.own_ab).mean(0)) * np.ones_like(found.a)
    return found.b + truth, truth, np.inf


def one(found: Drawn) -> tuple[Array, Array, float]:
    return found.b, np.zeros_like(found.b), 1


WAYS: dict[str, Way] = {
    "one": one,
    "ex": own_excess,
    "2/d2,2.5": beyond_doubt,
    "t": students,
    "diffs": of_differences,
    "odds": equal_in_odds,
    "pooled": pooled,
    "single": single,
    "known": known,
}


def drawn(design: Design, kind: str) -> Drawn:
    """`kind`: how seeds move the arms: "each" by itself, all "together", or the first arm "alone"."""
    made_up = Experiments.of(design)
    if kind == "each":
        return Drawn([made_up.draw(trial, ARMS) for trial in range(TRIALS)])
    steady = Experiments.of(replace(design, per_seed=0.0))
    found = []
    for trial in range(TRIALS):
        rng = np.random.default_rng(trial)
        base_odds, shape = rng.choice(made_up.population, PROBLEMS), (design.seeds, PROBLEMS)
        base, common = (
            made_up.measured(base_odds, shape, rng),
            rng.normal(0, design.per_seed, (design.seeds, 1)),
        )
        arms = []
        for arm in range(ARMS):
            moved = kind == "together" or arm == 0
            shift = (made_up if moved else steady).shift + moved * common
            own = base_odds + rng.normal(0, design.per_problem, PROBLEMS)
            arms.append(made_up.measured(own + shift, shape, rng))
        found.append((base, arms))
    return Drawn(found)


def shares(found: Drawn, gain: float) -> Iterator[tuple[str, list[float]]]:
    for name, way in WAYS.items():
        if found.seeds == 1 and name != "one":
            continue
        variance, seeds_part, d = way(found)
        freedom = np.minimum(1e6, variance**2 / np.maximum(1e-30, seeds_part**2 / d))
        error = np.sqrt(np.maximum(variance, 1e-30) / (found.seeds * PROBLEMS))
        p_value = 2 * scipy.stats.t.sf(np.abs(found.mean) / error, freedom)
        word, up = p_value * (1 if name == "single" else ARMS) < 0.05, found.mean > 0
        above = (p_value < 0.05) & up
        if gain:
            far = np.abs(found.mean - gain) / error < scipy.stats.t.isf(0.025, freedom)
            yield name, [float(x[:, 0].mean()) for x in (word & up, above, far)]
        elif name == "single":
            yield name, [float(x.mean()) for x in (word & up, above, word)]
        else:
            yield name, [float((word & up).any(1).mean()), float(above.mean()), float(word.any(1).mean())]


def settings() -> Iterator[tuple[Design, str]]:
    def design(k: int, gain: float, per_seed: float, seeds: int, per_problem: float, others: float) -> Design:
        return Design(
            gain or 1e-9, k, base=BASES[k], seeds=seeds, per_problem=per_problem, per_seed=per_seed, arms=ARMS,
            others=others or 1e-9,
        )  # fmt: skip

    for k, seeds, per_problem in itertools.product((100, 10, 1), (2, 3, 5), (0.5, 2.0)):
        yield design(k, 0.0, 0.6, seeds, per_problem, 0.0), "each"
    for kind, k, seeds in itertools.product(("together", "alone"), (100, 10, 1), (2, 3)):
        yield design(k, 0.0, 0.6, seeds, 0.5, 0.0), kind
    for others, per_seed, seeds, per_problem in itertools.product(
        (0.0, 0.08), (0.1, 0.3), (1, 2, 3, 5), (0.5, 2.0)
    ):
        yield design(100, 0.08, per_seed, seeds, per_problem, others), "each"


def main() -> None:
    for design, kind in settings():
        gain = design.gain if design.gain > 1e-6 else 0.0
        others = " of all" if gain and design.others == gain else " of one" if gain else ""
        said = "  ".join(
            f"{name} {' '.join(f'{100 * share:.1f}' for share in of_way)}"
            for name, of_way in shares(drawn(design, kind), gain)
        )
        print(
            f"k {design.k}, {100 * design.base:g}% to {100 * (design.base + gain):g}%{others}, seeds {design.seeds} "
            f"{kind}, problems {design.per_problem:g}, seeds {design.per_seed:g}:  {said}",
            flush=True,
        )


if __name__ == "__main__":
    main()
