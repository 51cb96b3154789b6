"""The days of each row, oldest first: what the temporal expert reads. Source: features.md 4.1 and 4.2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_lib.features.columns import (
    EVENT,
    MERCHANT,
    PRODUCTS,
    SNAPSHOT,
    TIME_OF_DAY,
    Column,
    Floats,
    event_type,
    split_available,
)
from pipeline_lib.features.events import EventStore
from pipeline_lib.features.fitted import Fitted

NO_DAY_GAP = 365.0
BLOCK_ROWS = 20_000
_CENTS = 100.0
_AMOUNT = (f"{EVENT}.amount", f"{EVENT}.event_date")
_SPEND, _REFUND, _CASH, _INFLOW, _TRANSFER = (
    (event_type(name),) for name in ("spend", "refund", "cash", "inflow", "transfer")
)
CHANNELS = (
    Column("spend_log", "num", _AMOUNT, _SPEND),
    Column("spend_count_log", "num", _AMOUNT, _SPEND),
    Column("categories", "num", (f"{EVENT}.l2_id",), _SPEND),
    Column("merchants", "num", (MERCHANT,), _SPEND),
    Column("largest_log", "num", _AMOUNT, _SPEND),
    Column("night_share", "num", (f"{EVENT}.event_ts",), (*_SPEND, TIME_OF_DAY)),
    Column("cash_share", "num", _AMOUNT, _CASH),
    Column("refund_count", "num", _AMOUNT, _REFUND),
    Column("inflow_log", "num", _AMOUNT, _INFLOW),
    Column("inflow_count", "num", _AMOUNT, _INFLOW),
    Column("transfer_log", "num", _AMOUNT, _TRANSFER),
    Column("transfer_count", "num", _AMOUNT, _TRANSFER),
    Column("net_flow_log", "num", _AMOUNT, _INFLOW),
    Column("products_added", "num", (f"{SNAPSHOT}.snapshot_date",), (PRODUCTS,)),
    Column("products_dropped", "num", (f"{SNAPSHOT}.snapshot_date",), (PRODUCTS,)),
)


def channels_of(absent: Mapping[str, str]) -> tuple[list[Column], list[tuple[Column, str]]]:
    """Channels this source can fill, and the others with the reason."""
    return split_available(CHANNELS, absent)


@dataclass(frozen=True)
class Days:
    """Every active day of every customer, by customer and date."""

    code: npt.NDArray[np.int64]
    """``day_code`` of customer and date, ascending [D]."""
    channels: npt.NDArray[np.float32]
    """[D, C]."""


def day_code(customer: npt.NDArray[np.int64], day: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """One integer that orders by customer, then by day number since 1970."""
    return (customer << 20) + day


def load_days(store: EventStore, fitted: Fitted) -> Days:
    """Read the daily table once and turn it into channels. A source without channels has no days."""
    names = [column.name for column in channels_of(fitted.absent)[0]]
    codes, channels = [np.zeros(0, dtype=np.int64)], [np.zeros((0, len(names)), dtype=np.float32)]
    for part in store.days() if names else ():
        day = part["event_date"].cast(pl.Int32).to_numpy().astype(np.int64)
        codes.append(day_code(part["customer_key"].to_numpy().astype(np.int64), day))
        values = _channel_values(part, fitted)
        channels.append(np.stack([values[name].astype(np.float32) for name in names], axis=1))
    return Days(np.concatenate(codes), np.concatenate(channels))


def write_sequences(
    path: Path, rows: pl.DataFrame, store: EventStore, fitted: Fitted, lookback_days: int, max_len: int
) -> int:
    """Write ``sequences.parquet``, one row group per block of rows; returns the number of steps written."""
    days = load_days(store, fitted)
    steps = 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for block in rows.iter_slices(BLOCK_ROWS):
            table, count = _block(block, days, lookback_days, max_len)
            writer.write_table(table)
            steps += count
    return steps


SCHEMA = pa.schema(
    [
        ("customer_key", pa.int32()),
        ("cutoff_date", pa.date32()),
        ("txn_seq", pa.large_list(pa.float32())),
        ("txn_dt", pa.large_list(pa.float32())),
        ("txn_len", pa.int32()),
        ("asof_gap", pa.float32()),
    ]
)


def _block(keys: pl.DataFrame, days: Days, lookback_days: int, max_len: int) -> tuple[pa.Table, int]:
    """The newest ``max_len`` days in (c - lookback, c] of each row, oldest first."""
    customer = keys["customer_key"].to_numpy().astype(np.int64)
    cutoff = keys["cutoff_date"].cast(pl.Int32).to_numpy().astype(np.int64)
    end = np.searchsorted(days.code, day_code(customer, cutoff), side="right")
    oldest = np.searchsorted(days.code, day_code(customer, cutoff - lookback_days), side="right")
    lengths = np.minimum(end - oldest, max_len)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    place = np.arange(offsets[-1]) + np.repeat(end - offsets[1:], lengths)  # (S,) of D
    age = np.repeat(customer, lengths) << 20
    age += np.repeat(cutoff, lengths) - days.code[place]
    gaps = np.zeros(len(age), dtype=np.float32)
    gaps[1:] = age[:-1] - age[1:]
    gaps[offsets[:-1][lengths > 0]] = 0.0
    asof = np.full(len(keys), NO_DAY_GAP, dtype=np.float32)
    asof[lengths > 0] = age[offsets[1:][lengths > 0] - 1]
    table = pa.table(
        [
            keys["customer_key"].to_arrow().cast(pa.int32()),
            keys["cutoff_date"].to_arrow(),
            _lists(days.channels[place].reshape(-1), offsets * days.channels.shape[1]),
            _lists(gaps, offsets),
            pa.array(lengths.astype(np.int32)),
            pa.array(asof),
        ],
        schema=SCHEMA,
    )
    return table, len(place)


def _lists(values: npt.NDArray[np.float32], offsets: npt.NDArray[np.int64]) -> pa.LargeListArray:
    return pa.LargeListArray.from_arrays(pa.array(offsets, type=pa.int64()), pa.array(values, type=pa.float32()))


def _channel_values(days: pl.DataFrame, fitted: Fitted) -> dict[str, Floats]:
    """Every channel of every day [S]; undefined shares are 0 here, a sequence has no NaN."""
    raw = {name: days[name].to_numpy().astype(np.float64) for name in days.columns}
    money = {name: raw[name] / _CENTS for name in raw if name.endswith("cents")}
    n, outflow = np.maximum(raw["n"], 1.0), np.maximum(raw["outflow_cents"], 1.0)
    net = money["inflow_cents"] + money["refund_cents"] - money["outflow_cents"]
    scale = fitted.channel_scale
    return {
        "spend_log": np.log1p(money["cents"]),
        "spend_count_log": np.log1p(raw["n"]),
        "categories": np.bitwise_count(days["l2_mask"].to_numpy()) / scale["categories"],
        "merchants": raw["n_merchants"] / scale["merchants"],
        "largest_log": np.log1p(money["max_cents"]),
        "night_share": raw["n_night"] / n,
        "cash_share": raw["cash_cents"] / outflow,
        "refund_count": raw["n_refund"],
        "inflow_log": np.log1p(money["inflow_cents"]),
        "inflow_count": raw["n_inflow"] / scale["n_inflow"],
        "transfer_log": np.log1p(money["transfer_cents"]),
        "transfer_count": raw["n_transfer"] / scale["n_transfer"],
        "net_flow_log": np.sign(net) * np.log1p(np.abs(net)),
        "products_added": raw["added"],
        "products_dropped": raw["dropped"],
    }
