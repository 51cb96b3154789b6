"""The best epoch: chosen by the composite, on all selection rows, and what is kept scores what was recorded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from pipeline_lib.errors import ContractError
from pipeline_lib.runs import RunContext
from pipeline_lib.teacher.ablation.campaign import Campaign
from pipeline_lib.teacher.ablation.scoring import composite_on
from pipeline_lib.teacher.evaluate import composite
from pipeline_lib.teacher.loop import fit
from pipeline_lib.teacher.predict import answers, predict
from pipeline_lib.teacher.resume import Progress, Store
from pipeline_lib.teacher.setup import Data, fixed_arithmetic, new_model, plan_of, rates_of, read_data, trainee_of
from pipeline_lib.teacher.step import Trainee

CPU = torch.device("cpu")


def fitted(context: RunContext) -> tuple[Progress, Trainee, Data]:
    policy = context.settings.teacher
    with fixed_arithmetic(1, policy.seed, CPU):
        data = read_data(context.read("features"), context.read("labels"), context.settings)
        trainee = trainee_of(new_model(data, policy), data, policy, CPU)
        progress = fit(trainee, plan_of(policy), rates_of(policy), Store(context.objects, "work/x"), lambda _: None)
    return progress, trainee, data


@pytest.mark.rule("R31")
def test_the_best_score_is_the_reloaded_weights_score_on_every_selection_row(
    make_context: Callable[..., RunContext],
) -> None:
    context = make_context({"teacher": {"experts": ["deepfm"], "training": {"epochs": 5, "base_rate": 2e-2}}})
    progress, trainee, data = fitted(context)
    policy = context.settings.teacher
    rows = torch.arange(data.frame.rows)
    found = answers(predict(trainee.model, data.frame, rows, 7, CPU).logits, data.tasks)  # rows do not divide by 7
    assert composite_on(data, ["stop"], found, policy.selection) == pytest.approx(progress.best_score, abs=1e-6)
    assert progress.best_score == max(row["composite_stop"] for row in progress.curve)
    assert progress.curve[progress.best_epoch]["composite_stop"] == progress.best_score


@pytest.mark.rule("R31")
def test_the_validation_loss_does_not_choose() -> None:
    progress = Progress()
    epochs = [(0.50, 9.0), (0.55, 9.9), (0.52, 1.0)]  # composite, loss
    chosen = [progress.record({"composite_stop": score, "loss_stop": loss}, score) for score, loss in epochs]
    assert chosen == [True, True, False]
    assert progress.best_epoch == 1


@pytest.mark.rule("R31")
def test_a_missing_component_leaves_the_mean_of_the_others() -> None:
    whole = {"avg_auc": 0.7, "avg_ndcg": 0.9, "avg_normalised_mae": 0.8, "avg_f1_macro": 0.1, "avg_mae": 5.0}
    assert composite(whole) == pytest.approx((0.7 + 0.9 + 0.2) / 3)
    assert composite({**whole, "avg_ndcg": None}) == pytest.approx((0.7 + 0.2) / 2)
    with pytest.raises(ContractError):
        composite({**whole, "avg_auc": None, "avg_ndcg": None, "avg_normalised_mae": None})


@pytest.mark.rule("R31")
def test_a_study_records_the_score_of_what_it_kept(study: Callable[..., Campaign]) -> None:
    campaign = study({"name": "full"}, {"name": "mmoe", "model": "mmoe"}, seeds=(1,))
    campaign.run(minutes=5)
    for runs in campaign.found().values():
        assert runs[1].best_again == pytest.approx(runs[1].best_score, abs=1e-6)
        assert len(runs[1].curve) == runs[1].epochs
        assert runs[1].scores["stop"]["rows"] == 30
        assert np.isfinite(runs[1].scores["fidelity+seen"]["all"]["avg_auc"])
