"""The network: both gate stages are live, named and start from the prior; every input and parameter matters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pipeline_lib.errors import SettingsError
from pipeline_lib.settings.teacher import EXPERTS, Gating
from pipeline_lib.teacher.frame import Bars, Batch
from pipeline_lib.teacher.gating import Gate, attend, prior_bias, width_scales
from pipeline_lib.teacher.loss import task_losses
from pipeline_lib.teacher.model import TeacherOutput
from pipeline_lib.teacher.setup import plan_of
from tests.unit.teacher.bank import World, world_of

REACHED = {"churn_signal": {"product_stability"}, "nba_primary": {"product_stability"}}
REACHED["top_mcc_shift"] = {"nba_primary", *REACHED["nba_primary"]}
Maker = Callable[..., World]


@pytest.fixture
def make_world(make_context) -> Maker:
    return lambda **teacher: world_of(make_context({"teacher": teacher}))


def some_rows(world: World, count: int = 24) -> tuple[Batch, Tensor]:
    """Rows that have every expert's input."""
    frame = world.frame
    full = frame.steps.offsets.diff() > 2
    for found, _ in frame.bars.values():
        full &= found.offsets.diff() > 0
    seen = world.model.eval().perceive(frame.batch(torch.arange(frame.rows)))
    rows = torch.nonzero(full & seen.avail.all(1)).flatten()[:count]
    assert len(rows) >= 8
    return frame.batch(rows), rows


def answer(world: World, batch: Batch, out: TeacherOutput, gate1: Tensor, gate2: Tensor) -> dict[str, Tensor]:
    model = world.model
    return model.decide(batch.x, *model.combine(batch.x, out.seen.blocks, gate1, gate2))[0]


@pytest.mark.rule("R07")
def test_zeroing_a_stage_2_weight_changes_that_tasks_logit_and_those_it_transfers_to(world: World) -> None:
    model, (batch, _) = world.model.eval(), some_rows(world)
    out = model(batch)
    before = answer(world, batch, out, out.gate_stage1, out.gate_stage2)
    with torch.no_grad():  # a residual edge starts at zero: open it
        model.transfer.blocks["nba_primary__product_stability"][-1].weight.normal_()
    before = answer(world, batch, out, out.gate_stage1, out.gate_stage2)
    for k, task in enumerate(model.task_names):
        for i in range(len(model.expert_names)):
            cut = out.gate_stage2.clone()
            cut[:, k, i] = 0
            after = answer(world, batch, out, out.gate_stage1, cut)
            assert (after[task] - before[task]).abs().max() > 1e-5, (task, model.expert_names[i])
            others = [name for name in model.task_names if name != task and name not in REACHED.get(task, set())]
            assert all(torch.equal(after[name], before[name]) for name in others)


@pytest.mark.rule("R07")
def test_zeroing_a_stage_1_weight_changes_the_logit(world: World) -> None:
    (batch, _), first = some_rows(world), world.model.task_names[0]
    out = world.model.eval()(batch)
    for i in range(out.gate_stage1.shape[2]):
        cut = out.gate_stage1.clone()
        cut[:, 0, i] = 0
        assert (answer(world, batch, out, cut, out.gate_stage2)[first] - out.logits[first]).abs().max() > 1e-5


@pytest.mark.rule("R07")
@pytest.mark.parametrize("stage", ["gate1", "gate2"])
def test_each_tasks_logit_has_a_gradient_on_its_own_gate(world: World, stage: str) -> None:
    model, (batch, _) = world.model.eval(), some_rows(world)
    gate = getattr(model, stage)
    ways = gate.linear.weight.shape[0] // len(model.task_names)
    for k, task in enumerate(model.task_names):
        model.zero_grad()
        model(batch).logits[task].sum().backward()
        grad = gate.linear.weight.grad.unflatten(0, (-1, ways))  # (T, ways, U)
        assert grad[k].abs().max() > 1e-7


@pytest.mark.rule("R07")
def test_the_exposed_weights_are_the_ones_used(world: World) -> None:
    batch, _ = some_rows(world)
    out = world.model.eval()(batch)
    again = answer(world, batch, out, out.gate_stage1, out.gate_stage2)
    assert all(torch.equal(again[name], z) for name, z in out.logits.items())
    torch.testing.assert_close(out.gate_stage2.sum(-1), torch.ones(out.gate_stage2.shape[:2]))


def gating_of(world: World, **changes: object) -> Gating:
    return world.ctx.settings.teacher.gating.model_copy(update=changes)


@pytest.mark.rule("R08")
def test_the_gate_starts_at_the_domain_prior(world: World) -> None:
    out = world.model.eval()(some_rows(world)[0])
    expected = prior_bias(world.model.task_names, EXPERTS, gating_of(world)).softmax(1)
    torch.testing.assert_close(out.gate_stage2, expected.expand(len(out.gate_stage2), -1, -1))


