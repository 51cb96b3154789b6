"""LightGCN: propagation over customers and items."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from pipeline_lib.errors import SchemaError
from pipeline_lib.teacher.experts.lightgcn import LightGCN
from pipeline_lib.teacher.frame import Batch, Frame, Ragged


def linked(edges: torch.Tensor) -> Batch:
    n = len(edges)
    nothing = torch.zeros(n, 1)
    return Batch(nothing, nothing[..., None], nothing, torch.ones(n).long(), torch.zeros(n), edges, {})


def test_lightgcn_hops_are_propagation_on_the_whole_bipartite_graph() -> None:
    """Against the paper's adjacency with customers that start at zero: the odd layers of the customers."""
    torch.manual_seed(0)
    train = (torch.rand(40, 6) < 0.4).float()
    expert = LightGCN((), items=6, item_dim=5, hops=3, hidden=8, out_dim=4, dropout=0.0)
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


def test_lightgcn_learns_its_graph_from_train_rows_alone() -> None:
    expert, train = LightGCN((), 6, 5, 2, 8, 4, 0.0), torch.arange(30)
    frame = framed((torch.rand(40, 6) < 0.4).float())
    expert.fit_structure(frame, train)
    before = expert.two_hop.clone()
    frame.edges[30:] = 5.0
    expert.fit_structure(frame, train)
    assert torch.equal(expert.two_hop, before)


def framed(edges: torch.Tensor) -> Frame:
    n = len(edges)
    none = Ragged.of(np.zeros((0, 1)), np.zeros(n, np.int64))
    return Frame(pl.DataFrame({"part": ["fit"] * n}), torch.zeros(n, 1), edges, none, torch.zeros(n), {}, {}, 1)


def test_lightgcn_answers_for_a_customer_it_has_never_seen_and_marks_one_without_edges() -> None:
    torch.manual_seed(0)
    expert = LightGCN((), 6, 5, 2, 8, 4, 0.0).eval()
    expert.fit_graph((torch.rand(40, 6) < 0.4).float())
    edges = torch.tensor([[1.0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0]])
    out = expert(linked(edges))
    assert torch.isfinite(out.h).all()
    assert expert.available(linked(edges)).tolist() == [True, False]


def test_lightgcn_refuses_negative_edges() -> None:
    with pytest.raises(SchemaError, match="negative"):
        LightGCN((), 2, 4, 1, 4, 4, 0.0).fit_graph(torch.tensor([[1.0, -1.0]]))
