"""The groups of features this code can make, and in which order: name -> the function that declares it.

A new group is one module and one line of ``GROUPS``; whether a run makes it, and in which order its columns lie, is
said by ``groups`` of ``features.yaml``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from pipeline_lib.errors import SettingsError
from pipeline_lib.features import (
    availability,
    daily_embedding,
    economics,
    graph,
    heavy_tails,
    hierarchy_merchants,
    hierarchy_products,
    hyperbolic,
    items,
    mixture,
    patterns,
    product_lags_group,
    profile,
    spending,
)
from pipeline_lib.features.columns import BLOCKS
from pipeline_lib.features.generator import Generator, Shape
from pipeline_lib.features.heavy_tails import LOG_COPIES
from pipeline_lib.features.hmm import groups as hmm
from pipeline_lib.features.inputs import FeatureInputs
from pipeline_lib.features.series import groups as series
from pipeline_lib.features.topology import groups as topology
from pipeline_lib.settings.features import Features

Factory = Callable[[Shape, Features], Generator]


def _txn_behavior(shape: Shape, policy: Features) -> Generator:
    return Generator(spending.TXN_BEHAVIOR, lambda m, learnt, made: spending.txn_behavior(m, policy.stable_share))


def _txn_rolling(shape: Shape, policy: Features) -> Generator:
    return Generator(
        spending.txn_rolling_columns(policy.roll_days),
        lambda m, learnt, made: spending.txn_rolling(m, policy.roll_days),
    )


GROUPS: dict[str, Factory] = {
    "demographics": profile.demographics,
    "relationship": profile.relationship,
    "product_holdings": profile.product_holdings,
    "txn_behavior": _txn_behavior,
    "derived_temporal": profile.derived_temporal,
    "tda_long": topology.tda_long,
    "tda_short": topology.tda_short,
    "phase_transition": topology.phase_transition,
    "gmm_clustering": mixture.generator,
    "economics": economics.generator,
    "model_derived": series.model_derived,
    "mamba_temporal": daily_embedding.mamba_temporal,
    "txn_rolling": _txn_rolling,
    "multidisciplinary": patterns.generator,
    "mcc_multihot": items.mcc_multihot,
    "product_history_multihot": items.product_history_multihot,
    "product_lag": product_lags_group.generator,
    "graph_stats": graph.graph_stats,
    "graph_collaborative": graph.graph_collaborative,
    "product_hierarchy": hierarchy_products.generator,
    "hyperbolic_embedding": hyperbolic.generator,
    "merchant_hierarchy": hierarchy_merchants.generator,
    "hmm_journey": hmm.journey,
    "hmm_lifecycle": hmm.lifecycle,
    "hmm_behavior": hmm.behavior,
    "availability": availability.generator,
}
"""``log_copies`` is the one group that is not here: it is declared from the columns of the others."""


@dataclass(frozen=True)
class Plan:
    """The groups of a policy on a source."""

    generators: Mapping[str, Generator]
    """In schema order."""
    order: tuple[str, ...]
    """In the order in which they are made: every group after those whose columns it reads."""

    def read_by_others(self) -> set[str]:
        """Groups whose columns another group of the plan reads."""
        return {name for generator in self.generators.values() for name in generator.after}


def shape_of(inputs: FeatureInputs) -> Shape:
    return Shape(inputs.products, inputs.families, inputs.categories)


def plan_of(shape: Shape, policy: Features) -> Plan:
    """Declare the groups of the policy.

    Raises:
        SettingsError: a group that no code makes, groups of one block that are not together, or groups that read
            one another in a circle.
    """
    if unknown := sorted(policy.groups.keys() - GROUPS.keys() - {LOG_COPIES}):
        raise SettingsError(f"features.yaml: groups {unknown} are not known; known: {', '.join(GROUPS)}")
    known = {name: GROUPS[name](shape, policy) for name in policy.groups if name != LOG_COPIES}
    if LOG_COPIES in policy.groups:
        declared = {name: {c.name: c for c in own.columns} for name, own in known.items() if own.block != "mask"}
        copies = heavy_tails.generator(declared, policy.heavy_tails)
        known = {name: known.get(name, copies) for name in policy.groups}
    _require_blocks_in_order(known)
    return Plan(known, _compute_order(known))


def _compute_order(known: Mapping[str, Generator]) -> tuple[str, ...]:
    """Topological; of groups that are ready the first in schema order comes first."""
    sorter = TopologicalSorter({name: [a for a in g.after if a in known] for name, g in known.items()})
    order: list[str] = []
    try:
        sorter.prepare()
    except CycleError as error:
        raise SettingsError(f"feature groups read one another in a circle: {' -> '.join(error.args[1])}") from error
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=list(known).index)
        order += ready
        sorter.done(*ready)
    return tuple(order)


def _require_blocks_in_order(known: Mapping[str, Generator]) -> None:
    blocks = [BLOCKS.index(generator.block) for generator in known.values()]
    if blocks != sorted(blocks):
        found = {name: generator.block for name, generator in known.items()}
        raise SettingsError(f"features.yaml: groups must lie block by block in the order {BLOCKS}, found {found}")
