"""The stage ``drift``: who is compared with whom, what reaches the verdict, and that nothing of it blocks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline_lib.audit import session
from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.gate import signoff
from pipeline_lib.keys import KeyFolder
from pipeline_lib.monitor import feature_shift, successive
from pipeline_lib.publish import package
from pipeline_lib.publish import release as releases
from pipeline_lib.registry import pointer, reigns, states, versions
from pipeline_lib.registry.package import Package
from pipeline_lib.runs import Out, RunContext
from pipeline_lib.serve import batch
from pipeline_lib.settings.monitoring import Drift
from tests.unit.backfill.weeks import CHAMPION, WEEKS, make_home, open_week, run_week
from tests.unit.serve import conftest as bank

SECOND, THIRD = WEEKS[:2]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("fitted") / "bank", WEEKS[:2])


@pytest.fixture
def home(fitted: Path, tmp_path: Path) -> Path:
    shutil.copytree(fitted, tmp_path / "bank")
    return tmp_path / "bank"


def measured(ctx: RunContext) -> dict[str, Any]:
    package.package(ctx)
    batch.score(ctx)
    return dict(successive.drift(ctx).facts["summary"])


def champion(home: Path) -> str:
    return str(open_week(home, CHAMPION).read("package").facts["version"])


def served_since(home: Path, version: str, days: float) -> None:
    """Pretend that the version became champion so much earlier."""
    objects, key = open_week(home, CHAMPION).objects, f"registry/state/{version}.json"
    document = json.loads(objects.get(key))
    for step in document["history"]:
        step["at"] = (datetime.fromisoformat(step["at"]) - timedelta(days=days)).isoformat()
    objects.put(key, canonical_bytes(document))


def test_the_first_week_has_no_predecessor_and_says_so(home: Path) -> None:
    found = open_week(home, CHAMPION).read("drift")
    summary = found.facts["summary"]
    assert (summary["champion"], summary["anchor"], summary["alerts"]) == (None, None, [])
    assert summary["why"] == summary["features"]["why"] == "nothing serves yet"
    assert summary["anchor_why"] == "nothing served 91 days before"
    assert sorted(found.names()) == ["drift.json", "drift.png"]


def test_a_challenger_is_measured_beside_the_champion_on_every_task_with_a_model(home: Path) -> None:
    summary = measured(open_week(home, SECOND))
    assert summary["versions"]["champion"] == champion(home)
    modelled = {name for name, task in summary["champion"].items() if task["psi"] is not None}
    assert modelled == {
        "churn_signal",
        "nba_primary",
        "product_stability",
        "will_acquire_deposits",
        "segment_prediction",
    }
    assert summary["champion"]["top_mcc_shift"]["why"] == "answered by rules in the older and the newer version"
    assert {one["rows"] for name, one in summary["champion"].items() if name in modelled} == {bank.CUSTOMERS // 2}
    assert summary["anchor"] is None


@pytest.mark.parametrize("passes", [True, False])
def test_below_the_fidelity_floor_nobody_computes_who_answers_better(
    home: Path, monkeypatch: pytest.MonkeyPatch, passes: bool
) -> None:
    ctx, verify = open_week(home, SECOND), versions.verify
    package.package(ctx)
    batch.score(ctx)
    newer = str(ctx.read("package").facts["version"])

    def judged(objects: Any, keys: Any, version: str) -> Package:
        found = verify(objects, keys, version)
        churn = replace(found.tasks["churn_signal"], fidelity="pass" if passes else "fail", failing=())
        return replace(found, tasks={**found.tasks, "churn_signal": churn}) if version == newer else found

    monkeypatch.setattr(versions, "verify", judged)
    moved = successive.drift(ctx).facts["summary"]["champion"]
    assert moved["churn_signal"]["psi"] is not None
    known = {name for name, one in moved.items() if one.get("auc_shift") is not None}
    assert known == ({"churn_signal", "will_acquire_deposits"} if passes else set())


def test_the_anchor_is_who_served_thirteen_weeks_before_the_run(home: Path) -> None:
    first = champion(home)
    served_since(home, first, days=200)
    summary = measured(open_week(home, SECOND))
    assert summary["versions"]["anchor"] == first
    assert summary["anchor"] == summary["champion"], "it is the same version, on the same rows"
    assert {one["against"] for one in summary["alerts"]} >= {"champion", "anchor"}


@pytest.mark.parametrize(("days", "found"), [(0, None), (1, "old"), (30, "old"), (31, "new"), (40, "new")])
def test_who_served_at_a_moment_is_who_had_come_and_not_yet_gone(home: Path, days: int, found: str | None) -> None:
    ctx = open_week(home, SECOND)
    start = datetime.fromisoformat("2026-01-01T03:00:00+09:00")
    old, new = (
        _served(ctx, "old", [start + timedelta(days=1), start + timedelta(days=31)]),
        _served(ctx, "new", [start + timedelta(days=31)]),
    )
    names = {None: None, "old": old, "new": new}
    assert reigns.champion_at(ctx.objects, start + timedelta(days=days)) == names[found]


def _served(ctx: RunContext, version: str, moments: list[datetime]) -> str:
    states.begin(ctx.objects, version, "0" * 64, "complete")
    for moment, state in zip(moments, ("champion", "retired"), strict=False):
        states.move(ctx.objects, version, state, "test", None, moment)
    return version


def test_an_anchor_that_cannot_be_read_is_said_and_stops_nothing(home: Path) -> None:
    ctx, old = open_week(home, SECOND), "v20260101-00000000"
    _served(ctx, old, [datetime.fromisoformat("2026-01-01T03:00:00+09:00")])
    served_since(home, champion(home), days=1)
    summary = measured(ctx)
    assert summary["anchor"] is None
    assert summary["anchor_why"] == f"{old} cannot be scored: ObjectMissing"
    assert summary["champion"] is not None


def test_the_baseline_moves_with_a_promotion_and_with_nothing_else(home: Path) -> None:
    """A run that was judged and not promoted leaves it; the original overwrote it every week, so creep was unseen."""
    first = champion(home)
    run_week(open_week(home, SECOND), "evaluate")
    before = measured(open_week(home, THIRD))
    assert before["versions"]["champion"] == first
    objects = open_week(home, THIRD).objects
    second = str(open_week(home, SECOND).read("package").facts["version"])
    _promote(home, second)
    after = measured(open_week(home, THIRD))
    assert after["versions"]["champion"] == second
    assert pointer.KEY in objects.list("registry/pointer")
    assert float(after["features"]["worst"]["roll_30d_sum"]) < float(before["features"]["worst"]["roll_30d_sum"])


def _promote(home: Path, version: str) -> None:
    ctx = open_week(home, SECOND)
    verdict = ctx.read("gate").facts
    assert verdict["decision"] == "await_signoff"
    signoff.open_approval(ctx.settings, verdict["decision_id"])
    signoff.conclude(ctx.settings, verdict["decision_id"], "Approve", "risk.officer", "Comparison and drift reviewed")
    releases.publish(ctx)
    assert reigns.champion_at(ctx.objects, datetime.now().astimezone()) == version


def test_moved_features_alert_and_the_verdict_carries_it_and_does_not_turn_on_it(home: Path) -> None:
    ctx = open_week(home, SECOND)
    calm, moved = _verdict(ctx), _verdict(ctx, after=_doubled_spending)
    critical = {one["feature"] for one in moved["alerts"] if "feature" in one}
    assert critical == {"monthly_spend"}
    assert not [one for one in calm["alerts"] if "feature" in one]
    assert {**moved, "alerts": None} == {**calm, "alerts": None}


def _verdict(ctx: RunContext, after: Callable[[RunContext], None] | None = None) -> dict[str, Any]:
    """What the gate decided and why, and the alerts that its row in the record carries."""
    if after:
        after(ctx)
    run_week(ctx)
    facts = ctx.read("gate").facts
    (row,) = [row.payload["details"] for row in session.rows(ctx.settings)
              if row.payload.get("action_id") == facts["decision_id"]]  # fmt: skip
    assert row["drift"] == ctx.read("drift").facts["summary"]
    return {"decision": facts["decision"], "reason": facts["reason"], "alerts": row["drift"]["alerts"]}


def _doubled_spending(ctx: RunContext) -> None:
    """Served customers spend twice as much; the gate's rows and the students are as they were."""
    old = ctx.read("features")
    frame = pl.read_parquet(old.path("feature_matrix.parquet"))
    twice = pl.when(pl.col("part") == "serve").then(pl.col("monthly_spend") * 2).otherwise(pl.col("monthly_spend"))

    def make(out: Out) -> None:
        bank._features(out, frame.with_columns(twice.cast(pl.Float32).alias("monthly_spend")))

    ctx.produce("features", make, [ctx.read("labels")], {"spending": "twice"})


