"""Policy of distillation is read once, typed, and contradictions are refused."""

from __future__ import annotations

import logging

import pytest
import yaml
from pydantic import ValidationError

from pipeline_lib.settings import CONFIG
from pipeline_lib.settings.distillation import Distillation

BODY = yaml.safe_load((CONFIG / "distillation.yaml").read_text())


def test_alpha_is_read_as_the_weight_of_the_hard_loss_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        assert Distillation.model_validate({**BODY, "alpha": 0.4}).hard_weight == 0.4
    assert "hard_weight" in caplog.text


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("skip_fidelity", True, "Extra inputs"),
        ("task_lgbm_overrides", {"next_mcc": {"leaves": 3}}, "leaves"),
        ("evidence", {**BODY["evidence"], "min_rows": 2000}, "exceed"),
        ("teacher_threshold", {**BODY["teacher_threshold"], "binary_floor_auc": 0.7}, "floor 0.7"),
        ("lgbm", {**BODY["lgbm"], "bagging_freq": 0}, "no effect"),
        ("hard_clip", {"churn_signal": 0.0}, "churn_signal"),
        ("feature_selection", {**BODY["feature_selection"], "min": 500}, "min 500"),
    ],
)
def test_unknown_and_contradictory_keys_are_refused(key, value, said):
    with pytest.raises(ValidationError, match=said):
        Distillation.model_validate({**BODY, key: value})


def test_the_leaf_caps_fit_the_package():
    policy = Distillation.model_validate(BODY)
    budget, tasks = policy.budget, 13
    named = sum(budget.leaf_caps.values()) + (tasks - len(budget.leaf_caps)) * budget.leaf_cap
    twins = sum(budget.twin_leaf_caps.values()) + (tasks - len(budget.twin_leaf_caps)) * budget.twin_leaf_cap
    assert (named + twins) * 110 <= budget.max_bytes
