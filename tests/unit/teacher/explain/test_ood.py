"""The distance, its threshold and what they promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from pipeline_lib.errors import ContractError
from pipeline_lib.teacher.explain.ood import OodReference, Shape, calibrated, conformal, held_out
from pipeline_lib.teacher.explain.probes import IMPOSSIBLE, probes

WIDTH = 16


def latents(n: int, seed: int, scale: float = 1.0) -> Tensor:
    """Correlated and heavy-tailed: a Gaussian mixed over scales, where no chi-square threshold would hold."""
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(0))
    tail = torch.exp(0.5 * torch.randn(n, 1, generator=g))
    return scale * tail * (torch.randn(n, WIDTH, generator=g) @ mix) + 3.0


def reference(
    fit: Tensor | None = None, calibration: Tensor | None = None, covariance: Any = "full", as_of: str = "2026-01-05"
) -> OodReference:
    """Of the latent alone; the columns are looked at in tests of their own."""
    found = latents(3000, 1) if fit is None else fit
    held = latents(4000, 2) if calibration is None else calibration
    shape = Shape.of(found, found, covariance, "latent")
    return calibrated(
        shape, shape.distances(held, held), rate=0.05, override_rate=0.01, rows_fit=len(found), calibrated_on="calib",
        as_of=as_of,
    )  # fmt: skip


def far(ref: OodReference, z: Tensor) -> Tensor:
    return ref.distances(z, z)


@pytest.mark.rule("R35")
@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_the_rate_holds_on_rows_that_neither_fitted_nor_calibrated(covariance: str) -> None:
    ref = reference(covariance=covariance)
    found = held_out(far(ref, latents(6000, 3)), ref, 0.01)
    assert abs(found["rate"] - 0.05) <= 0.01
    assert found["passed"]


@pytest.mark.rule("R35")
def test_the_rate_holds_when_few_rows_fitted() -> None:
    """Rows that fitted lie nearer than others: a threshold from them flags far too many of the others."""
    fooled, honest = [], []
    for seed in range(12):
        few, fresh = latents(40, 100 + seed), latents(3000, seed)
        ref = reference(few)
        distances = far(ref, fresh)
        own = conformal(far(ref, few), 0.05)
        assert own is not None
        fooled.append(float((distances > own).double().mean()))
        honest.append(held_out(distances, ref, 0.01)["rate"])
    assert np.mean(fooled) > 0.1
    assert np.mean(honest) == pytest.approx(0.05, abs=0.01)


@pytest.mark.rule("R35")
def test_a_scale_shift_of_the_latent_is_detected() -> None:
    ref = reference()
    flags = ref.flags(far(ref, 3.0 + 6 * (latents(2000, 6) - 3.0)))
    assert flags is not None
    assert float(flags.double().mean()) > 0.9


@pytest.mark.rule("R35")
@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_a_restored_reference_is_the_same(covariance: str) -> None:
    ref = reference(covariance=covariance)
    tensors, body = ref.to_tensors()
    back = OodReference.from_tensors(load(save(tensors)), body)
    z = latents(50, 7)
    assert torch.equal(far(back, z), far(ref, z))
    assert (back.threshold, back.override, back.ref_id) == (ref.threshold, ref.override, ref.ref_id)
    assert back.threshold is not None


def test_the_override_lies_beyond_the_threshold() -> None:
    ref = reference()
    assert ref.threshold is not None
    assert ref.override is not None
    assert ref.override > ref.threshold


def test_the_reference_id_names_the_content() -> None:
    assert reference().ref_id == reference().ref_id
    assert reference().ref_id != reference(as_of="2026-01-12").ref_id
    assert reference().ref_id != reference(latents(3000, 8)).ref_id


def test_distance_is_that_of_the_inverse_covariance() -> None:
    ref, z = reference(), latents(20, 9)
    own = ref.shape.latent
    sigma = (own.factor @ own.factor.T).numpy()
    away = z.double().numpy() - own.mean.numpy()
    expected = np.sqrt(np.einsum("ni,ij,nj->n", away, np.linalg.inv(sigma), away))
    assert far(ref, z).numpy() == pytest.approx(expected, rel=1e-9)


def test_units_of_the_latent_change_no_distance() -> None:
    stretch = torch.diag(torch.linspace(0.5, 2, WIDTH))
    plain, mapped = reference(latents(300, 1)), reference(latents(300, 1) @ stretch)
    z = latents(100, 10)
    assert far(plain, z).numpy() == pytest.approx(far(mapped, z @ stretch).numpy(), rel=1e-5)


@given(n=st.integers(1, 200), rate=st.sampled_from([0.01, 0.05, 0.1, 0.5]))
@settings(max_examples=50, deadline=None)
def test_the_quantile_leaves_at_most_its_share_of_new_rows_beyond(n: int, rate: float) -> None:
    """Split conformal: with n distances and a new one exchangeable, P(new > q) <= rate; too few: no threshold."""
    ranks = torch.arange(1.0, n + 1)  # the new row falls into each of the n + 1 gaps alike
    q = conformal(ranks, rate)
    if q is None:
        assert n < 1 / rate - 1 + 1e-9
        return
    beyond = (n + 1 - q) / (n + 1)
    assert beyond <= rate + 1e-9
    assert beyond > rate - 1 / (n + 1) - 1e-9


def test_without_a_threshold_nothing_is_flagged_or_judged() -> None:
    ref = reference(calibration=latents(18, 2))
    assert ref.threshold is None
    assert ref.flags(torch.tensor([1e9])) is None
    assert held_out(torch.tensor([1.0]), ref, 0.01)["passed"] is None
    assert reference(calibration=latents(19, 2)).threshold is not None


def test_a_distance_that_is_no_number_is_flagged() -> None:
    flags = reference().flags(torch.tensor([float("nan"), 0.0]))
    assert flags is not None
    assert flags.tolist() == [True, False]


def distances_with(rate: float, n: int, ref: OodReference) -> Tensor:
    beyond = round(rate * n)
    assert ref.threshold is not None
    return torch.cat([torch.full((beyond,), ref.threshold + 1), torch.zeros(n - beyond)])


def test_few_rows_do_not_fail_by_luck_and_many_do_not_pass_by_it() -> None:
    ref = reference()
    few, many = (held_out(distances_with(0.09, n, ref), ref, 0.01) for n in (100, 10000))
    assert few["passed"]
    assert not few["within_tolerance"]
    assert not many["passed"]
    assert many["interval95"][0] > 0.08


def test_the_law_of_chance_is_that_of_simulated_runs() -> None:
    """300 runs of 200 calibration and 100 held-out rows: hardly any leaves the middle 99 %."""
    rng, outside = np.random.default_rng(0), 0
    ref = reference(calibration=latents(200, 2))
    for _ in range(300):
        calibration, fresh = torch.from_numpy(rng.random(200)), torch.from_numpy(rng.random(100))
        q = conformal(calibration, 0.05)
        assert q is not None
        assert ref.threshold is not None
        beyond = int((fresh > q).sum())
        counted = torch.cat([torch.full((beyond,), ref.threshold + 1), torch.zeros(100 - beyond)])
        outside += not held_out(counted, ref, 1e-9)["passed"]
    assert outside <= 9


def test_a_latent_that_does_not_vary_is_refused() -> None:
    z = latents(100, 1)
    z[:, 3] = 1.0
    with pytest.raises(ContractError, match="1 constant latents"):
        reference(z)


def test_probes_are_what_they_are_called() -> None:
    g = torch.Generator().manual_seed(0)
    own = torch.randn(400, 6, generator=g)
    found = probes(own, [range(2), range(2, 6)], 1)
    assert set(IMPOSSIBLE) < found.keys()
    assert float(found["uniform"].abs().max()) <= 3
    assert torch.equal(found["permuted"].sort(dim=0).values, own.sort(dim=0).values)
    assert float((found["permuted"] == own).double().mean()) < 0.05
    assert float(found["extreme"].abs().min()) >= 8
    assert ((found["one_column"] != own).sum(1) == 1).all()
    zeros = found["one_group"] == 0
    assert (zeros[:, :2].all(1) ^ zeros[:, 2:].all(1)).all()


def test_impossible_rows_of_a_plain_latent_are_found() -> None:
    """Where the latent is x itself, strongly correlated, all three kinds lie beyond the threshold."""

    def rows(n: int, seed: int) -> Tensor:
        g = torch.Generator().manual_seed(seed)
        factors = torch.randn(n, 3, generator=g) @ torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(0))
        return factors + 0.1 * torch.randn(n, WIDTH, generator=g)

    ref = reference(rows(3000, 1), rows(2000, 2))
    for name, z in probes(rows(500, 3), [range(WIDTH)], 1).items():
        flags = ref.flags(far(ref, z))
        assert flags is not None
        assert name not in IMPOSSIBLE or float(flags.double().mean()) >= 0.99, name


def levelled(x: Tensor) -> Tensor:
    """A latent of width 4 whose layer is normalised, like the compressor's."""
    mix = torch.randn(WIDTH, 8, generator=torch.Generator().manual_seed(1))
    return torch.tanh(torch.nn.functional.layer_norm(x @ mix, (8,)))[:, :4]


