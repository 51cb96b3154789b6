"""Losses that are not finite: one task, one step, several in a row, a share of an epoch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline_lib.errors import TrainingDiverged
from pipeline_lib.settings.teacher.training import Weighting as Policy
from pipeline_lib.teacher.guard import Guard, describe
from pipeline_lib.teacher.optim import Rates, build_optimiser
from pipeline_lib.teacher.weighting import Weighting, build_weighting
from tests.unit.teacher.parts import MANY, shipped, task

NAN = float("nan")
ONE = torch.tensor(1.0)


class Loop:
    """A step as the trainer takes it, with two tasks on one shared weight."""

    def __init__(self, max_steps: int = 5, max_share: float = 1.0) -> None:
        torch.manual_seed(0)
        self.model = nn.Linear(2, 2)
        self.weighting: Weighting = build_weighting([task("a"), task("b")], Policy(**shipped("weighting")))
        self.optimiser = build_optimiser(self.model, self.weighting, Rates(1e-2, {}, {}, 2e-2, 0.0))
        self.guard, self.taken = Guard(max_steps, max_share), 0

    def step(self, factors: Mapping[str, float], extra: float = 0.0) -> bool:
        out = self.model(torch.ones(4, 2))
        losses = self.guard.keep({n: out[:, i].square().mean() * factors[n] for i, n in enumerate("ab")})
        total = self.weighting(losses).total() + extra
        self.optimiser.zero_grad()
        took = self.guard.accept(total, lambda: describe({"all": out}, self.weighting, self.optimiser))
        if took:
            total.backward()
            self.optimiser.step()
        self.guard.end_step(self.taken)
        self.taken += 1
        return took

    def state(self) -> list[Tensor]:
        return [p.detach().clone() for p in [*self.model.parameters(), *self.weighting.parameters()]]


FINE, BAD_A = {"a": 1.0, "b": 1.0}, {"a": NAN, "b": 1.0}


@pytest.mark.rule("R40")
@pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf")])
def test_a_task_that_is_not_finite_is_dropped_and_the_others_go_on(value: float) -> None:
    loop = Loop()
    before = loop.state()
    assert loop.step({"a": value, "b": 1.0})
    weight, bias, s = loop.state()
    assert all(p.isfinite().all() for p in (weight, bias, s))
    assert torch.equal(weight[0], before[0][0])  # task a reads the first output only
    assert not torch.equal(weight[1], before[0][1])
    assert s[0] == before[2][0]
    assert loop.guard.bad_steps == 1


@pytest.mark.rule("R40")
def test_a_total_that_is_not_finite_skips_the_step() -> None:
    loop = Loop()
    before = loop.state()
    assert not loop.step(FINE, extra=NAN)
    assert all(torch.equal(a, b) for a, b in zip(loop.state(), before, strict=True))
    assert loop.step(FINE)
    assert loop.guard.in_a_row == 0


@pytest.mark.rule("R40")
def test_five_bad_steps_in_a_row_end_the_training_with_what_is_needed() -> None:
    loop = Loop()
    loop.step(FINE)
    for _ in range(4):
        loop.step(BAD_A)
    with pytest.raises(TrainingDiverged, match="5 steps in a row") as caught:
        loop.step(BAD_A)
    assert caught.value.step == 5
    dump = json.loads(str(caught.value.args[0]).split("; ", 1)[1])
    assert dump["tasks"] == ["a"]
    assert dump["bad_steps_by_task"] == {"a": 5}
    assert set(dump["weighting"]) == {"a", "b"}
    assert dump["rates"] == [1e-2, 2e-2]
    assert len(dump["expert_ranges"]["all"]) == 2


@MANY
@given(pattern=st.lists(st.booleans(), min_size=1, max_size=40), limit=st.integers(1, 6))
def test_training_ends_at_the_first_run_of_bad_steps_of_that_length(pattern: Sequence[bool], limit: int) -> None:
    guard, ended = Guard(limit, 1.0), None
    for step, bad in enumerate(pattern):
        try:
            assert guard.accept(torch.tensor(NAN) if bad else ONE) != bad
            assert guard.accept(ONE)  # a finite norm beside it does not undo a bad step
            guard.end_step(step)
        except TrainingDiverged:
            ended = step
            break
    runs = [step for step in range(limit - 1, len(pattern)) if all(pattern[step - limit + 1 : step + 1])]
    assert ended == (runs[0] if runs else None)


@pytest.mark.rule("R40")
@MANY
@given(steps=st.integers(1, 2000), bad=st.integers(0, 30), share=st.sampled_from([0.0, 0.005, 0.1]))
def test_an_epoch_may_have_its_share_of_bad_steps_and_always_one(steps: int, bad: int, share: float) -> None:
    """Half a percent of a short epoch is less than a step: dropping a task once would always end the training."""
    guard = Guard(10_000, share)
    for step in range(min(bad, steps)):
        guard.accept(torch.tensor(NAN))
        guard.end_step(step)
    if min(bad, steps) > max(1, share * steps):
        with pytest.raises(TrainingDiverged, match="of an epoch"):
            guard.end_epoch(steps)
    else:
        guard.end_epoch(steps)
    assert guard.bad_steps == 0


def test_a_step_in_slices_drops_a_task_of_any_slice_once() -> None:
    guard = Guard(5, 1.0)
    guard.keep({"a": torch.tensor(NAN), "b": ONE})
    guard.keep({"a": torch.tensor(NAN), "b": ONE})
    assert guard.accept(ONE)
    guard.end_step(0)
    assert (guard.bad_steps, guard.in_a_row) == (1, 1)
    guard.keep({"a": ONE, "b": ONE})
    assert guard.accept(ONE)
    guard.end_step(1)
    assert (guard.bad_steps, guard.in_a_row) == (1, 0)


def test_a_gradient_that_is_not_finite_can_be_judged_beside_the_total() -> None:
    assert not Guard(5, 1.0).accept(torch.tensor([1.0, math.inf]))


def test_the_scene_is_looked_at_on_bad_steps_only() -> None:
    def never() -> dict[str, float]:
        raise AssertionError("looked at")

    assert Guard(5, 1.0).accept(ONE, never)


def test_finite_losses_are_kept_as_they_are() -> None:
    losses = {"a": torch.tensor(1.0, requires_grad=True), "b": ONE}
    kept = Guard(5, 1.0).keep(losses)
    assert kept["a"] is losses["a"]
    assert list(kept) == ["a", "b"]
    assert Guard(5, 1.0).keep({}) == {}
