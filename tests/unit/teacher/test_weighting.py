"""Weighting of the losses: where it rests, which way it moves, the fixed weight exactly once, what a resume needs."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from pipeline_lib.settings.teacher.training import Weighting as Policy
from pipeline_lib.teacher.optim import Rates, build_optimiser
from pipeline_lib.teacher.weighting import DynamicAverage, GradNorm, UncertaintyWeights, Weighting, build_weighting
from pipeline_lib.teacher.weighting.gradnorm import gradnorm_slope
from tests.unit.teacher.parts import KINDS, MANY, shipped, task

METHODS = ("uncertainty", "fixed", "uniform", "gradnorm", "dwa")


def policy(method: str = "uncertainty") -> Policy:
    return Policy(**{**shipped("weighting"), "method": method})


def weights_of(fixed: float = 1.0, upper: float = 4.0) -> UncertaintyWeights:
    return UncertaintyWeights(["a"], [fixed], [-4.0], upper)


def gradient_at(s: float, loss: float, fixed: float = 1.0) -> float:
    weighting = weights_of(fixed)
    with torch.no_grad():
        weighting.log_variance.fill_(s)
    weighting({"a": torch.tensor(loss)}).total().backward()
    return float(weighting.log_variance.grad)


def three(method: str, weight: float = 1.0) -> Weighting:
    return build_weighting([task(kind, kind, weight=weight) for kind in KINDS], policy(method))


# --- uncertainty


@pytest.mark.rule("R01")
@pytest.mark.parametrize("loss", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("fixed", [0.5, 2.0])
def test_the_stationary_point_is_the_log_of_the_loss_whatever_the_fixed_weight(loss: float, fixed: float) -> None:
    """With the weight inside the bracket alone it would be ln(w L), and the weight would cancel at the optimum."""
    assert gradient_at(math.log(loss), loss, fixed) == pytest.approx(0, abs=1e-6)


@pytest.mark.rule("R01")
@MANY
@given(loss=st.floats(0.01, 20).filter(lambda x: abs(x - 1) > 1e-3))
def test_descent_moves_s_towards_the_stationary_point(loss: float) -> None:
    """With the sign flipped every s would grow to its bound."""
    assert math.copysign(1, gradient_at(0.0, loss)) == math.copysign(1, 1 - loss)


@MANY
@given(s=st.floats(-3, 3), loss=st.floats(0.01, 10), fixed=st.floats(0.1, 3))
def test_the_slope_of_s_is_that_of_the_written_formula(s: float, loss: float, fixed: float) -> None:
    assert gradient_at(s, loss, fixed) == pytest.approx(fixed * (1 - math.exp(-s) * loss), rel=1e-3, abs=1e-4)


@MANY
@given(s=st.floats(-3, 3), loss=st.floats(0.01, 10), fixed=st.floats(0.1, 3))
def test_parts_are_positive_and_the_log_term_is_apart(s: float, loss: float, fixed: float) -> None:
    """A share of a part bounds the transfer: with the log term inside, the bound would change sign with it."""
    weighting = weights_of(fixed)
    with torch.no_grad():
        weighting.log_variance.fill_(s)
    weighted = weighting({"a": torch.tensor(loss)})
    assert float(weighted.parts["a"].detach()) == pytest.approx(fixed * math.exp(-s) * loss, rel=1e-4)
    assert float(weighted.extra.detach()) == pytest.approx(fixed * s, rel=1e-4, abs=1e-6)


@pytest.mark.rule("R03")
@pytest.mark.parametrize("start", [0.1, 1.0, 8.0])
def test_log_variances_follow_falling_losses_at_their_own_rate(start: float) -> None:
    """At the model's rate s moves by less than 0.2 in so many steps, and the loss falls by a factor of e."""
    shipped_rates = shipped("training"), shipped("weighting")
    rates = Rates(1e-3, {}, {}, shipped_rates[1]["log_variance_rate"], shipped_rates[0]["weight_decay"])
    weighting = build_weighting([task("a", "regression")], policy())
    optimiser = build_optimiser(nn.Linear(1, 1), weighting, rates)
    noise = torch.Generator().manual_seed(0)
    weighting.start_at({"a": start})
    average = start
    for step in range(200):
        loss = start * math.exp(-step / 200) * math.exp(0.2 * float(torch.randn((), generator=noise)))
        average = 0.95 * average + 0.05 * loss
        optimiser.zero_grad()
        weighting({"a": torch.tensor(loss)}).total().backward()
        optimiser.step()
        weighting.end_step()
    assert abs(weighting.state()["a"] - math.log(average)) < 0.15


