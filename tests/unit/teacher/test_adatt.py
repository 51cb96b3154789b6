"""Loss-level transfer: affinity, blocked pairs, the bound, phases; and why it can only re-weigh tasks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from pipeline_lib.settings.teacher.training import AdaTT as Policy
from pipeline_lib.teacher.adatt import AdaTT, build_adatt, group_prior
from tests.unit.teacher.parts import MANY, shipped, task

NAMES = ("a", "b", "c", "d")
ZERO = torch.zeros(())
square = st.integers(0, 10_000).map(lambda seed: affinity_of(seed))


def affinity_of(seed: int) -> Tensor:
    """A symmetric matrix of cosines with unit diagonal."""
    rows = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))
    rows = rows / rows.norm(dim=1, keepdim=True)
    return (rows @ rows.T).clamp(-1, 1).fill_diagonal_(1.0)


def adatt_of(epochs: int = 0, **change: Any) -> AdaTT:
    policy = Policy(**{**shipped("adatt"), **change})
    found = build_adatt([task(name, group=group) for name, group in zip(NAMES, "xxyy", strict=True)], policy)
    for _ in range(epochs):
        found.end_epoch()
    return found


def acting(affinity: Tensor | None = None, **change: Any) -> AdaTT:
    """Past its warm-up, with a given affinity."""
    found = adatt_of(4, enabled=True, **change)
    if affinity is not None:
        found.affinity.copy_(affinity)
    return found


def losses_of(shared: Tensor, directions: Tensor) -> dict[str, Tensor]:
    """Losses whose gradients with respect to ``shared`` (N,) are the rows of ``directions`` (t, N)."""
    return {name: row @ shared for name, row in zip(NAMES, directions, strict=False)}


def observed(adatt: AdaTT, directions: Tensor) -> None:
    shared = torch.zeros(directions.shape[1], requires_grad=True)
    adatt.measure(losses_of(shared, directions), [shared])


# --- measuring


@pytest.mark.rule("R22")
@MANY
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e3))
def test_the_first_affinity_is_the_cosine_of_the_gradients(seed: int, scale: float) -> None:
    rows = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed))
    adatt = adatt_of()
    observed(adatt, rows * torch.tensor([[1.0], [scale], [1.0], [2.0]]))
    expected = torch.nn.functional.cosine_similarity(rows[:, None], rows[None], dim=2)
    torch.testing.assert_close(adatt.affinity, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.rule("R22")
@MANY
@given(
    steps=st.lists(st.tuples(st.integers(0, 1000), st.sets(st.sampled_from(NAMES), min_size=1)), min_size=1, max_size=6)
)
def test_affinity_stays_symmetric_with_unit_diagonal_within_one(steps: list[tuple[int, set[str]]]) -> None:
    adatt = adatt_of()
    for seed, present in steps:
        shared = torch.zeros(5, requires_grad=True)
        rows = torch.randn(4, 5, generator=torch.Generator().manual_seed(seed))
        adatt.measure({n: v for n, v in losses_of(shared, rows).items() if n in present}, [shared])
    assert torch.equal(adatt.affinity, adatt.affinity.T)
    assert torch.equal(adatt.affinity.diagonal(), torch.ones(4))
    assert adatt.affinity.abs().max() <= 1


def test_later_observations_count_a_tenth() -> None:
    adatt = adatt_of()
    observed(adatt, torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    observed(adatt, torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    assert float(adatt.affinity[0, 1]) == pytest.approx(0.9 * 1.0 + 0.1 * -1.0)


@pytest.mark.parametrize("second", [[0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_a_gradient_without_direction_is_no_observation(second: list[float]) -> None:
    adatt = adatt_of()
    observed(adatt, torch.tensor([[1.0, 0.0], second]))
    assert torch.equal(adatt.affinity, torch.eye(4))
    assert adatt.count[0].tolist() == [1, 0, 0, 0]


def test_absent_tasks_keep_their_affinity_and_their_first_observation_is_copied() -> None:
    adatt = adatt_of()
    observed(adatt, torch.tensor([[1.0, 0.0], [0.6, 0.8]]))  # a and b
    before = adatt.affinity.clone()
    shared = torch.zeros(2, requires_grad=True)
    adatt.measure({"a": shared[0], "c": -shared[0]}, [shared])
    assert adatt.affinity[0, 1] == before[0, 1]
    assert adatt.affinity[0, 2] == adatt.affinity[2, 0] == -1.0


class Net(nn.Module):
    """Shared part, and a private part per task, as large and opposed as one likes."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.gate = nn.Linear(4, 3), nn.Linear(4, 3)
        self.private = nn.ModuleDict({name: nn.Linear(4, 3) for name in NAMES})

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        h = self.shared(x) * self.gate(x).sigmoid()
        towers = torch.linspace(-1, 1, 12).view(4, 3)
        signs = (1.0, -1.0, 1.0, -1.0)
        return {
            n: (h @ towers[i]).square().mean() + 50 * signs[i] * self.private[n](x).sum() for i, n in enumerate(NAMES)
        }


