"""The two stages end to end on a fabricated bank: files, routes, replays and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest

from pipeline_lib import distill
from pipeline_lib.errors import ContractError, SettingsError
from pipeline_lib.runs import RunContext, StageOutput


def load(stage: StageOutput, name: str) -> dict[str, Any]:
    return json.loads(stage.path(name).read_text())


@pytest.fixture(scope="module")
def students(chain: RunContext) -> dict[str, StageOutput]:
    return {task: distill.fit_student(chain, task) for task in distill.active_tasks(chain)}


def test_every_active_task_is_distilled_and_passes(students):
    assert list(students) == ["churn_signal", "nba_primary", "cross_sell_count"]
    for stage in students.values():
        assert sorted(stage.names()) == ["direct.txt", "fidelity.json", "model.txt", "student.json"]
        assert (stage.facts["route"], stage.facts["verdict"]) == ("distil", "pass")
        report = load(stage, "fidelity.json")
        assert report["underpowered"] is True
        assert report["thresholds"]
        assert report["twin"]["accepted"] is all(check["met"] for check in report["twin"]["acceptance"])


def test_features_are_the_boosters_own_names_and_keep_the_mandatory_columns(chain, students):
    mandatory = {at.column for at in chain.settings.distillation.feature_selection.mandatory.values()}
    for stage in students.values():
        student = load(stage, "student.json")
        for file, described in (("model.txt", student), ("direct.txt", student["direct"])):
            booster = lgb.Booster(model_file=str(stage.path(file)))
            assert booster.feature_name() == described["features"]
            assert booster.num_trees() == described["trees"]
        assert mandatory <= set(student["features"])
        assert not {"hidden_0", "hidden_1"} & set(student["features"])


def by_hand(student: dict[str, Any], output: np.ndarray) -> np.ndarray:
    """What serving does, from student.json and the booster's output alone."""
    kind, calibrator = student["kind"], student["calibrator"]
    if student["output_kind"] == "raw":
        output = output + np.array(student["base_score"])
    if kind == "regression":
        return output if calibrator["kind"] == "none" else calibrator["u"] + calibrator["v"] * output
    if kind == "binary":
        raw = output if student["output_kind"] == "raw" else np.log(output / (1 - output))
        return 1 / (1 + np.exp(-(calibrator.get("a", 1) * raw + calibrator.get("b", 0))))
    p = output if student["output_kind"] == "prob" else np.exp(output) / np.exp(output).sum(axis=1, keepdims=True)
    if calibrator["kind"] == "ovr_platt":
        p = 1 / (1 + np.exp(-(np.array(calibrator["a"]) * np.log(p / (1 - p)) + np.array(calibrator["b"]))))
    return p / p.sum(axis=1, keepdims=True)