def test_the_same_run_again_is_not_measured_again_and_gives_the_same_picture(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = open_week(home, SECOND)
    measured(ctx)
    first = ctx.read("drift")
    assert successive.drift(ctx).manifest.run == first.manifest.run
    picture = first.path("drift.png").read_bytes()
    monkeypatch.setenv("PIPELINE_RECOMPUTE", "1")
    again = open_week(home, SECOND)
    recomputing = again.settings.model_copy(
        update={"place": again.settings.place.model_copy(update={"recompute": True})}
    )
    successive.drift(RunContext(recomputing, SECOND, again.objects))  # raises NotReproducible when a byte differs
    assert again.read("drift").path("drift.png").read_bytes() == picture


def test_columns_are_matched_by_name_and_those_of_one_side_are_said(home: Path) -> None:
    ctx, old, limits = _beside_champion(home)
    rows, columns = feature_shift.of_run(ctx.read("features"))
    renamed = ((name if name != "age" else "mcc_5411", values) for name, values in columns)
    found = feature_shift.measure(ctx.objects, old, renamed, rows, limits)
    assert (len(found.values), found.unmatched) == (len(bank.NAMES) - 1, ("age", "mcc_5411"))
    nothing = feature_shift.measure(ctx.objects, old, iter([]), rows, limits)
    assert (nothing.values, nothing.why) == ({}, "no feature is in both")


def test_too_few_rows_are_not_compared(home: Path) -> None:
    ctx, old, limits = _beside_champion(home)
    found = feature_shift.measure(ctx.objects, old, iter([]), 99, limits)
    assert found.why == f"99 rows now, {bank.CUSTOMERS} then, 100 of each are needed"


def test_a_version_from_before_baselines_has_none(home: Path) -> None:
    ctx, old, limits = _beside_champion(home)
    found = feature_shift.measure(ctx.objects, replace(old, version="v20260101-00000000"), iter([]), 500, limits)
    assert found.why == "v20260101-00000000 carries no baseline of its features"


def _beside_champion(home: Path) -> tuple[RunContext, Package, Drift]:
    ctx = open_week(home, SECOND)
    old = versions.verify(ctx.objects, KeyFolder(ctx.settings.place.keys), champion(home))
    return ctx, old, ctx.settings.monitoring.drift
