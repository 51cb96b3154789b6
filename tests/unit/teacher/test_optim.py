"""Groups of the optimiser and the rate over the steps."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipeline_lib.errors import SettingsError
from pipeline_lib.settings.teacher.training import Weighting as Policy
from pipeline_lib.teacher.layers import TaskLinear
from pipeline_lib.teacher.optim import STRUCTURE, Rates, build_optimiser, rate_of, rate_share, set_rates
from pipeline_lib.teacher.weighting import Weighting, build_weighting
from tests.unit.teacher.bank import World
from tests.unit.teacher.parts import KINDS, MANY, shipped, task

BASE, LOG_VARIANCE, DECAY = 1e-3, 2e-2, 0.01
RATES = Rates(
    BASE, {"causal": 3e-4, "temporal": 5e-4}, {"causal_edges": 1.1e-3, "ot_points": 1.2e-3}, LOG_VARIANCE, DECAY
)


class Causal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.edges_raw, self.encode = nn.Parameter(torch.zeros(3, 3)), nn.Linear(3, 3)


class Transport(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.support, self.prototypes = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2, 2))
        self.encode, self.norm = nn.Conv1d(3, 3, 1), nn.LayerNorm(3)


class Model(nn.Module):
    """The teacher's names with little behind them; ``side`` is a head off the main path."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleDict(
            {"temporal": nn.Linear(3, 3), "causal": Causal(), "optimal_transport": Transport()}
        )
        self.gate1, self.towers, self.side = nn.Linear(3, 2), TaskLinear(3, 2, [0, 1]), nn.Linear(3, 1)
        self.embedding = nn.Embedding(4, 2)


def weighting_of(method: str = "uncertainty") -> Weighting:
    return build_weighting([task(k, k) for k in KINDS], Policy(**{**shipped("weighting"), "method": method}))


def peaks(optimiser: torch.optim.Optimizer) -> dict[int, tuple[float, float]]:
    return {id(p): (g["peak"], g["weight_decay"]) for g in optimiser.param_groups for p in g["params"]}


@MANY
@given(
    frozen=st.sets(st.sampled_from([name for name, _ in Model().named_parameters()])),
    apart=st.sampled_from([(), ("side",)]),
    same=st.booleans(),
)
def test_groups_partition_the_trainable_parameters(frozen: set[str], apart: tuple[str, ...], same: bool) -> None:
    """Also where two groups would have the same rate."""
    model, weighting = Model(), weighting_of()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    rates = Rates(BASE, dict.fromkeys(RATES.experts, BASE), {}, BASE, DECAY) if same else RATES
    optimiser = build_optimiser(model, weighting, rates, apart)
    grouped = [id(p) for group in optimiser.param_groups for p in group["params"]]
    wanted = [p for n, p in model.named_parameters() if n not in frozen and n.split(".")[0] not in apart]
    assert sorted(grouped) == sorted(id(p) for p in [*wanted, *weighting.parameters()])
    assert [len(group["params"]) for group in optimiser.param_groups if not group["params"]] == []


@pytest.mark.rule("R03")
@pytest.mark.parametrize("same_rate", [False, True])
def test_log_variances_stand_alone_at_their_rate_without_decay(same_rate: bool) -> None:
    weighting = weighting_of()
    rates = Rates(LOG_VARIANCE if same_rate else BASE, {}, {}, LOG_VARIANCE, DECAY)
    own = build_optimiser(Model(), weighting, rates).param_groups[-1]
    assert [id(p) for p in own["params"]] == [id(p) for p in weighting.parameters()]
    assert (own["peak"], own["weight_decay"]) == (LOG_VARIANCE, 0.0)


@pytest.mark.parametrize("method", ["fixed", "uniform", "gradnorm", "dwa"])
def test_other_weightings_have_no_group(method: str) -> None:
    model = Model()
    assert set(peaks(build_optimiser(model, weighting_of(method), RATES))) == {id(p) for p in model.parameters()}