@pytest.mark.rule("R23")
@pytest.mark.parametrize("space", ["parameters", "features"])
def test_affinity_comes_from_the_shared_experts_alone(space: str) -> None:
    """With private experts and gates in it the norms grow and the cosines shrink. Compared with plain backward."""
    torch.manual_seed(3)
    net, adatt, x = Net(), adatt_of(space=space), torch.randn(8, 4)
    adatt.measure(net.losses(x), list(net.shared.parameters()))
    rows = []
    for name in NAMES:
        net.zero_grad()
        net.losses(x)[name].backward()
        rows.append(torch.cat([p.grad.flatten() for p in net.shared.parameters()]))
    found = torch.stack(rows)
    expected = torch.nn.functional.cosine_similarity(found[:, None], found[None], dim=2)
    torch.testing.assert_close(adatt.affinity, expected)
    assert adatt.space == space


def test_measuring_leaves_gradients_and_graphs_alone() -> None:
    net = Net()
    losses = net.losses(torch.randn(8, 4))
    adatt_of().measure(losses, list(net.shared.parameters()))
    assert all(p.grad is None for p in net.parameters())
    sum(losses.values()).backward()
    assert net.shared.weight.grad is not None


@pytest.mark.rule("R22")
def test_affinity_is_measured_in_warm_up_and_until_it_freezes() -> None:
    """Measured only after warm-up, the first transfers would act on the identity."""
    adatt = adatt_of(enabled=True, every_steps=10, warmup_epochs=3, freeze_epoch=8)
    assert [step for step in range(25) if adatt.due(step)] == [0, 10, 20]
    for epoch in range(1, 10):
        adatt.end_epoch()
        assert adatt.due(20) == (epoch < 8)


def test_as_a_diagnostic_it_is_measured_to_the_end() -> None:
    assert adatt_of(20, enabled=False, measure=True).due(0)
    assert not adatt_of(enabled=False, measure=False).due(0)


# --- transferring


@pytest.mark.rule("R22")
def test_it_is_off_by_default() -> None:
    adatt = adatt_of(20)
    parts = {name: torch.tensor(1.0 + i) for i, name in enumerate(NAMES)}
    assert float(adatt(parts, torch.tensor(-3.0))) == 10.0 - 3.0


def test_nothing_is_transferred_in_warm_up() -> None:
    parts = {name: torch.tensor(1.0) for name in NAMES}
    for epochs in range(6):
        total = float(adatt_of(epochs, enabled=True)(parts, ZERO))
        assert total == pytest.approx(4.0 if epochs < 3 else 4.4)


@pytest.mark.rule("R22")
@MANY
@given(affinity=square, blocked=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=6))
def test_blocked_pairs_and_the_diagonal_get_exactly_nothing(affinity: Tensor, blocked: list[tuple[int, int]]) -> None:
    """Zero before the softmax is exp(0): nearly the weight of an open pair."""
    for i, j in blocked:
        if i != j:
            affinity[i, j] = affinity[j, i] = -0.5
    weights = acting(affinity).transfer_matrix()
    closed = (affinity < -0.1) | torch.eye(4, dtype=torch.bool)
    assert (weights[closed] == 0).all()
    assert (weights[~closed] > 0).all()
    some = (~closed).any(dim=1)
    torch.testing.assert_close(weights.sum(dim=1), some.float())


@pytest.mark.rule("R22")
def test_a_row_with_everything_blocked_transfers_nothing() -> None:
    affinity = torch.full((4, 4), -0.9).fill_diagonal_(1.0)
    adatt = acting(affinity)
    assert torch.equal(adatt.transfer_matrix(), torch.zeros(4, 4))
    parts = {name: torch.tensor(1.0, requires_grad=True) for name in NAMES}
    total = adatt(parts, ZERO)
    total.backward()
    assert [float(p.grad) for p in parts.values()] == [1.0] * 4


@pytest.mark.rule("R22")
@MANY
@given(affinity=square, values=st.lists(st.floats(1e-4, 100), min_size=4, max_size=4), extra=st.floats(-50, 50))
def test_no_task_gains_more_than_its_cap(affinity: Tensor, values: list[float], extra: float) -> None:
    """The log term is apart: inside, a part could be negative and the bound would flip with its sign."""
    adatt = acting(affinity, strength=100.0)
    parts = {name: torch.tensor(value) for name, value in zip(NAMES, values, strict=True)}
    gain = float(adatt(parts, torch.tensor(extra))) - sum(values) - extra
    open_rows = adatt.transfer_matrix().any(dim=1)
    bound = 0.5 * sum(v for v, is_open in zip(values, open_rows.tolist(), strict=True) if is_open)
    assert -1e-3 <= gain <= bound * (1 + 1e-4) + 1e-3


