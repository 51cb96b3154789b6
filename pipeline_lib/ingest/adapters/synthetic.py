"""The synthetic bank as a source: no files, only laws (``config/synthetic.yaml``), a size and a seed.

Parameters of the source:
    customers         customers of the bank, including those who enter after the first snapshot
    seed              of every random stream
    world_start       first snapshot, on a 28th; months follow up to the logical date and never change
    min_months        snapshots that must lie before the logical date
    preset            difficulty: ``standard`` or ``hard``
    rates             rates of churn and additions: ``benchmark`` or ``realistic``
    event_rate_scale  factor on the intensity of events
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TypeVar

from pipeline_lib.errors import SettingsError
from pipeline_lib.ingest.source_tables import SourceTables, category_table
from pipeline_lib.ingest.synthetic import frames
from pipeline_lib.ingest.synthetic.laws import Laws, build
from pipeline_lib.ingest.synthetic.world import Bank, simulate
from pipeline_lib.settings.source import Source

_T = TypeVar("_T", int, float, str)


def files(source: Source, folder: Path | None) -> list[Path]:
    """None: the bank is generated."""
    return []


def read(source: Source, folder: Path | None, logical_date: date, out: SourceTables) -> None:
    """Simulate the bank up to the logical date and hand over its tables, one block and month at a time.

    Raises:
        SettingsError: a parameter is missing or impossible, or too few months lie before the logical date.
    """
    laws, bank = laws_of(source), bank_of(source, logical_date)
    out.set_categories(category_table(frames.categories()))
    for part in simulate(laws, bank):
        if part.published:
            out.add_snapshot(part.state.month.snapshot, frames.snapshot(laws, part))
            out.add_segment(part.state.month.snapshot, frames.segment(part))
        for month, rows in frames.events(part, logical_date):
            out.add_events(month, rows)


def laws_of(source: Source) -> Laws:
    """The laws of the source's bank."""
    if source.generator is None:
        raise SettingsError(f"sources/{source.name}.yaml: the synthetic adapter needs origin: synthetic")
    groups: dict[str, str | None] = {product.short: product.acquire_group for product in source.products}
    return build(
        source.generator,
        groups,
        preset=_param(source, "preset", str),
        rates=_param(source, "rates", str),
        event_rate_scale=_param(source, "event_rate_scale", float),
    )


def bank_of(source: Source, logical_date: date) -> Bank:
    """Size, seed and calendar of the source's bank."""
    start = _param(source, "world_start", str)
    try:
        first = date.fromisoformat(start)
    except ValueError:
        raise SettingsError(
            f"sources/{source.name}.yaml: params.world_start: expected a date, found {start!r}"
        ) from None
    return Bank(
        customers=_param(source, "customers", int),
        seed=_param(source, "seed", int),
        start=first,
        logical_date=logical_date,
        min_months=_param(source, "min_months", int),
    )


def _param(source: Source, name: str, kind: type[_T]) -> _T:
    where = f"sources/{source.name}.yaml: params.{name}"
    if name not in source.params:
        raise SettingsError(f"{where} is missing")
    value = source.params[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise SettingsError(f"{where}: expected {kind.__name__}, found {value!r}")
    return value
