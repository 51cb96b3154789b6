"""Metrics of one task on the gate's rows: AUC, macro-F1, NMAE. Plain functions of arrays.

N rows of the bundle, n labelled ones, K classes. A label is NaN (or -1 for a class) where it is not known. A
metric that cannot be computed is NaN; the gate rejects it, and never replaces it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def auc(labels: Floats, scores: Floats) -> float:
    """Area under the ROC curve; ties count half. NaN without both classes or with a score that is not finite."""
    above, below = _placements(labels, scores)
    return float(above.mean()) if len(above) and len(below) else float("nan")


def auc_influence(labels: Floats, scores: Floats) -> Floats:
    """How much each row moves the AUC, (N,): 0 where unlabelled; sums to 0.

    Source: promotion.md 6.4, after DeLong et al. 1988: placement of a positive row = share of negatives scored
    below it, of a negative row = share of positives above it.
    """
    above, below = _placements(labels, scores)
    influence = np.zeros(len(labels))
    if not len(above) or not len(below):
        return np.full(len(labels), np.nan)
    value = above.mean()
    influence[labels == 1] = len(labels) / len(above) * (above - value)
    influence[labels == 0] = len(labels) / len(below) * (below - value)
    return influence


def macro_f1(labels: Ints, predicted: Ints, classes: int) -> float:
    """Mean F1 over a fixed class list; a class that is neither labelled nor predicted counts 0."""
    known = labels >= 0
    if not known.any() or (predicted[known] < 0).any():
        return float("nan")
    return float(_f1(*_counts(labels[known], predicted[known], classes)).mean())


def macro_f1_influence(labels: Ints, predicted: Ints, classes: int) -> Floats:
    """How much each row moves macro-F1, (N,). Source: promotion.md 6.4, harm tests."""
    known = labels >= 0
    y, c = labels[known], predicted[known]
    hits, label_counts, predicted_counts = _counts(y, c, classes)
    f1, size = _f1(hits, label_counts, predicted_counts), np.maximum(label_counts + predicted_counts, 1)
    row = np.where(y == c, 2 / size[y], 0.0) - f1[y] / size[y] - f1[c] / size[c]
    influence = np.zeros(len(labels))
    influence[known] = len(labels) / classes * row
    return influence


def nmae(labels: Floats, values: Floats) -> float:
    """Mean absolute error in standard deviations of the label; NaN when the label is constant or not known."""
    known = ~np.isnan(labels)
    spread = float(np.std(labels[known])) if known.any() else 0.0
    return float(np.abs(values[known] - labels[known]).mean() / spread) if spread > 0 else float("nan")


def nmae_influence(labels: Floats, values: Floats) -> Floats:
    """How much each row moves the NMAE, (N,): its absolute error against the mean error."""
    known = ~np.isnan(labels)
    influence = np.zeros(len(labels))
    errors = np.abs(values[known] - labels[known]) / np.std(labels[known])
    influence[known] = len(labels) / known.sum() * (errors - errors.mean())
    return influence


def _placements(labels: Floats, scores: Floats) -> tuple[Floats, Floats]:
    """Placement values of the positive and of the negative rows."""
    positives, negatives = scores[labels == 1], scores[labels == 0]
    if not (np.isfinite(positives).all() and np.isfinite(negatives).all()):
        return np.empty(0), np.empty(0)
    if not len(positives) or not len(negatives):
        return positives, negatives
    return _share_below(positives, negatives), 1 - _share_below(negatives, positives)


def _share_below(values: Floats, others: Floats) -> Floats:
    ordered = np.sort(others)
    strictly, with_ties = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return np.asarray((strictly + with_ties) / (2 * len(others)), dtype=np.float64)


def _counts(y: Ints, c: Ints, classes: int) -> tuple[Ints, Ints, Ints]:
    hits = np.bincount(y[y == c], minlength=classes)
    return hits, np.bincount(y, minlength=classes), np.bincount(c, minlength=classes)


def _f1(hits: Ints, label_counts: Ints, predicted_counts: Ints) -> Floats:
    return np.asarray(2 * hits / np.maximum(label_counts + predicted_counts, 1), dtype=np.float64)