def answers(ctx: RunContext, stage: StageOutput, file: str, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Hand-made answers and labels of one partition."""
    student = load(stage, "student.json")
    described = student if file == "model.txt" else {**student, **student["direct"]}
    table = pl.read_parquet(ctx.read("features").path("feature_matrix.parquet")).filter(pl.col("part") == part)
    labels = pl.read_parquet(ctx.read("labels").path("label_table.parquet"))
    table = table.join(labels, on=["customer_key", "cutoff_date"], how="inner", maintain_order="left")
    x = table.select(described["features"]).to_numpy()
    return by_hand(described, lgb.Booster(model_file=str(stage.path(file))).predict(x)), table[
        student["task"]
    ].to_numpy()


def test_applying_student_json_by_hand_gives_what_fidelity_judged(chain, students):
    from pipeline_lib.distill import fidelity, metrics

    for task, stage in students.items():
        report = load(stage, "fidelity.json")
        served, y = answers(chain, stage, "model.txt", "fidelity")
        assert metrics.primary(report["kind"], y, served) == pytest.approx(report["primary_value"], abs=1e-9)
        if task == "churn_signal":
            assert fidelity.ece(y, served) == pytest.approx(report["metrics"]["ece"], abs=1e-9)
        twin, y = answers(chain, stage, "direct.txt", "fidelity")
        assert metrics.primary(report["kind"], y, twin) == pytest.approx(report["twin"]["primary_value"], abs=1e-9)


def test_the_same_inputs_twice_give_the_same_bytes(chain, students):
    place = chain.settings.place.model_copy(update={"recompute": True, "threads": 2})
    again = RunContext(chain.settings.model_copy(update={"place": place}), chain.logical_date, chain.objects)
    for task in ("churn_signal", "nba_primary"):
        assert distill.fit_student(again, task).content_hash == students[task].content_hash


def test_the_summary_counts_expected_tasks_and_leaves_disabled_ones_to_rules(chain, students):
    stage = distill.assemble(chain)
    report = load(stage, "fidelity.json")
    summary = report["summary"]
    assert summary["expected_tasks"] == chain.settings.tasks.names()
    assert summary["gate_scope"] == list(students)
    assert (summary["failed"], summary["incomplete"], summary["rules"]) == ([], [], 10)
    assert summary["headline"].startswith("3 of 13 (3 strict, 0 direct, 10 by rules)")
    assert report["tasks"]["next_mcc"]["route_reason"] == "DISABLED_BY_DATA"
    routes = load(stage, "routing.json")
    assert set(routes) == set(chain.settings.tasks.names())
    assert routes["churn_signal"]["value"] >= routes["churn_signal"]["limits"]["distil_at"]
    assert stage.facts["verdicts"]["churn_signal"] == "pass"
    assert stage.path("fidelity.png").read_bytes().startswith(b"\x89PNG")


def test_the_summary_is_reproducible_with_its_picture(chain, students):
    first = distill.assemble(chain)
    place = chain.settings.place.model_copy(update={"recompute": True})
    again = RunContext(chain.settings.model_copy(update={"place": place}), chain.logical_date, chain.objects)
    assert distill.assemble(again).content_hash == first.content_hash


def test_a_missing_student_is_incomplete_and_never_a_full_score(chain, students, conftest):
    key = f"runs/synthetic/{chain.logical_date}/student.nba_primary/manifest.json"
    manifest = chain.objects.get(key)
    chain.objects.delete(key)
    summary = distill.assemble(chain).facts
    chain.objects.put(key, manifest)
    assert summary["incomplete"] == ["nba_primary"]
    assert summary["headline"].startswith("2 of 13")


def test_a_student_of_other_inputs_is_incomplete(tmp_path, conftest):
    ctx = conftest.fabricate(
        RunContext.open(conftest.small(tmp_path), conftest.DAY), conftest.Bank(tasks=TINY, customers=2500)
    )
    distill.fit_student(ctx, "cross_sell_count")
    conftest.fabricate(ctx, conftest.Bank(tasks=TINY, customers=2600))
    assert distill.assemble(ctx).facts["incomplete"] == ["cross_sell_count"]


TINY = ("cross_sell_count",)


def run(
    tmp_path: Path, conftest: Any, bank: Any, task: str, **policy: Any
) -> tuple[dict[str, Any], dict[str, Any], StageOutput]:
    ctx = conftest.fabricate(RunContext.open(conftest.small(tmp_path, **policy), conftest.DAY), bank)
    stage = distill.fit_student(ctx, task)
    return load(stage, "student.json"), load(stage, "fidelity.json"), stage


def test_a_weak_teacher_leads_to_a_hard_label_student(tmp_path, conftest):
    timid = pl.col("mt_cross_sell_count") * 0.02  # R2 between 0.01 and 0.05
    bank = conftest.Bank(tasks=TINY, edit=lambda t: t.with_columns(timid))
    student, report, stage = run(tmp_path, conftest, bank, "cross_sell_count")
    assert (student["route"], student["route_reason"], student["output_kind"]) == ("direct", "TEACHER_WEAK", "value")
    assert (report["verdict"], report["failing"], student["direct"]) == ("exempt", [], None)
    assert all(check["met"] for check in report["acceptance"])
    assert sorted(stage.names()) == ["fidelity.json", "model.txt", "student.json"]


def test_a_constant_teacher_leads_to_a_hard_label_student(tmp_path, conftest):
    bank = conftest.Bank(tasks=TINY, edit=lambda t: t.with_columns(mt_cross_sell_count=pl.lit(0.5)))
    student, report, _ = run(tmp_path, conftest, bank, "cross_sell_count")
    assert (student["route"], student["route_reason"]) == ("direct", "TEACHER_DEGENERATE")
    assert "TEACHER_DEGENERATE" in report["flags"]
    assert report["metrics"]["kl_rel"] is None


def test_a_teacher_without_skill_leaves_the_task_to_rules(tmp_path, conftest):
    bank = conftest.Bank(tasks=TINY, skill={"cross_sell_count": 0.0})
    student, report, stage = run(tmp_path, conftest, bank, "cross_sell_count")
    assert (student["route"], student["route_reason"], report["verdict"]) == ("rules", "TEACHER_NO_SKILL", "rules")
    assert sorted(stage.names()) == ["fidelity.json", "student.json"]


def test_a_hard_label_student_that_is_not_good_enough_is_not_shipped(tmp_path, conftest):
    bank = conftest.Bank(tasks=("churn_signal",), signals=8, edit=lambda t: t.with_columns(ct_churn_signal=pl.lit(0.1)))
    at = conftest.shipped(tmp_path).distillation.teacher_threshold
    demanding = at.model_copy(update={"binary_floor_auc": 0.95, "binary_min_auc": 0.99})
    student, report, stage = run(tmp_path, conftest, bank, "churn_signal", teacher_threshold=demanding)
    assert (student["route"], student["route_reason"]) == ("rules", "DIRECT_NOT_ACCEPTED")
    assert (report["verdict"], student["trees"], stage.facts["route"]) == ("rules", 0, "rules")
    assert [check["met"] for check in report["acceptance"] if check["criterion"] == "auc_low"] == [False]
    assert "model.txt" not in stage.names()


def test_too_little_evidence_leaves_the_task_to_rules(tmp_path, conftest):
    base = conftest.shipped(tmp_path).distillation
    student, report, _ = run(tmp_path, conftest, conftest.Bank(tasks=TINY), "cross_sell_count", evidence=base.evidence)
    assert (student["route"], student["route_reason"]) == ("rules", "INSUFFICIENT_EVIDENCE")
    assert any("fidelity" in line for line in report["insufficient_because"])


def test_absent_soft_labels_are_undetermined(tmp_path, conftest):
    bank = conftest.Bank(tasks=TINY, edit=lambda t: t.drop("mt_cross_sell_count"))
    with pytest.raises(ContractError, match="UNDETERMINED"):
        run(tmp_path, conftest, bank, "cross_sell_count")


def test_soft_labels_that_are_not_finite_are_undetermined(tmp_path, conftest):
    bank = conftest.Bank(tasks=TINY, edit=lambda t: t.with_columns(mt_cross_sell_count=pl.lit(float("nan"))))
    with pytest.raises(ContractError, match="not finite"):
        run(tmp_path, conftest, bank, "cross_sell_count")


def test_a_row_without_a_soft_label_is_an_error(tmp_path, conftest):
    bank = conftest.Bank(tasks=TINY, edit=lambda t: t.head(t.height - 400))
    with pytest.raises(ContractError, match="no soft label"):
        run(tmp_path, conftest, bank, "cross_sell_count")


def test_row_order_of_the_soft_labels_does_not_matter(tmp_path, conftest):
    straight = run(tmp_path / "a", conftest, conftest.Bank(tasks=TINY), "cross_sell_count")
    turned = run(tmp_path / "b", conftest, conftest.Bank(tasks=TINY, edit=lambda t: t.reverse()), "cross_sell_count")
    assert straight[:2] == turned[:2]


def test_a_disabled_task_has_no_student(chain):
    with pytest.raises(ContractError, match="next_mcc has no student"):
        distill.fit_student(chain, "next_mcc")


def test_a_source_without_a_group_is_excused_and_a_typo_is_not(tmp_path, conftest):
    bank = conftest.Bank(tasks=TINY, unavailable=("txn_rolling",))
    student, _, _ = run(tmp_path, conftest, bank, "cross_sell_count")
    assert set(student["selection"]["mandatory_absent"]) == {"volatility"}
    chosen = conftest.shipped(tmp_path).distillation.feature_selection
    typo = chosen.mandatory["mpc"].model_copy(update={"column": "saving_propensity"})
    selection = chosen.model_copy(update={"mandatory": {**chosen.mandatory, "mpc": typo}})
    with pytest.raises(SettingsError, match="saving_propensity"):
        run(tmp_path, conftest, bank, "cross_sell_count", feature_selection=selection)