def test_experts_and_structures_have_their_own_rates() -> None:
    model = Model()
    found = peaks(build_optimiser(model, weighting_of(), RATES))
    expected = {
        "experts.temporal.weight": (5e-4, DECAY),
        "experts.temporal.bias": (5e-4, 0.0),
        "experts.causal.edges_raw": (1.1e-3, 0.0),
        "experts.causal.encode.weight": (3e-4, DECAY),
        "experts.optimal_transport.support": (1.2e-3, 0.0),
        "experts.optimal_transport.prototypes": (1.2e-3, 0.0),
        "experts.optimal_transport.encode.weight": (BASE, DECAY),
        "experts.optimal_transport.norm.weight": (BASE, 0.0),
        "gate1.weight": (BASE, DECAY),
        "towers.weight": (BASE, DECAY),
        "towers.bias": (BASE, 0.0),
        "embedding.weight": (BASE, 0.0),
    }
    by_name = {name: found[id(p)] for name, p in model.named_parameters()}
    assert {name: by_name[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("rates", "apart", "named"),
    [
        (Rates(BASE, {"temporall": 1e-3}, {}, BASE, 0.0), (), "temporall"),
        (Rates(BASE, {}, {"causal_edge": 1e-3}, BASE, 0.0), (), "causal_edge"),
        (RATES, ("sides",), "sides"),
    ],
)
def test_a_misnamed_rate_is_refused(rates: Rates, apart: tuple[str, ...], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        build_optimiser(Model(), weighting_of(), rates, apart)


def test_an_expert_that_the_source_cannot_feed_may_have_a_rate() -> None:
    build_optimiser(Model(), weighting_of(), Rates(BASE, {"perslay": 1e-4}, {}, BASE, 0.0))


def test_a_later_phase_scales_every_peak_but_the_log_variances() -> None:
    half = RATES.scaled(0.5)
    assert (half.base, half.log_variance, half.decay) == (BASE / 2, LOG_VARIANCE, DECAY)
    assert half.experts == {"causal": 1.5e-4, "temporal": 2.5e-4}
    assert half.structure == {"causal_edges": 5.5e-4, "ot_points": 6e-4}


def test_the_structures_of_the_real_model_are_where_the_rates_look(world: World) -> None:
    """A renamed parameter would silently fall back to its expert's rate."""
    there = dict(world.model.named_parameters())
    assert [name for members in STRUCTURE.values() for name in members if name not in there] == []
    found = peaks(build_optimiser(world.model, weighting_of(), RATES))
    assert set(found) >= {id(p) for p in world.model.parameters()}
    assert all(found[id(p)][0] == rate_of(name, RATES) for name, p in there.items())


def test_biases_norms_embeddings_and_scan_parameters_do_not_decay(world: World) -> None:
    found = peaks(build_optimiser(world.model, weighting_of(), RATES))
    names = {name for name, p in world.model.named_parameters() if found[id(p)][1]}
    assert names
    assert all(name.endswith(".weight") for name in names)
    assert not [n for n in names if "norm" in n or "items" in n or "log_decay" in n or "direct" in n or "scale" in n]


@MANY
@given(steps=st.integers(2, 400), warmup=st.floats(0, 0.5), final=st.floats(0, 0.5))
def test_under_cosine_the_rate_rises_then_falls_once(steps: int, warmup: float, final: float) -> None:
    shares = [rate_share(step, steps, warmup, final) for step in range(steps)]
    top = shares.index(max(shares))
    assert shares[0] == pytest.approx(0.1)
    assert shares[: top + 1] == sorted(shares[: top + 1])
    assert shares[top:] == sorted(shares[top:], reverse=True)
    assert rate_share(steps, steps, warmup, final) == pytest.approx(final if steps > 1 else 1.0)


@MANY
@given(first=st.integers(1, 50), final=st.floats(0, 0.9))
def test_restarts_begin_at_the_peak_after_periods_that_double(first: int, final: float) -> None:
    """After a warm-up of 20 steps: at 20, 20 + T, 20 + 3 T, 20 + 7 T."""

    def share(step: int) -> float:
        return rate_share(step, 200, 0.1, final, "restarts", first)

    begins = [20 + first * k for k in (0, 1, 3, 7)]
    assert [share(step) for step in begins] == [1.0] * 4
    for start, end in zip(begins, begins[1:], strict=False):
        inside = [share(step) for step in range(start, end)]
        assert inside == sorted(inside, reverse=True)
        half = final + (1 - final) * 0.5 * (1 + math.cos(math.pi * (end - 1 - start) / (end - start)))
        assert inside[-1] == pytest.approx(half)
    assert share(10) == pytest.approx(0.55)


def test_rates_are_a_share_of_each_groups_peak() -> None:
    optimiser = build_optimiser(Model(), weighting_of(), RATES)
    set_rates(optimiser, 0.5)
    assert all(group["lr"] == pytest.approx(0.5 * group["peak"]) for group in optimiser.param_groups)
