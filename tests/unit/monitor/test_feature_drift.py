"""Nightly drift of features: served rows against the champion's own baseline, and when retraining is recommended."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline_lib.audit import session
from pipeline_lib.business_time import utc_now
from pipeline_lib.monitor import drift, feature_drift
from pipeline_lib.settings import Settings
from tests.unit.backfill.weeks import CHAMPION, make_home, open_week
from tests.unit.serve import conftest as bank

NIGHT = date(2026, 11, 16)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("fitted") / "bank", ())


@pytest.fixture
def served(fitted: Path, tmp_path: Path) -> Settings:
    """A bank whose champion serves; two nights make a recommendation."""
    shutil.copytree(fitted, tmp_path / "bank")
    policy = open_week(tmp_path / "bank", CHAMPION).settings
    limits = policy.monitoring.drift.model_copy(update={"retrain_days": 2})
    return policy.model_copy(update={"monitoring": policy.monitoring.model_copy(update={"drift": limits})})


def rows_of(settings: Settings) -> Path:
    return settings.place.home / "store" / "serving" / "synthetic" / "feature_rows.sqlite"


def move(settings: Settings, features: int) -> None:
    """So many features of every served row leave the range the champion knows."""
    with closing(sqlite3.connect(rows_of(settings))) as database, database:
        for subject, blob in database.execute("SELECT subject_ref, features FROM feature_row").fetchall():
            values = np.frombuffer(blob, dtype="<f4").copy()
            values[:features] = 1e6
            database.execute("UPDATE feature_row SET features = ? WHERE subject_ref = ?", (values.tobytes(), subject))


def tonight(settings: Settings) -> dict[str, Any]:
    """The reading of features, in the record and under a checkpoint."""
    (found,) = (one for one in drift.nightly(settings) if one["about"] == "features")
    session.commit(settings)
    return found


def breaches(settings: Settings) -> list[dict[str, Any]]:
    return [row.payload for row in session.rows(settings) if row.header["event"] == "drift_breach"]


def test_rows_like_those_the_champion_was_made_for_are_ok(served: Settings) -> None:
    found = tonight(served)
    assert (found["state"], found["value"], found["n"]) == ("OK", "0.000000000", bank.CUSTOMERS)


@pytest.mark.parametrize(("moved", "state"), [(1, "WARN"), (4, "WARN"), (5, "FAIL")])
def test_enough_critical_features_make_a_critical_night(served: Settings, moved: int, state: str) -> None:
    move(served, moved)
    found = tonight(served)
    assert (found["state"], float(found["value"])) == (state, moved)
    assert str(found["cause"]).startswith(f"{moved} of {len(bank.NAMES)} features critical, 0 warn, most of all ")


def test_critical_nights_on_end_recommend_retraining_and_start_nothing(served: Settings) -> None:
    move(served, 5)
    assert feature_drift.RECOMMENDED not in tonight(served)["cause"]
    assert breaches(served) == []
    version = open_week(served.place.home, CHAMPION).read("package").facts["version"]
    moved, tomorrow = feature_drift.of_champion(served), utc_now() + timedelta(days=1)
    before = open_week(served.place.home, CHAMPION).objects.list("runs")
    found = feature_drift.reading(served, "drift_monitor", version, moved, tomorrow)
    assert found.cause.endswith(f"night 2 on end: {feature_drift.RECOMMENDED}")
    (row,) = breaches(served)
    assert (row["object_id"], row["severity"], row["details"]["critical"]) == (version, "major", 5)
    assert open_week(served.place.home, CHAMPION).objects.list("runs") == before


def test_nights_against_another_champion_do_not_count(served: Settings) -> None:
    move(served, 5)
    tonight(served)
    moved, tomorrow = feature_drift.of_champion(served), utc_now() + timedelta(days=1)
    found = feature_drift.reading(served, "drift_monitor", "v20261123-00000000", moved, tomorrow)
    assert found.cause.endswith("night 1 on end")
    assert breaches(served) == []


@pytest.mark.parametrize(
    ("back", "nights"), [((), 0), ((1,), 1), ((1, 2), 2), ((2, 3), 0), ((1, 3), 1), ((0, 1, 2, 3), 3)]
)
def test_a_night_without_a_critical_reading_ends_the_row(back: tuple[int, ...], nights: int) -> None:
    critical = [NIGHT - timedelta(days=days) for days in back]
    assert feature_drift.nights_on_end(critical, NIGHT) == nights


def test_rows_that_are_gone_are_unknown(served: Settings) -> None:
    rows_of(served).unlink()
    found = tonight(served)
    assert (found["state"], found["value"]) == ("UNKNOWN", None)
    assert "ObjectMissing" in str(found["cause"])
