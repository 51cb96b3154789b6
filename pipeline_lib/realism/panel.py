"""A bank as aligned arrays: who was there, held and spent what in which month."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline_lib.errors import ContractError
from pipeline_lib.runs import StageOutput

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
NUMERIC = ("age", "income", "tenure_months", "num_products")
CATEGORICAL = ("sex", "is_active", "country", "province_id", "channel", "relation_type", "employee_status")
PREFIX = "prod_"


@dataclass(frozen=True)
class Panel:
    name: str
    months: tuple[date, ...]
    products: tuple[str, ...]
    customers: npt.NDArray[np.int64]
    """Keys, ascending [N]."""
    present: Bools
    """[N, M]."""
    held: Bools
    """[N, M, P]; False where absent."""
    spend: Floats
    """Sum of the customer's own outgoing events per calendar month [N, M]."""
    events: Floats
    """Their number [N, M]."""
    profile: pl.DataFrame
    """Every customer's newest snapshot row, in the order of ``customers``."""
    rows_by_month: Floats
    """Customers of the whole bank per month [M]."""
    gaps: Floats
    """Days between a customer's purchases, pooled."""
    bigrams: dict[tuple[str, str], int]
    """(category, next category) -> count, pooled."""

    @property
    def num_products(self) -> Floats:
        """[N, M], NaN where absent."""
        return np.where(self.present, self.held.sum(axis=2), np.nan)

    @property
    def log_spend(self) -> Floats:
        """Ln of the month's spend [N, M]; NaN where nothing was spent."""
        return np.log(np.where(self.spend > 0, self.spend, np.nan))


def panel_of(name: str, ingest: StageOutput, purchase_types: list[str], limit: int) -> Panel:
    """Read at most ``limit`` customers of a finished ingest, the first in the files' own (shuffled) order.

    Raises:
        ContractError: the bank has no snapshot row.
    """
    files = sorted(ingest.names("customer_snapshot/"))
    snapshots = [pl.read_parquet(ingest.path(file)) for file in files]
    rows = np.array([len(s) for s in snapshots], dtype=np.float64)
    if not rows.sum():
        raise ContractError(f"{name}: customer_snapshot has no row")
    whole = pl.concat(snapshots, how="diagonal")
    chosen = whole.select(pl.col("customer_key").unique(maintain_order=True)).head(limit).sort("customer_key")
    keys = chosen["customer_key"].to_numpy().astype(np.int64)
    months = tuple(date.fromisoformat(file.split("/")[1].removesuffix(".parquet")) for file in files)
    products = tuple(c.removeprefix(PREFIX) for c in snapshots[0].columns if c.startswith(PREFIX))
    present, held = _holdings(snapshots, keys, products)
    newest = whole.join(chosen, on="customer_key").sort("snapshot_date").group_by("customer_key").last()
    events = _events(ingest, chosen, purchase_types)
    spend, count = _by_month(events, keys, months)
    return Panel(
        name, months, products, keys, present, held, spend, count, newest.sort("customer_key"), rows,
        _gaps(events), _bigrams(events, pl.read_parquet(ingest.path("dim_mcc.parquet"))),
    )  # fmt: skip


def _holdings(
    snapshots: list[pl.DataFrame], keys: npt.NDArray[np.int64], products: tuple[str, ...]
) -> tuple[Bools, Bools]:
    present = np.zeros((len(keys), len(snapshots)), dtype=bool)
    held = np.zeros((len(keys), len(snapshots), len(products)), dtype=bool)
    for month, snapshot in enumerate(snapshots):
        own = snapshot.filter(pl.col("customer_key").is_in(pl.Series(keys).implode()))
        at = np.searchsorted(keys, own["customer_key"].to_numpy())
        present[at, month] = True
        if products:
            flags = own.select(pl.col([PREFIX + p for p in products]).fill_null(0)).to_numpy()
            held[at, month] = flags == 1
    return present, held


def _events(ingest: StageOutput, chosen: pl.DataFrame, purchase_types: list[str]) -> pl.DataFrame:
    """Purchases of the chosen customers by customer and time: customer_key, event_ts, event_date, mcc_idx, amount."""
    columns = ["customer_key", "event_ts", "event_date", "event_type", "mcc_idx", "amount", "event_id"]
    outgoing = [kind for kind in purchase_types if kind not in {"deposit_inflow", "transfer_in"}]
    parts = [
        pl.scan_parquet(ingest.path(file)).select(columns)
        .filter(pl.col("event_type").is_in(outgoing))
        .join(chosen.lazy(), on="customer_key", how="semi").collect()
        for file in sorted(ingest.names("transaction_event/"))
    ]  # fmt: skip
    return pl.concat(parts).sort("customer_key", "event_ts", "event_id")


def _by_month(events: pl.DataFrame, keys: npt.NDArray[np.int64], months: tuple[date, ...]) -> tuple[Floats, Floats]:
    first = months[0].year * 12 + months[0].month
    month = events["event_date"].dt.year().to_numpy() * 12 + events["event_date"].dt.month().to_numpy() - first
    inside = (month >= 0) & (month < len(months))
    place = np.searchsorted(keys, events["customer_key"].to_numpy())[inside] * len(months) + month[inside]
    size, shape = len(keys) * len(months), (len(keys), len(months))
    amount = events["amount"].to_numpy()[inside]
    spend = np.bincount(place, weights=amount, minlength=size).reshape(shape)
    count = np.bincount(place, minlength=size).reshape(shape)
    return spend.astype(np.float64), count.astype(np.float64)


def _gaps(events: pl.DataFrame) -> Floats:
    days = events.select("customer_key", gap=pl.col("event_date").diff().dt.total_days().over("customer_key"))
    return days["gap"].drop_nulls().to_numpy().astype(np.float64)


def _bigrams(events: pl.DataFrame, categories: pl.DataFrame) -> dict[tuple[str, str], int]:
    named = events.join(categories.select("mcc_idx", "code"), on="mcc_idx", maintain_order="left")
    pairs = named.select(before=pl.col("code").shift(1).over("customer_key"), after="code").drop_nulls()
    counts = pairs.group_by("before", "after").len().sort("before", "after")
    return {(str(a), str(b)): int(n) for a, b, n in counts.iter_rows()}
