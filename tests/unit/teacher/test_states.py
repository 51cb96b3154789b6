"""Slow states: routed by task, defaults for rows without them, constant width. Rules R19 and R20."""

from __future__ import annotations

import pytest
import torch

from pipeline_lib.errors import SettingsError
from pipeline_lib.teacher.contract import Mode
from pipeline_lib.teacher.layers import TaskMLP
from pipeline_lib.teacher.states import ClusterEmbedding, HiddenStates

MODES = (Mode("journey", 0, 3, 6), Mode("lifecycle", 3, 6, -1))
ROUTES = {"a": "journey", "b": "lifecycle", "c": "journey", "d": "behavior"}


def states() -> HiddenStates:
    torch.manual_seed(0)
    return HiddenStates(MODES, list(ROUTES), ROUTES, 4)


def rows(valid: list[float]) -> torch.Tensor:
    x = torch.randn(len(valid), 7)
    x[:, 6] = torch.tensor(valid)
    return x


@pytest.mark.rule("R19")
def test_the_default_is_used_and_trained_for_invalid_rows_only() -> None:
    module, x = states(), rows([1.0, 0.0])
    with torch.no_grad():
        module.default["journey"].normal_()
    out = module(x)
    assert torch.equal(out[1, 0], module.default["journey"])
    assert not torch.equal(out[0, 0], module.default["journey"])
    out[0, 0].sum().backward()
    assert module.default["journey"].grad.abs().max() == 0
    module.zero_grad()
    module(x)[1, 0].sum().backward()
    assert module.default["journey"].grad.abs().min() > 0
    assert all(p.grad is None or p.grad.abs().max() == 0 for p in module.project["journey"].parameters())


@pytest.mark.rule("R19")
def test_each_task_reads_its_own_mode_and_no_other() -> None:
    module, x = states(), rows([1.0, 1.0])
    before = module(x)
    for start, changed in ((0, {"a", "c"}), (3, {"b"})):
        moved = x.clone()
        moved[:, start : start + 3] += 1
        after = module(moved)
        assert {t for i, t in enumerate(ROUTES) if not torch.equal(after[:, i], before[:, i])} == changed


@pytest.mark.rule("R19")
def test_projectors_are_distinct() -> None:
    module = states()
    first, second = (module.project[m][0].weight for m in ("journey", "lifecycle"))
    assert first.data_ptr() != second.data_ptr()
    assert not torch.equal(first, second)


def test_a_mode_that_the_source_lacks_is_the_default_of_the_same_width() -> None:
    module = states()
    assert torch.equal(module(rows([1.0]))[0, 3], module.default["behavior"])


def test_a_task_without_a_mode_is_refused() -> None:
    with pytest.raises(SettingsError, match="new_task"):
        HiddenStates(MODES, ["new_task"], {}, 4)


@pytest.mark.rule("R20")
def test_a_certain_cluster_is_exactly_its_row_and_soft_is_the_mean_of_rows() -> None:
    embedding = ClusterEmbedding((1, 4), 5, "soft")
    x = torch.tensor([[9.0, 0, 1, 0], [9.0, 0.5, 0.5, 0]])
    out = embedding(x)
    assert torch.equal(out[0], embedding.table[1])
    torch.testing.assert_close(out[1], (embedding.table[0] + embedding.table[1]) / 2)


@pytest.mark.rule("R20")
def test_hard_routing_takes_the_likeliest_cluster() -> None:
    embedding = ClusterEmbedding((0, 3), 5, "hard")
    assert torch.equal(embedding(torch.tensor([[0.2, 0.5, 0.3]]))[0], embedding.table[1])


@pytest.mark.rule("R20")
@pytest.mark.parametrize(("at", "routing"), [((0, 0), "soft"), ((0, 3), "off")])
def test_without_clusters_the_width_stays(at: tuple[int, int], routing: str) -> None:
    embedding = ClusterEmbedding(at, 5, routing)
    assert embedding(torch.rand(2, 3)).shape == (2, 5)
    assert embedding.default is not None


def parameters(encoders: int, width: int, hidden: list[int]) -> int:
    module = TaskMLP(width, hidden, 32, 0.2, range(encoders))
    return sum(p.numel() for p in module.parameters())


@pytest.mark.rule("R20")
def test_shared_encoders_cut_the_legacy_baskets_by_88_percent() -> None:
    """13 tasks x 20 clusters of about 9.4k parameters each; ours with the 20 x 32 embedding. Source: section 8."""
    legacy, embedding = 13 * 20 * 9_400, 20 * 32
    by_type, by_group = (parameters(n, 640, hidden) + embedding for n, hidden in ((9, [40, 40]), (4, [96, 64])))
    assert by_type == 259_984
    assert by_group == 281_472
    assert max(by_type, by_group) <= 0.12 * legacy
