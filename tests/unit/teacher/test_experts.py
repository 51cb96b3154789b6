"""Each expert: one shared run over all of them, then what is particular to one."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.errors import SchemaError
from pipeline_lib.settings.teacher import BuiltExpert
from pipeline_lib.teacher import experts
from pipeline_lib.teacher.contract import Inputs
from pipeline_lib.teacher.experts import build_experts
from pipeline_lib.teacher.experts.deepfm import DeepFM, pairwise
from pipeline_lib.teacher.experts.lightgcn import LightGCN
from pipeline_lib.teacher.frame import Batch
from tests.unit.teacher.bank import World

NAMES = sorted(
    path.stem for path in Path(experts.__file__).parent.glob("*.py") if path.stem not in {"__init__", "base"}
)


def test_the_files_are_the_registry() -> None:
    assert sorted(get_args(BuiltExpert)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_output_is_finite_normalised_and_of_the_promised_width(world: World, name: str) -> None:
    torch.manual_seed(0)
    expert = build_experts([name], world.inputs, world.ctx.settings.teacher.architecture)[name]
    expert.fit_structure(world.frame, world.frame.part("fit"))
    batch = world.frame.batch(torch.arange(world.frame.rows))
    out = expert(batch)
    assert out.h.shape == (world.frame.rows, expert.out_dim)
    assert torch.isfinite(out.h).all()
    norm = float(out.h[expert.available(batch)].detach().square().sum(1).mean())
    assert norm == pytest.approx(expert.out_dim, rel=0.2)
    assert all(torch.isfinite(value) and value.dim() == 0 for value in out.aux.values())


@pytest.mark.parametrize("name", NAMES)
def test_output_varies_over_rows(world: World, name: str) -> None:
    torch.manual_seed(0)
    expert = build_experts([name], world.inputs, world.ctx.settings.teacher.architecture)[name].eval()
    expert.fit_structure(world.frame, world.frame.part("fit"))
    batch = world.frame.batch(torch.arange(world.frame.rows))
    assert expert(batch).h[expert.available(batch)].std(0).mean() > 1e-2


def test_shipped_widths_stay_in_the_parameter_budget(world: World) -> None:
    """At the widths of the demo bank: each expert below 200 thousand, all below 2 million. Source: teacher.md 1."""
    from pipeline_lib.settings import load
    from pipeline_lib.settings.place import Place

    fields = tuple((f"g{i}", 20 * i, 20 * i + 20) for i in range(12))
    inputs = Inputs("h", 240, fields, tuple(range(60)), 14, 64, 133)
    built = build_experts(NAMES, inputs, load("synthetic", Place()).teacher.architecture)
    sizes = {name: sum(p.numel() for p in expert.parameters()) for name, expert in built.items()}
    assert all(5_000 < size < 200_000 for size in sizes.values()), sizes
    assert sum(sizes.values()) < 2_000_000


@given(st.integers(2, 7), st.integers(1, 5), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_pairwise_is_the_double_loop_over_field_pairs(fields: int, width: int, seed: int) -> None:
    v = torch.randn(3, fields, width, generator=torch.Generator().manual_seed(seed)).double()
    expected = sum(v[:, f] * v[:, g] for f in range(fields) for g in range(f + 1, fields))
    torch.testing.assert_close(pairwise(v), expected)


def test_a_single_field_has_nothing_to_cross() -> None:
    with pytest.raises(SchemaError, match="two feature groups"):
        DeepFM([(0, 5)], 4, [8], 8, 0.0)


def batch_of(edges: torch.Tensor) -> Batch:
    n = len(edges)
    nothing = torch.zeros(n, 1)
    return Batch(nothing, nothing[..., None], nothing, torch.ones(n).long(), torch.zeros(n), edges)


def test_lightgcn_hops_are_propagation_on_the_whole_bipartite_graph() -> None:
    """Against the paper's adjacency with customers that start at zero: the odd layers of the customers."""
    torch.manual_seed(0)
    train = (torch.rand(40, 6) < 0.4).float()
    expert = LightGCN(items=6, item_dim=5, hops=3, hidden=8, out_dim=4, dropout=0.0)
    expert.fit_graph(train)
    n, m = train.shape
    adjacency = np.zeros((n + m, n + m))
    adjacency[:n, n:], adjacency[n:, :n] = train, train.T
    degree = adjacency.sum(1)
    root = np.divide(1, np.sqrt(degree), out=np.zeros(n + m), where=degree > 0)
    step = root[:, None] * adjacency * root
    layer = np.vstack([np.zeros((n, 5)), expert.items.detach().numpy()])
    odd = []
    for hop in range(1, 6):
        layer = step @ layer
        if hop % 2:
            odd.append(layer[:n])
    row = expert._row(train)
    table = torch.stack([torch.matrix_power(expert.two_hop, k) @ expert.items for k in range(3)])
    for k in range(3):
        np.testing.assert_allclose((row @ table[k]).detach().numpy(), odd[k], atol=1e-5)


def test_lightgcn_learns_its_graph_from_train_rows_alone(world: World) -> None:
    expert = world.model.experts["lightgcn"]
    outside = world.frame.part("stop", "calib", "fidelity", "gate", "serve")
    before = expert.two_hop.clone()
    world.frame.edges[outside] = 5.0
    expert.fit_structure(world.frame, world.frame.part("fit"))
    assert torch.equal(expert.two_hop, before)


def test_lightgcn_answers_for_a_customer_it_has_never_seen_and_marks_one_without_edges() -> None:
    torch.manual_seed(0)
    expert = LightGCN(6, 5, 2, 8, 4, 0.0).eval()
    expert.fit_graph((torch.rand(40, 6) < 0.4).float())
    edges = torch.tensor([[1.0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0]])
    out = expert(batch_of(edges))
    assert torch.isfinite(out.h).all()
    assert expert.available(batch_of(edges)).tolist() == [True, False]


def test_lightgcn_refuses_negative_edges() -> None:
    with pytest.raises(SchemaError, match="negative"):
        LightGCN(2, 4, 1, 4, 4, 0.0).fit_graph(torch.tensor([[1.0, -1.0]]))
