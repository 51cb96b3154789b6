"""Calibrators recover a known distortion, keep rankings, and say when they could not be fitted."""

from __future__ import annotations

import pytest
import torch

from pipeline_lib.teacher.calibration import Calibrator, fit_calibrator, fit_line
from pipeline_lib.teacher.contract import TaskSpec

BINARY = TaskSpec("b", "binary", "g", 1, 1.0, 0.85)
COUNT = TaskSpec("r", "regression", "g", 1, 1.0, None, mean=2.0, std=4.0)
MULTI = TaskSpec("m", "multiclass", "g", 3, 1.0, None, class_weights=(1.0,) * 3)


def fit(task: TaskSpec, z: torch.Tensor, y: torch.Tensor, **rules) -> Calibrator:
    return fit_calibrator(
        task, z, y, **{"min_rows": 50, "min_class_rows": 5, "penalty": 0.1, "class_bias": True, **rules}
    )


def test_platt_recovers_scale_and_shift() -> None:
    g = torch.Generator().manual_seed(0)
    true = torch.randn(20_000, generator=g) * 1.5 - 3
    y = torch.bernoulli(true.sigmoid(), generator=g).double()
    found = fit(BINARY, (true + 2) / 3, y)  # true = 3 z - 2
    assert found.scale == pytest.approx(3, rel=0.05)
    assert found.bias[0] == pytest.approx(-2, abs=0.1)
    mean = float(found.apply((true + 2).double() / 3).sigmoid().mean())
    assert mean == pytest.approx(float(y.mean()), rel=1e-3)


def test_a_reversed_teacher_is_not_reversed_back() -> None:
    z = torch.linspace(-2, 2, 200)
    found = fit(BINARY, z, (z < 0).double())
    assert 0 <= found.scale < 0.2


def test_class_biases_restore_the_shares_that_class_weights_moved() -> None:
    g = torch.Generator().manual_seed(1)
    y = torch.multinomial(torch.tensor([0.9, 0.08, 0.02]), 5000, replacement=True, generator=g).double()
    z = torch.randn(5000, 3, generator=g) * 0.1
    shares = fit(MULTI, z, y).apply(z.double()).softmax(1).mean(0)
    torch.testing.assert_close(shares, torch.bincount(y.long()) / 5000.0, atol=2e-3, rtol=0, check_dtype=False)


def test_without_biases_the_order_of_classes_is_kept() -> None:
    g = torch.Generator().manual_seed(2)
    z, y = torch.randn(300, 3, generator=g), torch.randint(0, 3, (300,), generator=g).double()
    found = fit(MULTI, z, y, class_bias=False)
    assert found.bias == (0.0, 0.0, 0.0)
    assert torch.equal(found.apply(z).argsort(1), z.argsort(1))


@pytest.mark.parametrize(("rows", "positives"), [(20, 10), (200, 2)])
def test_too_little_evidence_leaves_the_task_uncalibrated_and_says_why(rows: int, positives: int) -> None:
    y = torch.zeros(rows).double()
    y[:positives] = 1
    found = fit(BINARY, torch.randn(rows), y)
    assert (found.kind, found.scale, found.bias) == ("identity", 1.0, (0.0,))
    assert f"{rows} rows" in found.why


def test_masked_rows_are_not_evidence() -> None:
    y = torch.full((500,), float("nan")).double()
    y[:20] = torch.tensor([0.0, 1.0] * 10).double()
    assert fit(BINARY, torch.randn(500), y).rows == 20


def test_a_line_puts_the_answers_of_a_robust_loss_back_to_the_mean() -> None:
    """Zero for five of six: Huber with delta 1 answers below the mean, and R2 falls under zero."""
    g = torch.Generator().manual_seed(3)
    true = torch.rand(5000, generator=g).double() / 3
    y = 12 * torch.bernoulli(true, generator=g)
    short = (6 * true - COUNT.mean) / COUNT.std - 0.2
    found = fit_line(COUNT, short, y, 50)
    value = found.apply(short) * COUNT.std + COUNT.mean
    assert found.kind == "linear"
    assert float(value.mean()) == pytest.approx(float(y.mean()), rel=1e-6)
    assert float(((value - value.mean()) * (y - value)).mean()) == pytest.approx(0, abs=1e-6)
    assert float((value - 12 * true).abs().max()) < 0.5


@pytest.mark.parametrize(
    ("answer", "why"), [(-torch.linspace(-1, 1, 100), "slope -"), (torch.full((100,), 0.3), "slope 0")]
)
def test_a_line_that_does_not_rise_is_refused(answer: torch.Tensor, why: str) -> None:
    """It would reverse the ranking, or answer every customer alike."""
    found = fit_line(COUNT, answer, torch.linspace(0, 4, 100).double(), 50)
    assert (found.kind, found.scale, found.bias) == ("identity", 1.0, (0.0,))
    assert why in found.why


def test_a_line_needs_rows_that_carry_the_label() -> None:
    y = torch.full((500,), float("nan")).double()
    y[:49] = torch.arange(49)
    found = fit_line(COUNT, torch.arange(500.0), y, 50)
    assert (found.kind, found.why) == ("identity", "49 rows")
    y[49] = 49
    assert fit_line(COUNT, torch.arange(500.0), y, 50).kind == "linear"


def test_it_survives_its_json_form() -> None:
    found = Calibrator("platt", 1.25, (0.5,), 100)
    assert Calibrator.from_dict(found.to_dict()) == found
