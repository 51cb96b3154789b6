"""What the numbers say, in words a reviewer can check against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline_lib.gate import significance
from pipeline_lib.gate.limits import Limits
from pipeline_lib.gate.significance import OneSided
from pipeline_lib.gate.table import EPSILON, Compared
from pipeline_lib.registry.package import Missed


def change(row: Compared) -> str:
    """``avg_auc 0.700000 -> 0.704000 (+0.5714%)``."""
    relative = "undefined" if row.relative is None else f"{row.relative:+.4%}"
    return f"{row.metric} {_number(row.champion)} -> {_number(row.challenger)} ({relative})"


def tested(gain: OneSided, rows: int, limits: Limits) -> str:
    """The primary test: what was found, and what could have been."""
    smallest = significance.detectable(gain.se, limits.significance_level, limits.power)
    z = "undefined" if gain.z is None else f"{gain.z:.3f}"
    p = "undefined" if gain.p is None else f"{gain.p:.3g}"
    return (
        f"z = {z}, p = {p}, SE {gain.se:.6f} on {rows} customers; "
        f"a true gain of {smallest:.6f} would be found in {limits.power:.0%} of cases"
    )


def explained(row: Compared, limits: Limits, harm: float | None) -> Compared:
    """The row with its reason.

    Args:
        harm: adjusted p when the task is worse beyond chance, else None.
    """
    return replace(row, why=_why(row, limits, harm))


def misses(failing: Sequence[Missed]) -> str:
    """``rank_corr 0.712, needs >= 0.8; kl unknown, needs <= 0.2``."""
    return "; ".join(f"{m.criterion} {_short(m.value)}, needs {m.sense} {_short(m.limit)}" for m in failing)


def _why(row: Compared, limits: Limits, harm: float | None) -> str:
    if row.delta is None or row.better is None:
        unknown = [
            side for side, value in (("champion", row.champion), ("challenger", row.challenger)) if value is None
        ]
        return f"not computable: the value of the {' and the '.join(unknown)} is unknown"
    if row.role == "primary":
        return _primary(row, limits)
    if harm is not None and limits.harm_test:
        return f"worse by {row.loss:.2%}, more than {limits.harm_loss:.2%}, and beyond chance (adjusted p = {harm:.3g})"
    if row.better >= 0:
        return "better" if row.better > 0 else "equal"
    if row.relative is None:
        return f"worse by {-row.better:.6f} where the champion's value admits no relative change"
    worse = f"worse by {row.loss:.2%}"
    if not row.passed:
        return f"{worse}, more than {limits.max_degradation:.2%}, and by {-row.better:.6f}"
    if row.relative < -limits.max_degradation - EPSILON:
        return f"{worse}, but by {-row.better:.6f} only: below the {limits.abs_tolerance} that count"
    return f"{worse}, within {limits.max_degradation:.2%}"


def _primary(row: Compared, limits: Limits) -> str:
    if row.relative is None:
        return "the champion's value admits no relative change"
    said = f"{'better' if row.relative > 0 else 'worse' if row.relative < 0 else 'equal'} by {abs(row.relative):.4%}"
    return f"{said}; {limits.min_improvement:.2%} {'or more was needed' if row.passed else 'or more is needed'}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6f}"


def _short(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
