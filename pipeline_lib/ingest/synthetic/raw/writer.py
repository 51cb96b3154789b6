"""The whole bank as raw files, block by block: ``<day>.csv`` per snapshot and ``events/<month>.parquet``.

Memory is one block's early months; the bytes depend on the source's parameters and the kind of dirt alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import BinaryIO, Literal

import polars as pl
import pyarrow.parquet as pq

from pipeline_lib.errors import SettingsError
from pipeline_lib.ingest.adapters.santander import EVENT_FOLDER, RAW_COLUMNS
from pipeline_lib.ingest.adapters.synthetic import bank_of, laws_of
from pipeline_lib.ingest.synthetic.laws import Laws
from pipeline_lib.ingest.synthetic.raw import dirt, events, hostile, snapshots
from pipeline_lib.ingest.synthetic.seeds import stream
from pipeline_lib.ingest.synthetic.world import BlockMonth, simulate
from pipeline_lib.settings.source import Source

Kind = Literal["none", "realistic", "hostile"]


class RawFiles:
    """Open files, one per month, to which every block adds its rows."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._snapshots: dict[str, BinaryIO] = {}
        self._events: dict[str, pq.ParquetWriter] = {}
        self.rows = {"snapshots": 0, "events": 0}

    def add_snapshot(self, day: str, rows: pl.DataFrame) -> None:
        if day not in self._snapshots:
            self._snapshots[day] = self._stack.enter_context(open(self._folder / f"{day}.csv", "wb"))
            self._snapshots[day].write((",".join(RAW_COLUMNS) + "\n").encode())
        rows.write_csv(self._snapshots[day], include_header=False)
        self.rows["snapshots"] += rows.height

    def add_events(self, month: str, rows: pl.DataFrame) -> None:
        table = rows.to_arrow()
        if month not in self._events:
            path = self._folder / EVENT_FOLDER / f"{month}.parquet"
            path.parent.mkdir(exist_ok=True)
            self._events[month] = self._stack.enter_context(pq.ParquetWriter(path, table.schema, compression="zstd"))
        self._events[month].write_table(table)
        self.rows["events"] += rows.height


def write(
    source: Source, folder: Path, until: date, kind: Kind = "none", *, with_events: bool = True
) -> dict[str, int]:
    """Write the bank of the source's parameters up to ``until``.

    Args:
        folder: must be empty or absent: files of two banks never mix.
        kind: how dirty; ``hostile`` makes the folder ``clean`` and one folder per fault.
        until: snapshots on or before it, events before it.

    Returns:
        Rows of snapshots and of events.

    Raises:
        SettingsError: the folder has files, or the parameters of the source are impossible.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise SettingsError(f"{folder}: found files, expected an empty folder to write raw files into")
    if kind == "hostile":
        rows = write(source, folder / "clean", until, with_events=with_events)
        hostile.write(folder / "clean", folder)
        return rows
    laws, products = laws_of(source), [product.short for product in source.products]
    with ExitStack() as stack:
        files = RawFiles(folder, stack)
        for part, early, panel in _filled_in(laws, simulate(laws, bank_of(source, until)), kind):
            if panel is not None:
                raw = snapshots.text(panel, products)
                if kind == "realistic":
                    rng = stream(part.customers.seed, "dirt", part.customers.block, part.state.month.index)
                    raw = dirt.realistic(raw, rng, laws.policy.dirt, early=early)
                files.add_snapshot(part.state.month.snapshot.isoformat(), raw)
            for month, batch in events.of(part, until) if with_events else ():
                files.add_events(month, batch)
    return files.rows


def _filled_in(
    laws: Laws, parts: Iterator[BlockMonth], kind: Kind
) -> Iterator[tuple[BlockMonth, bool, pl.DataFrame | None]]:
    """Each block and month, whether it is an early one, and its canonical snapshot (None while the month is open).

    Early months wait for the first later one of their block, whose profiles they are given.
    """
    wait = laws.policy.dirt.early_months if kind == "realistic" else 0
    early: list[tuple[BlockMonth, pl.DataFrame]] = []
    for part in parts:
        rows = snapshots.canonical(laws, part) if part.published else None
        if rows is not None and part.state.month.index < wait:
            early.append((part, rows))
            continue
        later = rows if rows is not None else early[-1][1] if early else None
        for before, held in early:
            yield before, True, dirt.frozen(held, later) if later is not None else held
        early.clear()
        yield part, False, rows
