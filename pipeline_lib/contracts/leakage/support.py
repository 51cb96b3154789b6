"""Columns that exist for one outcome only, and columns that beat all others together (R05, R06)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline_lib.contracts.leakage.evidence import LabelView, spread
from pipeline_lib.contracts.leakage.statistics import Floats, Ints, auc, auc_error, ranks
from pipeline_lib.contracts.leakage.text import finding, graded
from pipeline_lib.records import Finding
from pipeline_lib.settings.leakage import Leakage


def defined_for_one_outcome(view: LabelView, limits: Leakage) -> Iterator[Finding]:
    """R06: whether the column is defined at all ranks the label: it was made because of the outcome.

    Of several classes only a FAIL is said: who has no history of an act rarely does it, and that is no leak.
    """
    own = limits.support
    area = _defined_auc(view, limits.min_class_rows)
    least = own.warn_defined_auc if view.kind == "binary" else own.fail_defined_auc
    for i, k in zip(*np.nonzero(area >= least), strict=True):
        value = float(area[i, k])
        limit, verdict = graded(value >= own.fail_defined_auc, own.fail_defined_auc, own.warn_defined_auc)
        message = "whether the value exists tells the outcome: it is made because of it, or only up to it"
        label = view.label_of(int(k))
        yield finding("R06", view.names[i], "AUC of being defined", value, limit, message, label=label, verdict=verdict)


def beats_all_others(view: LabelView, limits: Leakage) -> Iterator[Finding]:
    """R05: one column ranks a binary label better than a cross-validated model of all other columns together.

    Classes are left out: that a habit says most about its own category, and nothing else does, is no leak.
    """
    own = limits.support
    if view.kind != "binary" or len(view.names) < 3:
        return
    area = auc(view.ranked, view.classes)
    for k in range(view.classes.shape[1]):
        best = int(area[:, k].argmax())
        if area[best, k] < own.dominant_auc:
            continue
        at = spread(np.arange(len(view.y)), own.model_rows)
        y = view.classes[at, k]
        if min(y.sum(), len(y) - y.sum()) < own.model_positives:
            continue
        alone = float(auc(ranks(view.values[at, best : best + 1]), y[:, None])[0, 0])
        others = _model_auc(np.delete(view.values[at], best, axis=1), y, view.fold[at], own.model_trees)
        error = auc_error(int(y.sum()), int(len(y) - y.sum()))
        if alone - others >= max(own.dominance, limits.noise_z * error):
            message = f"alone {alone:.4f}, all other columns together {others:.4f}: too good to be known before"
            label = view.label_of(k)
            yield finding(
                "R05", view.names[best], "AUC beyond all others", alone - others, own.dominance, message, label=label
            )


def _defined_auc(view: LabelView, least: int) -> Floats:
    """ROC-AUC of a flag is half of one plus the difference of its two rates [F, K]; 0.5 where a side is too small."""
    missing = view.undefined.astype(np.float64)
    inside, size = missing.T @ view.classes, view.classes.sum(axis=0)
    outside, rest = missing.sum(axis=0)[:, None] - inside, len(missing) - size
    gap = np.abs(inside / np.maximum(size, 1) - outside / np.maximum(rest, 1))
    area: Floats = 0.5 + np.where(np.minimum(size, rest) >= least, gap, 0.0) / 2
    return area


def _model_auc(x: Floats, y: Floats, fold: Ints, trees: int) -> float:
    """Out-of-fold ROC-AUC of boosted trees; 0.5 when a fold has one class only."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    score = np.zeros(len(y))
    for held in np.unique(fold):
        rest = fold != held
        if len(np.unique(y[rest])) < 2:
            return 0.5
        model = HistGradientBoostingClassifier(max_iter=trees, early_stopping=False, random_state=0)
        model.fit(x[rest], y[rest])
        score[~rest] = model.predict_proba(x[~rest])[:, 1]
    return float(auc(ranks(score[:, None]), y[:, None])[0, 0])
