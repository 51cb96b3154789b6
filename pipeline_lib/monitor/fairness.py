"""Who received an offer: disparate impact and parity difference per protected attribute, from the record.

Favourable = at least one recommended item was delivered. Comparisons are against the reference group of the policy,
never "whoever leads today"; the headline of an attribute is its worst comparison. Equal opportunity needs what became
of delivered answers, which the record does not hold yet. Source: monitoring.md 2.1 to 2.6.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Literal

from pipeline_lib.canonical import with_decimals
from pipeline_lib.monitor import reading, served
from pipeline_lib.monitor.reading import Reading, State
from pipeline_lib.monitor.served import Served
from pipeline_lib.monitor.statistics import parity
from pipeline_lib.settings import Settings
from pipeline_lib.settings.monitoring import Fairness

SERVICE, EVENT = "fairness_monitor", "fairness_window"
Metric = Literal["DI", "SPD"]
METRICS: tuple[Metric, ...] = ("DI", "SPD")
Cells = tuple[int, int, int, int]
"""Answers and offers of the group, answers and offers of the reference group."""
Alarm = Literal["OK", "MARGIN", "BREACH_POINT", "INSUFFICIENT", "UNDEFINED"]
STATES: dict[Alarm, State] = {"OK": "OK", "MARGIN": "WARN", "BREACH_POINT": "FAIL"}
"""What a comparison's alarm means for a reading; every other alarm is UNKNOWN."""
MAX_RECORDED = 150
"""Comparisons kept in a window's row, worst first: a row has at most 64 KiB."""


@dataclass(frozen=True)
class Comparison:
    """One group against the reference group. The counts are the truth, the value is derived."""

    attribute: str
    group: str
    reference: str
    metric: Metric
    value: float | None
    state: Alarm
    n_g: int
    x_g: int
    n_r: int
    x_r: int
    p_value: float | None = None
    """Two-sided, of equal rates; not adjusted for the number of comparisons."""
    ci_low: float | None = None
    ci_high: float | None = None
    """95 % interval of DI; none is computed for SPD yet."""

    @property
    def distance(self) -> float:
        """How far from equality: |ln DI| or |SPD|."""
        if self.value is None:
            return -1.0
        if self.metric == "SPD":
            return abs(self.value)
        return abs(math.log(self.value)) if self.value > 0 else math.inf

    def to_dict(self) -> dict[str, Any]:
        plain: dict[str, Any] = with_decimals(asdict(self))
        return plain


def nightly(settings: Settings) -> list[dict[str, object]]:
    """Read, record and return tonight's fairness readings."""
    window, limits = served.window(settings), settings.monitoring.fairness
    comparisons = [one for name in limits.reference for one in compare(name, window.answers, limits)]
    readings = [headline(name, comparisons, window.answers, limits, m) for name in limits.reference for m in METRICS]
    cause = "what became of delivered answers is not in the record"
    readings.append(Reading("fairness", "all attributes", "EOD", None, "UNKNOWN", 0, cause))
    worst_first = sorted(comparisons, key=lambda one: one.distance, reverse=True)
    about = {
        "comparisons": [one.to_dict() for one in worst_first[:MAX_RECORDED]],
        "comparisons_made": len(comparisons),
        "comparisons_judged": sum(one.value is not None for one in comparisons),
    }
    return reading.record(settings, SERVICE, EVENT, window, readings, about)


def compare(attribute: str, answers: Sequence[Served], limits: Fairness) -> list[Comparison]:
    """Each group of one attribute against its reference group, by both metrics."""
    reference = limits.reference[attribute]
    total = Counter(a.groups[attribute] for a in answers if attribute in a.groups)
    offered = Counter(a.groups[attribute] for a in answers if attribute in a.groups and a.offered)
    n_r, x_r = total[reference], offered[reference]
    return [
        _compared(attribute, group, reference, metric, (total[group], offered[group], n_r, x_r), limits)
        for group in sorted(total.keys() - {reference})
        for metric in METRICS
    ]