@pytest.mark.rule("R35")
def test_a_normalised_layer_hides_what_the_columns_show() -> None:
    """Why the columns' own distance stands beside the latent: rows a hundred times too large look ordinary in it."""
    fit, held, fresh = latents(3000, 1) - 3, latents(2000, 2) - 3, latents(2000, 3) - 3
    caught = {}
    for space in ("latent", "latent_and_inputs"):
        shape = Shape.of(levelled(fit), fit, "full", space)  # type: ignore[arg-type]
        ref = calibrated(
            shape, shape.distances(levelled(held), held), rate=0.05, override_rate=0.01, rows_fit=3000,
            calibrated_on="calib", as_of="2026-01-05",
        )  # fmt: skip
        assert held_out(ref.distances(levelled(fresh), fresh), ref, 0.015)["passed"]
        flags = ref.flags(ref.distances(levelled(100 * fresh), 100 * fresh))
        assert flags is not None
        caught[space] = float(flags.double().mean())
        tensors, body = ref.to_tensors()
        back = OodReference.from_tensors(load(save(tensors)), body)
        assert back.ref_id == ref.ref_id
        assert torch.equal(back.distances(levelled(fresh), fresh), ref.distances(levelled(fresh), fresh))
    assert caught["latent"] < 0.2
    assert caught["latent_and_inputs"] > 0.99


def test_a_column_that_is_the_same_for_all_is_no_obstacle() -> None:
    x = latents(500, 1)
    x[:, 2] = 1.0
    assert Shape.of(latents(500, 2), x, "full", "latent_and_inputs").distances(latents(5, 3), x[:5]).isfinite().all()
