"""Two-tier verdict on the statistics of one student. Source: distillation.md 11.2 and 11.3.

Tier 1 blocks. Tier 2 is reported, and blocks in strict mode; both are always computed. Comparisons are inclusive.
There is no way to skip this.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline_lib.settings.distillation import Fidelity
from pipeline_lib.settings.tasks import Kind

Statistics = Mapping[str, float | None]

EXCEEDS = "STUDENT_EXCEEDS_TEACHER"
NOT_MEASURED = ["speed_ratio"]
"""Left to the benchmark, which has a clock and both models."""
_SIGNED = {"binary": ("auc_gap",), "multiclass": ("f1_gap",), "regression": ("nmae_gap", "nrmse_gap")}
"""Two-sided gaps; their ``_signed`` twin is positive when the student is the better one."""


@dataclass(frozen=True)
class Criterion:
    statistic: str
    sense: Literal["<=", ">="]
    limit: float
    tier: Literal[1, 2]
    amber: float | None = None

    def met(self, value: float | None) -> bool:
        """A missing or non-finite statistic never meets a limit."""
        return self._within(value, self.limit)

    def past_amber(self, value: float | None) -> bool:
        """Misses the better target, met or not."""
        return self.amber is not None and not self._within(value, self.amber)

    def _within(self, value: float | None, limit: float) -> bool:
        if value is None or not math.isfinite(value):
            return False
        return value <= limit if self.sense == "<=" else value >= limit


def criteria(
    kind: Kind, limits: Fidelity, *, floor: float, classes: int, base_rate: float | None, teacher_f1: float | None
) -> list[Criterion]:
    """The limits in force for one task.

    Args:
        floor: ``fidelity_floor``, largest KL [nat].
        classes: K, for a multiclass task.
        base_rate: share of positives in ``fit``, for a binary task.
        teacher_f1: the teacher's macro-F1 on the same rows, for a multiclass task.
    """
    shared = [
        Criterion("kl", "<=", floor, 1),
        Criterion("kl_rel", "<=", limits.kl_rel_max, 1),
        Criterion("dispersion", ">=", limits.min_dispersion, 1),
        Criterion("dispersion", "<=", limits.max_dispersion, 1),
    ]
    if kind == "binary":
        assert base_rate is not None
        return shared + _binary(limits, base_rate)
    if kind == "multiclass":
        assert teacher_f1 is not None
        return shared + _multiclass(limits, classes, teacher_f1)
    return shared + _regression(limits)


def ece_limit(limits: Fidelity, base_rate: float) -> float:
    """min(max_ece, max(min_ece, base rate / 2))."""
    return min(limits.binary.max_ece, max(limits.binary.min_ece, base_rate / 2))


def _binary(limits: Fidelity, base_rate: float) -> list[Criterion]:
    b = limits.binary
    return [
        Criterion("auc_gap", "<=", b.max_auc_gap, 1, b.amber_auc_gap),
        Criterion("ece", "<=", ece_limit(limits, base_rate), 1, b.amber_ece),
        Criterion("segment_gap", "<=", b.max_segment_gap, 1),
        Criterion("rank_corr", ">=", b.collapse_ranking_corr, 1, b.amber_ranking_corr),
        Criterion("rank_corr", ">=", b.min_ranking_corr, 2),
        Criterion("agreement", ">=", b.min_agreement, 2),
        Criterion("jsd", "<=", b.max_jsd, 2),
        Criterion("topdecile_overlap", ">=", b.min_topdecile_overlap, 2),
    ]


def _multiclass(limits: Fidelity, classes: int, teacher_f1: float) -> list[Criterion]:
    b = limits.multiclass
    gap = min(b.max_f1_macro_gap, max(b.min_f1_macro_gap, b.f1_gap_share * teacher_f1))
    return [
        Criterion("f1_gap", "<=", gap, 1),
        Criterion("agreement", ">=", min(b.collapse_agreement, b.collapse_agreement_ratio / classes), 1),
        Criterion("segment_gap", "<=", b.segment_gap_factor * gap, 1),
        Criterion("agreement", ">=", b.min_agreement, 2),
        Criterion("jsd", "<=", b.max_jsd, 2),
    ]


def _regression(limits: Fidelity) -> list[Criterion]:
    b = limits.regression
    return [
        Criterion("nmae_gap", "<=", b.max_nmae_gap, 1),
        Criterion("nrmse_gap", "<=", b.max_nrmse_gap, 1),
        Criterion("rank_corr", ">=", b.collapse_ranking_corr, 1, b.amber_ranking_corr),
        Criterion("segment_gap", "<=", b.max_segment_gap, 1),
        Criterion("rank_corr", ">=", b.min_ranking_corr, 2),
        Criterion("quartile_agreement", ">=", b.min_quartile_agreement, 2),
    ]


def judge(
    kind: Kind, statistics: Statistics, limits: Sequence[Criterion], *, mode: Literal["tiered", "strict"]
) -> dict[str, Any]:
    """``verdict`` pass or fail, with everything that missed its limit, by tier.

    A ``segment_gap`` of None means that no declared segment was large enough: it is listed as not evaluable, and
    is the only statistic that may be absent.
    """
    vacuous = [c for c in limits if c.statistic == "segment_gap" and statistics[c.statistic] is None]
    judged = [c for c in limits if c not in vacuous]
    missed = [c for c in judged if not c.met(statistics[c.statistic])]
    tier1, tier2 = ([_miss(c, statistics) for c in missed if c.tier == tier] for tier in (1, 2))
    blocking = tier1 + tier2 if mode == "strict" else tier1
    return {
        "verdict": "fail" if blocking else "pass",
        "failing": blocking,
        "tier1_failing": tier1,
        "tier2_failing": tier2,
        "strict_pass": not missed,
        "amber": sorted({c.statistic for c in judged if c.past_amber(statistics[c.statistic])}),
        "not_evaluable": [c.statistic for c in vacuous],
        "not_measured": NOT_MEASURED,
        "flags": [EXCEEDS] if _student_is_better(kind, statistics, missed) else [],
    }


def limits_in_force(limits: Sequence[Criterion]) -> list[dict[str, Any]]:
    return [{"criterion": c.statistic, "sense": c.sense, "limit": c.limit, "tier": c.tier} for c in limits]


def _miss(criterion: Criterion, statistics: Statistics) -> dict[str, Any]:
    value = statistics[criterion.statistic]
    known = value if value is not None and math.isfinite(value) else None
    return {"criterion": criterion.statistic, "value": known, "limit": criterion.limit, "sense": criterion.sense}


def _student_is_better(kind: Kind, statistics: Statistics, missed: Sequence[Criterion]) -> bool:
    broken = {c.statistic for c in missed}
    signed = (statistics[f"{gap}_signed"] for gap in _SIGNED[kind] if gap in broken)
    return any(value is not None and value > 0 for value in signed)
