"""Metrics of one task on the gate's rows, AUC, macro-F1 and NMAE, each with what every row adds to it.

N rows of the bundle, K classes. A label is NaN (or -1 for a class) where it is not known. A metric that cannot be
computed is NaN and has no influences; the gate rejects it, and never replaces it. An influence is the first-order
change of the metric when a row weighs more: they sum to 0, and sqrt(sum of squares) / N is the standard error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Measured:
    """``value`` None: the model gave no output for the task; NaN: it gave one that admits no metric."""

    value: float | None
    influence: Floats | None
    """What each row adds to the metric, (N,): 0 where unlabelled."""


UNDEFINED = Measured(float("nan"), None)
ABSENT = Measured(None, None)


def auc(labels: Floats, scores: Floats) -> Measured:
    """Area under the ROC curve; ties count half. Undefined without both classes or with a score that is not finite.

    Source: promotion.md 6.4, after DeLong et al. 1988: placement of a positive row = share of negatives scored
    below it, of a negative row = share of positives above it.
    """
    known = (labels == 0) | (labels == 1)
    positive, found = labels[known] == 1, scores[known]
    m, n = int(positive.sum()), int((~positive).sum())
    if not (m and n and np.isfinite(found).all()):
        return UNDEFINED
    placement = _placements(positive, found, m, n)
    value = float(placement[positive].mean())
    influence = np.zeros(len(labels))
    influence[known] = len(labels) / np.where(positive, m, n) * (placement - value)
    return Measured(value, influence)


def macro_f1(labels: Ints, predicted: Ints, classes: int) -> Measured:
    """Mean F1 over a fixed class list; a class that is neither labelled nor predicted counts 0.

    Source: promotion.md 6.4, harm tests: the row's influence is N / K times 2 / (S_y + P_y) where it is right, minus
    F1 / (S + P) of its label's class and of its predicted class; S labels, P predictions of a class.
    """
    known = labels >= 0
    y, c = labels[known], predicted[known]
    if not len(y) or (c < 0).any() or max(y.max(), c.max()) >= classes:
        return UNDEFINED
    hits = np.bincount(y[y == c], minlength=classes)
    size = np.maximum(np.bincount(y, minlength=classes) + np.bincount(c, minlength=classes), 1)
    f1 = 2 * hits / size
    influence = np.zeros(len(labels))
    influence[known] = len(labels) / classes * (np.where(y == c, 2 / size[y], 0.0) - f1[y] / size[y] - f1[c] / size[c])
    return Measured(float(f1.mean()), influence)


def nmae(labels: Floats, values: Floats) -> Measured:
    """Mean absolute error in standard deviations of the label. Undefined when the label is constant or not known.

    The deviation is a property of the rows, the same for both models: a row's influence is its own error's.
    """
    known = ~np.isnan(labels)
    y, found = labels[known], values[known]
    spread = float(np.std(y)) if len(y) else 0.0
    if not (spread > 0 and np.isfinite(found).all()):
        return UNDEFINED
    errors = np.abs(found - y) / spread
    value = float(errors.mean())
    influence = np.zeros(len(labels))
    influence[known] = len(labels) / len(y) * (errors - value)
    return Measured(value, influence)


def _placements(positive: npt.NDArray[np.bool_], scores: Floats, m: int, n: int) -> Floats:
    """Placement value of every row from one sort: rows of equal score form a group and share theirs by class."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    group = np.concatenate(([0], np.cumsum(ordered[1:] != ordered[:-1])))
    positives = np.bincount(group, weights=positive[order])
    negatives = np.bincount(group) - positives
    below = (np.cumsum(negatives) - negatives / 2) / n  # of a positive: negatives below, ties half
    above = 1 - (np.cumsum(positives) - positives / 2) / m  # of a negative: positives above, ties half
    placement = np.empty(len(scores))
    placement[order] = np.where(positive[order], below[group], above[group])
    return placement
