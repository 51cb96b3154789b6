"""The sparse dictionary finds what data are made of, and counts what it does not use."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline_lib.teacher.explain.sparse_codes import SparseCodes, firing, fit_codes

ATOMS, WIDTH = 12, 24


def made_of_atoms(n: int) -> tuple[Tensor, Tensor]:
    """Rows that are sums of two of twelve directions."""
    g = torch.Generator().manual_seed(0)
    atoms = torch.linalg.qr(torch.randn(16, 16, generator=g)).Q[:ATOMS]
    used = torch.rand(n, ATOMS, generator=g).argsort(dim=1) < 2
    return (used * (1 + torch.rand(n, ATOMS, generator=g))) @ atoms, atoms


@pytest.fixture(scope="module")
def learned() -> tuple[SparseCodes, Tensor, Tensor]:
    x, atoms = made_of_atoms(1500)
    codes = fit_codes(x, width=WIDTH, sparsity=0.05, epochs=25, rate=1e-2, batch_rows=100, seed=1)
    return codes, x, atoms


def test_rows_of_the_dictionary_keep_length_one(learned: tuple[SparseCodes, Tensor, Tensor]) -> None:
    assert torch.allclose(learned[0].rows.norm(dim=1), torch.ones(WIDTH), atol=1e-5)


def test_the_atoms_are_found(learned: tuple[SparseCodes, Tensor, Tensor]) -> None:
    codes, x, atoms = learned
    alike = F.normalize(atoms, dim=1) @ codes.rows.detach().T
    assert float(alike.max(dim=1).values.mean()) > 0.9
    found = firing(codes, x)
    assert found.explained is not None
    assert found.explained > 0.9
    assert found.mean_active < WIDTH / 2


def test_a_code_is_dead_by_its_firing_and_not_by_its_bias() -> None:
    codes = SparseCodes(3, 4)
    x = torch.eye(3)
    with torch.no_grad():
        codes.rows.copy_(torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, 0, 1]]))
        codes.bias.copy_(torch.tensor([0.0, 0.0, -2.0, 0.5]))
    assert firing(codes, x).dead == 0.5  # the second never matches, the third is biased away
    assert firing(codes, x).mean_active == pytest.approx(4 / 3)  # the fourth fires on every row


def test_training_spends_none_of_the_common_random_numbers() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit_codes(made_of_atoms(50)[0], width=8, sparsity=0.1, epochs=1, rate=1e-2, batch_rows=10, seed=1)
    assert torch.equal(torch.rand(3), expected)
