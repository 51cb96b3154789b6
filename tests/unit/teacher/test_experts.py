"""Each expert: one shared run over all of them, then what is particular to one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline_lib.settings.teacher import EXPERTS, Architecture
from pipeline_lib.teacher import experts
from pipeline_lib.teacher.contract import Group, Inputs
from pipeline_lib.teacher.experts import Expert, build_experts, unfed
from pipeline_lib.teacher.experts.lightgcn import LightGCN
from pipeline_lib.teacher.experts.twin import Twin
from pipeline_lib.teacher.frame import Bars, Batch
from tests.unit.teacher.experts.fabricated import NAMES, architecture, batch_of, inputs_of, rows_of

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


def parts_of(batch: Batch) -> dict[str, Batch]:
    """The batch with one of its tensors changed, under the tensor's name."""

    def bars(change: Callable[[Bars], Bars]) -> Batch:
        return replace(batch, bars={window: change(found) for window, found in batch.bars.items()})

    return {
        "x": replace(batch, x=batch.x + 0.5),
        "steps": replace(batch, steps=batch.steps + 0.5),
        "days": replace(batch, days=batch.days + 1.0),
        "length": replace(batch, length=(batch.length - 7).clamp(min=0)),
        "gap": replace(batch, gap=batch.gap + 5.0),
        "edges": replace(batch, edges=batch.edges.roll(1, dims=0)),
        "points": bars(lambda found: Bars(found.points * torch.tensor([1.5, 2.0, 1.0]), found.count)),
        "dimension": bars(lambda found: Bars((found.points - torch.tensor([0, 0, 1])).abs(), found.count)),
        "count": bars(lambda found: Bars(found.points, (found.count - 2).clamp(min=0))),
    }


READ = {
    "deepfm": {"x"},
    "lightgcn": {"x", "edges"},
    "hgcn": {"x"},
    "temporal": {"steps", "days", "length", "gap"},
    "perslay": {"x", "points", "dimension", "count"},
    "causal": {"x"},
    "optimal_transport": {"x"},
}


@pytest.mark.rule("R11")
def test_every_tensor_of_a_batch_is_read_by_some_expert() -> None:
    assert set().union(*READ.values()) == set(parts_of(batch_of(inputs_of(narrow=True), 4)))


@pytest.mark.rule("R11")
@pytest.mark.parametrize("name", NAMES)
def test_an_expert_s_output_depends_on_its_tensors_and_on_no_others(name: str) -> None:
    inputs = inputs_of(narrow=True)
    expert, batch = built(name, inputs).eval(), batch_of(inputs, 24)
    before = expert(batch).h
    moved = {part for part, other in parts_of(batch).items() if (expert(other).h - before).abs().max() > 1e-5}
    assert moved == READ[name]


@pytest.mark.rule("R11")
@pytest.mark.parametrize("name", NAMES)
def test_an_expert_reads_each_of_its_columns_and_no_other(name: str) -> None:
    inputs = inputs_of(narrow=True)
    expert, batch = built(name, inputs).eval(), batch_of(inputs, 12)
    x = batch.x.clone().requires_grad_()
    total = (expert(replace(batch, x=x)).h * torch.arange(float(expert.out_dim))).sum()
    (slope,) = torch.autograd.grad(total, x) if total.requires_grad and name != "temporal" else (torch.zeros_like(x),)
    read = import_module(f"pipeline_lib.teacher.experts.{name}").columns(inputs)
    assert set(slope.abs().sum(0).nonzero().flatten().tolist()) == set(read)


