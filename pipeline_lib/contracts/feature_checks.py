"""Is every finished feature worth its column? FX1 to FX6, small rules over plain arrays that yield Findings.

A FAIL stops the run, and so does an UNJUDGED of a rule that can fail. The other rules advise: what they could not
judge is only reported. Source: features.md 13.3.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from pipeline_lib.contracts.feature_table import FeatureTable, alike, correlation, ranks
from pipeline_lib.contracts.leakage.text import Verdict, finding, graded
from pipeline_lib.contracts.population import chance_psi, shares_of, stability_index
from pipeline_lib.records import Finding
from pipeline_lib.settings.feature_groups.checks import FeatureChecks

Ints = npt.NDArray[np.int64]
Rule = Callable[[FeatureTable, FeatureChecks], Iterator[Finding]]
SEARCH_SLACK = 0.01
RIDGE = 1e-6


def no_column_twice(t: FeatureTable, limits: FeatureChecks) -> Iterator[Finding]:
    """FX1: no two columns are the same number, unless declared.

    Flags and counts may coincide in a bank (every order is also a category; a young panel is as long as the tenure):
    a warning. Two columns of many values that coincide are one formula made twice: a failure.
    """
    if few := _too_few("FX1", t, limits):
        yield few
        return
    own = [i for i, kind in enumerate(t.kinds) if kind != "mask"]
    least = limits.duplicate_correlation - SEARCH_SLACK
    for i, j in sorted({p for z in (t.standard, t.ranked) for p in alike(z[:, own], t.known[:, own], least)}):
        a, b = own[i], own[j]
        if _declared(t.columns[a], t.columns[b], limits):
            continue
        name, value, distinct = _strongest(t, a, b, limits)
        if value >= limits.duplicate_correlation:
            message = f"the same number as {t.columns[b]} (group {t.groups[b]}), {distinct} distinct values"
            verdict: Verdict = "FAIL" if distinct >= limits.fail_distinct else "WARN"
            yield finding("FX1", t.columns[a], name, value, limits.duplicate_correlation, message, verdict=verdict)


def groups_are_defined(t: FeatureTable, limits: FeatureChecks) -> Iterator[Finding]:
    """FX2: a group has values on train, and a mask is not nearly always 0."""
    if few := _too_few("FX2", t, limits):
        yield few
        return
    masks = np.array([kind == "mask" for kind in t.kinds])
    for group in dict.fromkeys(t.groups):
        own = [i for i in t.places(group) if not masks[i]]
        if own:
            share = float(1 - t.known[:, own].mean())
            yield from _undefined(group, "share of undefined values", share, limits)
    for i in np.flatnonzero(masks).tolist():
        share = float((np.nan_to_num(t.train[:, i]) == 0).mean())
        yield from _undefined(t.columns[i], "share of rows the mask leaves out", share, limits)


def groups_say_something_new(t: FeatureTable, limits: FeatureChecks) -> Iterator[Finding]:
    """FX3: the first principal component of a group is not a linear function of all other columns."""
    for group in dict.fromkeys(t.groups):
        own = t.places(group)
        rest = np.setdiff1d(np.arange(len(t.columns)), own)
        if not len(rest):
            continue
        if len(t.train) < limits.rows_per_column * len(rest):
            message = f"{len(t.train)} train rows are too few for {len(rest)} explaining columns"
            least = limits.rows_per_column * len(rest)
            yield finding("FX3", group, "rows", len(t.train), least, message, verdict="UNJUDGED")
            continue
        value = _explained(t, own, rest)
        if value >= limits.redundant_r2:
            message = "the group's first component is a linear function of the other groups' columns"
            yield finding("FX3", group, "adjusted R2", value, limits.redundant_r2, message, verdict="WARN")


def columns_do_not_drift(t: FeatureTable, limits: FeatureChecks) -> Iterator[Finding]:
    """FX4: population stability index of every column between train and the rows to score.

    Before training one finding a group names its worst column; before scoring every column has its own.
    """
    if few := _too_few("FX4", t, limits) or _too_few_to_score("FX4", t, limits):
        yield few
        return
    for group in dict.fromkeys(t.groups):
        own = t.places(group).tolist()
        moved = sorted(((value, i) for i in own if (value := _drift(t, i, limits))), reverse=True)
        for value, i in moved if t.scoring else moved[:1]:
            limit, verdict = graded(value >= limits.fail_psi, limits.fail_psi, limits.warn_psi)
            shown: Verdict = verdict if t.scoring else "WARN"
            message = f"{len(moved)} of {len(own)} columns of {group} differ between train and the rows to score"
            yield finding("FX4", t.columns[i], "population stability index", value, limit, message, verdict=shown)


def little_is_clipped(t: FeatureTable, limits: FeatureChecks) -> Iterator[Finding]:
    """FX5: standardising cuts off few values of a column."""
    if few := _too_few("FX5", t, limits):
        yield few
        return
    share = (np.abs(t.scaled) >= t.clip_z * (1 - 1e-6)).mean(axis=0)
    for i in np.flatnonzero(share > limits.clipped_share).tolist():
        if t.kinds[i] == "num":
            message = f"values beyond {t.clip_z:g} standard deviations are cut off; a log copy may serve better"
            what, value = "share of clipped values", float(share[i])
            yield finding("FX5", t.columns[i], what, value, limits.clipped_share, message, verdict="WARN")


def vocabulary_is_known(t: FeatureTable, limits: FeatureChecks) -> Iterator[Finding]:
    """FX6: countries, channels, categories of the rows to score were seen on train."""
    if few := _too_few("FX6", t, limits) or _too_few_to_score("FX6", t, limits):
        yield few
        return
    for name in limits.vocabulary_columns:
        if name not in t.columns:
            continue  # the source does not carry it: the schema says why
        before, now = (x[:, list(t.columns).index(name)] for x in (t.train, t.score))
        if not np.isnan(before).all():
            share = float((now < np.nanmin(before) - 1e-6).sum() / max(int((~np.isnan(now)).sum()), 1))
            yield from _unseen(name, share, limits)
    if total := sum(t.used_score.values()):
        fresh = sum(count for name, count in t.used_score.items() if not t.used_train.get(name))
        yield from _unseen("transaction_event.mcc_idx", fresh / total, limits)


RULES: tuple[Rule, ...] = (
    no_column_twice,
    groups_are_defined,
    groups_say_something_new,
    columns_do_not_drift,
    little_is_clipped,
    vocabulary_is_known,
)
CAN_FAIL: tuple[Rule, ...] = (no_column_twice, groups_are_defined)


def feature_findings(t: FeatureTable, limits: FeatureChecks, skipped: dict[str, str] | None = None) -> list[Finding]:
    """All findings about finished features.

    Args:
        skipped: receives what the advising rules could not judge: ``"FX3 economics"`` -> why.
    """
    found = []
    for rule in RULES:
        for one in rule(t, limits):
            if one.verdict != "UNJUDGED" or rule in CAN_FAIL or t.scoring:
                found.append(one)
            elif skipped is not None:
                skipped[f"{one.check} {one.column}"] = one.message
    return found


def _too_few(check: str, t: FeatureTable, limits: FeatureChecks) -> Finding | None:
    if len(t.train) >= limits.min_rows:
        return None
    message = "train rows are too few to judge any feature"
    return finding(check, "all features", "rows", len(t.train), limits.min_rows, message, verdict="UNJUDGED")


def _too_few_to_score(check: str, t: FeatureTable, limits: FeatureChecks) -> Finding | None:
    if len(t.score) >= limits.min_rows:
        return None
    message = "rows to score are too few to compare with train"
    return finding(check, "all features", "rows to score", len(t.score), limits.min_rows, message, verdict="UNJUDGED")


def _declared(a: str, b: str, limits: FeatureChecks) -> bool:
    pairs = (f"{a}|{b}", f"{b}|{a}")
    return any(re.fullmatch(pattern, pair) for pattern in limits.declared_duplicates for pair in pairs)


def _strongest(t: FeatureTable, a: int, b: int, limits: FeatureChecks) -> tuple[str, float, int]:
    """Largest of |Pearson| and |Spearman| over the common rows, 0 where too little varies to tell; distinct values."""
    both = t.known[:, a] & t.known[:, b]
    pair = t.train[both][:, [a, b]]
    counts = [np.unique(x, return_counts=True)[1] for x in pair.T]
    distinct = min(len(count) for count in counts)
    if len(pair) < limits.min_rows or any(len(pair) - count.max() < limits.min_off_mode for count in counts):
        return "|Pearson|", 0.0, distinct
    sizes = {
        name: abs(correlation(*x.T.astype(np.float64)))
        for name, x in (("|Pearson|", pair), ("|Spearman|", ranks(pair)))
    }
    name = max(sizes, key=lambda key: sizes[key])
    return name, sizes[name], distinct


def _drift(t: FeatureTable, i: int, limits: FeatureChecks) -> float:
    """The column's index, or 0 where it is below the limit or what chance explains."""
    before, now = shares_of(t.train[:, i], t.score[:, i], limits.drift_bins)
    value = stability_index(before, now)
    chance = chance_psi(len(before), len(t.train), len(t.score), limits.noise_z)
    return value if value >= limits.warn_psi and value > chance else 0.0