@pytest.mark.rule("R03")
@pytest.mark.parametrize(("s", "loss", "sign"), [(-9.0, 1.0, -1), (9.0, 1.0, 1)])
def test_the_gradient_is_alive_at_the_bound(s: float, loss: float, sign: int) -> None:
    """A clamp inside the graph has none outside its bounds: what leaves never comes back."""
    weighting = weights_of()
    with torch.no_grad():
        weighting.log_variance.fill_(s)
    weighting.end_step()
    assert weighting.at_bound() == ["a"]
    assert abs(weighting.state()["a"]) == 4.0
    weighting({"a": torch.tensor(loss)}).total().backward()
    assert sign * float(weighting.log_variance.grad) > 0.9  # it can come back inside


def test_the_start_is_the_log_of_the_mean_loss_within_the_bounds() -> None:
    weighting = UncertaintyWeights(["a", "b"], [1.0, 1.0], [-4.0, -4.0], 4.0)
    weighting.start_at({"b": 1e-9, "a": 0.2})
    assert list(weighting.state().values()) == pytest.approx([math.log(0.2), -4.0])


def test_binary_tasks_have_a_lower_floor() -> None:
    weighting = three("uncertainty")
    weighting.start_at(dict.fromkeys(KINDS, 1e-9))
    assert list(weighting.state().values()) == pytest.approx([-4.6, -4.0, -4.0])
    assert weighting.at_bound() == list(KINDS)


@pytest.mark.parametrize(
    "change", [{"log_variance_range": [-5.0, 4.0]}, {"focal_log_variance_floor": -5.0}, {"log_variance_range": [4, -4]}]
)
def test_precisions_beyond_a_hundred_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Policy(**{**shipped("weighting"), **change})


# --- all methods


def gradient(method: str, weight: float, raw: Mapping[str, float]) -> float:
    """Of a shared parameter on which each loss depends, through weighting and the plain total."""
    shared = torch.tensor(1.5, requires_grad=True)
    total = three(method, weight)({name: value * shared.square() for name, value in raw.items()}).total()
    return float(torch.autograd.grad(total, shared)[0])