@pytest.mark.rule("R11")
@pytest.mark.parametrize("options", [{}, {"hgcn": {"in_graph": True}}, {"causal": {"edge_sign": "nonneg"}}], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name: str, options: dict[str, dict[str, object]]) -> None:
    inputs = inputs_of(narrow=True)
    expert = built(name, inputs, **options)
    out = expert(batch_of(inputs, 60))
    (out.h * torch.randn(out.h.shape[1])).square().sum().add(sum(out.aux.values())).backward()
    dead = [key for key, p in expert.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not dead


@pytest.mark.parametrize("name", NAMES)
def test_other_rows_of_the_batch_change_nothing(name: str) -> None:
    inputs = inputs_of(narrow=True)
    expert, batch = built(name, inputs).eval(), batch_of(inputs, 16)
    alone = torch.cat([expert(rows_of(batch, torch.tensor([i]))).h for i in range(16)])
    torch.testing.assert_close(alone, expert(batch).h, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_in_half_precision_outputs_stay_close_and_gradients_finite(name: str) -> None:
    inputs = inputs_of(narrow=True)
    expert, batch = built(name, inputs).eval(), batch_of(inputs, 32)
    full = expert(batch).h
    with torch.autocast("cpu", torch.bfloat16):
        out = expert(batch)
    out.h.float().square().sum().add(sum(out.aux.values())).backward()
    assert (out.h.float() - full).abs().mean() < 0.05
    assert all(torch.isfinite(p.grad).all() for p in expert.parameters() if p.grad is not None)


def reference() -> tuple[Inputs, Architecture]:
    """The full bank of teacher.md 3 and the widths of teacher.md 5."""
    wide = ("deepfm", "causal", "optimal_transport")
    widths = {f"field_{i}": (23, "x_norm", wide) for i in range(28)}
    widths["hyperbolic_embedding"] = (47, "hyper_emb", ("hgcn",))
    widths["graph_collaborative"] = (98, "collab_emb", ("lightgcn",))
    widths["tda_stats"], widths["phase_transition"] = (30, "x_norm", ("perslay",)), (10, "x_norm", ("perslay",))
    ends = np.cumsum([width for width, _, _ in widths.values()])
    groups = tuple(
        Group(name, int(end) - width, int(end), block, to)
        for end, (name, (width, block, to)) in zip(ends, widths.items(), strict=True)
    )
    inputs = replace(
        inputs_of(), columns=int(ends[-1]), groups=groups, available=(), channels=16, max_steps=180,
        bars=(("short", 200, (0, 1)), ("long", 150, (0, 1, 2))),
    )  # fmt: skip
    base = architecture().temporal
    scan = base.scan.model_copy(update={"width": 64, "expand": 2, "states": 16})
    cell, patch = base.cell.model_copy(update={"width": 64}), {"width": 64, "length": 16, "layers": 2, "hidden": 128}
    temporal = {"scan": scan, "cell": cell, "patch": base.patch.model_copy(update=patch)}
    return inputs, architecture(temporal=temporal)


def sizes_of(inputs: Inputs, widths: Architecture) -> dict[str, int]:
    return {name: sum(p.numel() for p in e.parameters()) for name, e in build_experts(NAMES, inputs, widths).items()}


@pytest.mark.rule("R39")
def test_reference_widths_stay_in_the_parameter_budget() -> None:
    """20 to 200 thousand each, below 2 million in all. The demo bank's widths may be smaller, never larger."""
    sizes, shipped = sizes_of(*reference()), sizes_of(inputs_of(), architecture())
    assert all(20_000 <= size <= 200_000 for size in sizes.values()), sizes
    assert sum(sizes.values()) < 2_000_000
    assert all(size <= 200_000 for size in shipped.values()), shipped


@pytest.mark.parametrize("name", NAMES)
def test_a_twin_has_the_expert_s_size_rows_and_tensors_and_none_of_its_structure(name: str) -> None:
    inputs = inputs_of(narrow=True, bits=False)
    expert, batch = built(name, inputs), batch_of(inputs, 24)
    twin = build_experts([name], inputs, architecture().model_copy(update={"twin": True}))[name].eval()
    assert isinstance(twin, Twin)
    own, others = (sum(p.numel() for p in one.parameters()) for one in (twin, expert))
    assert own == pytest.approx(others, rel=0.03)
    assert twin.available(batch).tolist() == expert.available(batch).tolist()
    before = twin(batch).h
    moved = {part for part, other in parts_of(batch).items() if (twin(other).h - before).abs().max() > 1e-5}
    assert before.shape == (24, expert.out_dim)
    assert moved == READ[name]
