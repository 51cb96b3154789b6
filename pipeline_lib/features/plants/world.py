"""A small bank made from a seed: finished ``ingest`` and ``labels`` stages for the planted leaks and for tests.

It has the shape of the contract and nothing of the synthetic bank's realism. Labels are drawn apart from the
features, except for a weak dependence, so an honest run must pass and every planted leak must not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline_lib.contracts.leakage.hashing import buckets, customer_hash, split_of
from pipeline_lib.contracts.tables import SHARD_SHIFT
from pipeline_lib.runs import Out, RunContext, StageOutput
from pipeline_lib.settings import Settings
from pipeline_lib.settings.data import Splits

CODES = ("3000", "4111", "5411", "5499", "5541", "5812", "5814", "5912", "6300", "7832")
UNKNOWN = "unknown"
RAW_FILE = "bank.csv"
RAW_SHA256 = hashlib.sha256(b"bank").hexdigest()
Flags = npt.NDArray[np.int8]


@dataclass(frozen=True)
class World:
    """Size of the small bank; ``months`` snapshots, the newest before the run's date."""

    customers: int = 1200
    months: int = 14
    events_per_month: float = 12.0
    seed: int = 7


def make_world(ctx: RunContext, world: World) -> tuple[StageOutput, StageOutput]:
    """Publish ``ingest`` and ``labels`` of the small bank into the run's store."""
    days = snapshot_days(ctx.logical_date, world.months)
    ingest = ctx.produce(
        "ingest", lambda out: _ingest(out, ctx, world, days), sources={f"source:{RAW_FILE}": RAW_SHA256}
    )
    labels = ctx.produce("labels", lambda out: _labels(out, ctx.settings, world, days), inputs=[ingest])
    return ingest, labels


