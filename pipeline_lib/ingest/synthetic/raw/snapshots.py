"""One block at one month as contract A: 48 text columns with Spanish codes, nothing padded, nothing wrong.

Read back by the Santander adapter it is the canonical snapshot again, cell for cell. Source: data.md 2.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from pipeline_lib.contracts.tables import product_column
from pipeline_lib.ingest.adapters.provinces import NAMES
from pipeline_lib.ingest.adapters.santander import PRODUCT_COLUMNS, RAW_COLUMNS
from pipeline_lib.ingest.synthetic import frames, presence
from pipeline_lib.ingest.synthetic.laws import Laws
from pipeline_lib.ingest.synthetic.world import BlockMonth

SEGMENTS = {"TOP": "01 - TOP", "PARTICULARES": "02 - PARTICULARES", "UNIVERSITARIO": "03 - UNIVERSITARIO"}
PROVINCES = {code: names[0] for code, names in NAMES.items()}
SEX = {"F": "H", "M": "V"}
DAYS_OF_JOINING = 28


def canonical(laws: Laws, part: BlockMonth) -> pl.DataFrame:
    """Snapshot and segment of the customers present, and ``joined``, the day of their first contract."""
    rows = frames.snapshot(laws, part)
    at = np.flatnonzero(part.state.present)
    months = presence.months_held(laws, part.customers, part.profile, part.state.month.index)[at]
    day_of_month = part.customers.number[at] * 7919 % DAYS_OF_JOINING
    first = pl.lit(part.state.month.snapshot).dt.month_start().dt.offset_by(pl.format("-{}mo", "months"))
    joined = pl.DataFrame({"months": months, "day": day_of_month}).select(first + pl.duration(days="day"))
    return rows.with_columns(
        joined=pl.when(pl.col("tenure_months").is_not_null()).then(joined.to_series()),
        snapshot_date=pl.lit(part.state.month.snapshot),
        segment=frames.segment(part).get_column("segment"),
    )


def text(rows: pl.DataFrame, products: list[str]) -> pl.DataFrame:
    """The 48 columns of contract A, every one Utf8; null = blank.

    Args:
        rows: what ``canonical`` gives.
        products: short names in the order of the file.
    """
    held = [pl.col(product_column(p)).alias(raw) for p, raw in zip(products, PRODUCT_COLUMNS, strict=True)]
    columns = {
        "fecha_dato": pl.col("snapshot_date"),
        "ncodpers": pl.col("customer_id"),
        "ind_empleado": pl.col("employee_status"),
        "pais_residencia": pl.col("country"),
        "sexo": pl.col("sex").replace_strict(SEX),
        "age": pl.col("age"),
        "fecha_alta": pl.col("joined"),
        "ind_nuevo": pl.col("is_new_customer"),
        "antiguedad": pl.col("tenure_months"),
        "indrel": pl.lit("1"),
        "ult_fec_cli_1t": pl.lit(None, dtype=pl.String),
        "indrel_1mes": pl.lit("1"),
        "tiprel_1mes": pl.col("relation_type"),
        "indresi": _letter("is_resident"),
        "indext": _letter("is_foreign_born"),
        "conyuemp": pl.lit(None, dtype=pl.String),
        "canal_entrada": pl.col("channel"),
        "indfall": _letter("is_deceased"),
        "tipodom": pl.lit("1"),
        "cod_prov": pl.when(pl.col("province_id") > 0).then(pl.col("province_id")),
        "nomprov": pl.col("province_id").replace_strict(PROVINCES, default=None),
        "ind_actividad_cliente": pl.col("is_active"),
        "renta": pl.col("income").cast(pl.Decimal(12, 2)),
        "segmento": pl.col("segment").replace_strict(SEGMENTS, default=None),
    }
    made = rows.select(*(value.alias(name) for name, value in columns.items()), *held)
    return made.select(pl.col(name).cast(pl.String) for name in RAW_COLUMNS)


def _letter(flag: str) -> pl.Expr:
    return pl.when(pl.col(flag) == 1).then(pl.lit("S")).otherwise(pl.lit("N"))