@pytest.mark.rule("R08")
def test_the_prior_over_seven_experts_has_the_published_shares(world: World) -> None:
    three, two = (
        dict(zip(EXPERTS, row.tolist(), strict=True))
        for row in prior_bias(["nba_primary", "next_mcc"], EXPERTS, gating_of(world)).softmax(1)
    )
    assert [round(three[n], 3) for n in ("hgcn", "deepfm", "causal", "optimal_transport")] == [
        0.25,
        0.034,
        0.092,
        0.092,
    ]
    assert [round(two[n], 3) for n in ("temporal", "deepfm", "causal")] == [0.318, 0.043, 0.117]


@pytest.mark.rule("R08")
def test_the_literal_prior_swaps_lightgcn_back_for_hgcn_and_none_is_flat(world: World) -> None:
    literal = prior_bias(["will_acquire_deposits"], EXPERTS, gating_of(world, prior="literal"))[0]
    assert [n for n, b in zip(EXPERTS, literal.tolist(), strict=True) if b > 0] == ["hgcn", "temporal", "perslay"]
    assert prior_bias(["next_mcc"], EXPERTS, gating_of(world, prior="none")).abs().max() == 0


@pytest.mark.rule("R08")
def test_a_task_without_a_prior_row_and_an_unknown_expert_are_refused(world: World) -> None:
    with pytest.raises(SettingsError, match="new_task"):
        prior_bias(["new_task"], EXPERTS, gating_of(world))
    with pytest.raises(SettingsError, match="unified_hgcn"):
        prior_bias(["next_mcc"], ["unified_hgcn"], gating_of(world))


@pytest.mark.rule("R09")
def test_width_scales_are_the_published_constants() -> None:
    scales = width_scales([64, 64, 128, 64, 64, 64, 64]).tolist()
    assert scales[2] == pytest.approx(0.755929, abs=1e-6)
    assert scales[0] == pytest.approx(1.069045, abs=1e-6)


@pytest.mark.rule("R09")
def test_uniform_attention_is_the_scaled_concatenation() -> None:
    experts = [torch.randn(5, 4), torch.randn(5, 8)]
    scales = width_scales([4, 8])
    uniform = torch.full((5, 3, 2), 0.5)
    expected = torch.cat([experts[0] * scales[0], experts[1] * scales[1]], dim=1)
    torch.testing.assert_close(attend(experts, uniform, scales), expected[:, None].expand(-1, 3, -1))


@pytest.mark.rule("R09")
def test_every_block_keeps_its_experts_own_width(world: World, make_settings) -> None:
    blocks = dict(zip(world.model.expert_names, some_rows_blocks(world), strict=True))
    assert blocks["hgcn"] == 12
    assert make_settings("synthetic").teacher.architecture.hgcn.out_dim == 128
    assert not torch.allclose(world.model.scales, torch.ones(7))


def some_rows_blocks(world: World) -> list[int]:
    return [block.shape[1] for block in world.model.perceive(some_rows(world)[0]).blocks]


@pytest.mark.rule("R10")
def test_the_gate_type_changes_the_answers(make_world: Maker) -> None:
    found = {}
    for gate_type in ("softmax", "sigmoid_norm", "sigmoid_raw"):
        world = make_world(gating={"gate_type": gate_type})
        out = world.model.eval()(some_rows(world)[0])
        found[gate_type] = out.logits["churn_signal"]
        total = out.gate_stage2.sum(-1)
        assert torch.allclose(total, torch.ones_like(total)) == (gate_type != "sigmoid_raw")
    assert (found["softmax"] - found["sigmoid_norm"]).abs().max() > 1e-4
    assert (found["sigmoid_raw"] - found["sigmoid_norm"]).abs().max() > 1e-4


@pytest.mark.parametrize("gate_type", ["softmax", "sigmoid_norm"])
def test_a_missing_expert_gets_no_weight_and_all_missing_is_uniform(gate_type: str) -> None:
    gate = Gate(4, 3, 2, gate_type, torch.zeros(2, 3))
    with torch.no_grad():
        gate.linear.weight.normal_()
    open_ways = torch.tensor([[True, False, True], [False, False, False]])
    weights = gate(torch.randn(2, 4), open_ways)
    assert weights[0, :, 1].max() == 0
    torch.testing.assert_close(weights[0].sum(-1), torch.ones(2))
    torch.testing.assert_close(weights[1], torch.full((2, 3), 1 / 3))


def test_without_attention_stage_2_is_uniform_and_has_no_gradient(make_world: Maker) -> None:
    world = make_world(gating={"stage2": False})
    batch, _ = some_rows(world)
    out = world.model(batch)
    torch.testing.assert_close(out.gate_stage2, torch.full_like(out.gate_stage2, 1 / 7))
    assert not any(p.requires_grad for p in world.model.gate2.parameters())


