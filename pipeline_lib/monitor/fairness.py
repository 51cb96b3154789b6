"""Who received an offer: disparate impact and parity difference per protected attribute, from the record.

Favourable = at least one recommended item was delivered. Comparisons are against the reference group of the policy,
never "whoever leads today". Equal opportunity needs labels that arrive later and is not read here yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from pipeline_lib.monitor import reading, served
from pipeline_lib.monitor.reading import Reading
from pipeline_lib.monitor.served import Served
from pipeline_lib.monitor.statistics import parity
from pipeline_lib.settings import Settings
from pipeline_lib.settings.monitoring import Fairness

SERVICE = "fairness_monitor"


def nightly(settings: Settings) -> list[dict[str, object]]:
    """Read, record and return tonight's fairness readings."""
    start, answers = served.window(settings)
    pairs = [pair for attribute in settings.monitoring.fairness.reference
             for pair in compare(attribute, answers, settings.monitoring.fairness)]  # fmt: skip
    details = [{"attribute": a, "group": g, "metric": r.statistic, **r.to_dict(), "state": s} for a, g, s, r in pairs]
    reading.record(settings, SERVICE, "fairness_window", start, details)
    return [r.to_dict() for _, _, _, r in pairs]


def compare(attribute: str, answers: Sequence[Served], limits: Fairness) -> Iterator[tuple[str, str, str, Reading]]:
    """(attribute, group, alarm state, reading) for each group against the reference group."""
    reference = limits.reference[attribute]
    total = Counter(a.groups[attribute] for a in answers if attribute in a.groups)
    offered = Counter(a.groups[attribute] for a in answers if attribute in a.groups and a.offered)
    if not total[reference]:
        cause = f"no answer of reference group {reference!r} in the window"
        yield (
            attribute,
            "",
            "INSUFFICIENT",
            Reading("fairness", attribute, "DI", None, "UNKNOWN", sum(total.values()), cause),
        )
        return
    for group in sorted(total.keys() - {reference}):
        yield from _pair(attribute, group, (offered[group], total[group], offered[reference], total[reference]), limits)


def _pair(
    attribute: str, group: str, cells: tuple[int, int, int, int], limits: Fairness
) -> Iterator[tuple[str, str, str, Reading]]:
    x_g, n_g, x_r, n_r = cells
    about, n = f"{attribute}={group}", min(n_g, n_r)
    if n < limits.min_group or x_r < limits.min_favourable:
        needed = f"{limits.min_group} answers each and {limits.min_favourable} favourable needed"
        cause = f"{n_g} and {n_r} answers, {x_r} favourable in the reference; {needed}"
        yield attribute, group, "INSUFFICIENT", Reading("fairness", about, "DI", None, "UNKNOWN", n, cause)
        return
    found = parity(x_g, n_g, x_r, n_r)
    yield attribute, group, *_di(about, found.di, n, limits)
    outside = abs(found.spd) >= limits.spd
    cause = f"|SPD| {abs(found.spd):.4f} >= {limits.spd}" if outside else ""
    spd = Reading("fairness", about, "SPD", found.spd, "FAIL" if outside else "OK", n, cause)
    yield attribute, group, "BREACH_POINT" if outside else "OK", spd


def _di(about: str, di: float | None, n: int, limits: Fairness) -> tuple[str, Reading]:
    if di is None:
        return "UNDEFINED", Reading("fairness", about, "DI", None, "UNKNOWN", n, "the reference rate is 0")
    if not limits.di_low <= di <= limits.di_high:
        cause = f"DI {di:.4f} outside {limits.di_low}..{limits.di_high}"
        return "BREACH_POINT", Reading("fairness", about, "DI", di, "FAIL", n, cause)
    if not limits.margin_low <= di <= limits.margin_high:
        return "MARGIN", Reading("fairness", about, "DI", di, "WARN", n, f"DI {di:.4f} near its limit")
    return "OK", Reading("fairness", about, "DI", di, "OK", n)
