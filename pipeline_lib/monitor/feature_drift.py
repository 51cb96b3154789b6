"""Nightly: the features that answers are given from, against those the champion was made for.

A night with enough critical features is a critical night. Several on end, against the same champion, and the record
says ``drift_breach``: retraining is recommended. Nothing here starts it; a person does. Sources: monitoring.md 3;
distillation.md 12.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from pipeline_lib.audit import query
from pipeline_lib.audit.operation import record_operation
from pipeline_lib.business_time import run_date
from pipeline_lib.errors import GateCannotJudge, ManifestMismatch, ObjectMissing, SignatureInvalid
from pipeline_lib.items import FEATURES, SqliteItems, TableUnreadable, meta
from pipeline_lib.items.place import filed
from pipeline_lib.keys import KeyFolder
from pipeline_lib.monitor import feature_shift
from pipeline_lib.monitor.feature_shift import Column, FeatureShift
from pipeline_lib.monitor.reading import Reading, State
from pipeline_lib.objects import open_objects
from pipeline_lib.registry import pointer, versions
from pipeline_lib.settings import Settings
from pipeline_lib.settings.monitoring import Drift

EVENT, BREACH = "drift_window", "drift_breach"
AT_MOST = 100_000
"""Rows that are read [each 4 bytes a feature, all in memory at once]."""
RECOMMENDED = "retraining is recommended, a person starts it"


def of_champion(settings: Settings) -> FeatureShift:
    """Every feature that is served now; what cannot be read is said, never guessed."""
    objects, keys = open_objects(settings.place.root), KeyFolder(settings.place.keys)
    try:
        version = pointer.read(objects, keys).version
        if version is None:
            return FeatureShift(0, {}, "nothing is served")
        champion = versions.verify(objects, keys, version)
        with filed(objects, settings.source.name, FEATURES) as items:
            columns, count = _served(items)
            return feature_shift.measure(objects, champion, columns, count, settings.monitoring.drift)
    except (GateCannotJudge, ObjectMissing, ManifestMismatch, SignatureInvalid, TableUnreadable) as error:
        return FeatureShift(0, {}, f"{type(error).__name__}: {error}")


def reading(settings: Settings, service: str, version: str | None, moved: FeatureShift, now: datetime) -> Reading:
    """Tonight's reading; on the last of several critical nights the recommendation is recorded too.

    Args:
        version: the champion.
    """
    limits = settings.monitoring.drift
    critical, state = len(moved.beyond(limits.feature_psi_critical)), state_of(moved, limits)
    cause = moved.why or ("" if state == "OK" else _cause(moved, limits))
    if state == "FAIL" and version is not None:
        nights = 1 + nights_on_end(_critical_nights(settings, version, now), run_date(now))
        cause = f"{cause}; night {nights} on end"
        if nights >= limits.retrain_days:
            cause = f"{cause}: {RECOMMENDED}"
            _recommend(settings, service, version, moved, run_date(now))
    return Reading("drift", "features", "critical", None if moved.why else float(critical), state, moved.rows, cause)


def state_of(moved: FeatureShift, limits: Drift) -> State:
    if moved.why:
        return "UNKNOWN"
    if len(moved.beyond(limits.feature_psi_critical)) >= limits.retrain_features:
        return "FAIL"
    return "WARN" if moved.beyond(limits.feature_psi_warn) else "OK"


def _served(items: SqliteItems) -> tuple[Iterator[Column], int]:
    """Columns and number of the rows that are served; of many, some at random: pseudonyms are random."""
    about = meta.newest(items)
    if about is None:
        raise TableUnreadable(f"{FEATURES}: no export is named in meta")
    names, blobs = about["columns"], items.column("feature_row", "features", most=AT_MOST)
    values = np.frombuffer(b"".join(blobs), dtype="<f4").reshape(len(blobs), len(names))
    return ((name, values[:, i].astype(np.float64)) for i, name in enumerate(names)), len(blobs)


def _cause(moved: FeatureShift, limits: Drift) -> str:
    """``5 of 572 features critical, 3 warn, most of all monthly_spend (psi 0.4102)``."""
    found = moved.summary(limits)
    name, value = next(iter(moved.values.items()))
    return (
        f"{found['critical']} of {found['compared']} features critical, {found['warn']} warn, "
        f"most of all {name} (psi {value:.4f})"
    )


def nights_on_end(critical: Collection[date], tonight: date) -> int:
    """Critical nights in a row that end with last night; a night without a reading ends them."""
    nights = 0
    while tonight - timedelta(days=nights + 1) in critical:
        nights += 1
    return nights


def _critical_nights(settings: Settings, version: str, now: datetime) -> set[date]:
    """Of the last nights, those that were critical against this champion, as the record has them."""
    limits = settings.monitoring.drift
    rows = query.frame(settings, "log_operation", since=now - timedelta(days=limits.retrain_days + 1))
    windows = rows.filter(pl.col("event") == EVENT).select("ts", "payload").iter_rows()
    details = ((run_date(datetime.fromisoformat(ts)), json.loads(payload)["details"]) for ts, payload in windows)
    return {night for night, one in details if _was_critical(one, version, limits.retrain_features)}


def _was_critical(details: dict[str, Any], version: str, least: int) -> bool:
    features = details.get("features") or {}
    return details["model_version"] == version and int(features.get("critical") or 0) >= least


def _recommend(settings: Settings, service: str, version: str, moved: FeatureShift, night: date) -> None:
    limits = settings.monitoring.drift
    record_operation(
        settings,
        BREACH,
        f"{BREACH}:{version}:{night}",
        service=service,
        object_type="version",
        object_id=version,
        reason=f"{_cause(moved, limits)}; {RECOMMENDED}",
        severity="major",
        details={"kind": "feature", "consecutive_days": limits.retrain_days, **moved.summary(limits)},
    )
