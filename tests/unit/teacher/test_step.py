"""One step of the teacher: what looks at gradients runs when it should and changes what it should."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline_lib.errors import TrainingDiverged
from pipeline_lib.runs import RunContext
from pipeline_lib.settings.teacher.training import Weighting as Policy
from pipeline_lib.teacher import step as step_module
from pipeline_lib.teacher.frame import FIT
from pipeline_lib.teacher.guard import Guard
from pipeline_lib.teacher.loop import train_epoch
from pipeline_lib.teacher.optim import Rates, build_optimiser
from pipeline_lib.teacher.plan import Plan
from pipeline_lib.teacher.resume import Progress
from pipeline_lib.teacher.setup import plan_of, trainee_of
from pipeline_lib.teacher.step import Stepper, Trainee
from pipeline_lib.teacher.weighting import build_weighting
from tests.unit.teacher.bank import world_of
from tests.unit.teacher.parts import shipped

Made = tuple[Trainee, Plan]


@pytest.fixture
def make(make_context: Callable[..., RunContext]) -> Callable[..., Made]:
    def build(**teacher: Any) -> Made:
        ctx = make_context({"teacher": teacher})
        world = world_of(ctx)
        trainee = trainee_of(world.model.train(), world.data, ctx.settings.teacher, torch.device("cpu"))
        return trainee, plan_of(ctx.settings.teacher)

    return build


def optimiser_of(trainee: Trainee) -> torch.optim.Optimizer:
    return build_optimiser(trainee.model, trainee.weighting, Rates(1e-3, {}, {}, 1e-2, 0.0))


def gradients(trainee: Trainee, plan: Plan, step: int = 0) -> dict[str, Tensor]:
    """Of one step on the first train rows, dropout seeded."""
    torch.manual_seed(0)
    trainee.model.zero_grad()
    stepper = Stepper(trainee, plan, Guard(1, 0.0), optimiser_of(trainee), None)
    stepper.accumulate(trainee.frame.part(FIT)[:64], 64, step)
    return {n: p.grad.clone() for n, p in trainee.model.named_parameters() if p.grad is not None}


def summed(groups: Mapping[str, Tensor], shared: Tensor, method: str, generator: torch.Generator) -> Tensor:
    """What a method would return if nothing conflicted."""
    total = torch.zeros_like(shared)
    for loss in groups.values():
        total += torch.autograd.grad(loss, shared, retain_graph=True)[0]
    return total


@pytest.mark.rule("R24")
def test_the_detour_of_a_gradient_method_keeps_every_other_gradient(
    make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing conflicts the step is the plain one: auxiliary losses, gates, baskets and towers lose nothing.

    Gates start without weights, hence the push: else their entropy sends nothing to the experts yet.
    """
    trainee, plan = make(gating={"entropy_weight": 0.1})
    torch.nn.init.normal_(trainee.model.gate2.linear.weight, std=0.2)
    plain = gradients(trainee, plan)
    monkeypatch.setattr(step_module, "reconciled", summed)
    cut = gradients(trainee, replace(plan, gradient_method="pcgrad"))
    assert cut.keys() == plain.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(cut[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.rule("R24")
@pytest.mark.parametrize("every", [1, 3])
def test_a_gradient_method_runs_on_the_configured_steps(
    every: int, make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A counter that advances only when the method runs never lets it run again."""
    trainee, plan = make(gradients={"method": "pcgrad", "every_steps": every})
    seen: list[int] = []

    def spy(groups: Mapping[str, Tensor], shared: Tensor, method: str, generator: torch.Generator) -> Tensor:
        seen.append(step)
        assert set(groups) == {"binary", "multiclass", "regression"}
        return summed(groups, shared, method, generator)

    monkeypatch.setattr(step_module, "reconciled", spy)
    for step in range(7):
        gradients(trainee, plan, step)
    assert seen == list(range(0, 7, every))


@pytest.mark.rule("R23")
@pytest.mark.parametrize("space", ["parameters", "features"])
def test_affinity_is_measured_on_the_shared_experts(
    space: str, make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not on private experts, gates, baskets, towers."""
    trainee, plan = make(adatt={"space": space, "every_steps": 2})
    given: list[int] = []

    def spy(losses: Mapping[str, Tensor], shared: Sequence[Tensor]) -> None:
        given.append(sum(t.numel() for t in shared))
        assert losses.keys() == {t.name for t in trainee.tasks}

    monkeypatch.setattr(trainee.adatt, "measure", spy)
    for step in range(3):
        gradients(trainee, plan, step)
    widths = sum(trainee.model.experts[name].out_dim for name in trainee.model.expert_names)
    expected = sum(p.numel() for p in trainee.model.experts.parameters()) if space == "parameters" else 64 * widths
    assert given == [expected] * 2


@pytest.mark.rule("R22")
def test_measuring_the_affinity_changes_no_gradient(make: Callable[..., Made]) -> None:
    trainee, plan = make(adatt={"measure": True, "every_steps": 1})
    measured = gradients(trainee, plan)
    assert not torch.equal(trainee.adatt.affinity, torch.eye(len(trainee.tasks)))
    trainee.adatt.rule = replace(trainee.adatt.rule, measure=False)
    for name, gradient in gradients(trainee, plan).items():
        assert torch.equal(gradient, measured[name]), name


@pytest.mark.rule("R02")
@pytest.mark.parametrize(("method", "transfer"), [("uncertainty", False), ("uncertainty", True), ("dwa", False)])
def test_doubling_the_tasks_weights_doubles_their_gradient_on_the_experts(
    method: str, transfer: bool, make: Callable[..., Made]
) -> None:
    """From ``TaskSpec.weight`` to the parameters: exactly one place applies it."""
    trainee, plan = make(
        weighting={"method": method},
        gating={"entropy_weight": 0.0},
        adatt={"enabled": transfer, "measure": False, "warmup_epochs": 0},
    )
    doubled = [replace(task, weight=2 * task.weight) for task in trainee.tasks]
    policy = Policy(**{**shipped("weighting"), "method": method})
    once = gradients(trainee, plan)
    twice = gradients(replace(trainee, tasks=doubled, weighting=build_weighting(doubled, policy)), plan)
    for name in (n for n in once if n.startswith(("experts.deepfm", "experts.temporal", "towers"))):
        torch.testing.assert_close(twice[name], 2 * once[name], rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.rule("R25")
def test_gradnorm_sees_every_step_and_leaves_the_models_gradients_alone(make: Callable[..., Made]) -> None:
    """A step moves nothing but its own weights."""
    trainee, plan = make(weighting={"method": "gradnorm"})
    before = {n: p.detach().clone() for n, p in trainee.model.named_parameters()}
    found = gradients(trainee, plan)
    assert len({round(v, 6) for v in trainee.weighting.state().values()}) > 1
    assert sum(trainee.weighting.state().values()) == pytest.approx(len(trainee.tasks))
    assert all(torch.equal(before[n], p) for n, p in trainee.model.named_parameters())
    assert all(gradient.isfinite().all() for gradient in found.values())


@pytest.mark.rule("R40")
def test_a_label_that_is_infinite_drops_its_task_for_the_step(make: Callable[..., Made]) -> None:
    trainee, plan = make()
    name = next(t.name for t in trainee.tasks if t.kind == "regression")
    trainee.frame.labels[name][trainee.frame.part(FIT)[0]] = float("inf")
    guard = Guard(5, 1.0)
    Stepper(trainee, plan, guard, optimiser_of(trainee), None).accumulate(trainee.frame.part(FIT)[:64], 64, 0)
    guard.end_step(0)
    assert guard.bad_steps == 1
    found = [p.grad for p in trainee.model.experts.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in found)
    assert any(gradient.abs().max() > 0 for gradient in found)  # the other tasks go on


@pytest.mark.rule("R40")
@pytest.mark.parametrize("slices", [64, 16])
def test_a_task_that_stays_infinite_ends_the_training_within_five_steps(make: Callable[..., Made], slices: int) -> None:
    """Through the loop itself, where finite totals and finite norms stand between the bad losses."""
    trainee, plan = make(training={"max_bad_share": 1.0, "max_bad_steps": 5, "batch_rows": 16})
    name = next(t.name for t in trainee.tasks if t.kind == "regression")
    trainee.frame.labels[name][trainee.frame.part(FIT)] = float("inf")
    plan = replace(plan, micro_rows=slices)
    with pytest.raises(TrainingDiverged, match="5 steps in a row") as caught:
        train_epoch(trainee, plan, plan.phases[0], optimiser_of(trainee), Progress(), None)
    assert caught.value.step == 4


def test_what_does_not_fit_into_memory_is_tried_again_with_half_the_rows_and_nothing_held(
    make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainee, plan = make()
    stepper = Stepper(trainee, plan, Guard(5, 1.0), optimiser_of(trainee), None)
    tried: list[int] = []
    held: list[weakref.ref[Tensor]] = []
    accumulate = Stepper.accumulate

    def scarce(self: Stepper, chunk: Tensor, micro_rows: int, step: int) -> bool:
        tried.append(micro_rows)
        if len(tried) == 1:
            big = torch.ones(8)
            held.append(weakref.ref(big))
            raise torch.cuda.OutOfMemoryError("no memory")
        assert held[0]() is None
        return accumulate(self, chunk, micro_rows, step)

    monkeypatch.setattr(Stepper, "accumulate", scarce)
    assert stepper.take(trainee.frame.part(FIT)[:64], 0)
    assert tried == [64, 32]
