"""How real and how hard the synthetic bank is: ``fidelity_report.json`` and a page with pictures.

    python benchmarks/realism.py --out var/realism --customers 20000 --seeds 42 43 44 [--real berka=<folder> ...]

Runs ingest, labels and features for each seed (and each preset) in a home of its own, and those of the given real
sets, then measures: bank A against bank B (two seeds: what the same law gives twice), the synthetic bank against
published figures, against every real set where both have the column, train-synthetic-test-real, and the ceilings of
every task with LightGBM. Figures of real sets of other countries and years are judged by the same limits and are
expected to fail where the populations differ; the page shows them rather than leaving them out.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl
import yaml

from pipeline_lib import settings
from pipeline_lib.business_time import last_promotion_day, utc_now
from pipeline_lib.features.build import build
from pipeline_lib.ingest.adapters.synthetic import bank_of, laws_of
from pipeline_lib.ingest.labels import label
from pipeline_lib.ingest.load import ingest
from pipeline_lib.ingest.synthetic.truth import ground_truth
from pipeline_lib.keys import KeyFolder, subject_ref
from pipeline_lib.realism import ceilings, cross_section, dynamics, published, records, report, transfer
from pipeline_lib.realism.panel import Panel, panel_of
from pipeline_lib.realism.rows import Row
from pipeline_lib.runs import RunContext
from pipeline_lib.settings import Place

PRESETS = ("standard", "hard")
OBSERVED = {"demographics", "relationship", "product_holdings", "txn_behavior", "derived_temporal", "economics",
            "txn_rolling", "multidisciplinary", "mcc_multihot", "product_history_multihot"}  # fmt: skip
"""Groups that the ceilings are measured on: raw observables, no fitted embedding."""


def main() -> int:
    asked = _arguments()
    work = Path(tempfile.mkdtemp(prefix="realism-"))
    try:
        rows, panels = _measure(asked, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    conditions = {
        "customers": asked.customers,
        "seeds": asked.seeds,
        "run date": str(asked.date),
        "real sets": sorted(asked.real),
    }
    report.write(asked.out, "How real is the synthetic bank?", conditions, rows, panels)
    for row in rows:
        value = "unknown" if row.value is None else f"{row.value:.3f}"
        print(f"{row.verdict:8} {row.family:18} {row.metric:45} {row.subject:32} {value:>8}  {row.limit}  {row.note}")
    print(f"\n{asked.out / 'fidelity_report.html'}")
    return 0


def _measure(asked: argparse.Namespace, work: Path) -> tuple[list[Row], list[Panel]]:
    banks = [_synthetic(work, f"seed {seed}", asked, seed, "standard") for seed in asked.seeds]
    policy, limit = banks[0].settings.realism, banks[0].settings.realism.sample_customers
    panels = [_panel(f"seed {seed}", ctx, limit) for seed, ctx in zip(asked.seeds[:2], banks, strict=False)]
    a, b = panels[0], panels[1]
    rows = [
        *cross_section.cross_section(a, b, policy),
        *dynamics.dynamics(a, b, policy),
        *records.records(a, b, policy),
    ]
    generator = banks[0].settings.source.generator
    assert generator is not None
    rows += published.published(a, generator.demographics.home_country, policy)
    for name, folder in asked.real.items():
        rows += _against_real(work, name, folder, asked, banks[0], a, panels)
    for preset in PRESETS:
        for seed in asked.seeds if preset == "standard" else asked.seeds[:1]:
            _say(f"ceilings of {preset}, seed {seed}")
            ctx = (
                _synthetic(work, f"{preset} {seed}", asked, seed, preset)
                if preset != "standard"
                else banks[asked.seeds.index(seed)]
            )
            rows += _ceilings(ctx, f"seed {seed}", preset)
    return rows, panels


def _against_real(
    work: Path, name: str, folder: Path, asked: argparse.Namespace, made: RunContext, a: Panel, panels: list[Panel]
) -> list[Row]:
    _say(f"against {name}")
    ctx = _stages(work / name, name, made.logical_date, {}, folder)
    policy = made.settings.realism
    real = _panel(name, ctx, policy.sample_customers)
    panels.append(real)
    kinds = {task: made.settings.tasks.tasks[task].kind for task in ctx.settings.source.tasks}
    banks = [(label_, c.read("features"), c.read("labels")) for label_, c in ((a.name, made), (name, ctx))]
    rows = [
        *cross_section.cross_section(a, real, policy),
        *dynamics.dynamics(a, real, policy),
        *records.records(a, real, policy),
    ]
    return rows + transfer.transfer(banks[0], banks[1], kinds, policy, asked.seeds[:3])


def _ceilings(ctx: RunContext, name: str, preset: str) -> list[Row]:
    source, policy = ctx.settings.source, ctx.settings.realism
    kinds = {task: spec.kind for task, spec in ctx.settings.tasks.tasks.items()}
    truth = _truth(ctx)
    features, labels = ctx.read("features"), ctx.read("labels")
    known = {task: kind for task, kind in kinds.items() if task in source.tasks}
    rows = ceilings.ceilings(
        name, preset, features, labels, truth, known, policy, (policy.seed, policy.seed + 1, policy.seed + 2)
    )
    return [*rows, ceilings.persona_row(f"{name} ({preset})", features, labels, truth, policy)]


def _truth(ctx: RunContext) -> pl.DataFrame:
    """Ground truth of the event's month beside the cutoff before it, by customer key."""
    source = ctx.settings.source
    truth = ground_truth(laws_of(source), bank_of(source, ctx.logical_date))
    index = pl.read_parquet(ctx.objects.local_path(f"restricted/{source.name}/customer_index.parquet"))
    pepper = KeyFolder(ctx.settings.place.keys)
    return _with_keys(truth, index, pepper)


