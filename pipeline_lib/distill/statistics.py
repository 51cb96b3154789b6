"""The fidelity statistics of one student on the ``fidelity`` rows, by kind of task. Source: distillation.md 11.1.

A statistic that cannot be computed is NaN and fails Tier 1; ``segment_gap`` is None when no declared segment is
large enough to compare. ``speed_ratio`` is not here: a clock has no place in bytes that must repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.distill import fidelity as f
from pipeline_lib.distill import metrics as m
from pipeline_lib.distill.frame import Rows, output_of
from pipeline_lib.distill.metrics import Reals
from pipeline_lib.settings.tasks import Kind

Statistics = dict[str, float | None]
Mask = NDArray[np.bool_]
Gap = Callable[[Mask], float]


@dataclass(frozen=True)
class Comparison:
    """What is compared, on n rows; teacher and student in the shape of their raw scores."""

    kind: Kind
    rows: Rows
    raw: Reals
    """The student's raw score or value before its own calibrator, base score included."""
    served: Reals
    """The student's calibrated probability or value."""
    segments: Mapping[str, Mask]
    """Declared segments as row masks."""
    min_segment_rows: int
    min_segment_positives: int

    def statistics(self) -> Statistics:
        """All statistics of this kind of task; signed gaps end in ``_signed``."""
        by_kind = {"binary": _binary, "multiclass": _multiclass, "regression": _regression}
        return by_kind[self.kind](self)

    def comparable(self) -> list[Mask]:
        """Segments with enough rows (and, if binary, positives)."""
        enough = [mask for mask in self.segments.values() if mask.sum() >= self.min_segment_rows]
        if self.kind != "binary":
            return enough
        return [mask for mask in enough if self.rows.y[mask].sum() >= self.min_segment_positives]


def _binary(c: Comparison) -> Statistics:
    y, p, q = c.rows.y, output_of("binary", c.rows.teacher), output_of("binary", c.raw)
    both = f.two_columns(p), f.two_columns(q)
    gap = f.auc_gap(y, p, q)
    return {
        "kl": f.kl(*both),
        "kl_rel": f.kl_relative(*both),
        "jsd": f.jsd(*both),
        "dispersion": f.dispersion(c.rows.teacher, c.raw),
        "auc_teacher": m.auc(y, p),
        "auc_student": m.auc(y, q),
        "auc_gap": abs(gap),
        "auc_gap_signed": gap,
        "rank_corr": m.rank_correlation(p, q),
        "agreement": f.agreement(p >= 0.5, q >= 0.5),
        "topdecile_overlap": f.topdecile_overlap(p, q),
        "ece": f.ece(y, c.served),
        "ece_equal_width": f.ece_equal_width(y, c.served),
        "ece_equal_mass": f.ece_equal_mass(y, c.served),
        "ece_teacher": f.ece(y, p),
        "segment_gap": _worst(c, lambda rows: f.auc_gap(y[rows], p[rows], q[rows])),
        "original_calibration_gap": abs(f.ece_equal_width(y, p) - f.ece_equal_width(y, q)),
    }


def _multiclass(c: Comparison) -> Statistics:
    y, p, q = c.rows.y, output_of("multiclass", c.rows.teacher), output_of("multiclass", c.raw)
    gap = f.f1_gap(y, p, q)
    return {
        "kl": f.kl(p, q),
        "kl_rel": f.kl_relative(p, q),
        "jsd": f.jsd(p, q),
        "dispersion": f.dispersion(p.max(axis=1), q.max(axis=1)),
        "f1_teacher": m.macro_f1(y, p.argmax(axis=1), p.shape[1]),
        "f1_student": m.macro_f1(y, q.argmax(axis=1), p.shape[1]),
        "f1_gap": abs(gap),
        "f1_gap_signed": gap,
        "agreement": f.agreement(p.argmax(axis=1), q.argmax(axis=1)),
        "segment_gap": _worst(c, lambda rows: f.f1_gap(y[rows], p[rows], q[rows])),
    }


def _regression(c: Comparison) -> Statistics:
    y, teacher, student = c.rows.y, c.rows.teacher, c.raw
    mae_gap, rmse_gap = f.nmae_gap(y, teacher, student), f.nrmse_gap(y, teacher, student)
    divergence = f.kl_values(teacher, student)
    return {
        "kl": divergence,
        "kl_rel": 2 * divergence,
        "dispersion": f.dispersion(teacher, student),
        "r2_teacher": m.r2(y, teacher),
        "r2_student": m.r2(y, student),
        "nmae_gap": abs(mae_gap),
        "nmae_gap_signed": -mae_gap,
        "nrmse_gap": abs(rmse_gap),
        "nrmse_gap_signed": -rmse_gap,
        "rank_corr": m.rank_correlation(teacher, student),
        "quartile_agreement": f.quartile_agreement(teacher, student),
        "segment_gap": _worst(c, lambda rows: f.nmae_gap(y[rows], teacher[rows], student[rows])),
        "original_rmse_gap": abs(m.rmse(y, student) - m.rmse(y, teacher)),
        "original_mae_gap": abs(m.mae(y, student) - m.mae(y, teacher)),
    }


def _worst(c: Comparison, gap: Gap) -> float | None:
    return f.worst_segment(gap, c.comparable())
