"""Features that are, or nearly are, a label (L01, L10, L11, L29).

Time: a value known only after the cutoff. Definition: the label is a function of one feature, so no split helps.
Source: Kaufman et al., "Leakage in Data Mining", 2012; data.md 10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from pipeline_lib.contracts.leakage.evidence import LabelView
from pipeline_lib.contracts.leakage.statistics import (
    Floats,
    auc,
    correlation_of,
    correlation_ratio,
    information_share,
    one_hot,
    quantile_bins,
    ranks,
    standard,
)
from pipeline_lib.contracts.leakage.text import finding, graded
from pipeline_lib.records import Finding
from pipeline_lib.settings.leakage import Leakage


def same_values(view: LabelView, limits: Leakage) -> Iterator[Finding]:
    """L01: share of equal values among the rows where feature or label differs from the label's usual value."""
    usual = _usual(view.y)
    y = view.y.astype(np.float32).astype(np.float64)[:, None]
    differs = (view.values != usual) | (y != usual)
    same = np.isclose(view.values, y, rtol=1e-6, atol=1e-9) & differs
    total = differs.sum(axis=0)
    share = np.divide(same.sum(axis=0), total, out=np.zeros(len(total)), where=total > 0)
    limit = limits.copies.same_value
    for i in np.flatnonzero(share >= limit):
        message = "the feature is a copy of the label"
        value = float(share[i])
        yield finding("L01", view.names[i], "share of equal values", value, limit, message, label=view.name)


def near_copy_by_correlation(view: LabelView, limits: Leakage) -> Iterator[Finding]:
    """L10 (L01 for binary labels): the largest of |Pearson|, |Spearman| and, for classes, the correlation ratio."""
    best, named = correlations(view)
    own = limits.copies
    check = "L01" if view.kind == "binary" else "L10"
    for i in np.flatnonzero(best >= own.warn_correlation):
        failed = bool(best[i] >= own.fail_correlation)
        limit, verdict = graded(failed, own.fail_correlation, own.warn_correlation)
        message = "one feature nearly gives the label"
        name, value = named[i], float(best[i])
        who = check if failed else "L10"
        yield finding(who, view.names[i], name, value, limit, message, label=view.name, verdict=verdict)


def near_copy_by_ranking(view: LabelView, limits: Leakage) -> Iterator[Finding]:
    """L11: ROC-AUC of one feature alone, one class against the rest, the better direction."""
    if view.classes.shape[1] == 0:
        return
    area = auc(view.ranked, view.classes)
    own = limits.copies
    message = "ranking by one feature nearly gives the label"
    for i in np.flatnonzero(area.mean(axis=1) >= own.fail_auc):
        value = float(area[i].mean())
        yield finding("L11", view.names[i], "single-feature AUC", value, own.fail_auc, message, label=view.name)
    for i, k in zip(*np.nonzero(area >= own.warn_auc), strict=True):
        if area[i].mean() >= own.fail_auc:
            continue
        limit, verdict = graded(bool(area[i, k] >= own.fail_class_auc), own.fail_class_auc, own.warn_auc)
        value, label = float(area[i, k]), view.label_of(int(k))
        yield finding("L11", view.names[i], "single-feature AUC", value, limit, message, label=label, verdict=verdict)


def explains_the_label(view: LabelView, limits: Leakage) -> Iterator[Finding]:
    """L05, L29: share of the label's entropy that one column explains, I(x; y) / H(y) [0..1]."""
    if view.kind == "regression":
        return
    own = limits.derived
    bins = int(np.clip(len(view.y) // own.rows_per_bin, 2, own.max_bins))
    code = view.y.astype(np.int64)
    share = information_share(quantile_bins(view.ranked, bins), bins, one_hot(code, np.unique(code)))
    segment = view.name == own.segment_task
    limit = own.fail_segment_information if segment else own.fail_information
    for i in np.flatnonzero(share >= limit):
        message = "one column determines the label" + (": the segment or a proxy of it" if segment else "")
        check, value = ("L29" if segment else "L05"), float(share[i])
        yield finding(check, view.names[i], "I(x; y) / H(y)", value, limit, message, label=view.name)


def correlations(view: LabelView) -> tuple[Floats, list[str]]:
    """Per feature the largest statistic and its name."""
    options: dict[str, Callable[[], Floats]]
    if view.kind == "multiclass":
        options = {"correlation ratio": lambda: correlation_ratio(view.standard_values, view.classes)}
    else:
        y = view.y[:, None]
        options = {
            "|Pearson|": lambda: np.abs(correlation_of(view.standard_values, standard(y)))[:, 0],
            "|Spearman|": lambda: np.abs(correlation_of(view.standard_ranks, standard(ranks(y))))[:, 0],
        }
    for name, make in options.items():
        if name not in view.memo:
            view.memo[name] = make()
    table, names = np.stack([view.memo[name] for name in options]), list(options)
    return table.max(axis=0), [names[i] for i in table.argmax(axis=0)]


def _usual(y: Floats) -> float:
    values, counts = np.unique(y, return_counts=True)
    return float(values[counts.argmax()])
