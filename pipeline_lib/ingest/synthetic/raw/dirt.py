"""The known dirt of the real files, at its rates: what a load must survive. Source: data.md 2 and 8.7.

Most of it is form (padding, tokens, mixed numbers, spellings): reading it back loses nothing. What it does destroy is
listed in ``LOST``; every other cell of the canonical tables must come back as it was.
"""

from __future__ import annotations

import zlib

import numpy as np
import polars as pl

from pipeline_lib.ingest.adapters.santander import PRODUCT_COLUMNS
from pipeline_lib.ingest.synthetic.laws import Bools
from pipeline_lib.settings.synthetic import Dirt

LOST = {
    "profile absent": (
        "age sex income tenure_months is_active is_new_customer country province_id channel relation_type "
        "employee_status is_resident is_foreign_born is_deceased segment prod_payroll prod_pension_credit"
    ).split(),
    "early profile frozen": ["age", "is_active", "relation_type"],
    "age impossible": ["age"],
    "relation blank": ["relation_type"],
    "channel blank": ["channel"],
    "sex blank": ["sex"],
}
"""Kind of dirt -> canonical columns whose cells it destroys."""

FROZEN = LOST["early profile frozen"]
KEPT_WITHOUT_PROFILE = ("fecha_dato", "ncodpers", *PRODUCT_COLUMNS)
FLOAT_PRODUCTS = ("ind_nomina_ult1", "ind_nom_pens_ult1")
TOKEN = {"age": " NA", "ind_nuevo": " NA", "antiguedad": "     NA"}
WIDTH = {"age": 3, "ind_nuevo": 2, "antiguedad": 7, "indrel": 2, "tipodom": 2, "ind_actividad_cliente": 2}
SENTINEL = "-999999"
SPELLINGS = {
    "A CORUNA": ("CORUNA, A", "CORUÑA, A", "CORU\u00c3\u2018A, A"),
    "LA RIOJA": ("RIOJA, LA",),
    "LAS PALMAS": ("PALMAS, LAS",),
    "BALEARS ILLES": ("BALEARS, ILLES", "BALEARES"),
    "ALICANTE": ("ALICANTE/ALACANT",),
    "CASTELLON": ("CASTELLON/CASTELLO",),
    "GIPUZKOA": ("GUIPUZCOA",),
    "BIZKAIA": ("VIZCAYA",),
}


def frozen(rows: pl.DataFrame, later: pl.DataFrame) -> pl.DataFrame:
    """Early canonical rows with the attributes that the bank filled in afterwards, of the customers still there."""
    filled = later.select("customer_id", *(pl.col(name).alias(f"later_{name}") for name in FROZEN))
    joined = rows.join(filled, on="customer_id", how="left", maintain_order="left")
    return joined.with_columns(pl.coalesce(f"later_{n}", n).alias(n) for n in FROZEN).select(rows.columns)


def realistic(rows: pl.DataFrame, rng: np.random.Generator, law: Dirt, *, early: bool) -> pl.DataFrame:
    """The 48 text columns of one block and month, dirty.

    Args:
        rows: what ``snapshots.text`` gives.
        early: whether the month is one of those whose profiles were filled in afterwards.
    """
    size = rows.height
    rows = _blanked(rows, rng, law)
    rows = _impossible(rows, rng.random(size) < law.age_impossible, rng)
    rows = _mixed_forms(rows, rng, law)
    absent = _profile_absent(rows, law) if early else np.zeros(size, dtype=bool)
    rows = _without_profile(rows, absent, rng.random(size) < law.payroll_blank)
    again = rng.random(size) < law.sent_again
    return pl.concat([rows, rows.filter(pl.Series(again))])


def _blanked(rows: pl.DataFrame, rng: np.random.Generator, law: Dirt) -> pl.DataFrame:
    """Single cells without a value, and the former and partial customers who explain some of them."""
    hit = {name: pl.Series(rng.random(rows.height) < share) for name, share in law.blank.items()}
    secondary = pl.Series(rng.random(rows.height) < law.primary_lost)
    day = pl.Series(rng.integers(1, 28, rows.height))
    left_on = pl.col("fecha_dato").str.slice(0, 8) + day.cast(pl.String).str.zfill(2)
    return rows.with_columns(
        *(pl.when(~mask).then(pl.col(name)).alias(name) for name, mask in hit.items()),
        indrel=pl.when(secondary).then(pl.lit("99")).otherwise(pl.col("indrel")),
        ult_fec_cli_1t=pl.when(secondary).then(left_on),
    )


