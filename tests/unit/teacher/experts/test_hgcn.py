"""HGCN: tangent columns in, and the category tree learned inside the teacher."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from pipeline_lib.errors import SchemaError
from pipeline_lib.teacher.contract import Inputs, Item
from pipeline_lib.teacher.experts import unfed
from pipeline_lib.teacher.experts.hgcn import HGCN, CategoryTree, build, normalised_adjacency, tree_of
from pipeline_lib.teacher.geometry.poincare import log0, proj
from tests.unit.teacher.experts.fabricated import architecture, batch_of, inputs_of

ITEMS = [Item("held"), Item("bakery", 1, 2), Item("fuel", 0, 0), Item("grocer", 1, 1), Item("diner", 1, 2)]
IN_GRAPH = architecture(hgcn={"in_graph": True})


def in_graph(inputs: Inputs) -> HGCN:
    torch.manual_seed(0)
    return build(inputs, IN_GRAPH.hgcn).eval()


def schema(space: dict[str, str]) -> dict[str, Any]:
    return {
        "schema_hash": "h",
        "columns": [{"name": "a"}, {"name": "b"}],
        "groups": [{"name": "hyperbolic_embedding", "start": 0, "end": 2, "block": "hyper_emb", "experts": ["hgcn"]}],
        "blocks": [{"name": "hyper_emb", "start": 0, "end": 2, **space}],
        "roles": {"cluster_probs": None, "hmm": {}, "avail": {}},
        "sequence": {"channels": [], "max_len": 1},
        "items": [],
    }


@pytest.mark.rule("R14")
@pytest.mark.parametrize("space", [{"hyper_space": "ball"}, {}])
def test_coordinates_of_the_ball_are_refused(space: dict[str, str]) -> None:
    with pytest.raises(SchemaError, match="expected tangent"):
        Inputs.from_schema(schema(space), [], 1)
    assert Inputs.from_schema(schema({"hyper_space": "tangent"}), [], 1).columns == 2


def test_the_tree_has_the_root_two_levels_and_the_categories() -> None:
    #        root, level 1: 0 1, level 2: 0 1 2, bakery fuel grocer diner
    assert tree_of(ITEMS) == [-1, 0, 0, 1, 2, 2, 5, 3, 4, 5]


def test_the_adjacency_is_symmetric_and_spreads_a_node_over_its_neighbours_alone() -> None:
    parents = tree_of(ITEMS)
    matrix = normalised_adjacency(parents)
    torch.testing.assert_close(matrix, matrix.T)
    linked = {(child, parent) for child, parent in enumerate(parents) if parent >= 0}
    for i in range(len(parents)):
        for j in range(len(parents)):
            assert bool(matrix[i, j]) == (i == j or (i, j) in linked or (j, i) in linked)
    torch.testing.assert_close(matrix[1, 3], 1 / torch.tensor(3.0 * 3.0).sqrt())  # degrees with self-loop


def test_a_customer_of_one_category_stands_at_its_node_whatever_the_amount() -> None:
    torch.manual_seed(0)
    tree = CategoryTree(ITEMS, 8, 2)
    edges = torch.zeros(2, 5)
    edges[0, 4], edges[1, 4] = 0.5, 8.0  # diner, the last node
    torch.testing.assert_close(tree(edges), tree.nodes()[-1].expand(2, 8))


def test_a_node_is_its_own_tangent_vector_before_any_layer_and_hears_its_parent_after_one() -> None:
    torch.manual_seed(0)
    alone, heard = CategoryTree(ITEMS, 8, 0), CategoryTree(ITEMS, 8, 1)
    heard.tangent.data.copy_(alone.tangent)
    torch.testing.assert_close(alone.nodes(), alone.tangent)
    before = heard.nodes()[3].detach()  # level 2, its parent is node 1
    heard.tangent.data[1] += 1.0
    assert (heard.nodes()[3] - before).abs().max() > 0.05


@pytest.mark.rule("R14")
def test_nodes_stay_in_the_ball_however_long_their_tangent_vectors_grow() -> None:
    tree = CategoryTree(ITEMS, 8, 2)
    tree.tangent.data.mul_(1e4)
    nodes = tree.nodes()
    nodes.sum().backward()
    assert torch.isfinite(nodes).all()
    assert torch.isfinite(tree.tangent.grad).all()
    longest = log0(proj(torch.full((1, 8), 1.0))).norm()
    assert (nodes.norm(dim=1) <= longest * 1.001).all()


def test_spending_on_products_moves_nothing_and_no_spending_at_all_is_marked() -> None:
    inputs = inputs_of(narrow=True, bits=False)
    expert, batch = in_graph(inputs), batch_of(inputs, 6)
    products = torch.tensor([item.level1 < 0 for item in inputs.items])
    none = replace(batch, edges=batch.edges * products)
    assert not expert.available(none).any()
    assert torch.isfinite(expert(none).h).all()
    more = replace(batch, edges=torch.where(products, batch.edges + 3.0, batch.edges))
    torch.testing.assert_close(expert(more).h, expert(batch).h)


def test_in_the_graph_the_offline_coordinates_give_way_to_the_tree() -> None:
    inputs = inputs_of(narrow=True)
    expert, batch = in_graph(inputs), batch_of(inputs, 6)
    block = next(group for group in inputs.groups if group.name == "hyperbolic_embedding")
    moved, kept = (replace(batch, x=batch.x.clone()) for _ in range(2))
    moved.x[:, block.start : block.start + 8] += 1.0
    kept.x[:, block.start + 8] += 1.0
    torch.testing.assert_close(expert(moved).h, expert(batch).h)
    assert (expert(kept).h - expert(batch).h).abs().max() > 1e-3


def test_a_source_without_a_tree_says_so() -> None:
    bare = replace(inputs_of(narrow=True), items=(Item("held"),))
    assert unfed(["hgcn"], bare, IN_GRAPH) == {"hgcn": "the source has no tree of categories"}
    assert unfed(["hgcn"], bare, architecture()) == {}
