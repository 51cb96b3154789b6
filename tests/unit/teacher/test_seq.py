"""Sequence encoders: every backend of the scan is the recurrence, padding is invisible, time is seen."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline_lib.errors import SettingsError
from pipeline_lib.teacher.experts.temporal import Temporal, build
from pipeline_lib.teacher.frame import Batch
from pipeline_lib.teacher.seq.liquid import ClosedFormCell
from pipeline_lib.teacher.seq.patch import PatchEncoder
from pipeline_lib.teacher.seq.scan import CausalConv, SelectiveScan, at_last, last_state, read_out, recurrence
from tests.unit.teacher.experts.fabricated import architecture, batch_of, inputs_of

INPUTS = inputs_of(narrow=True)


def scan_inputs(seed: int, steps: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    dt = F.softplus(torch.randn(2, steps, 3, generator=g, dtype=dtype))
    x, b = torch.randn(2, steps, 3, generator=g, dtype=dtype), torch.randn(2, steps, 4, generator=g, dtype=dtype)
    a = -torch.rand(3, 4, generator=g, dtype=dtype) * 3
    return dt, x, b, a


@pytest.mark.rule("R13")
@given(st.integers(0, 2**31), st.integers(1, 20), st.integers(1, 25))
@settings(max_examples=40, deadline=None)
def test_the_unrolled_scan_is_the_recurrence_for_every_chunk(seed: int, steps: int, chunk: int) -> None:
    dt, x, b, a = scan_inputs(seed, steps)
    torch.testing.assert_close(last_state(dt, x, b, a, chunk), recurrence(dt, x, b, a))


@pytest.mark.rule("R13")
def test_the_scan_in_float32_is_the_recurrence_to_a_ten_thousandth() -> None:
    dt, x, b, a = scan_inputs(0, 180, torch.float32)
    torch.testing.assert_close(last_state(dt, x, b, a, 16), recurrence(dt, x, b, a), rtol=1e-4, atol=1e-5)


@pytest.mark.rule("R13")
@pytest.mark.parametrize("chunk", [1, 3, 10])
def test_gradients_of_the_scan_are_those_of_the_recurrence(chunk: int) -> None:
    def gradients(function: Any) -> list[Tensor | None]:
        parts = [t.clone().requires_grad_() for t in scan_inputs(3, 7)]
        (function(*parts) * torch.arange(24).view(2, 3, 4)).sum().backward()
        return [t.grad for t in parts]

    for found, expected in zip(gradients(lambda *p: last_state(*p, chunk)), gradients(recurrence), strict=True):
        torch.testing.assert_close(found, expected)


def kernel_of_the_library(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """selective_scan_fn as mamba-ssm documents it: u, delta (B, I, L), a (I, N), b, c (B, N, L) -> (B, I, L)."""
    ends = range(1, u.shape[2] + 1)
    states = [recurrence(delta[..., :t].mT, u[..., :t].mT, b[..., :t].mT, a) for t in ends]
    return torch.stack([(h * c[:, None, :, t]).sum(-1) for t, h in enumerate(states)], dim=-1)


@pytest.mark.rule("R13")
def test_all_backends_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    library = ModuleType("mamba_ssm.ops.selective_scan_interface")
    library.selective_scan_fn = kernel_of_the_library  # type: ignore[attr-defined]
    for name, module in {
        "mamba_ssm": ModuleType("m"),
        "mamba_ssm.ops": ModuleType("o"),
        library.__name__: library,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    dt, x, b, a = scan_inputs(5, 12, torch.float32)
    c = torch.randn(2, 4, generator=torch.Generator().manual_seed(6))
    expected = read_out(dt, x, b, a, c, 4, "reference")
    torch.testing.assert_close(read_out(dt, x, b, a, c, 4, "chunked"), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(read_out(dt, x, b, a, c, 4, "cuda_kernel"), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.rule("R13")
def test_the_library_s_kernel_is_asked_for_by_name_and_never_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mamba_ssm", None)
    parts = scan_inputs(5, 3, torch.float32)
    with pytest.raises(SettingsError, match="mamba-ssm"):
        read_out(*parts, torch.ones(2, 4), 4, "cuda_kernel")


class Largest(TorchDispatchMode):
    """The largest tensor that any operation made."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        made = [t for t in (out if isinstance(out, (tuple, list)) else [out]) if isinstance(t, Tensor)]
        self.elements = max([self.elements, *(t.untyped_storage().nbytes() // t.element_size() for t in made)])
        return out


@pytest.mark.rule("R13")
def test_no_tensor_of_steps_by_channels_by_states_is_ever_made() -> None:
    rows, steps, inner, states = 4, 90, 8, 16
    scan = SelectiveScan(5, inner, 1, states, 4, 2, chunk=16)
    with Largest() as seen:
        scan(torch.randn(rows, steps, 5), torch.full((rows,), steps)).sum().backward()
    assert seen.elements < rows * steps * inner * states / 4


def test_the_convolution_is_the_library_s_and_sees_no_future() -> None:
    own, steps = CausalConv(3, 4).double(), torch.randn(2, 7, 3, dtype=torch.double, requires_grad=True)
    library = torch.nn.Conv1d(3, 3, 4, groups=3).double()
    library.weight.data.copy_(own.weight.flip(0).T[:, None])
    library.bias.data.copy_(own.bias)
    torch.testing.assert_close(own(steps), library(F.pad(steps.mT, (3, 0))).mT)
    assert torch.autograd.gradcheck(own, (steps,))
    assert own(steps[:, :2]).shape == (2, 2, 3)
    (gradient,) = torch.autograd.grad(own(steps)[:, 3].sum(), steps)
    assert not gradient[:, 4:].any()


@pytest.mark.rule("R13")
@pytest.mark.parametrize("days", [30.0, 3000.0])
def test_a_month_of_silence_does_not_blow_the_cell_up(days: float) -> None:
    torch.manual_seed(0)
    cell = ClosedFormCell(4, 6, 8, max_days=30.0)
    for layer in (cell.rate, cell.near, cell.far):
        layer.weight.data.mul_(100)
    assert cell(torch.randn(5, 4), torch.full((5,), days)).abs().max() <= 1


def test_the_cell_relaxes_from_one_state_to_another_over_time() -> None:
    """h' = sigma(-f t) g + (1 - sigma(-f t)) k: with f > 0, from the middle of g and k towards k."""
    torch.manual_seed(0)
    cell = ClosedFormCell(4, 6, 8, max_days=1e6)
    cell.rate.weight.data.zero_()
    cell.rate.bias.data.fill_(1.0)
    cell.backbone[0].weight.data[:, -1] = 0.0  # heads that do not see t
    x = torch.randn(1, 4)
    near, middle, far = (cell(x, torch.tensor([t])) for t in (1e-3, 20.0, 1e5))
    assert (((near - middle) * (middle - far)) >= 0).all()
    assert (near - far).abs().max() > 1e-3


@pytest.mark.rule("R12")
def test_the_last_valid_step_is_read_and_never_the_padding() -> None:
    x = torch.arange(12).float().view(2, 3, 2)
    assert at_last(x, torch.tensor([1, 3])).tolist() == [[0, 1], [10, 11]]


def temporal() -> Temporal:
    torch.manual_seed(0)
    return build(INPUTS, architecture().temporal).eval()


def rows_with_events(count: int = 12) -> Batch:
    batch = batch_of(replace(INPUTS, available=()), count)
    return replace(batch, length=batch.length.clamp(min=10))


@pytest.mark.rule("R12")
@pytest.mark.parametrize("extra", [1, 5, 13])
def test_appending_padding_changes_nothing(extra: int) -> None:
    batch, expert = rows_with_events(), temporal()
    padded = replace(batch, steps=F.pad(batch.steps, (0, 0, 0, extra)), days=F.pad(batch.days, (0, extra)))
    torch.testing.assert_close(expert(padded).h, expert(batch).h, atol=1e-6, rtol=1e-6)


@pytest.mark.rule("R12")
def test_what_stands_in_the_padding_changes_nothing() -> None:
    batch, expert = rows_with_events(), temporal()
    short = replace(batch, length=batch.length.clamp(max=8))  # one whole patch
    other = replace(short, steps=short.steps.clone(), days=short.days + 0.0)
    other.steps[:, 8:] += 7.0
    other.days[:, 8:] += 7.0
    torch.testing.assert_close(expert(other).h, expert(short).h, atol=1e-6, rtol=1e-6)


@pytest.mark.rule("R12")
def test_a_row_without_events_is_marked_finite_and_says_nothing_of_its_padding() -> None:
    batch, expert = batch_of(replace(INPUTS, available=()), 8), temporal()
    out = expert(batch)
    assert expert.available(batch).tolist() == (batch.length > 0).tolist()
    assert not expert.available(batch).all()
    assert torch.isfinite(out.h).all()


def test_patches_without_a_valid_step_are_neither_attended_nor_pooled() -> None:
    torch.manual_seed(0)
    patch = PatchEncoder(3, 4, 8, 2, 2, 16, 0.0).eval()
    x, length = torch.randn(2, 12, 3), torch.tensor([4, 12])
    torch.testing.assert_close(patch(x, length)[0], patch(x[:, :4], torch.tensor([4, 4]))[0])


@pytest.mark.rule("R12")
def test_the_silence_before_the_cutoff_alone_changes_the_output() -> None:
    batch, expert = rows_with_events(), temporal()
    later = replace(batch, gap=batch.gap + 10)
    assert (expert(later).h - expert(batch).h).abs().max() > 1e-4


def test_time_between_events_and_their_order_change_the_output() -> None:
    batch, expert = rows_with_events(), temporal()
    slower = replace(batch, days=batch.days * 3)
    swapped = replace(batch, steps=batch.steps[:, [1, 0, *range(2, batch.steps.shape[1])]])
    for other in (slower, swapped):
        assert (expert(other).h - expert(batch).h).abs().max() > 1e-5


def test_the_gate_over_the_three_views_is_what_mixed_them() -> None:
    batch, expert = rows_with_events(), temporal()
    out = expert(batch)
    gate = out.diag["temporal_gate"]
    torch.testing.assert_close(gate.sum(1), torch.ones(len(gate)))
    expert.gate[-1].bias.data += torch.tensor([50.0, 0.0, 0.0])  # the scan alone
    only = expert(batch)
    assert (only.diag["temporal_gate"][:, 0] > 0.999).all()
    steps = torch.cat([batch.steps, batch.days.log1p()[..., None]], dim=-1)
    expected = expert.norm(expert.project[0](expert.scan(steps, batch.length)))
    torch.testing.assert_close(only.h, expected, atol=1e-4, rtol=1e-4)
