"""PersLay: order and padding are invisible, diagrams are read by window and dimension, the path taken is said."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch

from pipeline_lib.teacher.experts import build_experts, unfed
from pipeline_lib.teacher.experts.perslay import DIAGRAMS, NEITHER, STATISTICS, PersLay
from pipeline_lib.teacher.frame import Bars, Batch
from pipeline_lib.teacher.geometry.points import PointBlock, listed, views
from tests.unit.teacher.experts.fabricated import architecture, batch_of, inputs_of

pytestmark = pytest.mark.rule("R15")
FORMS = list(
    product(["rational_hat", "gaussian"], ["persistence", "linear", "learned"], ["sum", "mean", "max", "attention"])
)
DIAGRAM = torch.tensor([[0.2, 0.9], [0.5, 0.55], [0.0, 0.4]])


def block_of(phi: str, weight: str, pool: str) -> PointBlock:
    torch.manual_seed(0)
    return PointBlock(8, phi, weight, pool)


def read(block: PointBlock, points: torch.Tensor) -> torch.Tensor:
    """The first of two rows; the second is empty."""
    return block(points, torch.zeros(len(points), dtype=torch.long), 2)


def perslay(bits: bool = True, **options: str) -> tuple[PersLay, Batch]:
    inputs = inputs_of(narrow=True, bits=bits)
    torch.manual_seed(0)
    expert = build_experts(["perslay"], inputs, architecture(perslay=options))["perslay"].eval()
    return expert, batch_of(inputs, 12)


def with_bars(batch: Batch, change: dict[str, Bars]) -> Batch:
    return replace(batch, bars={**batch.bars, **change})


def test_the_weight_of_a_point_is_its_lifetime() -> None:
    points = torch.tensor([[0.2, 0.9], [0.5, 0.55], [0.0, 0.0]])
    torch.testing.assert_close(
        block_of("rational_hat", "persistence", "sum").weigh(points), torch.tensor([0.7, 0.05, 0])
    )
    assert block_of("rational_hat", "linear", "sum").weigh(points).tolist() == [1, 1, 1]


@pytest.mark.parametrize("form", FORMS)
def test_the_order_of_points_changes_nothing_and_an_empty_diagram_is_zero(form: tuple[str, str, str]) -> None:
    block = block_of(*form)
    found = read(block, DIAGRAM)
    torch.testing.assert_close(read(block, DIAGRAM.flip(0)), found)
    assert found[0].abs().max() > 1e-3
    assert not found[1].any()


@pytest.mark.parametrize("phi", ["rational_hat", "gaussian"])
@pytest.mark.parametrize("pool", ["sum", "mean", "max", "attention"])
def test_pooling_is_the_formula_over_single_points(phi: str, pool: str) -> None:
    block = block_of(phi, "persistence", pool)
    each = block.weigh(DIAGRAM)[:, None] * block.mix(block.point(DIAGRAM))  # (N, D)
    share = block.score(each).softmax(0) if pool == "attention" else torch.ones(3, 1)
    expected = {"sum": each.sum(0), "mean": each.mean(0), "max": each.amax(0), "attention": (share * each).sum(0)}
    torch.testing.assert_close(read(block, DIAGRAM)[0], expected[pool], atol=1e-5, rtol=1e-4)


def test_the_ratio_of_a_part_born_at_zero_is_bounded_also_in_half_precision() -> None:
    points = torch.tensor([[0.0, 1e-4], [0.0, 1.0], [0.0, 1e4]])
    for dtype in (torch.float32, torch.bfloat16):
        found = views(points.to(dtype))
        assert torch.isfinite(found).all()
        assert (found[:, 5] >= 0).all()
        assert (found[:, 5] <= 1).all()
    expert, batch = perslay()
    with torch.autocast("cpu", torch.bfloat16):
        out = expert(batch)
    assert torch.isfinite(out.h).all()


@pytest.mark.parametrize("form", FORMS)
def test_what_stands_in_the_padding_changes_nothing(form: tuple[str, str, str]) -> None:
    expert, batch = perslay(phi=form[0], weight=form[1], pool=form[2])
    full = batch.bars["long"]
    longer = torch.cat([full.points, full.points], dim=1)  # copies of true points behind the count
    padded = with_bars(batch, {"long": Bars(longer, full.count)})
    torch.testing.assert_close(expert(padded).h, expert(batch).h, atol=1e-6, rtol=1e-6)


def test_each_window_and_dimension_has_a_block_of_its_own() -> None:
    expert, batch = perslay()
    before, bars = expert(batch).h, batch.bars
    swapped = with_bars(batch, {"long": bars["short"], "short": bars["long"]})
    assert (expert(swapped).h - before).abs().max() > 1e-3
    other = bars["long"].points.clone()
    other[..., 2] = 1 - other[..., 2]
    assert (expert(with_bars(batch, {"long": Bars(other, bars["long"].count)})).h - before).abs().max() > 1e-3


def test_points_are_listed_by_row_without_padding() -> None:
    points = torch.tensor([[[0.0, 1.0, 0], [0.5, 0.7, 1], [0.0, 2.0, 0]], [[0.1, 0.3, 1], [0.0, 9.0, 0], [0, 0, 0]]])
    found, row = listed(Bars(points, torch.tensor([3, 1])), 0)
    assert found.tolist() == [[0.0, 1.0], [0.0, 2.0]]
    assert row.tolist() == [0, 0]


def test_rows_say_which_path_ran() -> None:
    expert, batch = perslay(bits=False)
    none = with_bars(batch, {w: Bars(b.points, torch.zeros_like(b.count)) for w, b in batch.bars.items()})
    empty = replace(none, x=torch.zeros_like(none.x))
    assert expert(batch).diag["path"].tolist() == [DIAGRAMS, DIAGRAMS, STATISTICS] * 4
    assert (expert(none).diag["path"] == STATISTICS).all()
    assert (expert(empty).diag["path"] == NEITHER).all()
    assert expert.available(none).all()
    assert not expert.available(empty).any()
    moved = replace(none, x=none.x + 1.0)
    assert (expert(moved).h - expert(none).h).abs().max() > 1e-3


def test_a_source_with_statistics_alone_takes_the_other_path_and_one_with_neither_says_so() -> None:
    inputs = inputs_of(narrow=True)
    flat = replace(inputs, bars=())
    expert = build_experts(["perslay"], flat, architecture())["perslay"]
    out = expert(replace(batch_of(inputs, 6), bars={}))
    assert torch.isfinite(out.h).all()
    assert (out.diag["path"] == STATISTICS).all()
    bare = replace(flat, groups=tuple(g for g in inputs.groups if "perslay" not in g.experts))
    assert list(unfed(["perslay"], bare, architecture())) == ["perslay"]