def _impossible(rows: pl.DataFrame, hit: Bools, rng: np.random.Generator) -> pl.DataFrame:
    """Ages of children and of the long dead."""
    ages = np.where(
        rng.random(rows.height) < 0.8, rng.integers(2, 18, rows.height), rng.integers(101, 165, rows.height)
    )
    return rows.with_columns(age=pl.when(pl.Series(hit)).then(pl.Series(ages).cast(pl.String)).otherwise(pl.col("age")))


def _mixed_forms(rows: pl.DataFrame, rng: np.random.Generator, law: Dirt) -> pl.DataFrame:
    """The same values in other words: padding, tokens, sentinels, floats, spellings."""
    size = rows.height
    float_form, potential = (pl.Series(rng.random(size) < p) for p in (law.float_form, law.potential))
    zero = pl.Series(rng.random(size) < law.income_zero)
    sentinel = pl.Series(rng.random(size) < law.tenure_sentinel)
    kind = pl.when(potential).then(pl.lit("P")).when(float_form).then(pl.lit("1.0")).otherwise(pl.col("indrel_1mes"))
    rows = rows.with_columns(
        indrel_1mes=pl.when(pl.col("indrel_1mes").is_not_null()).then(kind),
        ind_nuevo=pl.when(float_form).then(pl.col("ind_nuevo") + ".0").otherwise(pl.col("ind_nuevo")),
        antiguedad=pl.when(pl.col("antiguedad").is_null() & sentinel)
        .then(pl.lit(SENTINEL))
        .otherwise(pl.col("antiguedad")),
        renta=pl.when(pl.col("renta").is_null() & zero).then(pl.lit("0")).otherwise(pl.col("renta")),
        nomprov=_spelt(rows.get_column("nomprov"), rng),
        **{name: pl.col(name) + ".0" for name in FLOAT_PRODUCTS},
    )
    return rows.with_columns(
        pl.col(name).fill_null(TOKEN.get(name, "")).replace("", None).str.pad_start(width)
        for name, width in WIDTH.items()
    )


def _spelt(names: pl.Series, rng: np.random.Generator) -> pl.Series:
    """Each name in one of its spellings, the plain one among them."""
    pick = pl.Series("pick", rng.integers(0, 12, len(names)))
    frame = pl.DataFrame({"name": names, "pick": pick})
    out = pl.col("name")
    for name, forms in SPELLINGS.items():
        for number, form in enumerate(forms):
            out = (
                pl.when((pl.col("name") == name) & (pl.col("pick") % (len(forms) + 1) == number))
                .then(pl.lit(form))
                .otherwise(out)
            )
    return frame.select(out).to_series()


def _profile_absent(rows: pl.DataFrame, law: Dirt) -> Bools:
    """Customers whose profile was never filled in for the early months: the same in each of them."""
    word = [zlib.crc32(f"profile|{number}".encode()) for number in rows.get_column("ncodpers")]
    return np.asarray(np.array(word) < law.profile_absent * 2**32)


def _without_profile(rows: pl.DataFrame, absent: Bools, payroll_blank: Bools) -> pl.DataFrame:
    """Everything but date, code and holdings gone, in the same rows; in most of them the two payroll flags, too."""
    gone, blank = pl.Series(absent), pl.Series(absent & payroll_blank)
    others = [name for name in rows.columns if name not in KEPT_WITHOUT_PROFILE]
    return rows.with_columns(
        *(pl.when(gone).then(pl.lit(TOKEN.get(n), dtype=pl.String)).otherwise(pl.col(n)).alias(n) for n in others),
        *(pl.when(~blank).then(pl.col(name)).alias(name) for name in FLOAT_PRODUCTS),
    )
