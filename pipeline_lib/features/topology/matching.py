"""Distances between persistence diagrams: order-1 Wasserstein and bottleneck.

The ground distance of Wasserstein is Euclidean, that of the bottleneck the maximum norm, as in persim; libraries
differ here. A point may always be matched with the diagonal. Source: features.md 7.4.

H0 diagrams lie on the axis birth = 0, where a matching of sorted deaths never crosses: if a <= a' are matched with
b' >= b, then matching a with b and a' with b' costs no more, in sum and in maximum, because |x - y| is convex in
x - y. This makes both distances computable for all rows at once.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from pipeline_lib.features.columns import Floats

TO_DIAGONAL = np.sqrt(0.5)
"""Euclidean distance of a bar to the diagonal, in units of its length."""


def wasserstein_h0(a: Floats, b: Floats) -> Floats:
    """W1 between H0 diagrams, exact [R].

    Sequence alignment of the sorted deaths: ``reach[j]`` is the least cost of the points of ``a`` so far and the
    first j of ``b``; each point is matched with the other side's or goes to the diagonal.

    Args:
        a, b: deaths, longest first, 0 behind them [H, R].
    """
    alone = np.concatenate([np.zeros((1, b.shape[1])), np.cumsum(b * TO_DIAGONAL, axis=0)])
    reach = alone
    for death in a:
        paired = reach[:-1] + np.abs(death - b)
        reach = reach + death * TO_DIAGONAL
        np.minimum(reach[1:], paired, out=reach[1:])
        # reach[j + 1] <= reach[j] + b[j] to the diagonal, for all j at once
        reach = np.minimum.accumulate(reach - alone, axis=0) + alone
    cost: Floats = reach[-1]
    return cost


def bottleneck_h0(a: Floats, b: Floats) -> Floats:
    """Bottleneck distance between H0 diagrams, exact: max over i of min(|a_i - b_i|, max(a_i, b_i) / 2) [R].

    Only points with a death above 2 e must be matched at threshold e. Take a matching that covers all of these and
    does not cross. A pair (must, may) and a pair (may, must) would cross, so all pairs have a point of the same
    side that must, say the p longest of ``a``, and among their partners are the q <= p points of ``b`` that must.
    The partners of a_1 .. a_q are then b_1 .. b_q, and for q < i <= p the partner is at most b_i <= 2 e < a_i, so b_i
    is no farther: points of equal rank can be matched, all others go to the diagonal.

    Args:
        a, b: deaths, longest first, 0 behind them [H, R].
    """
    shift: Floats = np.minimum(np.abs(a - b), np.maximum(a, b) / 2).max(axis=0)
    return shift


def wasserstein(a: Floats, b: Floats) -> float:
    """W1 between two small diagrams of (birth, death) [K, 2].

    Every point goes to the diagonal, unless a pair saves by staying together: an assignment of the savings.
    """
    alone = [(bars[:, 1] - bars[:, 0]) * TO_DIAGONAL for bars in (a, b)]
    total = float(alone[0].sum() + alone[1].sum())
    if not len(a) or not len(b):
        return total
    apart = np.hypot(a[:, None, 0] - b[None, :, 0], a[:, None, 1] - b[None, :, 1])
    saved = np.minimum(apart - alone[0][:, None] - alone[1], 0.0)
    return total + float(saved[linear_sum_assignment(saved)].sum())


def bottleneck(a: Floats, b: Floats, at_least: float = 0.0) -> float:
    """The larger of ``at_least`` and the bottleneck distance of two small diagrams of (birth, death) [K, 2].

    The distance is one of finitely many values; bisection asks of each whether a matching exists.
    """
    half = [(bars[:, 1] - bars[:, 0]) / 2 for bars in (a, b)]
    enough = float(np.concatenate([*half, [at_least]]).max())
    if not len(a) or not len(b):
        return enough
    apart = np.abs(a[:, None] - b[None, :]).max(axis=2)
    values = np.unique(np.concatenate([apart.ravel(), *half, [at_least]]))
    values = values[(values >= at_least) & (values <= enough)]
    low, high = 0, len(values) - 1
    while low < high:
        middle = (low + high) // 2
        if _matched(apart, half[0], half[1], values[middle]):
            high = middle
        else:
            low = middle + 1
    return float(values[low])


def _matched(apart: Floats, half_a: Floats, half_b: Floats, limit: np.float64) -> bool:
    """Whether pairs within ``limit`` can cover every point that is farther than it from the diagonal."""
    must_a, must_b = half_a > limit, half_b > limit
    covers: npt.NDArray[np.int64] = (must_a[:, None].astype(np.int64) + must_b) * (apart <= limit)
    return bool(covers[linear_sum_assignment(covers, maximize=True)].sum() == must_a.sum() + must_b.sum())
