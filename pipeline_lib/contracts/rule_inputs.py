"""Raw measures that the rules of Layer 3 read and no feature row carries, per customer of the newest snapshot.

Exported beside the feature rows, and measured again where a past answer is replayed.

Only events up to the snapshot's day are read, so nothing here knows more than the feature row beside it. What a
source does not carry is absent, never zero; a customer of a source with events who has none did spend zero.

    spend_percentile        acts of consumption of the last 90 days [0..100, among the customers of the snapshot]
    card_spend_percentile   card purchases of the last 90 days [0..100]
    monthly_outflow         money out of the bank's sight, a third of the last 90 days [source currency]
    category_shift_jsd      Jensen-Shannon divergence of the level-2 categories, last 90 days vs the 90 before, less
                            what chance gives: (K - 1)(1 / n + 1 / n') / 8 for K categories in samples of n and n' [bit]
    category_entropy_change entropy of the level-2 categories, last 90 days minus the 90 before [nat]
    category_n_<code>       acts in the five most used categories of the last 90 days [count]
    balance, balance_percentile, balance_trend   only where the stream is the whole ledger (``source.whole_ledger``);
                            trend = change over 90 days / the larger of both balances [-1..1]

Without the correction for chance 87 of 100 customers of the synthetic bank, who make some 50 purchases in 90 days,
would lie above the published limit of 0.15.
Source: serving.md 8; Lin, "Divergence measures based on the Shannon entropy", 1991; the chance term is its chi-square
approximation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from pipeline_lib.settings.source import Source

WINDOW_DAYS = 90
MIN_ACTS = 5
"""On either side, or two mixes of categories are not compared."""
TOP = 5
KEY = "customer_key"
_DECIMALS = 6


class Ingest(Protocol):
    """The finished stage ``ingest``, as ``runs.StageOutput`` is."""

    @property
    def facts(self) -> Mapping[str, Any]: ...

    def names(self, prefix: str = "") -> list[str]: ...

    def path(self, name: str) -> Path: ...


def table(ingest: Ingest, source: Source) -> pl.DataFrame:
    """customer_key, rule_inputs: JSON text {name: finite value} of every customer of the newest snapshot."""
    found = by_customer(ingest, source)
    texts = [json.dumps(inputs, sort_keys=True) for inputs in found.values()]
    return pl.DataFrame({KEY: list(found), "rule_inputs": texts}, schema={KEY: pl.Int32, "rule_inputs": pl.String})


def by_customer(ingest: Ingest, source: Source) -> dict[int, dict[str, float]]:
    """customer_key -> the measures that are known of the customer."""
    newest = str(ingest.facts["newest_snapshot"])
    customers = pl.scan_parquet(ingest.path(f"customer_snapshot/{newest}.parquet")).select(KEY)
    day = date.fromisoformat(newest)
    months = sorted(ingest.names("transaction_event/"))
    if not months:
        return {customer: {} for customer in customers.collect()[KEY]}
    events = pl.scan_parquet([ingest.path(name) for name in months]).filter(pl.col("event_date") <= day)
    categories = pl.scan_parquet(ingest.path("dim_mcc.parquet")).select("mcc_idx", "code", "customer_made")
    rows = measured(customers, events, categories, day, source)
    names = [name for name in rows.columns if name not in (KEY, "top")]
    return {row[KEY]: _inputs(names, row) for row in rows.iter_rows(named=True)}


def measured(
    customers: pl.LazyFrame, events: pl.LazyFrame, categories: pl.LazyFrame, day: date, source: Source
) -> pl.DataFrame:
    """One row per customer: customer_key, a nullable Float64 per measure the source carries, ``top`` [code, count].

    Args:
        events: up to ``day``, inclusive.
    """
    recent = events.filter(pl.col("event_date") > day - timedelta(days=2 * WINDOW_DAYS)).with_columns(
        recent=pl.col("event_date") > day - timedelta(days=WINDOW_DAYS),
        cents=(pl.col("amount") * 100).round().cast(pl.Int64),
    )
    acts = recent.filter(pl.col("event_type").is_in(source.purchase_types))
    acts = acts.join(categories.filter("customer_made"), on="mcc_idx")
    parts = [_money(customers, recent, source), _mixes(acts), _top(acts)]
    if source.whole_ledger:
        parts.append(_ledger(customers, events, day))
    joined = customers
    for part in parts:
        joined = joined.join(part, on=KEY, how="left")
    return joined.collect()


def _money(customers: pl.LazyFrame, events: pl.LazyFrame, source: Source) -> pl.LazyFrame:
    """Spend among all customers: those without events spent nothing. A kind nobody ever used is not carried."""
    out, card = pl.col("signed_amount") < 0, pl.col("event_type") == "card_purchase"
    spent = pl.col("event_type").is_in(source.purchase_types) & out
    sums = events.filter("recent").group_by(KEY).agg(
        spend=pl.col("cents").filter(spent).sum(),
        card=pl.col("cents").filter(card).sum(),
        out=pl.col("cents").filter(out).sum(),
    )  # fmt: skip
    filled = customers.join(sums, on=KEY, how="left").with_columns(pl.col("spend", "card", "out").fill_null(0))
    return filled.select(
        KEY,
        spend_percentile=_percentile("spend"),
        card_spend_percentile=_percentile("card"),
        monthly_outflow=pl.when(pl.col("out").sum() > 0).then(pl.col("out") / (100 * WINDOW_DAYS / 30)),
    )


def _percentile(column: str) -> pl.Expr:
    """Share of customers below, ties in the middle [0..100]; null when nobody has any."""
    ranked = (pl.col(column).rank("average") - 0.5) / pl.len() * 100
    return pl.when(pl.col(column).max() > 0).then(ranked)


def _mixes(acts: pl.LazyFrame) -> pl.LazyFrame:
    """Divergence and change of entropy of the category mixes of both windows."""
    counted = acts.group_by(KEY, "l2_id").agg(new=pl.col("recent").sum(), old=(~pl.col("recent")).sum())
    sides = {side: pl.col(side).sum().over(KEY) for side in ("new", "old")}
    enough = pl.min_horizontal(sides.values()) >= MIN_ACTS
    shares = counted.filter(enough).select(
        KEY, "l2_id", p=pl.col("new") / sides["new"], q=pl.col("old") / sides["old"],
        noise=(1 / sides["new"] + 1 / sides["old"]) / 8,
    )  # fmt: skip
    middle = (pl.col("p") + pl.col("q")) / 2
    apart = (_term("p", pl.col("p") / middle) + _term("q", pl.col("q") / middle)) / 2
    return shares.sort(KEY, "l2_id").group_by(KEY, maintain_order=True).agg(
        category_shift_jsd=((apart.sum() - (pl.len() - 1) * pl.col("noise").first()) / pl.lit(2.0).log()).clip(0, 1),
        category_entropy_change=_term("q", pl.col("q")).sum() - _term("p", pl.col("p")).sum(),
    )  # fmt: skip


def _term(share: str, inside: pl.Expr) -> pl.Expr:
    """X ln(inside), 0 where x is 0 [nat]."""
    return pl.when(pl.col(share) > 0).then(pl.col(share) * inside.log()).otherwise(0.0)


def _top(acts: pl.LazyFrame) -> pl.LazyFrame:
    """The most used categories of the last 90 days; ties by code."""
    counted = acts.filter("recent").group_by(KEY, "code").agg(n=pl.len())
    ordered = counted.sort(KEY, -pl.col("n").cast(pl.Int64), "code")
    return ordered.group_by(KEY, maintain_order=True).agg(top=pl.struct("code", "n").head(TOP))


def _ledger(customers: pl.LazyFrame, events: pl.LazyFrame, day: date) -> pl.LazyFrame:
    cents = (pl.col("signed_amount") * 100).round().cast(pl.Int64)
    before = pl.col("event_date") <= day - timedelta(days=WINDOW_DAYS)
    sums = events.group_by(KEY).agg(now=cents.sum() / 100, then=cents.filter(before).sum() / 100)
    larger = pl.max_horizontal(pl.col("now").abs(), pl.col("then").abs())
    known = customers.join(sums, on=KEY)
    return known.select(
        KEY,
        balance=pl.col("now"),
        balance_percentile=_percentile("now"),
        balance_trend=pl.when(larger > 0).then(((pl.col("now") - pl.col("then")) / larger).clip(-1, 1)),
    )


def _inputs(names: Sequence[str], row: dict[str, object]) -> dict[str, float]:
    found = {name: value for name in names if isinstance(value := row[name], float) and isfinite(value)}
    top = row.get("top")
    for one in top if isinstance(top, list) else ():
        found[f"category_n_{one['code']}"] = float(one["n"])
    return {name: round(value, _DECIMALS) for name, value in found.items()}
