"""Is a hard-label student good enough to answer at all? Any miss demotes the task to ``rules``.

Judged on the ``fidelity`` rows, on what would be served. Source: distillation.md section 7, direct acceptance.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline_lib.distill import fidelity, metrics
from pipeline_lib.distill.frame import Rows
from pipeline_lib.distill.metrics import Reals
from pipeline_lib.settings.tasks import Kind

Check = dict[str, Any]


def checks(
    kind: Kind,
    fit: Rows,
    judged: Rows,
    served: Reals,
    *,
    min_auc: float,
    max_ece: float | None,
    resamples: int,
    seed: int,
) -> list[Check]:
    """One entry per condition: criterion, value, limit, met.

    Args:
        served: calibrated output on ``judged``, (n,) or (n, K).
        min_auc: the lower 95% bound of AUC must exceed this (binary).
        max_ece: limit of the calibration error (binary).
    """
    if kind == "binary":
        assert max_ece is not None
        return _binary(judged, served, min_auc, max_ece, resamples, seed)
    return _multiclass(fit, judged, served) if kind == "multiclass" else _regression(fit, judged, served)


def _binary(rows: Rows, served: Reals, min_auc: float, max_ece: float, resamples: int, seed: int) -> list[Check]:
    interval = metrics.customer_interval(
        lambda w: metrics.auc(rows.y, served, w), rows.customer, resamples=resamples, seed=seed
    )
    low = interval[0] if interval else None
    error = fidelity.ece(rows.y, served)
    return [
        _check("auc_low", low, min_auc, low is not None and low > min_auc),
        _check("ece", error, max_ece, error <= max_ece),
    ]


def _multiclass(fit: Rows, rows: Rows, served: Reals) -> list[Check]:
    classes = served.shape[1]
    prior = fit.class_counts(classes) / len(fit)
    majority = metrics.macro_f1(rows.y, np.full(len(rows), prior.argmax()), classes)
    f1 = metrics.macro_f1(rows.y, served.argmax(axis=1), classes)
    loss = metrics.log_loss(rows.y, served)
    prior_loss = metrics.log_loss(rows.y, np.tile(prior, (len(rows), 1)))
    return [
        _check("macro_f1_over_random", f1, 1 / classes, f1 > 1 / classes),
        _check("macro_f1_over_majority", f1, majority, f1 > majority),
        _check("log_loss_under_prior", loss, prior_loss, loss < prior_loss),
    ]


def _regression(fit: Rows, rows: Rows, served: Reals) -> list[Check]:
    error = metrics.mae(rows.y, served)
    median_error = metrics.mae(rows.y, np.full(len(rows), np.median(fit.y)))
    explained = metrics.r2(rows.y, served)
    return [
        _check("mae_under_median", error, median_error, error < median_error),
        _check("r2", explained, 0.0, explained > 0),
    ]


def _check(criterion: str, value: float | None, limit: float, met: bool) -> Check:
    return {"criterion": criterion, "value": value, "limit": limit, "met": bool(met)}
