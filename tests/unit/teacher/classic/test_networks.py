"""Classical networks: batched experts are what plain loops over experts and tasks say."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pipeline_lib.teacher.classic import PLE, MMoE, SharedBottom
from pipeline_lib.teacher.classic.ensemble import BatchEnsemble
from pipeline_lib.teacher.classic.ple import Extraction
from pipeline_lib.teacher.layers import TaskLinear

TASKS = {"income": 1, "channel": 4, "married": 1}
B, D = 7, 11
SHAPE = {"hidden": (10, 6), "tower": (5,)}
FAMILY: dict[str, Callable[[], nn.Module]] = {
    "shared": lambda: SharedBottom(D, TASKS, **SHAPE),
    "mmoe": lambda: MMoE(D, TASKS, experts=4, **SHAPE),
    "ple-1": lambda: PLE(D, TASKS, levels=1, **SHAPE),
    "ple-2": lambda: PLE(D, TASKS, own=2, shared=3, levels=2, **SHAPE),
    "ple-3": lambda: PLE(D, TASKS, levels=3, **SHAPE),
    "ensemble": lambda: BatchEnsemble(D, TASKS, (10, 6), members=3),
}


def built(name: str) -> nn.Module:
    torch.manual_seed(3)
    return FAMILY[name]().double()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(B, D, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def one(layer: TaskLinear, k: int, x: Tensor) -> Tensor:
    """Row k of a batched layer as the plain product it stands for."""
    return x @ layer.weight[k] + layer.bias[k]


def mlp(stack: nn.Sequential, k: int, x: Tensor) -> Tensor:
    """Expert k of a batched stack, alone."""
    for layer in stack:
        x = one(layer, k, x) if isinstance(layer, TaskLinear) else layer(x)
    return x


def heads(net: nn.Module, h: list[Tensor]) -> dict[str, Tensor]:
    """Towers one task at a time. Tasks of one width are in the order of their names."""
    out, used = {}, dict.fromkeys(TASKS.values(), 0)
    for k, (name, width) in enumerate(TASKS.items()):
        logits = one(net.heads.last[str(width)], used[width], mlp(net.heads.towers.stack, k, h[k]))
        out[name] = logits[:, 0] if width == 1 else logits
        used[width] += 1
    return out


def by_loops(net: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The papers' formulas, one expert and one task at a time."""
    if isinstance(net, SharedBottom):
        return heads(net, [net.trunk(x)] * len(TASKS))
    if isinstance(net, MMoE):
        experts = [mlp(net.experts.stack, e, x) for e in range(4)]
        gates = [one(net.gates, t, x).softmax(-1) for t in range(len(TASKS))]
        return heads(net, [sum(g[:, e : e + 1] * f for e, f in enumerate(experts)) for g in gates])
    streams = [x] * (len(TASKS) + 1)
    for level in net.levels:
        streams = extraction_by_loops(level, streams)
    return heads(net, streams)


def extraction_by_loops(level: Extraction, streams: list[Tensor]) -> list[Tensor]:
    tasks, own = len(TASKS), level._own
    owners = level.streams.tolist()
    experts = [mlp(level.experts.stack, e, streams[s]) for e, s in enumerate(owners)]
    shared = experts[tasks * own :]
    out = []
    for t in range(tasks):
        seen = experts[t * own : (t + 1) * own] + shared
        gate = one(level.gates, t, streams[t]).softmax(-1)
        out.append(sum(gate[:, e : e + 1] * f for e, f in enumerate(seen)))
    if level.shared_gate is not None:
        gate = level.shared_gate(streams[-1]).softmax(-1)
        out.append(sum(gate[:, e : e + 1] * f for e, f in enumerate(experts)))
    return out


@pytest.mark.parametrize("name", [n for n in FAMILY if n != "ensemble"])
def test_batched_experts_are_the_plain_loop(name: str, x: Tensor) -> None:
    net = built(name)
    got, expected = net(x), by_loops(net, x)
    assert list(got) == list(TASKS)
    for task in TASKS:
        torch.testing.assert_close(got[task].double(), expected[task], rtol=1e-5, atol=1e-6)


def test_every_member_of_an_ensemble_is_a_network_of_its_own(x: Tensor) -> None:
    net = built("ensemble")
    got = net(x)
    for m in range(3):
        h = x
        for layer in net.trunk:
            h = (
                ((h * layer.r[m]) @ layer.shared.weight.T * layer.s[m] + layer.bias[m])
                if hasattr(layer, "r")
                else h.relu()
            )
        logits = one(net.last, m, h)
        expected = {"income": logits[:, 0], "channel": logits[:, 1:5], "married": logits[:, 5]}
        for task in TASKS:
            torch.testing.assert_close(got[task][:, m].double(), expected[task], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FAMILY)
def test_every_parameter_is_reached_by_gradients(name: str, x: Tensor) -> None:
    net = built(name)
    sum(z.sin().sum() for z in net(x).values()).backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum()] == []


@pytest.mark.parametrize("name", FAMILY)
def test_rows_do_not_see_each_other(name: str, x: Tensor) -> None:
    net = built(name)
    alone = net(x[2:3])
    for task, z in net(x).items():
        torch.testing.assert_close(z[2:3], alone[task])


@pytest.mark.rule("R34")
def test_the_shared_bottom_has_no_gate_and_nothing_to_mix(x: Tensor) -> None:
    """One trunk: its parameters are those of a plain MLP and of the heads, and every task reads the same h."""
    net = built("shared")
    assert {n.split(".")[0] for n, _ in net.named_parameters()} == {"trunk", "heads"}
    assert [p.shape for p in net.trunk.parameters()] == [(10, D), (10,), (6, 10), (6,)]
    assert not [n for n, _ in net.named_modules() if "gate" in n or "expert" in n]
    seen = []
    net.heads.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    net(x)
    assert (seen[0] == seen[0][:, :1]).all()


@pytest.mark.rule("R34")
def test_mmoe_and_ple_do_have_gates_that_depend_on_the_row(x: Tensor) -> None:
    gates = {"mmoe": built("mmoe").gate_weights(x), "ple": built("ple-2").levels[0].gate_weights(x)}
    for weights in gates.values():
        torch.testing.assert_close(weights.sum(-1), torch.ones(B, len(TASKS)).to(weights))
        assert weights.std(0).min() > 1e-3


def test_a_task_never_sees_the_own_experts_of_another_at_the_last_level(x: Tensor) -> None:
    """The only way from task to task in PLE is the shared stream; one level has none."""
    net = built("ple-1")
    net(x)["income"].sum().backward()
    first = net.levels[0].experts.stack[0].weight.grad  # (T + 1, D, H): own experts, then the shared one
    assert [bool(g.abs().sum()) for g in first] == [True, False, False, True]


def test_stacked_levels_pass_other_tasks_experts_through_the_shared_stream(x: Tensor) -> None:
    net = built("ple-3")
    net(x)["income"].sum().backward()
    assert all(g.abs().sum() for g in net.levels[0].experts.stack[0].weight.grad)
    last = net.levels[-1].experts.stack[0].weight.grad
    assert [bool(g.abs().sum()) for g in last] == [True, False, False, True]


def test_ensemble_members_start_apart_and_share_the_matrices(x: Tensor) -> None:
    net = built("ensemble")
    z = net(x)["income"]
    assert z.shape == (B, 3)
    assert z.std(1).min() > 0
    assert [n for n, p in net.named_parameters() if p.shape == (10, D)] == ["trunk.0.shared.weight"]
