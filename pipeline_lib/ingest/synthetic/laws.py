"""The policy of the synthetic bank as arrays, checked once. No randomness here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.errors import SettingsError
from pipeline_lib.settings.synthetic import INDICES, Synthetic

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

CHURN = "churn"
GROUPS = tuple(name for name in INDICES if name != CHURN)
OTHER = "other"
"""Index of the products of no acquire group."""


@dataclass(frozen=True)
class ProductLaws:
    """One entry per product, in the source's order; P products, K personas, G groups."""

    names: tuple[str, ...]
    group: Ints
    """Position in GROUPS, (P,)."""
    multiplier: Floats
    """Odds factor of each persona, (K, P)."""
    prevalence: Floats
    add_share: Floats
    min_tenure: Ints
    turnover: Floats
    """Relative hazard of being the product that is dropped: adds per holder, mean 1. (P,)"""
    affinity: Floats
    """Factor on the odds of adding column p while row h is held, (P, P)."""

    def members(self, group: str) -> Ints:
        """Positions of a group's products."""
        return np.flatnonzero(self.group == GROUPS.index(group))

    def positions(self, names: list[str]) -> Ints:
        return np.array([self.names.index(name) for name in names], dtype=np.int64)


@dataclass(frozen=True)
class Laws:
    policy: Synthetic
    persona_names: tuple[str, ...]
    persona_share: Floats
    products: ProductLaws
    rates: dict[str, float]
    """Index -> monthly rate before season."""
    preset: str
    event_rate_scale: float

    def persona(self, name: str) -> Floats:
        """One figure of every persona, (K,) or (K, n)."""
        return np.array([_field(p, name) for p in self.policy.personas.values()], dtype=np.float64)

    def bias(self, index: str) -> Floats:
        """(K,); an index that no persona names has none."""
        return np.array([p.bias.get(index, 0.0) for p in self.policy.personas.values()], dtype=np.float64)


def build(policy: Synthetic, groups: dict[str, str | None], preset: str, rates: str, event_rate_scale: float) -> Laws:
    """Laws for the products of one source.

    Args:
        groups: product -> acquire group, in the order of the source.

    Raises:
        SettingsError: a product without a law, or a preset that does not exist.
    """
    if unknown := sorted(groups.keys() ^ policy.products.keys()):
        raise SettingsError(f"synthetic.yaml: products {unknown} are only in the source or only in the laws")
    for name, table in (("preset", policy.presets), ("rates", policy.rates)):
        asked = preset if name == "preset" else rates
        if asked not in table:
            raise SettingsError(f"synthetic.yaml: no {name} named {asked!r}; known: {', '.join(table)}")
    if event_rate_scale <= 0:
        raise SettingsError(f"event_rate_scale must be above 0, found {event_rate_scale}")
    weights = [p.share if policy.mix == "santander" else p.behaviour_weight for p in policy.personas.values()]
    share = np.array(weights) / np.sum(weights)
    products = _products(policy, groups)
    return Laws(policy, tuple(policy.personas), share, products, policy.rates[rates], preset, event_rate_scale)


def _products(policy: Synthetic, groups: dict[str, str | None]) -> ProductLaws:
    names = tuple(groups)
    laws = [policy.products[name] for name in names]
    prevalence = np.array([law.prevalence for law in laws])
    add_share = np.array([law.add_share for law in laws])
    turnover = add_share / prevalence
    return ProductLaws(
        names=names,
        group=np.array([GROUPS.index(group or OTHER) for group in groups.values()], dtype=np.int64),
        multiplier=np.array([[p.multipliers[law.family] for law in laws] for p in policy.personas.values()]),
        prevalence=prevalence,
        add_share=add_share,
        min_tenure=np.array([law.min_tenure for law in laws], dtype=np.int64),
        turnover=turnover / turnover.mean(),
        affinity=_affinity(policy, names),
    )


def _affinity(policy: Synthetic, names: tuple[str, ...]) -> Floats:
    out = np.ones((len(names), len(names)))
    for sets, odds in ((policy.substitutes, policy.substitute_odds), (policy.complements, policy.complement_odds)):
        for members in sets:
            at = [names.index(name) for name in members]
            for held in at:
                for added in at:
                    if held != added:
                        out[held, added] *= odds
    return out


def _field(persona: Any, name: str) -> Any:
    return getattr(persona, name)
