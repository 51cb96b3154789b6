"""A scenario's policy: misspelt keys are refused at every level, and what is stored is what was built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from pipeline_lib.errors import SettingsError
from pipeline_lib.runs import RunContext
from pipeline_lib.settings.ablation import Scenario, load_protocol, policy_of
from pipeline_lib.teacher.ablation.campaign import Campaign
from pipeline_lib.teacher.ablation.record import Results
from pipeline_lib.teacher.ablation.run import identity
from pipeline_lib.teacher.setup import new_model, read_data
from tests.unit.teacher.ablation.conftest import bank_of, family_of


def sections(body: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every mapping whose keys are fields."""
    yield path
    for key, value in body.items():
        if isinstance(value, Mapping) and path + (key,) not in FREE:
            yield from sections(value, path + (key,))


FREE = {("gating", "preferred"), ("gating", "literal"), ("architecture", "hmm", "modes"), ("adatt", "intra_group")}
"""Keys here are names of tasks and groups."""


@pytest.mark.rule("R32")
def test_an_unknown_key_raises_at_every_level(context: RunContext) -> None:
    body = context.settings.teacher.model_dump(mode="json")
    levels = list(sections(body))
    assert len(levels) > 20
    for path in levels:
        layer: dict[str, Any] = {"misspelt_key": 1}
        for key in reversed(path):
            layer = {key: layer}
        with pytest.raises(SettingsError, match="misspelt_key"):
            policy_of(context.settings.teacher, [layer], "scenario")


@pytest.mark.rule("R32")
def test_the_policy_that_is_hashed_is_the_model_that_is_built(context: RunContext) -> None:
    """Every width of the architecture that a scenario changes changes the network."""
    base = context.settings.teacher
    data = read_data(context.read("features"), context.read("labels"), context.settings)

    def shapes(layer: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        model = new_model(data, policy_of(base, [layer], "s"))
        return {name: tuple(p.shape) for name, p in model.named_parameters()}

    widths = {
        "deepfm": {"field_dim": 5}, "lightgcn": {"item_dim": 9}, "hgcn": {"refine": 9}, "perslay": {"point_dim": 7},
        "causal": {"latent": 5}, "optimal_transport": {"support": 7}, "temporal": {"cell": {"hidden": 9}},
        "private": {"hidden": 9}, "hmm": {"dim": 5}, "clusters": {"dim": 5}, "basket": {"hidden": [9]},
        "tower": {"hidden": [9]}, "transfer": {"edges": []},
    }  # fmt: skip
    plain = shapes({})
    for part, change in widths.items():
        assert shapes({"architecture": {part: change}}) != plain, part
    assert set(widths) | {"twin"} == set(type(base.architecture).model_fields)


def test_layers_apply_in_order_and_the_seed_is_no_part_of_the_identity(context: RunContext) -> None:
    family = family_of(
        {"name": "a"}, {"name": "b", "overrides": {"training": {"epochs": 5}}}, overrides={"training": {"epochs": 3}}
    )
    campaign = Campaign(bank_of(context), family, load_protocol(), Results(context.settings.place.home))
    first, second = family.scenarios
    assert campaign.policy(first, 1).training.epochs == 3
    assert campaign.policy(second, 1).training.epochs == 5
    assert campaign.policy(second, 1).training.patience_share == 1.0  # of the protocol
    hashes = {identity(first, campaign.policy(first, seed), campaign.protocol) for seed in (1, 2)}
    assert len(hashes) == 1


def test_a_name_or_a_title_is_no_part_of_the_identity(context: RunContext) -> None:
    policy, protocol = context.settings.teacher, load_protocol()
    a = Scenario(name="a", title="one")
    assert identity(a, policy, protocol) == identity(Scenario(name="b", title="two"), policy, protocol)
    assert identity(a, policy, protocol) != identity(Scenario(name="a", title="one", shuffle=True), policy, protocol)


def test_families_refuse_twins_and_strangers() -> None:
    with pytest.raises(ValueError, match="written twice"):
        family_of({"name": "a"}, {"name": "a"})
    with pytest.raises(ValueError, match="compared with"):
        family_of({"name": "a"}, {"name": "b", "against": "c"})


def test_rows_that_train_or_select_are_never_judged() -> None:
    body = load_protocol().model_dump()
    with pytest.raises(ValueError, match="stop"):
        type(load_protocol()).model_validate({**body, "judged": ["fidelity", "stop"]})
