"""Who the customer is at the cutoff: demographics, relationship, product_holdings, derived_temporal.

Source: features.md 4.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from pipeline_lib.contracts.tables import product_column
from pipeline_lib.features.columns import SNAPSHOT, Column, Floats, Kind, Values
from pipeline_lib.features.material import Fitted, Material


def _from(kind: Kind, name: str, *sources: str) -> Column:
    return Column(name, kind, tuple(f"{SNAPSHOT}.{source}" for source in sources or (name,)))


DEMOGRAPHICS = (
    _from("num", "age"),
    _from("num", "income"),
    _from("num", "tenure_months"),
    _from("num", "num_products"),
    _from("bin", "is_active"),
    _from("bin", "sex_f", "sex"),
    _from("num", "country_freq", "country"),
    _from("num", "channel_freq", "channel"),
    _from("cat", "age_group", "age"),
    _from("cat", "income_group", "income"),
    _from("bin", "income_missing", "income"),
)
RELATIONSHIP = (
    _from("bin", "is_new_customer"),
    _from("bin", "tenure_unknown", "tenure_months"),
    _from("num", "province_freq", "province_id"),
    _from("bin", "employee_flag", "employee_status"),
    _from("bin", "relation_active", "relation_type"),
    _from("bin", "is_resident"),
    _from("bin", "is_foreign_born"),
)
NOT_EMPLOYED = "N"
UNSTATED = "U"
ACTIVE_RELATION = "A"


def demographics(m: Material, fitted: Fitted, age_cuts: Sequence[int]) -> Values:
    age, income = _floats(m.profile, "age"), _floats(m.profile, "income")
    plain = ("tenure_months", "num_products", "is_active", "income_missing")
    return {
        **{name: _floats(m.profile, name) for name in plain},
        "age": age,
        "income": income,
        "sex_f": _mapped(m.profile, "sex", {"F": 1.0, "M": 0.0, "U": 0.5}),
        "country_freq": _log_share(m.profile, "country", fitted),
        "channel_freq": _log_share(m.profile, "channel", fitted),
        "age_group": _level(age, age_cuts),
        "income_group": _level(income, fitted.income_cuts),
    }


def relationship(m: Material, fitted: Fitted) -> Values:
    plain = ("is_new_customer", "tenure_unknown", "is_resident", "is_foreign_born")
    return {
        **{name: _floats(m.profile, name) for name in plain},
        "province_freq": _log_share(m.profile, "province_id", fitted),
        "employee_flag": _is_not(m.profile, "employee_status", NOT_EMPLOYED),
        "relation_active": 1.0 - _is_not(m.profile, "relation_type", ACTIVE_RELATION),
    }


def product_holding_columns(products: Sequence[str]) -> tuple[Column, ...]:
    return tuple(_from("bin", f"hold_{short}", product_column(short)) for short in products)


def product_holdings(m: Material) -> Values:
    return {f"hold_{short}": _floats(m.profile, product_column(short)) for short in m.products}


def derived_temporal_columns(products: Sequence[str]) -> tuple[Column, ...]:
    flags = tuple(product_column(short) for short in products)
    return (
        _from("num", "total_acquisitions", *flags),
        _from("num", "total_churns", *flags),
        _from("num", "months_observed", "snapshot_date"),
        _from("num", "product_diversity", *flags),
    )


def derived_temporal(m: Material) -> Values:
    return {
        "total_acquisitions": m.history.added.sum(axis=1).astype(np.float64),
        "total_churns": m.history.dropped.sum(axis=1).astype(np.float64),
        "months_observed": m.history.months_observed.astype(np.float64),
        "product_diversity": m.history.held_ever.sum(axis=1).astype(np.float64),
    }


def _floats(table: pl.DataFrame, name: str) -> Floats:
    return table[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _mapped(table: pl.DataFrame, name: str, values: dict[str, float]) -> Floats:
    return table[name].replace_strict(values, default=None, return_dtype=pl.Float64).fill_null(float("nan")).to_numpy()


def _is_not(table: pl.DataFrame, name: str, value: str) -> Floats:
    """1 where the text is another one; NaN where it is null or ``U`` (not stated)."""
    text = pl.col(name)
    stated = pl.when(text.is_not_null() & (text != UNSTATED)).then((text != value).cast(pl.Float64))
    return table.select(stated.fill_null(float("nan"))).to_series().to_numpy()


def _log_share(table: pl.DataFrame, name: str, fitted: Fitted) -> Floats:
    """Ln of the value's share of train rows; a value train never saw gets half the smallest share."""
    shares = fitted.shares[name]
    if not shares:
        return np.full(len(table), np.nan)
    logs = {value: float(np.log(share)) for value, share in shares.items()}
    unseen = float(np.log(min(shares.values()) / 2))
    text = table[name].cast(pl.String)
    found = text.replace_strict(logs, default=unseen, return_dtype=pl.Float64)
    return pl.select(pl.when(text.is_not_null()).then(found).fill_null(float("nan"))).to_series().to_numpy()


def _level(values: Floats, cuts: Sequence[float]) -> Floats:
    """Ordinal code scaled to [0, 1]: the number of cuts at or below the value; NaN stays NaN."""
    if not cuts:
        return np.full(len(values), np.nan)
    codes = np.searchsorted(np.asarray(cuts, dtype=np.float64), values, side="right") / len(cuts)
    return np.where(np.isnan(values), np.nan, codes)
