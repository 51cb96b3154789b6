"""Who the customer is at the cutoff: demographics, relationship, product_holdings, derived_temporal.

Source: features.md 4.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from pipeline_lib.contracts.tables import product_column
from pipeline_lib.features.columns import PRODUCTS, SNAPSHOT, Column, Floats, Kind, Values
from pipeline_lib.features.generator import Arrays, Generator, Shape, packed, unpacked
from pipeline_lib.features.material import Material
from pipeline_lib.settings.features import Features


def _from(kind: Kind, name: str, *sources: str, needs: tuple[str, ...] = ()) -> Column:
    return Column(name, kind, tuple(f"{SNAPSHOT}.{source}" for source in sources or (name,)), needs)


DEMOGRAPHICS = (
    _from("num", "age"),
    _from("num", "income"),
    _from("num", "tenure_months"),
    _from("num", "num_products", needs=(PRODUCTS,)),
    _from("bin", "is_active"),
    _from("bin", "sex_f", "sex"),
    _from("num", "country_freq", "country"),
    _from("num", "channel_freq", "channel"),
    _from("code", "age_group", "age"),
    _from("code", "income_group", "income"),
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


def demographics(shape: Shape, policy: Features) -> Generator:
    return Generator(
        DEMOGRAPHICS,
        lambda m, learnt, made: _demographics(m, learnt, policy.age_cuts),
        lambda m, made: {
            **_shares(m, "country"),
            **_shares(m, "channel"),
            "income_cuts": _cuts(m.profile["income"], policy.income_levels),
        },
    )


def relationship(shape: Shape, policy: Features) -> Generator:
    return Generator(
        RELATIONSHIP, lambda m, learnt, made: _relationship(m, learnt), lambda m, made: _shares(m, "province_id")
    )


def product_holdings(shape: Shape, policy: Features) -> Generator:
    columns = tuple(_from("bin", f"hold_{short}", product_column(short)) for short in shape.products)
    return Generator(
        columns,
        lambda m, learnt, made: {f"hold_{short}": _floats(m.profile, product_column(short)) for short in m.products},
    )


def derived_temporal(shape: Shape, policy: Features) -> Generator:
    flags = tuple(product_column(short) for short in shape.products)
    columns = (
        _from("num", "total_acquisitions", *flags, needs=(PRODUCTS,)),
        _from("num", "total_churns", *flags, needs=(PRODUCTS,)),
        _from("num", "months_observed", "snapshot_date"),
        _from("num", "product_diversity", *flags, needs=(PRODUCTS,)),
    )
    return Generator(columns, lambda m, learnt, made: _derived_temporal(m))


def _demographics(m: Material, learnt: Arrays, age_cuts: Sequence[int]) -> Values:
    age, income = _floats(m.profile, "age"), _floats(m.profile, "income")
    plain = ("tenure_months", "num_products", "is_active", "income_missing")
    return {
        **{name: _floats(m.profile, name) for name in plain},
        "age": age,
        "income": income,
        "sex_f": _mapped(m.profile, "sex", {"F": 1.0, "M": 0.0, "U": 0.5}),
        "country_freq": _log_share(m.profile, "country", learnt),
        "channel_freq": _log_share(m.profile, "channel", learnt),
        "age_group": _level(age, age_cuts),
        "income_group": _level(income, learnt["income_cuts"]),
    }


def _relationship(m: Material, learnt: Arrays) -> Values:
    plain = ("is_new_customer", "tenure_unknown", "is_resident", "is_foreign_born")
    return {
        **{name: _floats(m.profile, name) for name in plain},
        "province_freq": _log_share(m.profile, "province_id", learnt),
        "employee_flag": _is_not(m.profile, "employee_status", NOT_EMPLOYED),
        "relation_active": 1.0 - _is_not(m.profile, "relation_type", ACTIVE_RELATION),
    }


def _derived_temporal(m: Material) -> Values:
    return {
        "total_acquisitions": m.history.added.sum(axis=1).astype(np.float64),
        "total_churns": m.history.dropped.sum(axis=1).astype(np.float64),
        "months_observed": m.history.months_observed.astype(np.float64),
        "product_diversity": m.history.held_ever.sum(axis=1).astype(np.float64),
    }


def _shares(m: Material, name: str) -> Arrays:
    """Values of a text or code column and their shares of the rows, by value."""
    counts = m.profile[name].drop_nulls().cast(pl.String).value_counts().sort(name)
    shares = counts["count"].to_numpy() / max(int(counts["count"].sum()), 1)
    return {f"{name}_values": packed(counts[name].to_list()), f"{name}_shares": shares.astype(np.float64)}


def _cuts(income: pl.Series, levels: int) -> Floats:
    """Inner quantiles that separate ``levels`` groups; equal ones collapse."""
    known = np.sort(income.drop_nulls().to_numpy())
    places = [int(len(known) * k / levels) for k in range(1, levels)] if len(known) else []
    return np.unique(known[places]).astype(np.float64)


def _floats(table: pl.DataFrame, name: str) -> Floats:
    return table[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _mapped(table: pl.DataFrame, name: str, values: dict[str, float]) -> Floats:
    return table[name].replace_strict(values, default=None, return_dtype=pl.Float64).fill_null(float("nan")).to_numpy()


def _is_not(table: pl.DataFrame, name: str, value: str) -> Floats:
    """1 where the text is another one; NaN where it is null or ``U`` (not stated)."""
    text = pl.col(name)
    stated = pl.when(text.is_not_null() & (text != UNSTATED)).then((text != value).cast(pl.Float64))
    return table.select(stated.fill_null(float("nan"))).to_series().to_numpy()


def _log_share(table: pl.DataFrame, name: str, learnt: Arrays) -> Floats:
    """Ln of the value's share of train rows; a value train never saw gets half the smallest share."""
    shares = dict(zip(unpacked(learnt[f"{name}_values"]), learnt[f"{name}_shares"].tolist(), strict=True))
    if not shares:
        return np.full(len(table), np.nan)
    logs = {value: float(np.log(share)) for value, share in shares.items()}
    unseen = float(np.log(min(shares.values()) / 2))
    text = table[name].cast(pl.String)
    found = text.replace_strict(logs, default=unseen, return_dtype=pl.Float64)
    return pl.select(pl.when(text.is_not_null()).then(found).fill_null(float("nan"))).to_series().to_numpy()


def _level(values: Floats, cuts: Sequence[float] | Floats) -> Floats:
    """Ordinal code scaled to [0, 1]: the number of cuts at or below the value; NaN stays NaN."""
    if not len(cuts):
        return np.full(len(values), np.nan)
    codes = np.searchsorted(np.asarray(cuts, dtype=np.float64), values, side="right") / len(cuts)
    return np.where(np.isnan(values), np.nan, codes)
