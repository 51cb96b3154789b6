"""Sequence encoders: the unrolled scan is the recurrence, padding is invisible, time is seen."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from pipeline_lib.teacher.frame import Batch
from pipeline_lib.teacher.seq.liquid import ClosedFormCell
from pipeline_lib.teacher.seq.scan import at_last, last_state, recurrence
from tests.unit.teacher.bank import World


def scan_inputs(seed: int, steps: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    dt = F.softplus(torch.randn(2, steps, 3, generator=g, dtype=dtype))
    x, b = torch.randn(2, steps, 3, generator=g, dtype=dtype), torch.randn(2, steps, 4, generator=g, dtype=dtype)
    a = -torch.rand(3, 4, generator=g, dtype=dtype) * 3
    return dt, x, b, a


@given(st.integers(0, 2**31), st.integers(1, 20), st.integers(1, 25))
@settings(max_examples=40, deadline=None)
def test_the_unrolled_scan_is_the_recurrence_for_every_chunk(seed: int, steps: int, chunk: int) -> None:
    dt, x, b, a = scan_inputs(seed, steps)
    torch.testing.assert_close(last_state(dt, x, b, a, chunk), recurrence(dt, x, b, a))


def test_the_scan_in_float32_is_the_recurrence_to_a_ten_thousandth() -> None:
    dt, x, b, a = scan_inputs(0, 180, torch.float32)
    torch.testing.assert_close(last_state(dt, x, b, a, 16), recurrence(dt, x, b, a), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 3, 10])
def test_gradients_of_the_scan_are_those_of_the_recurrence(chunk: int) -> None:
    def gradients(function):
        parts = [t.clone().requires_grad_() for t in scan_inputs(3, 7)]
        (function(*parts) * torch.arange(24).view(2, 3, 4)).sum().backward()
        return [t.grad for t in parts]

    for found, expected in zip(gradients(lambda *p: last_state(*p, chunk)), gradients(recurrence), strict=True):
        torch.testing.assert_close(found, expected)


def test_a_month_of_silence_does_not_blow_the_cell_up() -> None:
    cell = ClosedFormCell(4, 6, 8, max_days=30.0)
    out = cell(torch.randn(5, 4), torch.full((5,), 3000.0))
    assert out.abs().max() <= 1


def test_the_last_valid_step_is_read_and_never_the_padding() -> None:
    x = torch.arange(12).float().view(2, 3, 2)
    assert at_last(x, torch.tensor([1, 3])).tolist() == [[0, 1], [10, 11]]


def rows_with_events(world: World) -> Batch:
    return world.frame.batch(torch.nonzero(world.frame.offsets.diff() > 3).flatten()[:20])


def temporal(world: World, batch: Batch) -> torch.Tensor:
    return world.model.eval().experts["temporal"](batch).h


@pytest.mark.parametrize("extra", [1, 5, 13])
def test_appending_padding_changes_nothing(world: World, extra: int) -> None:
    batch = rows_with_events(world)
    padded = replace(batch, steps=F.pad(batch.steps, (0, 0, 0, extra)), days=F.pad(batch.days, (0, extra)))
    torch.testing.assert_close(temporal(world, padded), temporal(world, batch), atol=1e-6, rtol=1e-6)


def test_what_stands_in_the_padding_changes_nothing(world: World) -> None:
    batch = rows_with_events(world)
    short = replace(batch, length=batch.length.clamp(max=4))  # one whole patch
    other = replace(short, steps=short.steps.clone())
    other.steps[:, 4:] += 7.0
    torch.testing.assert_close(temporal(world, other), temporal(world, short), atol=1e-6, rtol=1e-6)


def test_the_silence_before_the_cutoff_alone_changes_the_output(world: World) -> None:
    batch = rows_with_events(world)
    later = replace(batch, gap=batch.gap + 10)
    assert (temporal(world, later) - temporal(world, batch)).abs().max() > 1e-4


def test_the_order_of_events_changes_the_output(world: World) -> None:
    batch = rows_with_events(world)
    swapped = replace(batch, steps=batch.steps[:, [1, 0, *range(2, batch.steps.shape[1])]])
    assert (temporal(world, swapped) - temporal(world, batch)).abs().max() > 1e-5
