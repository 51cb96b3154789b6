"""Everything that is learnt from data, learnt from train rows alone: ``split == "train"`` up to their cutoffs.

Source: features.md 3 (fit), data.md L09.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import polars as pl

from pipeline_lib.errors import ContractError
from pipeline_lib.features.columns import EVENT, MERCHANT, PRODUCTS, SNAPSHOT, TIME_OF_DAY, event_type
from pipeline_lib.features.compute import Stored, inputs_of, make_group
from pipeline_lib.features.fitted import Fitted
from pipeline_lib.features.generator import Arrays, GroupUnavailable
from pipeline_lib.features.groups import Plan
from pipeline_lib.features.items import edge_scale
from pipeline_lib.features.layout import Settled, columns_of_groups, settle
from pipeline_lib.features.load import Opened, event_types
from pipeline_lib.features.material import Material

log = logging.getLogger(__name__)


def fit(plan: Plan, data: Opened) -> Fitted:
    """Learn shares, cuts, vocabulary, models and scales from the rows of ``data``, which are train rows.

    Raises:
        ContractError: a row is not train.
    """
    rows, policy = data.inputs.rows, data.policy
    if set(rows["split"]) != {"train"}:
        raise ContractError(f"expected rows with split = train alone to fit on, found {sorted(set(rows['split']))}")
    facts, scale = data.store.facts(), data.store.channel_scale(policy.sequence.scale_quantile)
    types = event_types(data.inputs.acts, policy)
    absent = absent_inputs(data.inputs.unavailable, facts, types, data.inputs.products)
    material = data.material(timed=TIME_OF_DAY not in absent)
    arrays, refused = fit_groups(plan, material, absent)
    return Fitted(
        arrays=arrays,
        refused=refused,
        absent=absent,
        edge_scale=edge_scale(material),
        channel_scale={name: float(max(value or 0, 1)) for name, value in scale.items()},
        fitted_on=fingerprint(rows, _newest(facts)),
    )


def fit_groups(plan: Plan, m: Material, absent: Mapping[str, str]) -> tuple[dict[str, Arrays], dict[str, str]]:
    """Fit the groups in compute order; (arrays by group, why a group cannot be fitted by group)."""
    arrays: dict[str, Arrays] = {}
    refused: dict[str, str] = {}
    found: dict[str, Settled] = {}
    made: dict[str, Stored] = {}
    read = plan.read_by_others()
    for place, name in enumerate(plan.order, start=1):
        generator = plan.generators[name]
        ancestors = columns_of_groups(found, generator.after)
        if any(column.missing(absent) is None for column in generator.columns):
            try:
                arrays[name] = generator.fit(m, inputs_of(generator, made))
            except GroupUnavailable as error:
                refused[name] = error.reason
        found[name] = settle(generator, absent, arrays.get(name, {}), refused.get(name), ancestors)
        if found[name].kept and name in read:
            made[name] = make_group(name, generator, found[name], arrays.get(name, {}), m, made)
        log.info("fit: %s on %d rows, %d of %d groups", name, len(m), place, len(plan.order))
    return {name: own for name, own in arrays.items() if own}, refused


def absent_inputs(
    unavailable: Mapping[str, str], facts: pl.DataFrame, types: Mapping[str, Sequence[str]], products: Sequence[str]
) -> dict[str, str]:
    """Inputs that this source does not have, with the reason; names as ``table.column``."""
    stated = {name if "." in name else f"{SNAPSHOT}.{name}": why for name, why in unavailable.items()}
    seen = set(facts["event_type"])
    found = {
        event_type(name): f"train has no event of type {', '.join(sorted(wanted)) or '(none named)'}"
        for name, wanted in sorted(types.items())
        if not seen & set(wanted)
    }
    if not facts["timed"].sum():
        found[TIME_OF_DAY] = "the source's events carry a date and no time"
    if not facts["merchants"].sum():
        found[MERCHANT] = f"{EVENT} has no merchant"
    if not products:
        found[PRODUCTS] = "the source has no products"
    return dict(sorted({**found, **stated}.items()))


def fingerprint(rows: pl.DataFrame, newest: date | None) -> dict[str, Any]:
    """Which train rows something was fitted on (L08, L09)."""
    return {
        "split": "train",
        "customers": rows["customer_key"].n_unique(),
        "rows": len(rows),
        "keys_sha256": keys_sha256(rows),
        "max_event_date": newest.isoformat() if newest else None,
    }


def keys_sha256(rows: pl.DataFrame) -> str:
    """Hex SHA-256 over ``customer_key,cutoff_date`` lines in ascending order of both."""
    ordered = rows.select("customer_key", "cutoff_date").sort("customer_key", "cutoff_date")
    return hashlib.sha256(ordered.write_csv(include_header=False).encode()).hexdigest()


def _newest(facts: pl.DataFrame) -> date | None:
    newest = facts["newest"].max()
    return newest if isinstance(newest, date) else None
