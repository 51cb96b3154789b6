"""From arrays to the canonical tables an adapter hands over. Nothing hidden passes through here."""

from __future__ import annotations

import string
from collections.abc import Iterator
from datetime import date, datetime, time

import numpy as np
import polars as pl

from pipeline_lib.contracts.tables import SEGMENTS, product_column
from pipeline_lib.ingest.synthetic import purchases, taxonomy
from pipeline_lib.ingest.synthetic.demographics import MAX_AGE
from pipeline_lib.ingest.synthetic.laws import Laws
from pipeline_lib.ingest.synthetic.merchants import NOWHERE
from pipeline_lib.ingest.synthetic.world import BlockMonth

NEW_MONTHS = 6
EVENT_ID_BLOCK, EVENT_ID_MONTH = 10**12, 10**8
FIRST_MONTH = 100


def snapshot(laws: Laws, part: BlockMonth) -> pl.DataFrame:
    """Rows of the customers present at the month's snapshot (``contracts.tables.ADAPTER_SNAPSHOT``)."""
    at = np.flatnonzero(part.state.present)
    profile, state, policy = part.profile, part.state, laws.policy.demographics
    age = np.minimum(profile.age[at] + state.month.index / 12, MAX_AGE)
    known = profile.tenure_known[at]
    countries = np.array([policy.home_country, *policy.other_countries])
    columns: dict[str, pl.Series] = {
        "customer_id": _ids(part, at),
        "age": pl.Series(age.astype(np.int16)),
        "sex": pl.Series(np.where(profile.male[at], "M", "F")),
        "income": _masked(profile.income[at], profile.income_known[at], pl.Float64()),
        "tenure_months": _masked(state.tenure[at], known, pl.Int16()),
        "is_active": _flag(state.active[at]),
        "is_new_customer": _flag(known & (state.tenure[at] <= NEW_MONTHS)),
        "country": pl.Series(countries[profile.country[at]]),
        "province_id": pl.Series(profile.province[at].astype(np.int16)),
        "channel": pl.Series(np.array(channel_codes(policy.channels))[profile.channel[at]]),
        "relation_type": pl.Series(np.where(state.active[at], "A", "I")),
        "employee_status": pl.Series(np.where(profile.employee[at], "A", "N")),
        "is_resident": _flag(profile.country[at] == 0),
        "is_foreign_born": _flag(profile.foreign_born[at]),
        "is_deceased": _flag(np.zeros(len(at), dtype=bool)),
    }
    for position, name in enumerate(laws.products.names):
        columns[product_column(name)] = _flag(state.holdings.held[at, position])
    return pl.DataFrame(columns)


def segment(part: BlockMonth) -> pl.DataFrame:
    """Segment of the customers present, ``contracts.tables.SEGMENT``."""
    at = np.flatnonzero(part.state.present)
    return pl.DataFrame({"customer_id": _ids(part, at), "segment": np.array(SEGMENTS)[part.customers.segment[at]]})


def events(part: BlockMonth, before: date) -> Iterator[tuple[str, pl.DataFrame]]:
    """(``YYYY-MM``, rows of ``contracts.tables.ADAPTER_EVENT``) of the calendar months the window touches."""
    batch, month = part.events, part.state.month
    opens = (month.first_day - date(1970, 1, 1)).days * purchases.DAY_US
    number = part.customers.block * EVENT_ID_BLOCK + (month.index + FIRST_MONTH) * EVENT_ID_MONTH
    sign = purchases.SIGNS[batch.kind]
    frame = pl.DataFrame(
        {
            "event_id": pl.Series(number + np.arange(len(batch.time))).cast(pl.String),
            "customer_id": _ids(part, batch.customer),
            "event_ts": pl.Series(opens + batch.time).cast(pl.Datetime("us")),
            "event_type": _named(batch.kind, purchases.TYPES),
            "mcc_idx": pl.Series(batch.category.astype(np.uint8)),
            "amount": pl.Series(batch.amount),
            "signed_amount": pl.Series(sign * batch.amount),
            "channel": _named(batch.channel, purchases.CHANNELS),
            "merchant_id": _shops(part.shops, batch.merchant),
        }
    ).filter(pl.col("event_ts") < datetime.combine(before, time()))
    calendar = frame.get_column("event_ts").dt.truncate("1mo")
    for first in calendar.unique().sort():
        yield f"{first:%Y-%m}", frame.filter(calendar == first)


def categories() -> list[tuple[str, str, str, bool]]:
    """The taxonomy, every code a customer's own purchase; see ``source_tables.category_table``."""
    return [(code, l2, l1, True) for code, l2, l1 in taxonomy.rows()]


def channel_codes(count: int) -> list[str]:
    """Three-letter join channels in order of frequency: KAA, KAB, ..."""
    letters = string.ascii_uppercase
    return [f"K{letters[i // 26]}{letters[i % 26]}" for i in range(count)]


def _ids(part: BlockMonth, at: np.ndarray) -> pl.Series:
    return pl.Series(part.customers.number[at]).cast(pl.String)


def _shops(names: tuple[str, ...], merchant: np.ndarray) -> pl.Series:
    """Raw id of each merchant, null for NOWHERE."""
    known = pl.Series(np.maximum(merchant, 0)).set(pl.Series(merchant == NOWHERE), None)
    return pl.Series(names).gather(known)


def _flag(values: np.ndarray) -> pl.Series:
    return pl.Series(np.asarray(values).astype(np.int8))


def _masked(values: np.ndarray, known: np.ndarray, dtype: pl.DataType) -> pl.Series:
    frame = pl.DataFrame({"value": values, "known": known})
    return frame.select(pl.when("known").then(pl.col("value").cast(dtype))).to_series()


def _named(position: np.ndarray, names: tuple[str, ...]) -> pl.Series:
    return pl.Series(position.astype(np.uint8)).replace_strict(range(len(names)), names, return_dtype=pl.String)
