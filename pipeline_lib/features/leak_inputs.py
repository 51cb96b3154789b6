"""What the leakage checks compare features and tables with, read from finished stages and from the raw files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline_lib.contracts.leakage.evidence import spread
from pipeline_lib.contracts.leakage.frames import BOOKINGS, Match, Recheck
from pipeline_lib.contracts.leakage.raw import RawSet, RawTable
from pipeline_lib.runs import StageOutput
from pipeline_lib.settings import Settings
from pipeline_lib.settings.source import Source

KEYS = ["customer_key", "cutoff_date"]
HOLDING = "hold_"
RECHECK = "recheck.json"
SIDES = ("train", "val", "test")
RATES = {"churn_signal": "churn"}
RATES |= {f"will_acquire_{g}": g for g in ("deposits", "investments", "accounts", "lending", "payments")}
"""Task -> rate of the generator that it counts."""


def bookings_of(ingest: StageOutput) -> pl.DataFrame:
    """Receivers of every category and month, and those of its busiest day; one file in memory at a time."""
    names = [name for name in ingest.names("transaction_event/") if name.endswith(".parquet")]
    made = pl.read_parquet(ingest.path("dim_mcc.parquet")).select("mcc_idx", "code", "customer_made")
    counted = [_counted(ingest.path(name), Path(name).stem) for name in names]
    if not counted:
        return pl.DataFrame(schema=BOOKINGS)
    rows = pl.concat(counted).join(made, on="mcc_idx", how="inner").select(*BOOKINGS)
    return rows.cast(dict(BOOKINGS)).sort("code", "month")  # type: ignore[arg-type]


def _counted(path: Path, month: str) -> pl.DataFrame:
    events = pl.scan_parquet(path).select("customer_key", "event_date", "mcc_idx")
    per_day = events.group_by("mcc_idx", "event_date").agg(pl.col("customer_key").n_unique().alias("same_day"))
    busiest = per_day.group_by("mcc_idx").agg(pl.col("same_day").max())
    receivers = events.group_by("mcc_idx").agg(pl.col("customer_key").n_unique().alias("receivers"))
    return receivers.join(busiest, on="mcc_idx").with_columns(month=pl.lit(month)).collect()


def holdings_of(ingest: StageOutput, rows: pl.DataFrame, raw: pl.DataFrame) -> tuple[Match, ...]:
    """Held products among the features beside the snapshots at the cutoff and at the label date, per split.

    Args:
        rows: customer_key, cutoff_date, label_date, split of every feature row.
        raw: the feature matrix of the same rows.
    """
    held = [name for name in raw.columns if name.startswith(HOLDING)]
    known = {Path(name).stem: ingest.path(name) for name in ingest.names("customer_snapshot/")}
    if not held:
        return ()
    found: dict[str, list[tuple[int, float, float, float]]] = {split: [] for split in SIDES}
    features = raw.select(held).with_columns(rows["customer_key"], rows["cutoff_date"], rows["label_date"])
    for split in SIDES:
        part = features.filter(rows["split"] == split)
        for (cutoff, end), own in part.group_by("cutoff_date", "label_date", maintain_order=True):
            if str(cutoff) in known and str(end) in known:
                found[split].append(_match(own, held, known[str(cutoff)], known[str(end)]))
    return tuple(_total(split, parts) for split, parts in found.items() if parts)


def _match(own: pl.DataFrame, held: Sequence[str], at_cutoff: Path, at_label: Path) -> tuple[int, float, float, float]:
    products = [f"prod_{name.removeprefix(HOLDING)}" for name in held]
    now, then = (_held(own, path, products) for path in (at_cutoff, at_label))
    made = own.select(held).to_numpy()
    there = ~np.isnan(then).any(axis=1)
    same_now, same_then = (made == now).all(axis=1), (made == then).all(axis=1)
    moved = (now != then).any(axis=1) & there
    return len(own), float(same_now.sum()), float((same_then | (~there & same_now)).sum()), float(moved.sum())


def _held(own: pl.DataFrame, path: Path, products: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Product flags of a snapshot in the rows' order, NaN for a customer without a row there."""
    snapshot = pl.read_parquet(path, columns=["customer_key", *products])
    joined = own.select("customer_key").join(snapshot, on="customer_key", how="left", maintain_order="left")
    return joined.select(products).cast(pl.Float32).fill_null(float("nan")).to_numpy()


def _total(split: str, parts: Sequence[tuple[int, float, float, float]]) -> Match:
    rows, now, then, moved = (sum(part[i] for part in parts) for i in range(4))
    return Match(split, now / rows, then / rows, moved / rows)


def rechecks_of(features: StageOutput) -> tuple[Recheck, ...]:
    """Rows that the feature stage made a second time; empty when it made none."""
    if RECHECK not in features.names():
        return ()
    body = json.loads(features.path(RECHECK).read_bytes())
    return tuple(Recheck(one["name"], int(one["rows"]), tuple(one["differing"])) for one in body["rechecks"])


def declared_rates_of(settings: Settings, rows: pl.DataFrame) -> dict[str, float]:
    """Label -> rate the generator states for the train cutoffs, their label months' season included."""
    source = settings.source
    preset = source.params.get("rates")
    if source.generator is None or not isinstance(preset, str):
        return {}
    laws, train = source.generator, rows.filter(pl.col("split") == "train")["label_date"].drop_nulls()
    if train.is_empty():
        return {}
    season = float(np.mean([laws.holdings.season.get(day.month, 1.0) for day in train.to_list()]))
    rates = laws.rates[preset]
    return {task: rates[name] * (1.0 if name == "churn" else season) for task, name in RATES.items()}


def raw_set_of(source: Source, folder: Path | None, most: int) -> tuple[RawSet, dict[str, str]]:
    """The raw tables that the source declares, at most ``most`` rows of each, evenly spaced.

    Returns:
        The tables, and those not read with the reason.
    """
    skipped = {}
    tables = []
    for stem, columns in source.raw.items():
        path = folder / f"{stem}.parquet" if folder else None
        if path is None or not path.is_file():
            skipped[f"raw table {stem}"] = "not a Parquet file of the source's folder: judged by its declaration alone"
            continue
        rows = pl.read_parquet(path)
        tables.append(RawTable(stem, rows[spread(np.arange(len(rows)), most)], columns))
    return RawSet(source.name, tuple(tables)), skipped


def dates_of(labels: StageOutput) -> pl.DataFrame:
    """customer_key, cutoff_date, label_date, split, part, shuffle_key of split_assignment in its order."""
    wanted = [*KEYS, "label_date", "split", "part", "shuffle_key"]
    return pl.read_parquet(labels.path("split_assignment.parquet"), columns=wanted)


def first_cutoff(rows: pl.DataFrame) -> date | None:
    found = rows["cutoff_date"].min()
    return found if isinstance(found, date) else None
