"""Calibration by steps, for tasks with so many positives that a curve may have any rising shape.

It replaces Platt's sigmoid only where a third of the ``calib`` customers, kept aside, says that it is better. Knots lie
at the middle of each block of pooled rows, so between the first and the last one no pair of customers becomes equal
or changes places; beyond them the answer is constant. Source: distillation.md section 10.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from pipeline_lib.distill import calibration, fidelity
from pipeline_lib.distill.frame import Rows
from pipeline_lib.distill.metrics import Ints, Reals
from pipeline_lib.settings.distillation import Isotonic

MIN_RISE = 1e-9
"""Blocks whose rates differ by rounding alone are one step; between them different scores would become equal."""


def better(raw: Reals, calib: Rows, policy: Isotonic, seed: int) -> dict[str, Any] | None:
    """The isotonic calibrator of ``raw`` (n,), or None where Platt's sigmoid stays: too few positives, or no gain."""
    if int(np.sum(calib.y)) < policy.min_positives:
        return None
    aside = kept_aside(calib.customer, seed)
    platt, steps = calibration.fit_binary(raw[~aside], calib.y[~aside]), fit(raw[~aside], calib.y[~aside], policy)
    if steps is None:
        return None
    errors = [fidelity.ece(calib.y[aside], calibration.apply_binary(c, raw[aside])) for c in (platt, steps)]
    return fit(raw, calib.y, policy) if errors[0] - errors[1] > policy.min_ece_gain else None


def fit(raw: Reals, y: Ints, policy: Isotonic) -> dict[str, Any] | None:
    """Knots of the rising curve nearest to the labels; None when it would be flat.

    Args:
        raw: raw scores (n,).
        y: labels (n,) of {0, 1}.
    """
    at, group, rows = np.unique(raw, return_inverse=True, return_counts=True)
    pooled = isotonic_regression(np.bincount(group, y) / rows, weights=rows)
    starts = pooled.blocks[:-1]
    weight, value = np.add.reduceat(rows, starts), pooled.x[starts]
    middle = np.add.reduceat(at * rows, starts) / weight
    rising = np.flatnonzero(np.diff(value, prepend=-1.0) > MIN_RISE)
    kept = rising[_thinned(weight[rising], policy.max_knots)]
    if len(kept) < 2:
        return None
    return {"kind": "isotonic", "x": middle[kept].tolist(), "y": value[kept].tolist()}


def _thinned(weight: Ints, most: int) -> Ints:
    """Indices of at most ``most`` blocks, evenly spread over the rows; the first and the last are among them."""
    if len(weight) <= most:
        return np.arange(len(weight))
    reached = np.cumsum(weight)
    wanted = np.linspace(reached[0], reached[-1], most)
    return np.unique(np.searchsorted(reached, wanted, side="left"))


def kept_aside(customer: Ints, seed: int) -> NDArray[np.bool_]:
    """Mask (n,) of the rows of a third of the customers."""
    known, of = np.unique(customer, return_inverse=True)
    drawn = np.random.default_rng(seed).permutation(len(known)) < len(known) // 3
    return np.asarray(drawn[of])