def snapshot_days(logical_date: date, months: int) -> list[date]:
    """The 28th of the newest ``months`` months that lie before the run's date."""
    newest = logical_date.year * 12 + logical_date.month - 1 - (logical_date.day <= 28)
    return [date(n // 12, n % 12 + 1, 28) for n in range(newest - months + 1, newest + 1)]


def shuffled(splits: Splits, customers: int) -> list[int]:
    """Customer keys 1..n in the order of their shuffle key."""
    return sorted(range(1, customers + 1), key=lambda key: (customer_hash(splits.order_salt, key), key))


def _ingest(out: Out, ctx: RunContext, world: World, days: Sequence[date]) -> None:
    rng = np.random.default_rng(world.seed)
    products = [product.short for product in ctx.settings.source.products]
    order = pl.Series(shuffled(ctx.settings.data.splits, world.customers)) - 1
    profile, holdings = _profile(rng, world), _holdings(rng, world, len(products))
    for month, day in enumerate(days):
        table = sharded(_snapshot(profile, month, day, holdings[:, month], products)[order], ctx.settings)
        table.write_parquet(out.path(f"customer_snapshot/{day}.parquet", rows=len(table)))
    segments = pl.DataFrame({"customer_key": profile["customer_key"], "segment": "TOP"})
    segments.write_parquet(out.path("customer_segment.parquet", rows=len(segments)))
    events = sharded(_events(rng, world, days), ctx.settings)
    for (name,), part in events.group_by(pl.col("event_ts").dt.strftime("%Y-%m"), maintain_order=True):
        part.write_parquet(out.path(f"transaction_event/{name}.parquet", rows=len(part)))
    _dimensions(out, ctx.settings)
    manifest = pl.DataFrame({"path": [RAW_FILE], "sha256": [RAW_SHA256], "bytes": [4], "rows": [1]})
    manifest.write_parquet(out.path("ingest_manifest.parquet", rows=1))
    out.facts.update(snapshots=[str(d) for d in days], newest_snapshot=str(days[-1]), unavailable={})


def sharded(table: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """The same with the shard of each customer."""
    keys = table["customer_key"].unique().to_list()
    shards = [customer_hash(settings.data.splits.order_salt, key) >> SHARD_SHIFT for key in keys]
    known = pl.DataFrame({"customer_key": keys, "shard": shards}, schema={"customer_key": pl.Int32, "shard": pl.UInt16})
    return table.join(known, on="customer_key", how="left", maintain_order="left")


def _holdings(rng: np.random.Generator, world: World, products: int) -> Flags:
    """Flags [customers, months, products]: a start drawn per product, then rare adds and drops."""
    held = rng.random((world.customers, products)) < rng.uniform(0.1, 0.5, products)
    out = np.empty((world.customers, world.months, products), dtype=np.int8)
    for month in range(world.months):
        move = rng.random(held.shape)
        held = np.where(held, move > 0.03, move < 0.02)
        out[:, month] = held
    return out


def _profile(rng: np.random.Generator, world: World) -> pl.DataFrame:
    n = world.customers
    missing = rng.random(n) < 0.2
    flags = {
        "tenure_unknown": 0.05,
        "is_active": 0.5,
        "is_new_customer": 0.1,
        "is_resident": 0.9,
        "is_foreign_born": 0.1,
    }
    return pl.DataFrame(
        {
            "customer_key": np.arange(1, n + 1, dtype=np.int32),
            "age": rng.integers(18, 90, n).astype(np.int16),
            "sex": rng.choice(["F", "M", "U"], n, p=[0.48, 0.48, 0.04]),
            "income": pl.Series(np.where(missing, np.nan, np.exp(rng.normal(10.5, 0.6, n)))).fill_nan(None),
            "income_missing": missing.astype(np.int8),
            "start": rng.integers(0, 200, n),
            "country": rng.choice(["ES", "FR", "DE"], n, p=[0.9, 0.06, 0.04]),
            "province_id": rng.integers(1, 53, n).astype(np.int16),
            "channel": rng.choice(["KAT", "KFC", "KHE"], n),
            "relation_type": rng.choice(["A", "I"], n),
            "employee_status": rng.choice(["N", "A"], n, p=[0.9, 0.1]),
            **{name: (rng.random(n) < rate).astype(np.int8) for name, rate in flags.items()},
        }
    )


def _snapshot(profile: pl.DataFrame, month: int, day: date, held: Flags, products: Sequence[str]) -> pl.DataFrame:
    flags = pl.DataFrame(held, schema={f"prod_{short}": pl.Int8 for short in products}, orient="row")
    tenure = pl.when(pl.col("tenure_unknown") == 0).then((pl.col("start") + month).cast(pl.Int16))
    return (
        profile.with_columns(
            pl.lit(day).alias("snapshot_date"),
            tenure.alias("tenure_months"),
            pl.lit(0, dtype=pl.Int8).alias("is_deceased"),
            pl.Series("num_products", held.sum(axis=1).astype(np.int8)),
        )
        .drop("start")
        .hstack(flags)
    )


def _events(rng: np.random.Generator, world: World, days: Sequence[date]) -> pl.DataFrame:
    """Purchases with a habit per customer, refunds and inflows, from 29 days before the first snapshot on."""
    total = int(world.customers * world.months * world.events_per_month)
    who = rng.integers(0, world.customers, total)
    habit = rng.integers(0, len(CODES), world.customers)[who]
    kind = rng.choice(["card_purchase", "card_refund", "deposit_inflow"], total, p=[0.88, 0.02, 0.1])
    category = np.where(rng.random(total) < 0.4, habit, rng.integers(0, len(CODES), total))
    category = np.where(kind == "deposit_inflow", len(CODES), category)
    first = days[0] - timedelta(days=29)
    seconds = rng.integers(0, ((days[-1] - first).days + 1) * 86_400, total).astype("timedelta64[s]")
    amount = np.round(np.exp(rng.normal(3.0, 1.0, total)), 2) + 0.01
    moment = (np.datetime64(first, "s") + seconds).astype("datetime64[us]")
    raw = pl.DataFrame(
        {"event_ts": moment, "customer_key": who + 1, "event_type": kind, "mcc_idx": category, "amount": amount}
    )
    inward = pl.col("event_type") != "card_purchase"
    return raw.sort("event_ts", "customer_key", "amount").select(
        pl.int_range(pl.len()).cast(pl.String).str.zfill(9).alias("event_id"),
        pl.col("customer_key").cast(pl.Int32),
        "event_ts",
        pl.col("event_ts").dt.date().alias("event_date"),
        "event_type",
        pl.col("mcc_idx").cast(pl.UInt8),
        (pl.col("mcc_idx") // 5).cast(pl.UInt8).alias("l1_id"),
        (pl.col("mcc_idx") // 2).cast(pl.UInt8).alias("l2_id"),
        (pl.col("mcc_idx").cast(pl.Int64) * 7 + pl.col("customer_key") % 7).alias("merchant_key"),
        "amount",
        pl.when(inward).then(pl.col("amount")).otherwise(-pl.col("amount")).alias("signed_amount"),
        pl.lit(None, dtype=pl.String).alias("channel"),
        pl.lit("synthetic").alias("origin"),
    )


def _dimensions(out: Out, settings: Settings) -> None:
    codes = [*CODES, UNKNOWN]
    places = range(len(codes))
    categories = pl.DataFrame(
        {
            "mcc_idx": pl.Series(places, dtype=pl.UInt8),
            "code": codes,
            "l2_id": pl.Series([i // 2 for i in places], dtype=pl.UInt8),
            "l1_id": pl.Series([i // 5 for i in places], dtype=pl.UInt8),
            "l2": [f"kind {i // 2}" for i in places],
            "l1": [f"area {i // 5}" for i in places],
            "customer_made": [True] * len(codes),
        }
    )
    categories.write_parquet(out.path("dim_mcc.parquet", rows=len(categories)))
    rows: list[dict[str, Any]] = [
        {"product_idx": i, **product.model_dump()} for i, product in enumerate(settings.source.products)
    ]
    products = pl.DataFrame(rows, schema_overrides={"product_idx": pl.Int32}, infer_schema_length=None)
    products.write_parquet(out.path("dim_product.parquet", rows=len(products)))


def _labels(out: Out, settings: Settings, world: World, days: Sequence[date]) -> None:
    splits = settings.data.splits
    rows = _assignment(splits, world, days)
    rows.write_parquet(out.path("split_assignment.parquet", rows=len(rows)))
    labelled = rows.filter(pl.col("label_date").is_not_null())
    table = _drawn_labels(np.random.default_rng(world.seed + 1), labelled, settings)
    table.write_parquet(out.path("label_table.parquet", rows=len(table)))
    status = {
        name: {"status": "active", "reason": "", "kind": task.kind} for name, task in settings.tasks.tasks.items()
    }
    out.facts.update(tasks=status, gap_days=splits.gap_days)


def _assignment(splits: Splits, world: World, days: Sequence[date]) -> pl.DataFrame:
    """Rows of every split: test at the newest labelled month, val and train counted back, serve at the newest."""
    step, test = splits.step_months, len(days) - 2
    places = {"train": test - 2 * step, "val": test - step, "test": test, "test_seen": test}
    parts = {"train": "fit", "val": "stop", "test": "gate", "test_seen": "seen"}
    keys = shuffled(splits, world.customers)
    bucket = dict(zip(keys, buckets(splits.bucket_salt, keys), strict=True))
    side = {key: split_of(bucket[key], splits.train_buckets, splits.val_buckets) for key in keys}
    rows: list[dict[str, Any]] = []
    for split, place in places.items():
        wanted = "train" if split == "test_seen" else split
        when = {"cutoff_date": days[place], "label_date": days[place + 1], "split": split, "part": parts[split]}
        rows += [{"customer_key": key, **when, "bucket": bucket[key]} for key in keys if side[key] == wanted]
    serve = {"cutoff_date": days[-1], "label_date": None, "split": "serve", "part": "serve"}
    rows += [{"customer_key": key, **serve, "bucket": bucket[key]} for key in keys]
    table = pl.DataFrame(
        rows, schema_overrides={"customer_key": pl.Int32, "bucket": pl.Int16}, infer_schema_length=None
    )
    order = [customer_hash(splits.order_salt, key) for key in table["customer_key"]]
    return table.with_columns(pl.Series("shuffle_key", order)).sort("shuffle_key", "customer_key", "cutoff_date")


def _drawn_labels(rng: np.random.Generator, rows: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    n = len(rows)
    columns: dict[str, pl.Series] = {}
    for name, task in settings.tasks.tasks.items():
        if task.kind == "regression":
            columns[name] = pl.Series(rng.gamma(2.0, 0.5, n))
        else:
            classes = min(task.classes or 2, len(CODES))
            rates = np.full(classes, 1 / classes) if task.kind == "multiclass" else np.array([0.8, 0.2])
            columns[name] = pl.Series(rng.choice(classes, n, p=rates).astype(np.int16))
    masked = pl.Series(rng.random(n) < 0.1)
    return rows.select("customer_key", "cutoff_date", pl.col("label_date").alias("label_end_date")).with_columns(
        pl.when(masked).then(pl.lit("absent")).otherwise(pl.lit("mature")).alias("label_status"),
        *(pl.when(~masked).then(values).alias(name) for name, values in columns.items()),
        pl.lit("1").alias("label_version"),
    )
