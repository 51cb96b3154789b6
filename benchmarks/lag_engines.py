"""The 121 lag and rolling features of every customer and month, by our kernel and by three usual ways.

Called by ``benchmarks/features.py``, one engine per process, so that memory is the engine's own:

    python benchmarks/lag_engines.py make FOLDER CUSTOMERS     # write the panel
    python benchmarks/lag_engines.py kernel|duckdb|over|shift FOLDER

Every engine prints the same checksum: the sum over features of (position x sum of the feature's known values).
The kernel reads the monthly files as ingest leaves them, rows in no order of customers. The others read one table
sorted by customer and month, the layout that suits them best. All use one thread, and the time includes reading.
"""

from __future__ import annotations

import os
import sys
from datetime import date
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ[name] = "1"  # read when the libraries are loaded

import duckdb  # noqa: E402
import numpy as np  # noqa: E402
import polars as pl  # noqa: E402

from pipeline_lib.features.product_lags import cube_features  # noqa: E402

MONTHS, PRODUCTS = 17, 24
SHORTS = [f"p{k:02d}" for k in range(PRODUCTS)]
FLAGS = [f"prod_{short}" for short in SHORTS]
START_SHARE, ADD, DROP = (0.02, 0.4), 0.01, 0.03
BLOCK = 50_000
DUCKDB_MEMORY = "1GB"


def make(folder: Path, customers: int) -> None:
    """Write ``monthly/<day>.parquet`` and ``panel.parquet``: flags that start, stay, and end by chance."""
    (folder / "monthly").mkdir(parents=True)
    rng = np.random.default_rng(11)
    order = rng.permutation(customers)
    held = rng.random((customers, PRODUCTS)) < rng.uniform(*START_SHARE, PRODUCTS)
    months = np.empty((MONTHS, PRODUCTS, customers), dtype=np.int8)
    for month in range(MONTHS):
        move = rng.random((customers, PRODUCTS), dtype=np.float32)
        held = np.where(held, move >= DROP, move < ADD)
        months[month] = held.T
        columns = {
            "customer_key": (order + 1).astype(np.int32),
            **dict(zip(FLAGS, months[month][:, order], strict=True)),
        }
        day = date(2025 + month // 12, month % 12 + 1, 28)
        pl.DataFrame(columns).write_parquet(folder / "monthly" / f"{day}.parquet", compression="zstd")
    _write_panel(folder / "panel.parquet", months)


def _write_panel(path: Path, months: np.ndarray) -> None:
    parts = path.parent / "parts"
    parts.mkdir()
    for first in range(0, months.shape[2], BLOCK):
        block = months[:, :, first : first + BLOCK]
        size = block.shape[2]
        columns = {
            "customer_key": np.repeat(np.arange(first + 1, first + size + 1, dtype=np.int32), MONTHS),
            "month": np.tile(np.arange(MONTHS, dtype=np.int8), size),
            **{name: np.ascontiguousarray(block[:, k].T).ravel() for k, name in enumerate(FLAGS)},
        }
        pl.DataFrame(columns).write_parquet(parts / f"{first:09d}.parquet")
    files = sorted(parts.glob("*.parquet"))
    pl.scan_parquet(files).sink_parquet(path, compression="zstd", maintain_order=True)
    for file in files:
        file.unlink()


def kernel(folder: Path) -> list[int]:
    """Sums of the 121 features by ``product_lags.cube_features``."""
    files = {date.fromisoformat(path.stem): path for path in (folder / "monthly").glob("*.parquet")}
    total = np.zeros(5 * PRODUCTS + 1, dtype=np.int64)
    for block in cube_features(files, SHORTS):
        np.maximum(block.features, 0, out=block.features)  # -1 = not known
        total += np.add.reduce(block.features, axis=1, dtype=np.int32)
    return [int(value) for value in total]


def windows(folder: Path) -> list[int]:
    """By window functions of SQL."""
    one = [
        lambda x: f"lag({x}) OVER w",
        lambda x: f"sum({x}) OVER (w ROWS 2 PRECEDING)",
        lambda x: f"sum({x}) OVER (w ROWS 5 PRECEDING)",
        lambda x: f"sum({x}) OVER (w ROWS UNBOUNDED PRECEDING)",
        lambda x: f"({x} = 1 AND lag({x}) OVER w = 0)::TINYINT",
    ]
    made = [f"{of(flag)} AS f{k}" for k, (of, flag) in enumerate((of, flag) for of in one for flag in FLAGS)]
    made.append(f"{' + '.join(FLAGS)} AS f{len(made)}")
    sums = ", ".join(f"sum(f{k})" for k in range(len(made)))
    table = f"read_parquet('{folder / 'panel.parquet'}')"
    window = "WINDOW w AS (PARTITION BY customer_key ORDER BY month)"
    spill = folder / "spill"
    limits = {"threads": 1, "memory_limit": DUCKDB_MEMORY, "temp_directory": str(spill)}
    with duckdb.connect(config=limits) as db:
        row = db.execute(f"SELECT {sums} FROM (SELECT {', '.join(made)} FROM {table} {window})").fetchone()
    return [int(value) for value in row or ()]


def over(folder: Path) -> list[int]:
    """By window expressions of Polars, streaming."""
    x = [pl.col(flag) for flag in FLAGS]
    return _summed(
        folder,
        [c.shift(1).over("customer_key") for c in x]
        + [c.rolling_sum(n, min_samples=1).over("customer_key") for n in (3, 6) for c in x]
        + [c.cum_sum().over("customer_key") for c in x]
        + [((c == 1) & (c.shift(1) == 0).over("customer_key")).cast(pl.Int8) for c in x],
    )


def shift(folder: Path) -> list[int]:
    """By shifts of the sorted table, streaming: what crosses into another customer is masked by the month."""

    def back(c: pl.Expr, k: int) -> pl.Expr:
        return pl.when(pl.col("month") >= k).then(c.shift(k)).otherwise(0) if k else c

    x = [pl.col(flag) for flag in FLAGS]
    lags = [pl.when(pl.col("month") >= 1).then(c.shift(1)) for c in x]
    sums = [pl.sum_horizontal(back(c, k) for k in range(n)) for n in (3, 6) for c in x]
    total = [c.cast(pl.Int32).cum_sum() for c in x]
    before = [pl.when(pl.col("month") == 0).then(t - c).forward_fill() for t, c in zip(total, x, strict=True)]
    running = [(t - b).cast(pl.Int8) for t, b in zip(total, before, strict=True)]
    acquired = [((c == 1) & (lag == 0)).cast(pl.Int8) for c, lag in zip(x, lags, strict=True)]
    return _summed(folder, [*lags, *sums, *running, *acquired])


def _summed(folder: Path, features: list[pl.Expr]) -> list[int]:
    features = [*features, pl.sum_horizontal(FLAGS)]
    made = pl.scan_parquet(folder / "panel.parquet").select(f.alias(f"f{k}") for k, f in enumerate(features))
    row = made.select(pl.all().cast(pl.Int64).sum()).collect(engine="streaming").row(0)
    return [int(value) for value in row]


ENGINES = {"kernel": kernel, "duckdb": windows, "over": over, "shift": shift}


def main() -> None:
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what == "make":
        make(folder, int(sys.argv[3]))
    else:
        print(sum(place * total for place, total in enumerate(ENGINES[what](folder), start=1)))


if __name__ == "__main__":
    main()
