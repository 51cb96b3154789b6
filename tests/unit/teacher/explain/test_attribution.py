"""Attribution against a model whose drivers are known row by row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline_lib.errors import ContractError
from pipeline_lib.teacher.experts.base import Expert, ExpertOut
from pipeline_lib.teacher.explain.attribution import Attributor, RunningMean, fit_attributor
from pipeline_lib.teacher.explain.quality import judge
from pipeline_lib.teacher.explain.ranks import spread_ratio, top_overlap
from pipeline_lib.teacher.explain.view import CausalView, main_direction
from pipeline_lib.teacher.frame import FIDELITY, FIT, Batch, Frame
from tests.unit.teacher.explain.worlds import ALWAYS, COLUMNS, CPU, KnownDrivers, frame_of, known_rows, policy

N = 4000


@pytest.fixture(scope="module")
def frame() -> Frame:
    return frame_of(known_rows(N, 0)[0], [FIT if i % 4 else FIDELITY for i in range(N)])


@pytest.fixture(scope="module")
def learned(frame: Frame) -> Attributor:
    return fitted(CausalView(KnownDrivers(), range(COLUMNS)), frame)


def fitted(view: CausalView, frame: Frame) -> Attributor:
    rule = policy()
    return fit_attributor(
        view, frame, frame.part(FIT), hidden=rule.hidden, epochs=rule.epochs, rate=rule.rate, decay=rule.mean_decay,
        batch_rows=128, sample_rows=1000, seed=1, device=CPU,
    )  # fmt: skip


def precision(values: Tensor, active: Tensor) -> float:
    """Share of a row's active drivers among as many of its largest columns."""
    rank = values.abs().argsort(dim=1, descending=True).argsort(dim=1)
    hit = (rank < active.sum(1, keepdim=True)) & active
    return float(hit.sum() / active.sum())


@pytest.mark.rule("R36")
@pytest.mark.parametrize("method", ["head", "exact"])
def test_attribution_names_the_drivers_of_each_row(learned: Attributor, method: str) -> None:
    x, active = known_rows(500, 9)
    chosen = learned if method == "head" else learned.exact()
    assert precision(chosen.of(frame_of(x, [FIDELITY] * 500).batch(torch.arange(500))), active) > 0.9


@pytest.mark.rule("R36")
def test_the_head_passes_every_quality_check(learned: Attributor, frame: Frame) -> None:
    quality = judge(learned, frame, frame.part(FIDELITY), policy(), 256, 2, CPU)
    assert quality.passed, quality.to_dict()


@pytest.mark.rule("R36")
def test_the_raw_target_collapses_to_one_profile(learned: Attributor, frame: Frame) -> None:
    """Without the mean taken off, everybody's answer is the columns that are the same for everybody."""
    raw = replace(learned.exact(), mean=torch.zeros(COLUMNS))
    batch = frame.batch(frame.part(FIDELITY))
    collapsed, demeaned = (a.of(batch).numpy() for a in (raw, learned))
    ratio, overlap = spread_ratio(collapsed), top_overlap(collapsed, 10)
    assert ratio is not None
    assert overlap is not None
    assert ratio < 0.25
    assert overlap > 0.6
    better, apart = spread_ratio(demeaned), top_overlap(demeaned, 10)
    assert better is not None
    assert apart is not None
    assert better > 0.5
    assert apart < 0.4
    quality = judge(raw, frame, frame.part(FIDELITY), policy(), 256, 2, CPU)
    assert not quality.checks["variance_ratio"].passed
    assert not quality.checks["top_overlap"].passed


class Liar(Attributor):
    """Names first what matters least."""

    def of(self, batch: Batch) -> Tensor:
        return 1 / (super().exact().of(batch).abs() + 1e-3)


def test_an_attribution_that_lies_fails_where_it_counts(learned: Attributor, frame: Frame) -> None:
    liar = Liar(learned.view, learned.readout, learned.mean, None)
    quality = judge(liar, frame, frame.part(FIDELITY), policy(), 256, 2, CPU)
    assert not quality.checks["target_spearman"].passed
    assert not quality.checks["deletion_gain"].passed
    assert np.less(quality.deletion.named, quality.deletion.random).all()


def test_nothing_to_judge_on_is_no_pass(learned: Attributor, frame: Frame) -> None:
    quality = judge(learned, frame, torch.zeros(0, dtype=torch.long), policy(), 256, 2, CPU)
    assert not any(check.passed for check in quality.checks.values())
    assert all(check.value is None for check in quality.checks.values())


def test_the_mean_does_not_start_at_zero() -> None:
    mean = RunningMean(0.99)
    mean.add(torch.full((5, 3), 7.0))
    assert mean.value.tolist() == pytest.approx([7.0] * 3)


class Levelled(Expert):
    """An expert as they are when fresh: it ends in a LayerNorm of unit scale."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.stack = nn.Sequential(nn.Linear(COLUMNS, 16), nn.SiLU(), nn.Linear(16, 8), nn.LayerNorm(8))
        self.out_dim = 8

    def forward(self, batch: Batch) -> ExpertOut:
        h = self.stack(batch.x)
        return ExpertOut(h, diag={"z_raw": h})


def test_the_sum_of_a_levelled_block_has_nothing_to_attribute(frame: Frame) -> None:
    """Why the readout is a direction and not the sum: that sum is the same for every row."""
    view, batch = CausalView(Levelled(), range(COLUMNS)), frame.batch(torch.arange(200))
    block = view.block(batch)
    of_sum = view.gradient_times_input(batch, torch.ones(8))
    of_direction = view.gradient_times_input(batch, main_direction(block))
    assert float(of_sum.abs().mean()) < 1e-5 * float(of_direction.abs().mean())


def test_an_expert_that_ignores_its_columns_is_refused(frame: Frame) -> None:
    class Deaf(Levelled):
        def forward(self, batch: Batch) -> ExpertOut:
            h = batch.x[:, :1] * 0 + torch.arange(8.0)
            return ExpertOut(h, diag={"z_raw": h})

    with pytest.raises(ContractError, match="does not react"):
        fitted(CausalView(Deaf(), range(COLUMNS)), frame)


def test_columns_of_other_experts_get_no_attribution(frame: Frame) -> None:
    own = list(range(ALWAYS, COLUMNS))
    view, batch = CausalView(KnownDrivers(), own), frame.batch(torch.arange(10))
    readout = torch.eye(1 + COLUMNS)[0]
    weights = KnownDrivers().weights[own]
    expected = 4 * weights * batch.x[:, own]
    assert torch.allclose(view.gradient_times_input(batch, readout), expected, atol=1e-5)


def test_overlap_equals_the_mean_over_all_pairs() -> None:
    values = np.random.default_rng(0).normal(size=(12, 9))
    top = [set(np.argsort(-np.abs(row))[:3]) for row in values]
    pairs = [len(top[i] & top[j]) / 3 for i in range(12) for j in range(i)]
    assert top_overlap(values, 3) == pytest.approx(np.mean(pairs))
