"""Labels that a function of the inputs reproduces are no tasks: refused by a check and not by memory (data.md 6.3)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from pipeline_lib.contracts.leakage import TrainingFrame, frame_findings, require_no_leakage
from pipeline_lib.errors import LeakageError
from pipeline_lib.features.plants.leaky_frames import feature, with_feature


def cut(values: np.ndarray, *edges: float) -> np.ndarray:
    return np.searchsorted(edges, values, side="right").astype(np.float64)


def raw(frame: TrainingFrame, name: str) -> np.ndarray:
    return frame.raw[:, frame.features.index(name)].astype(np.float64)


def spread_cuts(values: np.ndarray) -> np.ndarray:
    """The published cuts belong to another currency and scale; the form of the label is the same."""
    return cut(values, *np.nanquantile(values, [0.25, 0.5, 0.75]))


REMOVED = {
    "income_tier": ("multiclass", lambda f: spread_cuts(raw(f, "income"))),
    "tenure_stage": ("multiclass", lambda f: cut(raw(f, "tenure_months"), 6, 24, 60, 120)),
    "spend_level": ("multiclass", lambda f: spread_cuts(raw(f, "monthly_spend"))),
    "engagement_score": (
        "regression",
        lambda f: 0.3 * feature(f, "is_active") + 0.4 * feature(f, "frequency") + 0.3 * feature(f, "num_products") / 24,
    ),
}


def asked_for(frame: TrainingFrame, name: str, kind: str, values: np.ndarray) -> TrainingFrame:
    """The frame of somebody who puts the task back on the list."""
    known = np.where(np.isnan(values), None, values)
    labels = pl.DataFrame({name: pl.Series(known.tolist(), dtype=pl.Float64)})
    return replace(frame, labels=labels, tasks={name: kind})


@pytest.mark.parametrize("name", REMOVED)
def test_a_deterministic_label_is_refused(small, frame, name: str):
    kind, make = REMOVED[name]
    found = frame_findings(asked_for(frame, name, kind, make(frame)), small.settings.leakage)
    assert {f.check for f in found if f.verdict == "FAIL" and f.label == name} >= {"L05"}
    with pytest.raises(LeakageError, match=f"L05 FAIL: .* against {name}"):
        require_no_leakage(name, found)


def test_has_nba_is_refused_because_it_is_the_class_0_of_another_task(small, frame):
    """As a task beside nba_primary it is a copy of a label that is judged as retired; as a feature it is L01."""
    bought = (frame.labels["nba_primary"] > 0).cast(pl.Float64).fill_null(0.0).to_numpy()
    found = frame_findings(with_feature(frame, "bought", bought), small.settings.leakage)
    refused = {(f.check, f.column) for f in found if f.verdict == "FAIL" and f.label == "has_nba"}
    assert {("L01", "bought"), ("L05", "bought")} <= refused


def test_a_function_of_several_columns_is_refused(small, frame):
    """No column has it: active customers, not young, who hold few products."""
    age, active, held = (feature(frame, name) for name in ("age", "is_active", "num_products"))
    values = ((age > 40) & (active == 1) & (held < np.median(held) + 2)).astype(np.float64)
    found = frame_findings(asked_for(frame, "focus_group", "binary", values), small.settings.leakage)
    refused = [f for f in found if f.check == "L05" and f.verdict == "FAIL"]
    assert [f.statistic for f in refused] == ["tree AUC"]


def test_an_honest_label_of_the_same_columns_is_not_refused(small, frame):
    """The same signs with as much chance in them: a task."""
    rng = np.random.default_rng(9)
    signal = (feature(frame, "age") > 50) & (feature(frame, "is_active") == 1)
    values = np.where(rng.random(len(signal)) < 0.3, rng.random(len(signal)) < 0.3, signal).astype(np.float64)
    found = frame_findings(asked_for(frame, "honest", "binary", values), small.settings.leakage)
    assert not [str(f) for f in found if f.verdict == "FAIL" and f.label == "honest"]


def test_an_innocent_name_does_not_hide_the_segment(small, frame):
    """By lineage, also through a group that reads another one; values and name say nothing."""
    rng = np.random.default_rng(10)
    named = with_feature(frame, "favourite_colour", rng.normal(size=len(frame.raw)), ["customer_segment.segment"])
    found = [f for f in frame_findings(named, small.settings.leakage) if f.check == "L29"]
    assert [(f.column, f.verdict) for f in found] == [("favourite_colour", "FAIL")]
