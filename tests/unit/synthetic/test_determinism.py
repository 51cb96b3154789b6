"""The same laws, seed and date give the same bytes; a later date only adds months; a block stands alone."""

from __future__ import annotations

from dataclasses import fields
from datetime import date, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline_lib.ingest.adapters import synthetic
from pipeline_lib.ingest.source_tables import SourceTables
from pipeline_lib.ingest.synthetic.purchases import Batch
from pipeline_lib.ingest.synthetic.world import BlockMonth, simulate, simulate_block

from .conftest import LOGICAL_DATE, MakeSource

LATER = date(2027, 2, 1)


def _read(make_source: MakeSource, folder: Path, logical_date: date, **changes: object) -> SourceTables:
    out = SourceTables(folder)
    synthetic.read(make_source(customers=250, **changes), None, logical_date, out)
    return out


def _bytes(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*.parquet"))}


def _table(out: SourceTables, name: str) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(part) for part in out.parts(name)])


def test_two_runs_give_the_same_bytes(make_source: MakeSource, tmp_path: Path) -> None:
    for name in ("a", "b"):
        _read(make_source, tmp_path / name, LOGICAL_DATE)
    first = _bytes(tmp_path / "a")
    assert len(first) > 17 * 3
    assert first == _bytes(tmp_path / "b")


def test_another_seed_gives_another_bank(make_source: MakeSource, tmp_path: Path) -> None:
    one = _read(make_source, tmp_path / "a", LOGICAL_DATE)
    other = _read(make_source, tmp_path / "b", LOGICAL_DATE, seed=43)
    assert not _table(one, "snapshot/2026-05-28").equals(_table(other, "snapshot/2026-05-28"))


def test_a_later_date_only_adds_months(make_source: MakeSource, tmp_path: Path) -> None:
    before, after = (
        _read(make_source, tmp_path / "before", LOGICAL_DATE),
        _read(make_source, tmp_path / "after", LATER),
    )
    assert before.months("snapshot")[-1] == "2026-10-28"
    assert after.months("snapshot")[: len(before.months("snapshot"))] == before.months("snapshot")
    assert after.months("snapshot")[-1] == "2027-01-28"
    for kind in ("snapshot", "segment"):
        for day in before.months(kind):
            assert _table(before, f"{kind}/{day}").equals(_table(after, f"{kind}/{day}")), (kind, day)
    known = datetime.combine(LOGICAL_DATE, datetime.min.time())
    for month in before.months("event"):
        then = _table(after, f"event/{month}").filter(pl.col("event_ts") < known).sort("event_id")
        assert _table(before, f"event/{month}").sort("event_id").equals(then), month


def test_no_event_lies_after_the_logical_date_and_the_open_month_is_there(
    make_source: MakeSource, tmp_path: Path
) -> None:
    out = _read(make_source, tmp_path, LOGICAL_DATE)
    newest = _table(out, "event/2026-11").get_column("event_ts").max()
    assert datetime(2026, 11, 20) < newest < datetime(2026, 11, 23)


@pytest.mark.parametrize("number", [1, 0])
def test_a_block_made_alone_is_the_block_of_the_whole_bank(make_source: MakeSource, number: int) -> None:
    source = make_source(customers=500, blocks={"customers": 300})
    laws, bank = synthetic.laws_of(source), synthetic.bank_of(source, LOGICAL_DATE)
    whole = [part for part in simulate(laws, bank) if part.customers.block == number]
    alone = list(simulate_block(laws, bank, number, 300 * number, (300, 200)[number]))
    assert len(whole) == len(alone) == 18
    assert all(_same(a, b) for a, b in zip(whole, alone, strict=True))


def test_two_blocks_share_no_customer_and_no_event(make_source: MakeSource, tmp_path: Path) -> None:
    out = _read(make_source, tmp_path, LOGICAL_DATE, blocks={"customers": 100})
    assert len(out.parts("snapshot/2026-10-28")) == 3
    assert _table(out, "snapshot/2026-10-28").get_column("customer_id").is_unique().all()
    events = pl.concat([_table(out, f"event/{month}") for month in out.months("event")])
    assert events.get_column("event_id").is_unique().all()


def _same(a: BlockMonth, b: BlockMonth) -> bool:
    events = all(np.array_equal(getattr(a.events, f.name), getattr(b.events, f.name)) for f in fields(Batch))
    panel = np.array_equal(a.state.holdings.held, b.state.holdings.held)
    return events and panel and np.array_equal(a.state.present, b.state.present) and a.published == b.published
