"""Comparators differ from the teacher in structure alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pipeline_lib.runs import RunContext
from pipeline_lib.settings.ablation import Trunk
from pipeline_lib.teacher.ablation.campaign import Campaign
from pipeline_lib.teacher.ablation.comparators import build_comparator, without_second_phase
from pipeline_lib.teacher.ablation.liveness import part_of
from pipeline_lib.teacher.ablation.material import dense_width
from pipeline_lib.teacher.model import Teacher
from pipeline_lib.teacher.setup import plan_of, read_data

TRUNK = Trunk(hidden=[16, 8], tower=[8], dropout=0.0, experts=3)
ADATT = {"enabled": True, "every_steps": 1, "warmup_epochs": 0, "freeze_epoch": 2}
MODELS = ("shared_bottom", "mmoe", "ple_classic", "raw")


def built(model: str, context: RunContext) -> tuple[Teacher, torch.Tensor, object]:
    data = read_data(context.read("features"), context.read("labels"), context.settings)
    torch.manual_seed(0)
    made = build_comparator(model, dense_width(data.inputs), data.tasks, TRUNK)  # type: ignore[arg-type]
    return made, torch.arange(20), data


@pytest.mark.rule("R34")
def test_the_shared_bottom_has_no_gate_and_no_expert(context: RunContext) -> None:
    model, _, _ = built("shared_bottom", context)
    names = [name for name, _ in model.named_parameters()]
    assert not [name for name in names if "gate" in name or "expert" in name]
    assert {name.split(".")[1] for name in names} == {"trunk", "heads"}


@pytest.mark.rule("R34")
@pytest.mark.parametrize("name", MODELS)
def test_no_weights_are_exposed_under_the_names_of_experts(name: str, context: RunContext) -> None:
    model, rows, data = built(name, context)
    out = model(data.frame.batch(rows))  # type: ignore[attr-defined]
    assert model.expert_names == ()
    assert out.gate_stage2.shape[-1] == 0
    assert out.seen.avail.shape == (len(rows), 0)


@pytest.mark.parametrize("name", MODELS)
def test_behind_the_face_is_the_network_itself(name: str, context: RunContext) -> None:
    model, rows, data = built(name, context)
    batch = data.frame.batch(rows)  # type: ignore[attr-defined]
    plain = model.net(torch.cat([batch.x, batch.edges], dim=1))  # type: ignore[operator]
    for task, logits in model(batch).logits.items():
        torch.testing.assert_close(logits, plain[task])


def test_raw_towers_share_nothing(context: RunContext) -> None:
    model, rows, data = built("raw", context)
    logits = model(data.frame.batch(rows)).logits  # type: ignore[attr-defined]
    logits["churn_signal"].sum().backward()
    for name, parameter in model.named_parameters():
        if "towers" in name and parameter.grad is not None and parameter.grad.dim() == 3:
            touched = parameter.grad.abs().sum(dim=(1, 2)) > 0  # (T,)
            assert touched.sum() == 1


def test_every_model_takes_the_same_steps(context: RunContext) -> None:
    plan = plan_of(context.settings.teacher)
    rows = 180
    one = without_second_phase(plan, rows)
    assert sum(plan.epochs(p, rows) for p in plan.phases if p.epochs) == sum(one.epochs(p, rows) for p in one.phases)
    assert all(not phase.frozen for phase in one.phases)


def test_methods_that_look_at_shared_gradients_find_the_shared_block(study: Callable[..., Campaign]) -> None:
    campaign = study(
        {"name": "plain", "model": "shared_bottom"},
        {"name": "pcgrad", "model": "shared_bottom", "overrides": {"gradients": {"method": "pcgrad"}}},
        {"name": "mmoe", "model": "mmoe"},
        {"name": "mmoe_adatt", "model": "mmoe", "overrides": {"adatt": ADATT}},
        seeds=(1,),
    )  # fmt: skip
    assert campaign.run(minutes=5) == 0
    found = {name: runs[1].answers for name, runs in campaign.found().items()}
    assert len(set(found.values())) == 4


def test_parts_are_named_as_people_name_them() -> None:
    assert part_of("experts.hgcn.norm.weight") == "experts.hgcn"
    assert part_of("transfer.blocks.a__b.0.weight") == "transfer.a__b"
    assert part_of("gate2.linear.bias") == "gate2"
