"""Logit transfer: order, cycles, and residual edges that start at nothing. Rule R21."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from pipeline_lib.errors import SettingsError
from pipeline_lib.settings.teacher.structure import TransferEdge
from pipeline_lib.teacher.contract import TaskSpec
from pipeline_lib.teacher.towers import Towers
from pipeline_lib.teacher.transfer import Transfer

NAMES = ["d", "c", "b", "a"]
TASKS = [TaskSpec(n, "multiclass" if n == "c" else "binary", "g", 3 if n == "c" else 1, 1.0, None) for n in NAMES]
WIDTH = 6


def edge(source: str, target: str, mode: str = "residual", detach: bool = False) -> TransferEdge:
    return TransferEdge(source=source, target=target, mode=mode, detach=detach)


def transfer(*edges: TransferEdge, tasks: Sequence[TaskSpec] = TASKS) -> Transfer:
    torch.manual_seed(0)
    return Transfer(edges, tasks, NAMES, WIDTH, 0.5)


def states(module: Transfer, h: torch.Tensor) -> dict[int, torch.Tensor]:
    """Every task's state after its transfers, with towers of fixed weights."""
    torch.manual_seed(1)
    towers = Towers([t.name for t in TASKS], [t.out for t in TASKS], WIDTH, [4], 0.0)
    hidden: dict[int, torch.Tensor] = {}
    logits: dict[int, torch.Tensor] = {}
    for level in module.levels:
        for task in level:
            hidden[task] = module.receive(task, h[:, task], hidden, logits)
        found = towers(torch.stack([hidden[t] for t in level], dim=1), level)
        logits.update(zip(level, found, strict=True))
    return hidden


@pytest.mark.rule("R21")
def test_zero_initialised_residuals_are_no_edges_at_all() -> None:
    h = torch.randn(5, 4, WIDTH)
    found = states(transfer(edge("a", "b"), edge("c", "b"), edge("b", "d")), h)
    assert all(torch.equal(found[i], h[:, i]) for i in range(4))


@pytest.mark.rule("R21")
def test_a_residual_keeps_the_magnitude_of_a_scalar_source() -> None:
    module = transfer(edge("a", "b"))
    torch.nn.init.normal_(module.blocks["a__b"][-1].weight)
    block = module.blocks["a__b"]
    low, middle, high = (block(torch.tensor([[p]])) for p in (0.1, 0.5, 0.9))
    assert (high - low).norm() > 1.2 * (middle - low).norm() > 0


@pytest.mark.rule("R21")
@pytest.mark.parametrize("mode", ["output_concat", "hidden_concat", "residual"])
def test_a_source_changes_its_target_and_nothing_before_it(mode: str) -> None:
    module, h = transfer(edge("c", "b", mode)), torch.randn(5, 4, WIDTH)
    if mode == "residual":
        torch.nn.init.normal_(module.blocks["c__b"][-1].weight)
    moved = h.clone()
    moved[:, NAMES.index("c")] += 1
    before, after = states(module, h), states(module, moved)
    assert not torch.allclose(before[NAMES.index("b")], after[NAMES.index("b")])
    assert all(torch.equal(before[NAMES.index(n)], after[NAMES.index(n)]) for n in ("a", "d"))


@pytest.mark.rule("R21")
def test_several_sources_reach_one_target() -> None:
    module, h = transfer(edge("a", "b", "output_concat"), edge("c", "b", "hidden_concat")), torch.randn(5, 4, WIDTH)
    for source in ("a", "c"):
        moved = h.clone()
        moved[:, NAMES.index(source)] += 1
        assert not torch.allclose(states(module, h)[2], states(module, moved)[2])


@pytest.mark.rule("R21")
@pytest.mark.parametrize("detach", [True, False])
def test_detach_stops_the_gradient_at_the_source(detach: bool) -> None:
    module, h = transfer(edge("a", "b", "hidden_concat", detach)), torch.randn(5, 4, WIDTH, requires_grad=True)
    states(module, h)[NAMES.index("b")].sum().backward()
    assert (h.grad[:, NAMES.index("a")].abs().max() == 0) == detach


@pytest.mark.rule("R21")
def test_the_order_is_stable_whatever_the_order_of_the_edges() -> None:
    edges = [edge("a", "b"), edge("b", "d"), edge("c", "d")]
    assert transfer(*edges).levels == transfer(*reversed(edges)).levels == [[1, 3], [2], [0]]


@pytest.mark.rule("R21")
@pytest.mark.parametrize(
    ("edges", "what"),
    [
        ([edge("a", "b"), edge("b", "c"), edge("c", "a")], "cycle"),
        ([edge("a", "a")], "to themselves"),
        ([edge("a", "x")], "'x'"),
        ([edge("a", "b"), edge("a", "b", "output_concat")], "twice"),
    ],
)
def test_what_is_no_order_is_refused(edges: list[TransferEdge], what: str) -> None:
    with pytest.raises(SettingsError, match=what):
        transfer(*edges)


def test_a_cycle_is_refused_also_where_one_of_its_tasks_is_not_active() -> None:
    with pytest.raises(SettingsError, match="cycle"):
        transfer(edge("a", "b"), edge("b", "a"), tasks=TASKS[:2])


def test_an_edge_of_a_task_that_is_not_active_is_passed_over() -> None:
    assert len(transfer(edge("a", "b"), edge("c", "b"), tasks=TASKS[1:3]).blocks) == 1
