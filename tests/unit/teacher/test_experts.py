"""Each expert: one shared run over all of them, then what is particular to one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline_lib.settings.teacher import EXPERTS
from pipeline_lib.teacher import experts
from pipeline_lib.teacher.contract import Inputs
from pipeline_lib.teacher.experts import Expert, build_experts, unfed
from pipeline_lib.teacher.experts.lightgcn import LightGCN
from tests.unit.teacher.experts.fabricated import NAMES, architecture, batch_of, inputs_of

NOTHING = Inputs("h", 0, (), (), (0, 0), (), (), 0, 0, (), ())
FILES = {path.stem for path in Path(experts.__file__).parent.glob("*.py")} - {"__init__", "base", "twin"}


def built(name: str, inputs: Inputs, **options: dict[str, object]) -> Expert:
    torch.manual_seed(0)
    expert = build_experts([name], inputs, architecture(**options))[name]
    if isinstance(expert, LightGCN) and inputs.items:
        expert.fit_graph(batch_of(inputs, 200, seed=9).edges)
    return expert


def test_the_files_are_the_registry_in_the_order_of_the_gates() -> None:
    assert list(EXPERTS) == NAMES
    assert set(EXPERTS) == FILES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bits", [True, False])
def test_output_is_finite_normalised_and_of_the_promised_width(name: str, bits: bool) -> None:
    inputs = inputs_of(narrow=True, bits=bits)
    expert, batch = built(name, inputs), batch_of(inputs, 120)
    out = expert(batch)
    assert out.h.shape == (120, expert.out_dim)
    assert torch.isfinite(out.h).all()
    norm = float(out.h[expert.available(batch)].detach().square().sum(1).mean())
    assert norm == pytest.approx(expert.out_dim, rel=0.2)
    assert all(torch.isfinite(value) and value.dim() == 0 for value in out.aux.values())
    assert all(len(value) == 120 for value in out.diag.values())


@pytest.mark.parametrize("name", NAMES)
def test_output_varies_over_rows(name: str) -> None:
    inputs = inputs_of(narrow=True)
    expert, batch = built(name, inputs).eval(), batch_of(inputs, 120)
    assert expert(batch).h[expert.available(batch)].std(0).mean() > 1e-2


def test_a_source_with_nothing_feeds_no_expert_and_says_why() -> None:
    assert list(unfed(NAMES, NOTHING, architecture())) == NAMES
    assert unfed(NAMES, inputs_of(), architecture()) == {}