def _undefined(what: str, statistic: str, share: float, limits: FeatureChecks) -> Iterator[Finding]:
    if share > limits.warn_undefined_share:
        failed = share > limits.fail_undefined_share
        limit, verdict = graded(failed, limits.fail_undefined_share, limits.warn_undefined_share)
        message = "hardly any train row has a value" if failed else "most train rows have no value"
        yield finding("FX2", what, statistic, share, limit, message, verdict=verdict)


def _explained(t: FeatureTable, own: Ints, rest: Ints) -> float:
    """Adjusted R2 of the group's first principal component on the rest, from the covariance alone."""
    values, vectors = np.linalg.eigh(t.gram[np.ix_(own, own)])
    if values[-1] <= RIDGE:
        return 0.0
    shared = t.gram[np.ix_(rest, own)] @ vectors[:, -1]
    weights = np.linalg.solve(t.gram[np.ix_(rest, rest)] + RIDGE * np.eye(len(rest)), shared)
    r2 = min(float(shared @ weights / values[-1]), 1.0)
    n, p = len(t.train), len(rest)
    return 1 - (1 - r2) * (n - 1) / (n - p - 1)


def _unseen(column: str, share: float, limits: FeatureChecks) -> Iterator[Finding]:
    if share > limits.unseen_share:
        message = "values that train never saw"
        yield finding("FX6", column, "share of unseen values", share, limits.unseen_share, message, verdict="WARN")
