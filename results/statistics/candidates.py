"""Ways to count what seeds add, compared before one was chosen.

    python results/statistics/candidates.py > candidates.txt

Made-up experiments as in evaluation/power.py (base Pass@100 8%, 228 problems, 100 attempts), the t test in closed
form in place of the bootstrap. A line: seeds, per_problem, per_seed, gain, then for each way the share of trials
in which an arm of five (with a gain: the one arm) improves after Holm's first step, and the share in which a
single uncorrected interval lies above zero. ex: max(0, MS_A - MS_AB); js1: beyond (1 + 1/d) MS_AB; js2: beyond (1
+ sqrt(2/d)) MS_AB; ex10, w2p: after or weighted by an F test; mod.5: half a degree of freedom added for "seeds do
not differ". Chosen: beyond (1 + 1/d^2) MS_AB, between ex and js1.
"""

# ruff: noqa: B007, B023, E731, RUF059

import numpy as np
import scipy.stats as st

from t5x_selfprog.evaluation import power as P


def ms(D):
    T, S, Pn = D.shape
    g = D.mean((1, 2))
    r = D.mean(2)
    c = D.mean(1)
    A = Pn * ((r - g[:, None]) ** 2).sum(1) / max(1, S - 1)
    B = S * ((c - g[:, None]) ** 2).sum(1) / (Pn - 1)
    R = D - r[:, :, None] - c[:, None, :] + g[:, None, None]
    AB = (R**2).sum((1, 2)) / max(1, (S - 1)) / (Pn - 1)
    return g, A, B, AB


def comp(D):
    T, S, Pn = D.shape
    L = np.abs(D.mean(1)).max(1)
    E = np.concatenate([D, np.stack([L, -L], 1)[:, None, :] * np.ones((1, S, 1))], 2)
    est = D.mean((1, 2))
    _, A, B0, AB = ms(D)
    _, _, B, _ = ms(E)
    return est, A, B, AB


def cand(D):
    est, A, B, AB = comp(D)
    T, S, Pn = D.shape
    SP = S * Pn
    if S == 1:
        return {"one": 2 * st.norm.sf(np.abs(est) / np.sqrt(B / SP))}, est
    d = S - 1
    out = {}

    def fin(X, name, dd=d):
        V = (B + X) / SP
        df = np.minimum(1e6, V**2 / np.maximum(1e-30, (X / SP) ** 2 / dd))
        out[name] = 2 * st.t.sf(np.abs(est) / np.sqrt(V), df)

    fin(np.maximum(0, A - AB), "ex")
    fin(np.maximum(0, A - (1 + 1 / d) * AB), "js1")
    fin(np.maximum(0, A - (1 + np.sqrt(2 / d)) * AB), "js2")
    F = A / np.maximum(AB, 1e-30)
    p = st.f.sf(F, d, d * (Pn - 1))
    fin(np.where(p < 0.1, np.maximum(0, A - AB), 0), "ex10")
    # weight continuous: w=1-p
    fin(np.maximum(0, A - AB) * np.clip(1 - 2 * p, 0, 1), "w2p")
    Am = (0.5 * AB + d * A) / (0.5 + d)
    fin(np.maximum(0, Am - AB), "mod.5", d + 0.5)
    return out, est


T = 1200
for pp, ps, gain, S in [
    (0.5, 0.6, 0, 2),
    (0.5, 0.6, 0, 3),
    (0.5, 0.3, 0, 3),
    (0.5, 0.1, 0.08, 1),
    (0.5, 0.1, 0.08, 2),
    (0.5, 0.1, 0.08, 3),
    (2, 0.1, 0.08, 1),
    (2, 0.1, 0.08, 2),
    (2, 0.1, 0.08, 3),
    (0.5, 0.3, 0.08, 2),
    (0.5, 0.3, 0.08, 3),
    (2, 0.6, 0, 3),
]:
    rng = np.random.default_rng([S, int(10 * ps)])
    d = P.Design(gain=gain or 1e-9, k=100, base=0.08)
    pop = P._log_odds(P._difficulties(d, (), 20000, np.random.default_rng(0)))
    shift = P._shift(pop, np.random.default_rng(1).normal(0, np.sqrt(pp**2 + ps**2), 20000), d)
    b = rng.choice(pop, (T, 1, 228))
    n = 100
    q = lambda o: 1 - np.exp(n * np.log1p(-np.minimum(P._chances(o), 1 - 1e-12)))
    qb = np.broadcast_to(q(b), (T, S, 228))
    base = (rng.random((T, S, 228)) < qb) * 1.0
    any_ = {}
    one = {}
    arms = 5 if gain == 0 else 1
    for a in range(arms):
        arm = b + shift + rng.normal(0, pp, (T, 1, 228)) + rng.normal(0, ps, (T, S, 1))
        arm = (rng.random((T, S, 228)) < q(arm)) * 1.0
        p, est = cand(arm - base)
        for nme, v in p.items():
            any_[nme] = any_.get(nme, 0) | ((v * 5 < 0.05) & (est > 0))
            one[nme] = one.get(nme, 0) + np.mean((v < 0.05) & (est > 0)) / arms
    print(
        S,
        pp,
        ps,
        gain,
        {k: (round(float(np.mean(v)), 4), round(float(one[k]), 4)) for k, v in any_.items()},
        flush=True,
    )