@pytest.mark.rule("R12")
def test_a_row_without_events_uses_the_learned_default(world: World) -> None:
    model = world.model.eval()
    empty = torch.nonzero(world.frame.steps.offsets.diff() == 0).flatten()[:5]
    batch = world.frame.batch(empty)
    place = model.expert_names.index("temporal")
    with torch.no_grad():
        model.defaults["temporal"].normal_()
    out = model(batch)
    assert not out.seen.avail[:, place].any()
    torch.testing.assert_close(out.seen.blocks[place], model.defaults["temporal"].expand(5, -1))
    assert out.gate_stage2[:, :, place].max() == 0


@pytest.mark.rule("R11")
@pytest.mark.parametrize("name", ["x", "steps", "days", "length", "gap", "edges", "short", "long", "bar_count"])
def test_every_input_reaches_some_logit(world: World, name: str) -> None:
    model, (batch, _) = world.model.eval(), some_rows(world)
    before, after = model(batch).logits, model(changed(batch, name)).logits
    assert max((after[t] - before[t]).abs().max() for t in before) > 1e-5


def changed(batch: Batch, name: str) -> Batch:
    """The batch with one tensor moved."""
    if name in batch.bars:
        own = batch.bars[name]
        moved = own.points + torch.tensor([0.0, 0.5, 0.0])
        return replace(batch, bars={**batch.bars, name: Bars(moved, own.count)})
    if name == "bar_count":
        own = batch.bars["long"]
        return replace(batch, bars={**batch.bars, "long": Bars(own.points, own.count - 1)})
    value = getattr(batch, name)
    return replace(batch, **{name: value - 1 if name == "length" else value + torch.rand_like(value)})


@pytest.mark.rule("R11")
def test_every_column_that_a_group_declares_reaches_some_logit(world: World) -> None:
    model, (batch, _) = world.model.eval(), some_rows(world)
    before = model(batch).logits
    for group in world.inputs.groups:
        if group.block == "mask":
            continue
        x = batch.x.clone()
        x[:, group.start : group.end] += torch.rand(len(x), group.end - group.start)
        after = model(replace(batch, x=x)).logits
        assert max((after[t] - before[t]).abs().max() for t in before) > 1e-5, group.name


@pytest.mark.rule("R11")
def test_every_parameter_gets_a_gradient_in_a_full_step(world: World) -> None:
    rows, shape = world.frame.part("fit"), plan_of(world.ctx.settings.teacher).loss
    with torch.no_grad():  # where a residual edge starts at zero, what feeds it has no gradient yet
        world.model.transfer.blocks["nba_primary__product_stability"][-1].weight.normal_()
    out = world.model.train()(world.frame.batch(rows))
    losses = task_losses(world.tasks, out.logits, world.frame.targets(rows), shape)
    (sum(losses.values()) + sum(out.seen.aux.values())).backward()
    dead = [n for n, p in world.model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    # Experts that every row feeds never need their default.
    always = {f"defaults.{name}" for name in ("deepfm", "causal", "optimal_transport")}
    # The behaviour mode has no mask here, so its default is never used either.
    assert set(dead) - always - {"states.default.behavior"} == set()


@pytest.mark.rule("R37")
def test_a_rows_answer_does_not_depend_on_its_batch(world: World) -> None:
    model, (batch, rows) = world.model.eval(), some_rows(world)
    together = model(batch)
    for i in (0, 7):
        alone = model(world.frame.batch(rows[i : i + 1]))
        for name, z in alone.logits.items():
            torch.testing.assert_close(z[0], together.logits[name][i], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(alone.gate_stage2[0], together.gate_stage2[i], atol=1e-6, rtol=1e-5)


@pytest.mark.rule("R20")
@pytest.mark.parametrize(("key", "count"), [("group_type", 9), ("group", 4), ("task", 13)])
def test_encoders_are_shared_by_policy(key: str, count: int, make_settings) -> None:
    from pipeline_lib.teacher.contract import TaskSpec
    from pipeline_lib.teacher.model import shared_encoders

    policy = make_settings("synthetic").tasks
    tasks = [TaskSpec(n, t.kind, t.group, t.classes or 1, t.weight, t.focal_alpha) for n, t in policy.tasks.items()]
    assert len(set(shared_encoders(tasks, key))) == count


def test_frozen_perception_stays_in_evaluation_mode_and_comes_back_frozen(world: World) -> None:
    model = world.model.train()
    model.freeze_perception()
    assert model.training
    assert not model.experts.training
    assert model.baskets.training
    assert not any(p.requires_grad for p in [*model.experts.parameters(), *model.gate2.parameters()])
    other = world_of(world.ctx).model
    other.load_state_dict(model.state_dict())
    assert not any(p.requires_grad for p in other.experts.parameters())
    assert all(p.requires_grad for p in other.baskets.parameters())
