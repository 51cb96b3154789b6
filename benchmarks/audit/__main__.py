"""What writing, verifying and asking the record costs, beside the bare work underneath: python -m benchmarks.audit.

    [--appends 2000] [--rows 20000] [--writers 4] [--folder /tmp]

Appends are durable: the object and its folder are fsynced. Beside them, in the same run, the bare file: create, write
and fsync of the same bytes on the same disk, and the same with the folder's fsync. Wall seconds move with the disk and
with what runs beside; load is printed. Similar cases are timed by ``benchmarks/audit_similar.py``.
"""

from __future__ import annotations

import argparse
import hmac
import logging
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from benchmarks.audit.writing import entry, scratch, write
from pipeline_lib.audit import query, session, verify
from pipeline_lib.audit.load import log_tables
from pipeline_lib.settings import Settings
from pipeline_lib.store import QueryStore

BATCHES = (1, 4, 100, 1000)
LANCE_ROWS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--appends", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()}, folder {asked.folder}")
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        appends(folder, asked)
        reading(folder, asked.rows)
        lance_alone(folder)
    print(f"load afterwards {os.getloadavg()}")


def appends(folder: Path, asked: argparse.Namespace) -> None:
    settings = scratch(folder / "appends")
    size = len(_one_segment(settings))
    print(f"\nAppends, an entry of {size} bytes, wall (three repetitions: median, min to max)")
    _rate("bare create+write+fsync", lambda r: bare(folder / f"bare{r}", size, asked.appends, False), asked.appends)
    _rate("  and fsync of the folder", lambda r: bare(folder / f"both{r}", size, asked.appends, True), asked.appends)
    for batch in BATCHES:
        times = max(5, asked.appends // batch)
        _rate(f"record, {batch} a time", lambda r, b=batch, t=times: write(settings, f"b{r}.{b}", t, b), times * batch)
    for writers in sorted({2, asked.writers}):
        each = asked.appends // writers
        _rate(f"record, 1 a time, {writers} processes", lambda r, w=writers, e=each: together(settings, w, e, r), each * writers)  # fmt: skip  # noqa: E501


def together(settings: Settings, writers: int, each: int, repetition: int) -> float:
    """The slowest writer's seconds of appending; starting the processes is not in them."""
    with multiprocessing.get_context("forkserver").Pool(writers) as pool:
        pool.map(abs, range(writers))
        jobs = [(settings, f"t{repetition}.{writers}.{number}", each, 1) for number in range(writers)]
        return max(pool.starmap(write, jobs, chunksize=1))


def bare(folder: Path, size: int, files: int, with_folder: bool) -> float:
    folder.mkdir()
    data, handle = os.urandom(size), os.open(folder, os.O_RDONLY)
    start = time.perf_counter()
    for number in range(files):
        file = os.open(folder / str(number), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        os.write(file, data)
        os.fsync(file)
        os.close(file)
        if with_folder:
            os.fsync(handle)
    took = time.perf_counter() - start
    os.close(handle)
    return took


def reading(folder: Path, rows: int) -> None:
    """Verification, a point-in-time question, bytes."""
    settings = scratch(folder / "reading")
    for part in range(4):
        write(settings, f"r{part}", rows // 4 // 100, 100)
        session.commit(settings)
    start = time.process_time()
    report = verify.examine(settings, with_store=False)
    spent = time.process_time() - start
    assert report.verdict == "INTACT"
    print(f"\nVerify, evidence and checkpoints: {report.rows_checked / spent:,.0f} entries per CPU-second", end="; ")
    print(f"bare HMAC-SHA256 of 700 bytes: {_macs():,.0f} per CPU-second")
    took = []
    for _ in range(10):
        start = time.perf_counter()
        found = query.frame(settings, "log_operation", as_of_ckpt=2)
        took.append((time.perf_counter() - start) * 1e3)
    print(f"As of checkpoint 2 of 4, {found.height:,} of {report.rows_checked:,} rows: median {statistics.median(took):.1f} ms wall")  # fmt: skip  # noqa: E501
    for part in ("audit", "anchors", "lancedb"):
        total = sum(path.stat().st_size for path in (folder / "reading" / part).rglob("*") if path.is_file())
        print(f"{part}: {total / report.rows_checked:,.0f} bytes per entry")


def lance_alone(folder: Path) -> None:
    """The peer: the same rows, one a time, into LanceDB alone, which never calls fsync."""
    settings = scratch(folder / "lance")
    write(settings, "l", 1, 1)
    session.commit(settings)
    store = QueryStore(settings.place.query_store)
    (name,) = log_tables(store.names())
    row: pa.Table = store.read(name).slice(0, 1)
    start = time.perf_counter()
    for _ in range(LANCE_ROWS):
        store.append(name, row)
    print(f"LanceDB alone, one row a time, no fsync: {LANCE_ROWS / (time.perf_counter() - start):,.0f} rows/s over {LANCE_ROWS}")  # fmt: skip  # noqa: E501


def _rate(name: str, once: Callable[[int], float], entries: int) -> None:
    rates = sorted(entries / once(repetition) for repetition in range(3))
    print(f"  {name:34s} {rates[1]:10,.0f} entries/s  ({rates[0]:,.0f} to {rates[2]:,.0f})", flush=True)


def _macs() -> float:
    key, data, count = os.urandom(32), os.urandom(700), 100_000
    start = time.process_time()
    for _ in range(count):
        hmac.digest(key, data, "sha256")
    return count / (time.process_time() - start)


def _one_segment(settings: Settings) -> bytes:
    receipt = session.record_once(settings, "bench", [entry("size")])
    return session.store(settings).get(f"seg/{receipt.writer_id}/{receipt.epoch:010}/{1:012}.jsonl")


if __name__ == "__main__":
    main()