@pytest.mark.rule("R22")
@MANY
@given(affinity=square, strength=st.floats(0.01, 0.1))
def test_without_the_cap_transfer_is_a_re_weighing_of_tasks(affinity: Tensor, strength: float) -> None:
    """Why its effect is null: the gradient is sum_j (1 + strength c_j) grad P_j, c_j the column sums."""
    adatt = acting(affinity, strength=strength, cap=1e6)
    parts = {name: torch.tensor(1.0 + i, requires_grad=True) for i, name in enumerate(NAMES)}
    adatt(parts, ZERO).backward()
    expected = 1 + strength * adatt.transfer_matrix().sum(dim=0)
    torch.testing.assert_close(torch.stack([p.grad for p in parts.values()]), expected, atol=1e-6, rtol=0)


@pytest.mark.rule("R22")
def test_an_absent_task_neither_gives_nor_takes_and_its_share_is_lost() -> None:
    adatt = acting(affinity_of(5).abs(), cap=1e6)
    weights, present = adatt.transfer_matrix(), [0, 2, 3]
    parts = {NAMES[i]: torch.tensor(2.0) for i in present}
    expected = 6.0 + 0.1 * 2.0 * float(weights[present][:, present].sum())
    assert float(adatt(parts, ZERO)) == pytest.approx(expected)


def test_a_bound_transfer_sends_no_gradient_through_the_bound() -> None:
    adatt = acting(torch.ones(4, 4), strength=100.0)
    parts = {name: torch.tensor(1.0, requires_grad=True) for name in NAMES}
    adatt(parts, ZERO).backward()
    assert [float(p.grad) for p in parts.values()] == [1.0] * 4


def test_a_step_without_any_task_is_its_extra() -> None:
    assert float(acting()({}, torch.tensor(2.5))) == 2.5


# --- prior, phases, reading


@MANY
@given(groups=st.lists(st.sampled_from("xyz"), min_size=1, max_size=6))
def test_the_prior_has_no_self_transfer_and_rows_that_sum_to_one(groups: list[str]) -> None:
    prior = group_prior(groups, 0.3, {"x": 0.8, "y": 0.6})
    assert prior.diagonal().abs().max() == 0
    torch.testing.assert_close(prior.sum(dim=1), torch.full((len(groups),), float(len(groups) > 1)))


def test_tasks_of_one_group_are_nearer_than_strangers_and_an_unnamed_group_is_strange() -> None:
    prior = group_prior(["x", "x", "z", "z"], 0.3, {"x": 0.8})
    assert float(prior[0, 1] / prior[0, 2]) == pytest.approx(0.8 / 0.3)
    assert prior[2, 3] == prior[2, 0]


@pytest.mark.parametrize(("epochs", "share"), [(0, 0.5), (3, 0.5), (5, 0.34), (8, 0.1), (30, 0.1)])
def test_the_priors_share_falls_between_warm_up_and_freeze(epochs: int, share: float) -> None:
    assert adatt_of(epochs, enabled=True).prior_share() == pytest.approx(share)


@pytest.mark.rule("R23")
@pytest.mark.parametrize(("warm", "freeze"), [(3, 3), (4, 3)])
def test_a_freeze_before_the_end_of_warm_up_is_refused(warm: int, freeze: int) -> None:
    with pytest.raises(ValidationError, match="must come after"):
        adatt_of(warmup_epochs=warm, freeze_epoch=freeze)


@pytest.mark.rule("R28")
def test_a_pause_ends_even_when_what_it_covers_fails() -> None:
    adatt = acting(torch.ones(4, 4))
    parts = {name: torch.tensor(1.0) for name in NAMES}

    def fails() -> None:
        with adatt.paused():
            assert float(adatt(parts, ZERO)) == 4.0
            assert not adatt.due(0)
            adatt.end_epoch()
            raise KeyError("planted")

    with pytest.raises(KeyError):
        fails()
    assert int(adatt.epoch) == 4
    assert float(adatt(parts, ZERO)) == pytest.approx(4.4)
    assert adatt.due(0)


def test_what_a_resume_needs_is_in_the_state() -> None:
    first, second = acting(affinity_of(1)), adatt_of(enabled=True)
    observed(first, torch.eye(4))
    second.load_state_dict(first.state_dict())
    for adatt in (first, second):
        observed(adatt, affinity_of(2))
        for _ in range(4):
            adatt.end_epoch()
    assert torch.equal(first.transfer_matrix(), second.transfer_matrix())
    assert torch.equal(first.count, second.count)
    assert bool(second.frozen)


def test_tasks_that_oppose_each_other_are_named() -> None:
    adatt = adatt_of()
    observed(adatt, torch.tensor([[1.0, 0.0], [-1.0, 0.1], [0.0, 1.0]]))
    assert adatt.negative_transfer() == {"a": ["b"], "b": ["a"], "c": [], "d": []}
