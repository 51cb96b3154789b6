"""Labels that a simple function of the features rebuilds (L05): no split and no cutoff can help against these."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline_lib.contracts.leakage.evidence import LabelView, spread
from pipeline_lib.contracts.leakage.statistics import Floats, Ints, auc, one_hot, pearson, quantile_bins, ranks
from pipeline_lib.contracts.leakage.text import finding
from pipeline_lib.contracts.leakage.tree import line_out_of_fold, tree_out_of_fold
from pipeline_lib.records import Finding
from pipeline_lib.settings.leakage import Leakage


def rebuilds_the_label(view: LabelView, limits: Leakage) -> Iterator[Finding]:
    """L05: cross-validated depth-6 tree and least squares: AUC, macro F1 or R2 [0..1]."""
    own = limits.derived
    at = spread(np.arange(len(view.y)), own.tree_rows)
    target, name, limit = _target(view, at, limits)
    if target is None:
        return
    values = view.values[at]
    binned = np.minimum(((view.ranked[at] - 0.5) / len(view.y) * own.tree_bins).astype(np.int64), own.tree_bins - 1)
    fold = view.fold[at]
    view.memo["tree"] = tree_out_of_fold(binned, target, fold, own.tree_depth, own.tree_bins)
    models = view.memo["tree"], line_out_of_fold(values, target, fold)
    for model, predicted in zip(("tree", "least squares"), models, strict=True):
        score = _score(view.kind, target, predicted)
        if view.name == own.segment_task and score >= own.fail_segment_f1:
            message = f"a {model} finds the segment: it or a proxy is among the inputs; disable the task"
            limit_f1 = own.fail_segment_f1
            yield finding(
                "L29", _strongest(view, at, target), f"{model} {name}", score, limit_f1, message, label=view.name
            )
        elif score >= limit:
            message = f"a {model} of depth {own.tree_depth} over all features rebuilds the label"
            message = message if model == "tree" else "a linear function of the features rebuilds the label"
            columns = _strongest(view, at, target)
            yield finding("L05", columns, f"{model} {name}", score, limit, message, label=view.name)


def buckets_of_one_column(view: LabelView, limits: Leakage) -> Iterator[Finding]:
    """L05: sorted by one column, classes follow one another in a few runs: the label is that column cut into pieces.

    Kappa of neighbours' labels: 1 when they always agree, 0 when as often as chance has it. Needs no bins, so that it
    also holds where bins would straddle the cuts.
    """
    if view.kind == "regression":
        return
    at = spread(np.arange(len(view.y)), limits.derived.tree_rows)
    y = view.y[at]
    shares = np.unique(y, return_counts=True)[1] / len(y)
    chance = float((shares**2).sum())
    if chance >= 1:
        return
    ordered = y[np.argsort(view.ranked[at], axis=0, kind="stable")]
    kappa = ((ordered[1:] == ordered[:-1]).mean(axis=0) - chance) / (1 - chance)
    limit = limits.derived.fail_f1
    for i in np.flatnonzero(kappa >= limit):
        message, value = "the label is this column cut into pieces", float(kappa[i])
        yield finding("L05", view.names[i], "agreement of neighbours", value, limit, message, label=view.name)


def one_group_is_enough(view: LabelView, limits: Leakage) -> Iterator[Finding]:
    """L12: the columns of one group alone rank a binary label as well as only a leak does (cross-validated AUC)."""
    if view.kind != "binary" or len(set(view.groups)) < 2:
        return
    at = spread(np.arange(len(view.y)), limits.derived.tree_rows)
    target, _, _ = _target(view, at, limits)
    if target is None or _whole_auc(view, at, target, limits) < limits.scores.group_auc:
        return  # a part cannot do clearly better than the whole
    groups = np.array(view.groups)
    for name in dict.fromkeys(view.groups):
        score = _tree_auc(view, at, target, np.flatnonzero(groups == name), limits)
        if score >= limits.scores.group_auc:
            message = "one group of features alone gives the label"
            limit = limits.scores.group_auc
            yield finding("L12", f"group {name}", "AUC of one group", score, limit, message, label=view.name)


def _whole_auc(view: LabelView, at: Ints, target: Floats, limits: Leakage) -> float:
    """The tree over all columns, as another rule has it already."""
    if "tree" in view.memo:
        return float(auc(ranks(view.memo["tree"]), target)[0, 0])
    return _tree_auc(view, at, target, np.arange(len(view.names)), limits)


def _tree_auc(view: LabelView, at: Ints, target: Floats, columns: Ints, limits: Leakage) -> float:
    own = limits.derived
    values = view.values[np.ix_(at, columns)]
    binned = quantile_bins(ranks(values), own.tree_bins)
    tree = tree_out_of_fold(binned, target, view.fold[at], own.tree_depth, own.tree_bins)
    return float(auc(ranks(tree), target)[0, 0])


def _target(view: LabelView, at: Ints, limits: Leakage) -> tuple[Floats | None, str, float]:
    """Target [n, K], the name of the score and its limit; None when the label has one value only."""
    own, y = limits.derived, view.y[at]
    if len(np.unique(y)) < 2:
        return None, "", 1.0
    if view.kind == "regression":
        return y[:, None], "R2", own.fail_r2
    if view.kind == "binary":
        rare = min(y.sum(), len(y) - y.sum())
        return (y[:, None] if rare >= limits.min_class_rows else None), "AUC", own.fail_auc
    return _pooled(y.astype(np.int64), own.tree_classes, limits.min_class_rows), "macro F1", own.fail_f1


def _pooled(y: Ints, most: int, min_rows: int) -> Floats | None:
    """One-hot of the most frequent classes, the others together in a last column if there are enough."""
    values, counts = np.unique(y, return_counts=True)
    kept = values[np.argsort(-counts, kind="stable")][: most - 1]
    hot = one_hot(y, kept)
    rest = 1 - hot.sum(axis=1, keepdims=True)
    hot = np.hstack([hot, rest])
    hot = hot[:, hot.sum(axis=0) >= min_rows]
    return hot if hot.shape[1] >= 2 else None


def _score(kind: str, target: Floats, predicted: Floats) -> float:
    if kind == "regression":
        residual = ((target - predicted) ** 2).sum()
        return float(1 - residual / ((target - target.mean()) ** 2).sum())
    if kind == "binary":
        # The tree knows its direction; auc() takes the better one, which only matters below one half.
        return float(auc(ranks(predicted), target)[0, 0])
    known = target.sum(axis=1) > 0
    truth, guess = target[known].argmax(axis=1), predicted[known].argmax(axis=1)
    hits = np.array([(2 * ((truth == k) & (guess == k)).sum()) for k in range(target.shape[1])])
    size = np.array([(truth == k).sum() + (guess == k).sum() for k in range(target.shape[1])])
    return float((hits / np.maximum(size, 1)).mean())


def _strongest(view: LabelView, at: Ints, target: Floats, count: int = 3) -> str:
    """The features most correlated with the target, to start the search with."""
    strength = np.abs(pearson(view.values[at], target)).max(axis=1)
    best = np.argsort(-strength, kind="stable")[:count]
    return ", ".join(view.names[i] for i in best)
