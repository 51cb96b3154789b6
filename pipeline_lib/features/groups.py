"""The groups of features this code can compute: name -> what it declares and how it is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline_lib.errors import SettingsError
from pipeline_lib.features import items, profile, spending
from pipeline_lib.features.columns import Column, Values, require_declared, split_available
from pipeline_lib.features.material import Fitted, Material
from pipeline_lib.settings.features import Features


@dataclass(frozen=True)
class Generator:
    columns: tuple[Column, ...]
    make: Callable[[Material, Fitted], Values]


@dataclass(frozen=True)
class Computed:
    """Columns by group in schema order, the matrix [R, F] float32, and what was dropped with the reason."""

    columns: dict[str, list[Column]]
    matrix: npt.NDArray[np.float32]
    dropped: list[tuple[str, Column, str]]

    @property
    def flat(self) -> list[Column]:
        return [column for own in self.columns.values() for column in own]


def generators(m: Material, fitted: Fitted, policy: Features) -> dict[str, Generator]:
    """Every group, wired to its function."""
    p = m.products
    return {
        "demographics": Generator(profile.DEMOGRAPHICS, lambda m, f: profile.demographics(m, f, policy.age_cuts)),
        "relationship": Generator(profile.RELATIONSHIP, profile.relationship),
        "product_holdings": Generator(profile.product_holding_columns(p), lambda m, f: profile.product_holdings(m)),
        "txn_behavior": Generator(spending.TXN_BEHAVIOR, lambda m, f: spending.txn_behavior(m, policy.stable_share)),
        "derived_temporal": Generator(profile.derived_temporal_columns(p), lambda m, f: profile.derived_temporal(m)),
        "economics": Generator(
            spending.ECONOMICS, lambda m, f: spending.economics(m, policy.min_months, policy.max_log_ratio)
        ),
        "txn_rolling": Generator(
            spending.txn_rolling_columns(policy.roll_days), lambda m, f: spending.txn_rolling(m, policy.roll_days)
        ),
        "mcc_multihot": Generator(items.mcc_columns(m.categories, fitted), items.mcc_multihot),
        "product_history_multihot": Generator(
            items.product_history_columns(p), lambda m, f: items.product_history_multihot(m)
        ),
    }


def compute(m: Material, fitted: Fitted, policy: Features) -> Computed:
    """Make the groups of the policy, in its order.

    Raises:
        SettingsError: the policy names a group that no code makes.
        ContractError: a generator did not make what it declared.
    """
    known = generators(m, fitted, policy)
    if unknown := sorted(policy.groups.keys() - known.keys()):
        raise SettingsError(f"features.yaml: groups {unknown} are not known; known: {', '.join(known)}")
    columns: dict[str, list[Column]] = {}
    dropped: list[tuple[str, Column, str]] = []
    made: list[npt.NDArray[np.float32]] = []
    for name in policy.groups:
        kept, lost = split_available(known[name].columns, fitted.absent)
        columns[name] = kept
        dropped += [(name, column, why) for column, why in lost]
        values = known[name].make(m, fitted) if kept else {}
        if kept:
            require_declared(name, known[name].columns, values | _missing(lost, values, len(m)), len(m))
        made += [values[column.name].astype(np.float32) for column in kept]
    matrix = np.stack(made, axis=1) if made else np.empty((len(m), 0), dtype=np.float32)
    return Computed(columns, matrix, dropped)


def _missing(lost: Sequence[tuple[Column, str]], values: Values, rows: int) -> Values:
    """A generator may leave out what it declared and this source cannot give."""
    return {column.name: np.full(rows, np.nan) for column, _ in lost if column.name not in values}
