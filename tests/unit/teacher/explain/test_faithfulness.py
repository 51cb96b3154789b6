"""Gate weights against what a prediction owes to each expert, on models where the answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from pipeline_lib.settings.teacher.explain import Faithfulness
from pipeline_lib.teacher.explain.faithfulness import (
    MULTI_FACTOR,
    Reliance,
    correlations,
    entropy_ratio,
    faithfulness,
    lenses,
    reliance,
)
from pipeline_lib.teacher.explain.ranks import spearman_few
from pipeline_lib.teacher.frame import Batch
from pipeline_lib.teacher.model import Perception
from tests.unit.teacher.explain.worlds import CPU, frame_of

EXPERTS, WIDTH, N = 5, 3, 400
RULE = Faithfulness(rows=100, min_correlation=0.3, min_tasks=8)


class Open(nn.Module):
    """Logits are sums of the blocks, weighed as ``obeys``: the gates' weights, their reverse, or alike for all."""

    expert_names = tuple("abcde")
    task_names = ("number", "kind")

    def __init__(self, obeys: str, missing: bool = False) -> None:
        super().__init__()
        self.obeys, self.missing = obeys, missing

    def perceive(self, batch: Batch) -> Perception:
        blocks = [batch.x[:, i * WIDTH : (i + 1) * WIDTH] for i in range(EXPERTS)]
        avail = torch.ones(len(batch.x), EXPERTS, dtype=torch.bool)
        avail[:, 0] = not self.missing
        return Perception(blocks, avail, {}, {})

    def gates(self, seen: Perception) -> tuple[Tensor, Tensor]:
        raw = torch.stack([b[:, 0] for b in seen.blocks], dim=1).sin() * 2  # differs from row to row
        weights = raw.masked_fill(~seen.avail, -1e4).softmax(1)[:, None].expand(-1, 2, -1)
        return weights, weights

    def combine(self, x: Tensor, blocks: list[Tensor], gate1: Tensor, gate2: Tensor) -> tuple[Tensor, Tensor]:
        share = {"gates": gate2, "reverse": 1 / (gate2 + 0.05), "nothing": torch.ones_like(gate2)}[self.obeys]
        parts = torch.stack([b.sign() * (1 + 0.01 * b.abs()) for b in blocks], dim=1)  # (B, E, W): alike in size
        return gate1, share @ parts

    def decide(self, x: Tensor, h1: Tensor, h2: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        return {"number": h2[:, 0].sum(1), "kind": torch.cat([h2[:, 1], -h2[:, 1]], dim=1)}, h2


def measured(obeys: str, missing: bool = False) -> Reliance:
    x = torch.randn(N, EXPERTS * WIDTH, generator=torch.Generator().manual_seed(0))
    model: Any = Open(obeys, missing)
    return reliance(model, frame_of(x, ["fidelity"] * N), torch.arange(N), 64, CPU)


def test_weights_that_are_used_are_faithful() -> None:
    found = faithfulness(measured("gates"), Open.task_names, RULE)
    assert all(value > 0.5 for value in found["tasks"].values())
    assert (found["faithful_tasks"], found["needed_tasks"], found["passed"]) == (2, 2, True)


@pytest.mark.parametrize("obeys", ["nothing", "reverse"])
def test_weights_that_are_not_used_are_found_out(obeys: str) -> None:
    found = faithfulness(measured(obeys), Open.task_names, RULE)
    assert all(value < 0.2 for value in found["tasks"].values())
    assert not found["passed"]


def test_replacing_a_block_holds_the_gates() -> None:
    """The weights that are exposed, and those of the counterfactual, are those of the original row."""
    found = measured("gates")
    x = torch.randn(N, EXPERTS * WIDTH, generator=torch.Generator().manual_seed(0))
    blocks = x.reshape(N, EXPERTS, WIDTH)
    parts = lambda b: (b.sign() * (1 + 0.01 * b.abs())).sum(-1)  # noqa: E731
    gap = parts(blocks) - parts(blocks.mean(0))
    assert torch.allclose(found.changes[:, 0], (found.weights[:, 0] * gap).abs(), atol=1e-4)


def test_an_expert_without_input_does_not_count() -> None:
    found = measured("gates", missing=True)
    assert float(found.weights[..., 0].max()) == 0
    rho = correlations(found)
    expected = [
        spearmanr(w[1:], c[1:]).statistic for w, c in zip(found.weights[:, 0], found.changes[:, 0], strict=True)
    ]
    assert rho[:, 0].numpy() == pytest.approx(np.array(expected), abs=1e-9)


def test_spearman_over_a_short_axis_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, (50, 7)).astype(float), rng.normal(size=(50, 7))
    expected = [spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    found = spearman_few(torch.from_numpy(a), torch.from_numpy(b), torch.ones(50, 7).double())
    assert found.numpy() == pytest.approx(np.array(expected), abs=1e-12)


def test_an_order_without_difference_has_no_correlation() -> None:
    assert spearman_few(torch.ones(1, 4), torch.rand(1, 4), torch.ones(1, 4).double()).isnan().all()


WEIGHTS = torch.tensor(
    [[[0.25, 0.25, 0.25, 0.25]], [[0.97, 0.01, 0.01, 0.01]], [[0.5, 0.5, 0.0, 0.0]], [[1.0, 0, 0, 0]]]
)
AVAIL = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]).bool()


def test_evenness_is_measured_among_the_experts_a_row_has() -> None:
    ratio = entropy_ratio(WEIGHTS, AVAIL)[:, 0]
    assert ratio[0] == pytest.approx(1)
    assert ratio[1] < 0.2
    assert ratio[2] == pytest.approx(1)
    assert ratio[3] == 0


def test_no_single_expert_is_named_for_an_even_row() -> None:
    names = ("a", "b", "c", "d")
    assert lenses(WEIGHTS, AVAIL, names, 0.9) == [MULTI_FACTOR, "a", MULTI_FACTOR, "a"]
