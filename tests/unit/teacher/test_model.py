"""The network: both gate stages are live, named and start from the prior; every input and parameter matters."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pipeline_lib.errors import SettingsError
from pipeline_lib.teacher.frame import Batch
from pipeline_lib.teacher.gating import Gate, attend, prior_bias, width_scales
from pipeline_lib.teacher.loss import LossShape, task_losses
from tests.unit.teacher.bank import World

SEVEN = ["deepfm", "lightgcn", "hgcn", "temporal", "perslay", "causal", "optimal_transport"]


def some_rows(world: World, count: int = 24) -> tuple[Batch, Tensor]:
    lengths = world.frame.offsets.diff()
    rows = torch.nonzero((lengths > 2) & (world.frame.edges.sum(1) > 0)).flatten()[:count]
    return world.frame.batch(rows), rows


def test_zeroing_a_stage_2_weight_changes_that_tasks_logit_and_no_other(world: World) -> None:
    model, (batch, _) = world.model.eval(), some_rows(world)
    seen = model.perceive(batch)
    gate1, gate2 = model.gates(seen)
    before = model.answer(batch, seen, gate1, gate2)
    for k, task in enumerate(model.task_names):
        for i in range(len(model.expert_names)):
            cut = gate2.clone()
            cut[:, k, i] = 0
            after = model.answer(batch, seen, gate1, cut)
            assert (after[task] - before[task]).abs().max() > 1e-5, (task, model.expert_names[i])
            others = [name for name in model.task_names if name != task]
            assert all(torch.equal(after[name], before[name]) for name in others)


def test_zeroing_a_stage_1_weight_changes_the_logit(world: World) -> None:
    model, (batch, _) = world.model.eval(), some_rows(world)
    seen = model.perceive(batch)
    gate1, gate2 = model.gates(seen)
    before = model.answer(batch, seen, gate1, gate2)
    for i in range(gate1.shape[2]):
        cut = gate1.clone()
        cut[:, 0, i] = 0
        assert (
            model.answer(batch, seen, cut, gate2)[model.task_names[0]] - before[model.task_names[0]]
        ).abs().max() > 1e-5


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
        assert all(grad[j].abs().max() == 0 for j in range(len(model.task_names)) if j != k)


def test_the_exposed_weights_are_the_ones_used(world: World) -> None:
    model, (batch, _) = world.model.eval(), some_rows(world)
    out = model(batch)
    again = model.answer(batch, out.seen, out.gate_stage1, out.gate_stage2)
    assert all(torch.equal(again[name], z) for name, z in out.logits.items())
    torch.testing.assert_close(out.gate_stage2.sum(-1), torch.ones(out.gate_stage2.shape[:2]))


def test_the_gate_starts_at_the_domain_prior(world: World) -> None:
    out = world.model.eval()(some_rows(world)[0])
    policy = world.ctx.settings.teacher.gating
    preferred = policy.preferred["churn_signal"]
    bias = torch.tensor(
        [policy.preferred_bias if n in preferred else policy.other_bias for n in world.model.expert_names]
    )
    torch.testing.assert_close(out.gate_stage2[:, 0], bias.softmax(0).expand(len(out.gate_stage2), -1))


def test_the_prior_over_seven_experts_has_the_published_shares() -> None:
    neutral = ["causal", "optimal_transport"]
    rows = prior_bias(
        ["three", "two"],
        SEVEN,
        {"three": ["lightgcn", "temporal", "perslay"], "two": ["temporal", "hgcn"]},
        neutral,
        1.0,
        -1.0,
    )
    three, two = rows.softmax(1)
    named = dict(zip(SEVEN, three.tolist(), strict=True))
    assert (round(named["temporal"], 3), round(named["deepfm"], 3), round(named["causal"], 3)) == (0.25, 0.034, 0.092)
    named = dict(zip(SEVEN, two.tolist(), strict=True))
    assert (round(named["hgcn"], 3), round(named["deepfm"], 3), round(named["causal"], 3)) == (0.318, 0.043, 0.117)


def test_a_task_without_a_prior_row_is_refused() -> None:
    with pytest.raises(SettingsError, match="new_task"):
        prior_bias(["new_task"], SEVEN, {}, [], 1.0, -1.0)


def test_width_scales_are_the_published_constants() -> None:
    scales = width_scales([64, 64, 128, 64, 64, 64, 64]).tolist()
    assert scales[2] == pytest.approx(0.755929, abs=1e-6)
    assert scales[0] == pytest.approx(1.069045, abs=1e-6)


def test_uniform_attention_is_the_scaled_concatenation() -> None:
    experts = [torch.randn(5, 4), torch.randn(5, 8)]
    scales = width_scales([4, 8])
    uniform = torch.full((5, 3, 2), 0.5)
    expected = torch.cat([experts[0] * scales[0], experts[1] * scales[1]], dim=1)
    torch.testing.assert_close(attend(experts, uniform, scales), expected[:, None].expand(-1, 3, -1))


def test_a_missing_expert_gets_no_weight_and_all_missing_is_uniform() -> None:
    gate = Gate(4, 3, 2, torch.zeros(2, 3))
    open_ways = torch.tensor([[True, False, True], [False, False, False]])
    weights = gate(torch.randn(2, 4), open_ways)
    torch.testing.assert_close(weights[0], torch.tensor([[0.5, 0.0, 0.5]] * 2))
    torch.testing.assert_close(weights[1], torch.full((2, 3), 1 / 3))


def test_a_row_without_events_uses_the_learned_default(world: World) -> None:
    model = world.model.eval()
    empty = torch.nonzero(world.frame.offsets.diff() == 0).flatten()[:5]
    batch = world.frame.batch(empty)
    place = model.expert_names.index("temporal")
    with torch.no_grad():
        model.defaults["temporal"].normal_()
    out = model(batch)
    assert not out.seen.avail[:, place].any()
    torch.testing.assert_close(out.seen.blocks[place], model.defaults["temporal"].expand(5, -1))
    assert out.gate_stage2[:, :, place].max() == 0


def test_only_rows_without_events_train_the_default(world: World) -> None:
    batch, _ = some_rows(world)
    sum(z.sum() for z in world.model(batch).logits.values()).backward()
    assert world.model.defaults["temporal"].grad.abs().max() == 0


@pytest.mark.parametrize("name", ["x", "steps", "days", "length", "gap", "edges"])
def test_every_input_reaches_some_logit(world: World, name: str) -> None:
    model, (batch, _) = world.model.eval(), some_rows(world)
    value = getattr(batch, name)
    other = replace(batch, **{name: value - 1 if name == "length" else value + torch.rand_like(value)})
    before, after = model(batch).logits, model(other).logits
    assert max((after[t] - before[t]).abs().max() for t in before) > 1e-5


def test_every_parameter_gets_a_gradient_in_a_full_step(world: World) -> None:
    rows = world.frame.part("fit")
    out = world.model.train()(world.frame.batch(rows))
    losses = task_losses(world.tasks, out.logits, world.frame.targets(rows), LossShape(2.0, 1.0, 0.0))
    (sum(losses.values()) + sum(out.seen.aux.values())).backward()
    dead = [n for n, p in world.model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    # DeepFM always has its input, so its default is never used.
    assert [name for name in dead if not name.startswith("defaults.")] == []


def test_a_rows_answer_does_not_depend_on_its_batch(world: World) -> None:
    model, (batch, rows) = world.model.eval(), some_rows(world)
    together = model(batch).logits
    for i in (0, 7):
        alone = model(world.frame.batch(rows[i : i + 1])).logits
        for name, z in alone.items():
            torch.testing.assert_close(z[0], together[name][i], atol=1e-5, rtol=1e-5)


def test_tasks_of_one_group_and_kind_share_an_encoder(world: World) -> None:
    owner = world.model.baskets.stack[0].owner.tolist()
    kinds = [(t.group, t.kind) for t in world.tasks]
    assert len(set(owner)) == len(set(kinds))