def _with_keys(truth: pl.DataFrame, index: pl.DataFrame, keys: KeyFolder) -> pl.DataFrame:
    pepper = keys.pepper()
    ids = truth.select("customer_id").unique()
    digests = ids.with_columns(customer_digest=pl.Series([subject_ref(pepper, i) for i in ids["customer_id"]]))
    known = digests.join(index, on="customer_digest")
    days = sorted(truth["snapshot_date"].unique().to_list())
    before = pl.DataFrame({"snapshot_date": days[1:], "cutoff_date": days[:-1]})
    return truth.join(known, on="customer_id").join(before, on="snapshot_date").drop("customer_id", "snapshot_date")


def _synthetic(work: Path, name: str, asked: argparse.Namespace, seed: int, preset: str) -> RunContext:
    _say(f"bank {name}: {asked.customers} customers")
    params = {"customers": asked.customers, "seed": seed, "preset": preset}
    return _stages(work / name.replace(" ", "-"), "synthetic", asked.date, {"source": {"params": params}}, None)


def _stages(home: Path, dataset: str, day: date, overrides: dict[str, object], folder: Path | None) -> RunContext:
    home.mkdir(parents=True)
    extra = home / "overrides.yaml"
    known = yaml.safe_load((settings.CONFIG / "features.yaml").read_text(encoding="utf-8"))["groups"]
    without = sorted(known.keys() - OBSERVED)
    extra.write_text(yaml.safe_dump({"features": {"without": without}, **overrides}), encoding="utf-8")
    place = Place(dataset=dataset, home=home, overrides=extra, source=folder)
    ctx = RunContext.open(settings.load(dataset, place), day)
    KeyFolder(place.keys).create_secrets(ctx.settings.audit.key_id)
    ingest(ctx)
    label(ctx)
    build(ctx)
    return ctx


def _panel(name: str, ctx: RunContext, limit: int) -> Panel:
    return panel_of(name, ctx.read("ingest"), ctx.settings.source.purchase_types, limit)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--date", type=date.fromisoformat, default=last_promotion_day(utc_now()))
    parser.add_argument("--real", nargs="*", default=[], metavar="SOURCE=FOLDER")
    asked = parser.parse_args()
    if len(asked.seeds) < 2:
        parser.error("--seeds: at least two, the report compares two banks")
    asked.real = dict(_pairs(asked.real))
    return asked


def _pairs(given: list[str]) -> Iterator[tuple[str, Path]]:
    for text in given:
        name, _, folder = text.partition("=")
        yield name, Path(folder)


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
