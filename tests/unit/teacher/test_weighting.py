"""Uncertainty weighting: the stationary point, the sign, the fixed weight on the whole bracket, the bounds."""

from __future__ import annotations

import math

import pytest
import torch

from pipeline_lib.teacher.optim import Rates, build_optimiser, rate_share, set_rates
from pipeline_lib.teacher.weighting import UncertaintyWeights
from tests.unit.teacher.bank import World


def weights_of(fixed: float = 1.0, upper: float = 4.0) -> UncertaintyWeights:
    return UncertaintyWeights(["a"], [fixed], [-4.0], upper)


def gradient_at(s: float, loss: float, fixed: float = 1.0) -> float:
    weighting = weights_of(fixed)
    with torch.no_grad():
        weighting.log_variance.fill_(s)
    weighting({"a": torch.tensor(loss)}).backward()
    return float(weighting.log_variance.grad)


@pytest.mark.parametrize("loss", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("fixed", [0.5, 2.0])
def test_the_stationary_point_is_the_log_of_the_loss_whatever_the_fixed_weight(loss: float, fixed: float) -> None:
    """With the weight inside the bracket alone it would be ln(w L), and the weight would cancel at the optimum."""
    assert gradient_at(math.log(loss), loss, fixed) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("loss", [0.1, 10.0])
def test_descent_moves_s_towards_the_stationary_point(loss: float) -> None:
    """With the sign flipped every s would grow to its bound."""
    assert math.copysign(1, gradient_at(0.0, loss)) == math.copysign(1, 1 - loss)


@pytest.mark.parametrize("loss", [0.1, 1.0, 10.0])
def test_descent_converges_to_the_log_of_the_loss(loss: float) -> None:
    weighting = weights_of()
    optimiser = torch.optim.Adam(weighting.parameters(), 2e-2)
    for _ in range(600):
        optimiser.zero_grad()
        weighting({"a": torch.tensor(loss)}).backward()
        optimiser.step()
        weighting.project()
    assert float(weighting.log_variance.detach()) == pytest.approx(math.log(loss), abs=0.05)


def test_doubling_the_fixed_weight_doubles_the_gradient_exactly_once() -> None:
    def gradient(fixed: float) -> float:
        x = torch.tensor(3.0, requires_grad=True)
        weights_of(fixed)({"a": x.square()}).backward()
        return float(x.grad)

    assert gradient(2.0) == pytest.approx(2 * gradient(1.0))


def test_the_gradient_is_alive_at_the_bound() -> None:
    weighting = weights_of()
    with torch.no_grad():
        weighting.log_variance.fill_(-9.0)
    weighting.project()
    assert weighting.at_bound() == ["a"]
    weighting({"a": torch.tensor(1.0)}).backward()
    assert float(weighting.log_variance.grad) < 0  # it can come back inside


def test_an_absent_task_moves_nothing() -> None:
    weighting = UncertaintyWeights(["a", "b"], [1.0, 1.0], [-4.0, -4.0], 4.0)
    weighting({"b": torch.tensor(0.5)}).backward()
    assert float(weighting.log_variance.grad[0]) == 0
    assert float(weighting.log_variance.grad[1]) != 0


def test_the_start_is_the_log_of_the_mean_loss_within_the_bounds() -> None:
    weighting = UncertaintyWeights(["a", "b"], [1.0, 1.0], [-4.0, -4.0], 4.0)
    weighting.start_at({"a": 0.2, "b": 1e-9})
    assert weighting.log_variance.tolist() == pytest.approx([math.log(0.2), -4.0])


def test_groups_partition_the_parameters_and_log_variances_stand_alone(world: World) -> None:
    weighting = UncertaintyWeights([t.name for t in world.tasks], [1.0] * 4, [-4.0] * 4, 4.0)
    optimiser = build_optimiser(world.model, weighting, Rates(1e-3, {"temporal": 5e-4}, 2e-2, 0.01))
    grouped = [id(p) for group in optimiser.param_groups for p in group["params"]]
    everything = [*world.model.parameters(), weighting.log_variance]
    assert sorted(grouped) == sorted(id(p) for p in everything)
    own = optimiser.param_groups[-1]
    assert [id(p) for p in own["params"]] == [id(weighting.log_variance)]
    assert (own["peak"], own["weight_decay"]) == (2e-2, 0.0)


def test_biases_norms_embeddings_and_scan_parameters_do_not_decay(world: World) -> None:
    weighting = UncertaintyWeights([t.name for t in world.tasks], [1.0] * 4, [-4.0] * 4, 4.0)
    optimiser = build_optimiser(world.model, weighting, Rates(1e-3, {}, 2e-2, 0.01))
    decayed = {id(p) for group in optimiser.param_groups if group["weight_decay"] for p in group["params"]}
    names = {name for name, p in world.model.named_parameters() if id(p) in decayed}
    assert names
    assert all(name.endswith(".weight") for name in names)
    assert not [n for n in names if "norm" in n or "items" in n or "log_decay" in n or "direct" in n or "scale" in n]


def test_the_rate_rises_then_falls_once(world: World) -> None:
    shares = [rate_share(step, 100, 0.1, 0.02) for step in range(100)]
    assert shares[0] == pytest.approx(0.1)
    assert max(shares) == shares[10] == pytest.approx(1.0)
    assert shares[:11] == sorted(shares[:11])
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert shares[-1] == pytest.approx(0.02, abs=1e-2)
    weighting = UncertaintyWeights(["a"], [1.0], [-4.0], 4.0)
    optimiser = build_optimiser(world.model, weighting, Rates(1e-3, {}, 2e-2, 0.01))
    set_rates(optimiser, 0.5)
    assert optimiser.param_groups[-1]["lr"] == pytest.approx(1e-2)