def headline(
    attribute: str,
    comparisons: Sequence[Comparison],
    answers: Sequence[Served],
    limits: Fairness,
    metric: Metric,
) -> Reading:
    """The worst comparison of one attribute by one metric, or why there is none."""
    own = [one for one in comparisons if (one.attribute, one.metric) == (attribute, metric)]
    valid = [one for one in own if one.value is not None]
    if not valid:
        cause = _why_none(attribute, own, answers, limits)
        return Reading("fairness", attribute, metric, None, "UNKNOWN", 0, cause)
    worst = max(valid, key=lambda one: (one.distance, one.group))
    state = STATES[worst.state]
    counts = f"{worst.x_g} of {worst.n_g} against {worst.x_r} of {worst.n_r}"
    cause = "" if state == "OK" else f"{worst.group} against {worst.reference}: {metric} {worst.value:.4f} ({counts})"
    return Reading("fairness", attribute, metric, worst.value, state, min(worst.n_g, worst.n_r), cause)


def _compared(
    attribute: str,
    group: str,
    reference: str,
    metric: Metric,
    cells: Cells,
    limits: Fairness,
) -> Comparison:
    n_g, x_g, n_r, x_r = cells
    if why := _not_judged(n_g, n_r, x_r, limits):
        return Comparison(attribute, group, reference, metric, None, why, n_g, x_g, n_r, x_r)
    found = parity(x_g, n_g, x_r, n_r)
    if metric == "SPD":
        state = _spd_state(cells, limits)
        return Comparison(attribute, group, reference, metric, found.spd, state, n_g, x_g, n_r, x_r, found.p)
    state = _di_state(cells, limits)
    interval = (found.di_low, found.di_high) if found.di is not None else (None, None)
    return Comparison(attribute, group, reference, metric, found.di, state, n_g, x_g, n_r, x_r, found.p, *interval)


def _not_judged(n_g: int, n_r: int, x_r: int, limits: Fairness) -> Alarm | None:
    if min(n_g, n_r) < limits.min_group or x_r < limits.min_favourable:
        return "INSUFFICIENT"
    return "INSUFFICIENT" if n_g * x_r < limits.min_expected * n_r else None


def _di_state(cells: Cells, limits: Fairness) -> Alarm:
    """Exact: 0.80 itself is inside."""
    n_g, x_g, n_r, x_r = cells
    if x_r == 0:
        return "UNDEFINED"
    di = Fraction(x_g * n_r, n_g * x_r)
    if not _exact(limits.di_low) <= di <= _exact(limits.di_high):
        return "BREACH_POINT"
    return "OK" if _exact(limits.margin_low) < di < _exact(limits.margin_high) else "MARGIN"


def _spd_state(cells: Cells, limits: Fairness) -> Alarm:
    """Exact: 0.10 itself is a breach."""
    n_g, x_g, n_r, x_r = cells
    spd = abs(Fraction(x_g, n_g) - Fraction(x_r, n_r))
    if spd >= _exact(limits.spd):
        return "BREACH_POINT"
    return "MARGIN" if spd >= _exact(limits.spd_margin) else "OK"


def _exact(limit: float) -> Fraction:
    return Fraction(repr(limit))


def _why_none(attribute: str, own: Sequence[Comparison], answers: Sequence[Served], limits: Fairness) -> str:
    known = Counter(a.groups[attribute] for a in answers if attribute in a.groups)
    if not known:
        return f"{attribute} is in none of {len(answers)} answers"
    if not own:
        return f"all {known.total()} answers with {attribute} are of one group"
    reference = limits.reference[attribute]
    needed = f"{limits.min_group} answers each and {limits.min_favourable} favourable in the reference are needed"
    largest = max(one.n_g for one in own)
    return f"{known[reference]} answers of {reference}, {own[0].x_r} favourable, at most {largest} of another; {needed}"
