"""Two tiers, inclusive limits, and students that must fail. Source: distillation.md 11.2."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit, softmax

from pipeline_lib import settings
from pipeline_lib.distill import calibration, fidelity, verdict
from pipeline_lib.distill.frame import Rows, output_of
from pipeline_lib.distill.statistics import Comparison

POLICY = settings.load("synthetic").distillation
RNG = np.random.default_rng(11)
N = 4000


def case(kind: str, classes: int = 4, rate: float = -2.5) -> Rows:
    """A teacher that knows the truth, and labels drawn from it."""
    if kind == "binary":
        t = RNG.normal(rate, 1.2, N)
        y = (RNG.random(N) < expit(t)).astype(np.int64)
    elif kind == "multiclass":
        t = RNG.normal(size=(N, classes)) * 1.5
        y = (softmax(t, axis=1).cumsum(axis=1) < RNG.random((N, 1))).sum(axis=1).clip(0, classes - 1)
    else:
        t = RNG.normal(size=N)
        y = t + RNG.normal(size=N)
    return Rows(np.zeros((N, 1), np.float32), y, t, np.arange(N))


def judged(kind: str, rows: Rows, raw: np.ndarray, served: np.ndarray | None = None, mode: str = "tiered") -> dict:
    classes = rows.teacher.shape[1] if kind == "multiclass" else 2
    answers = served if served is not None else output_of(kind, raw)
    halves = {"low": np.arange(N) < N // 2, "high": np.arange(N) >= N // 2}
    statistics = Comparison(kind, rows, raw, answers, halves, 500, 50).statistics()
    limits = verdict.criteria(
        kind, POLICY.fidelity, floor=POLICY.fidelity_floor, classes=classes,
        base_rate=float(rows.y.mean()) if kind == "binary" else None, teacher_f1=statistics.get("f1_teacher"),
    )  # fmt: skip
    return {**verdict.judge(kind, statistics, limits, mode=mode), "statistics": statistics}


KINDS = ["binary", "multiclass", "regression"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_of_a_calibrated_teacher_passes_everything(kind):
    rows = case(kind)
    found = judged(kind, rows, rows.teacher, mode="strict")
    assert (found["verdict"], found["strict_pass"], found["failing"], found["flags"]) == ("pass", True, [], [])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [-2.0, -3.0, -4.0])
def test_a_constant_student_fails_every_task(kind, rate):
    rows = case(kind, rate=rate)
    constant = np.broadcast_to(rows.teacher.mean(axis=0), rows.teacher.shape).copy()
    found = judged(kind, rows, constant)
    assert found["verdict"] == "fail"
    assert {"kl_rel", "dispersion"} <= {miss["criterion"] for miss in found["tier1_failing"]}


def test_a_badly_calibrated_teacher_does_not_fail_a_well_calibrated_student():
    rows = case("binary")
    truth = rows.teacher
    shifted = Rows(rows.x, rows.y, truth + 2.1, rows.customer)  # a focal-loss teacher: right order, wrong level
    assert fidelity.ece(rows.y, expit(shifted.teacher)) > 0.25
    calibrator = calibration.fit_binary(shifted.teacher, rows.y)
    found = judged("binary", shifted, shifted.teacher, calibration.apply_binary(calibrator, shifted.teacher))
    assert found["verdict"] == "pass"
    assert found["statistics"]["ece"] < 0.02


def test_an_uncalibrated_answer_fails_on_ece_alone():
    rows = case("binary")
    found = judged("binary", rows, rows.teacher, expit(rows.teacher + 1.6))
    assert [miss["criterion"] for miss in found["failing"]] == ["ece"]


def test_a_much_better_student_is_a_breach_with_its_own_flag():
    rows = case("binary")
    weak = Rows(rows.x, rows.y, rows.teacher + RNG.normal(0, 2, N), rows.customer)
    found = judged("binary", weak, rows.teacher)
    assert verdict.EXCEEDS in found["flags"]
    assert found["verdict"] == "fail"


@pytest.mark.parametrize("sense", ["<=", ">="])
def test_limits_are_inclusive(sense):
    criterion = verdict.Criterion("kl", sense, 0.20, 1)
    worse = math.nextafter(0.20, 1 if sense == "<=" else 0)
    assert criterion.met(0.20)
    assert not criterion.met(worse)


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_missing_statistic_blocks(value):
    limits = [verdict.Criterion("kl", "<=", 0.2, 1), verdict.Criterion("jsd", "<=", 0.1, 2)]
    found = verdict.judge("multiclass", {"kl": value, "jsd": 0.05, "f1_gap_signed": 0.0}, limits, mode="tiered")
    assert found["verdict"] == "fail"
    assert found["failing"] == [{"criterion": "kl", "value": None, "limit": 0.2, "sense": "<="}]


def test_tier_2_blocks_in_strict_mode_only_and_is_always_reported():
    limits = [verdict.Criterion("kl", "<=", 0.2, 1), verdict.Criterion("jsd", "<=", 0.1, 2)]
    values = {"kl": 0.1, "jsd": 0.2, "f1_gap_signed": 0.0}
    tiered = verdict.judge("multiclass", values, limits, mode="tiered")
    strict = verdict.judge("multiclass", values, limits, mode="strict")
    assert (tiered["verdict"], strict["verdict"]) == ("pass", "fail")
    assert tiered["tier2_failing"] == strict["tier2_failing"] != []
    assert tiered["strict_pass"] is strict["strict_pass"] is False


def test_limits_follow_base_rate_class_count_and_teacher():
    assert verdict.ece_limit(POLICY.fidelity, 0.004) == 0.005
    assert verdict.ece_limit(POLICY.fidelity, 0.06) == 0.03
    assert verdict.ece_limit(POLICY.fidelity, 0.5) == 0.05
    limits = verdict.criteria("multiclass", POLICY.fidelity, floor=0.2, classes=50, base_rate=None, teacher_f1=0.012)
    found = {(c.statistic, c.tier): c.limit for c in limits}
    assert found["agreement", 1] == pytest.approx(0.1)
    assert found["f1_gap", 1] == 0.01
    assert found["segment_gap", 1] == 0.02


def test_no_comparable_segment_is_said_and_does_not_block():
    rows = case("regression")
    statistics = Comparison("regression", rows, rows.teacher, rows.teacher, {}, 500, 50).statistics()
    limits = verdict.criteria("regression", POLICY.fidelity, floor=0.2, classes=0, base_rate=None, teacher_f1=None)
    found = verdict.judge("regression", statistics, limits, mode="tiered")
    assert statistics["segment_gap"] is None
    assert (found["verdict"], found["not_evaluable"]) == ("pass", ["segment_gap"])


def test_segments_too_small_to_compare_are_left_out():
    rows = case("binary")
    few = np.arange(N) < 400
    no_positives = rows.y == 0
    comparison = Comparison("binary", rows, rows.teacher, expit(rows.teacher), {"a": few, "b": no_positives}, 500, 50)
    assert comparison.comparable() == []
