"""How closely a student repeats its teacher: small pure functions on arrays. Source: distillation.md 11.1.

Probabilities are calibrated on the teacher's side and before the student's own calibrator on the student's; a
binary probability (n,) enters as two columns (``two_columns``). Natural logarithms. NaN where not defined.
Signed gaps are student minus teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.distill import metrics
from pipeline_lib.distill.metrics import Ints, Reals

FLOOR = 1e-7
ECE_BINS = 10


def two_columns(p: Reals) -> Reals:
    """P(0) and P(1) of a binary probability: (n,) -> (n, 2)."""
    return np.column_stack([1 - p, p])


def _clipped(p: Reals) -> Reals:
    return np.clip(p, FLOOR, 1 - FLOOR)


def _row_kl(p: Reals, q: Reals) -> Reals:
    p, q = _clipped(p), _clipped(q)
    divergence: Reals = np.sum(p * np.log(p / q), axis=1)
    return divergence


def kl(teacher: Reals, student: Reals) -> float:
    """Mean KL(teacher row || student row) [nat]; (n, K) each."""
    return float(np.mean(_row_kl(teacher, student)))


def kl_relative(teacher: Reals, student: Reals) -> float:
    """Share of the teacher's information lost: 0 for a copy, 1 for the constant column mean."""
    constant = np.broadcast_to(teacher.mean(axis=0), teacher.shape)
    return _ratio(kl(teacher, student), kl(teacher, constant))


def kl_values(teacher: Reals, student: Reals) -> float:
    """Equal-variance Gaussian surrogate of KL for regression: a constant student scores 0.5."""
    return 0.5 * _ratio(float(np.mean((student - teacher) ** 2)), float(np.var(teacher)))


def jsd(teacher: Reals, student: Reals) -> float:
    """Mean Jensen-Shannon divergence of the rows [nat], at most ln 2."""
    middle = (_clipped(teacher) + _clipped(student)) / 2
    return float(np.mean(_row_kl(teacher, middle) + _row_kl(student, middle)) / 2)


def dispersion(teacher: Reals, student: Reals) -> float:
    """Ratio of standard deviations, student over teacher."""
    return _ratio(float(np.std(student)), float(np.std(teacher)))


def agreement(teacher: NDArray[np.generic], student: NDArray[np.generic]) -> float:
    """Share of equal decisions."""
    return float(np.mean(teacher == student))


def topdecile_overlap(teacher: Reals, student: Reals) -> float:
    """Share of the teacher's top tenth that is in the student's; ties go to the earlier row."""
    count = max(1, len(teacher) // 10)
    tops = [set(np.argsort(-score, kind="stable")[:count].tolist()) for score in (teacher, student)]
    return len(tops[0] & tops[1]) / count


def quartile_agreement(teacher: Reals, student: Reals) -> float:
    """Share of rows in the same quartile, each model by its own cut points."""
    bands = [np.searchsorted(np.quantile(v, [0.25, 0.5, 0.75]), v, side="left") for v in (teacher, student)]
    return agreement(bands[0], bands[1])


def auc_gap(y: Ints, teacher: Reals, student: Reals) -> float:
    """Signed difference of AUC."""
    return metrics.auc(y, student) - metrics.auc(y, teacher)


def f1_gap(y: Ints, teacher: Reals, student: Reals) -> float:
    """Signed difference of macro-F1 over the K columns."""
    classes = teacher.shape[1]
    return metrics.macro_f1(y, student.argmax(axis=1), classes) - metrics.macro_f1(y, teacher.argmax(axis=1), classes)


def nmae_gap(y: Reals, teacher: Reals, student: Reals) -> float:
    """Signed difference of MAE in standard deviations of the label."""
    return _ratio(metrics.mae(y, student) - metrics.mae(y, teacher), float(np.std(y)))


def nrmse_gap(y: Reals, teacher: Reals, student: Reals) -> float:
    """Signed difference of RMSE in standard deviations of the label."""
    return _ratio(metrics.rmse(y, student) - metrics.rmse(y, teacher), float(np.std(y)))


def ece_equal_width(y: Ints, p: Reals, bins: int = ECE_BINS) -> float:
    """Count-weighted mean |confidence - frequency| over bins of [0, 1]; the last one holds 1.0 itself."""
    return _ece(y, p, np.minimum((p * bins).astype(np.int64), bins - 1), bins)


def ece_equal_mass(y: Ints, p: Reals, bins: int = ECE_BINS) -> float:
    """The same over bins of equal counts, cut in the order of the probability; equal ones share a bin."""
    _, first, group = np.unique(np.sort(p), return_index=True, return_inverse=True)
    by_rank = first[group] * bins // len(p)
    order = np.argsort(p, kind="stable")
    return _ece(y[order], p[order], by_rank, bins)


def ece(y: Ints, p: Reals) -> float:
    """Expected calibration error: the larger of the two."""
    return max(ece_equal_width(y, p), ece_equal_mass(y, p))


def worst_segment(gap: Callable[[NDArray[np.bool_]], float], members: Sequence[NDArray[np.bool_]]) -> float | None:
    """Largest |gap| over segments given as row masks; None when there is none to compare."""
    gaps = [abs(gap(rows)) for rows in members]
    return max(gaps) if gaps else None


def _ece(y: Ints, p: Reals, bin_of: Ints, bins: int) -> float:
    confidence, hits = np.bincount(bin_of, p, bins), np.bincount(bin_of, y, bins)
    return float(np.sum(np.abs(confidence - hits)) / len(y))


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else float("nan")