@pytest.mark.rule("R02")
@pytest.mark.parametrize("method", METHODS)
@MANY
@given(weight=st.floats(0.1, 5), values=st.tuples(*[st.floats(0.01, 10)] * 3))
def test_doubling_the_fixed_weights_doubles_the_shared_gradient(
    method: str, weight: float, values: tuple[float, float, float]
) -> None:
    """Applied twice the ratio would be 4, not at all 1. ``uniform`` passes over the weights: that is its name."""
    raw = dict(zip(KINDS, values, strict=True))
    ratio = gradient(method, 2 * weight, raw) / gradient(method, weight, raw)
    assert ratio == pytest.approx(1.0 if method == "uniform" else 2.0, rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_an_absent_task_contributes_nothing(method: str) -> None:
    weighting = three(method)
    weighted = weighting({"regression": torch.tensor(0.5, requires_grad=True)})
    assert list(weighted.parts) == ["regression"]
    assert float(weighted.total().detach()) == pytest.approx(0.5)
    weighted.total().backward()
    for parameter in weighting.parameters():
        assert parameter.grad[:2].abs().max() == 0


@pytest.mark.parametrize("method", METHODS)
def test_a_step_without_any_task_has_a_total(method: str) -> None:
    assert float(three(method)({}).total().detach()) == 0


def run(weighting: Weighting, epochs: range) -> None:
    """Epochs of three steps; losses are functions of the step, so that a resumed run can be compared."""
    for epoch in epochs:
        for step in range(3):
            losses = {name: torch.tensor(1 + 0.3 * i + 0.1 * step + 0.2 * epoch) for i, name in enumerate(KINDS)}
            weighting(losses).total()
            weighting.observe(losses, {name: 0.5 + i * 0.1 * (step + 1) for i, name in enumerate(KINDS)})
            weighting.end_step()
        weighting.end_epoch({name: math.exp(-0.1 * i * epoch) for i, name in enumerate(KINDS)})


@pytest.mark.parametrize("method", METHODS)
def test_what_a_resume_needs_is_in_the_state(method: str) -> None:
    whole, first, second = three(method), three(method), three(method)
    for weighting in (whole, first):
        weighting.start_at(dict.fromkeys(KINDS, 0.7))
    run(whole, range(5))
    run(first, range(2))
    second.load_state_dict(first.state_dict())
    run(second, range(2, 5))
    assert second.state() == whole.state()
    assert list(whole.state()) == list(KINDS)
    assert method in ("fixed", "uniform", "uncertainty") or len(set(whole.state().values())) == 3  # something moved


@pytest.mark.parametrize("method", [m for m in METHODS if m != "uncertainty"])
def test_only_log_variances_are_for_the_models_optimiser(method: str) -> None:
    assert not list(three(method).parameters())
    assert three(method).at_bound() == []


# --- GradNorm


def oracle(scale: Tensor, matrix: Tensor, ratio: Tensor, alpha: float) -> Tensor:
    """The paper's way: gradients of v_k L_k with their graph, and the objective differentiated through it."""
    shared = torch.ones(matrix.shape[1], dtype=matrix.dtype, requires_grad=True)
    v = scale.clone().requires_grad_()
    losses = (matrix @ shared).square()
    sizes = [torch.autograd.grad(v[k] * losses[k], shared, create_graph=True)[0].norm() for k in range(len(v))]
    size = torch.stack(sizes)
    target = (size.mean() * (ratio / ratio.mean()) ** alpha).detach()
    return torch.autograd.grad((size - target).abs().sum(), v)[0]


@pytest.mark.rule("R25")
@MANY
@given(seed=st.integers(0, 10_000), tasks=st.integers(2, 6), alpha=st.floats(0, 2))
def test_gradnorm_needs_no_graph_of_the_gradients(seed: int, tasks: int, alpha: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(tasks, 4, generator=generator, dtype=torch.float64)
    scale, ratio = (torch.rand(tasks, generator=generator, dtype=torch.float64) + 0.1 for _ in range(2))
    norm = (2 * (matrix.sum(dim=1))[:, None] * matrix).norm(dim=1)
    torch.testing.assert_close(gradnorm_slope(scale, norm, ratio, alpha), oracle(scale, matrix, ratio, alpha))


@pytest.mark.rule("R25")
def test_gradnorm_moves_weight_to_the_slow_task_and_leaves_the_model_alone() -> None:
    """The fast task's loss has halved, the slow one's has not moved; their gradients are alike."""
    weighting = GradNorm(["fast", "slow"], [1.0, 1.0], alpha=1.5, rate=2.5e-2)
    weighting.start_at({"fast": 1.0, "slow": 1.0})
    shared = torch.tensor(1.0, requires_grad=True)
    losses = {"fast": 0.5 * shared, "slow": 1.0 * shared}
    seen = []
    for _ in range(20):
        weighting.observe(losses, {"fast": 1.0, "slow": 1.0})
        seen.append(weighting.state()["slow"])
    assert seen == sorted(seen)
    assert seen[-1] > 1.1
    assert shared.grad is None


@MANY
@given(
    steps=st.lists(
        st.dictionaries(st.sampled_from(KINDS), st.tuples(st.floats(0, 20), st.floats(0, 50)), min_size=1),
        min_size=1,
        max_size=8,
    )
)
def test_gradnorm_weights_stay_positive_and_sum_to_the_tasks(steps: list[dict[str, tuple[float, float]]]) -> None:
    weighting = GradNorm(KINDS, [1.0] * 3, alpha=1.5, rate=0.5)
    for step in steps:
        weighting.observe({n: torch.tensor(v[0]) for n, v in step.items()}, {n: v[1] for n, v in step.items()})
        assert sum(weighting.state().values()) == pytest.approx(3, rel=1e-5)
        assert min(weighting.state().values()) > 0


def test_gradnorm_names_the_task_it_has_given_up() -> None:
    weighting = GradNorm(["a", "b"], [1.0, 1.0], alpha=0.0, rate=0.5)
    for _ in range(5):
        weighting.observe({n: torch.tensor(1.0) for n in "ab"}, {"a": 1.0, "b": 100.0})
    assert weighting.at_bound() == ["b"]


@pytest.mark.parametrize("norm", [float("nan"), float("inf")])
def test_gradnorm_passes_over_norms_that_are_not_finite(norm: float) -> None:
    weighting = GradNorm(["a", "b"], [1.0, 1.0], alpha=1.5, rate=0.1)
    weighting.observe({n: torch.tensor(1.0) for n in "ab"}, {"a": norm, "b": norm})
    assert weighting.state() == {"a": 1.0, "b": 1.0}


# --- dynamic weight average


@pytest.mark.rule("R25")
@MANY
@given(
    epochs=st.lists(
        st.dictionaries(st.sampled_from(KINDS), st.floats(1e-6, 1e6)),
        min_size=1,
        max_size=6,
    )
)
def test_dwa_weights_sum_to_the_tasks(epochs: list[dict[str, float]]) -> None:
    weighting = DynamicAverage(KINDS, [1.0] * 3, temperature=2.0)
    for means in epochs:
        weighting.end_epoch(means)
        assert sum(weighting.state().values()) == pytest.approx(3, rel=1e-5)


@pytest.mark.rule("R25")
def test_dwa_compares_the_last_two_epochs() -> None:
    weighting = DynamicAverage(["a", "b"], [1.0, 1.0], temperature=2.0)
    for means in ({"a": 9.0, "b": 9.0}, {"a": 4.0, "b": 1.0}, {"a": 2.0, "b": 1.0}):
        weighting.end_epoch(means)
    low, high = math.exp(0.5 / 2), math.exp(1.0 / 2)
    assert list(weighting.state().values()) == pytest.approx([2 * low / (low + high), 2 * high / (low + high)])


def test_dwa_weighs_alike_until_it_has_seen_two_epochs() -> None:
    weighting = DynamicAverage(["a", "b"], [1.0, 1.0], temperature=2.0)
    weighting.end_epoch({"a": 4.0, "b": 1.0})
    assert weighting.state() == {"a": 1.0, "b": 1.0}
