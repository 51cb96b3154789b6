"""Raw files with one fault each, a folder per fault: a load must refuse it, or must not be deceived by it.

Source: data.md 8.7.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.errors import SettingsError


@dataclass(frozen=True)
class Fault:
    """One change to the clean files; ``change`` turns the bytes of the newest month into those of the fixture."""

    name: str
    change: Callable[[bytes], bytes]
    refused: str | None
    """What the refusal says, as a regular expression; None: the load accepts the files and gives the clean tables."""
    beside: str | None = None
    """Name of a further file that receives the changed bytes; the month itself stays clean."""


def faults() -> tuple[Fault, ...]:
    """All fixtures."""
    return (
        Fault("columns_shuffled", lambda d: _swapped(d, "sexo", "age"), "header has 48 columns, expected the 48"),
        Fault("column_missing", _without_last_column, "header has 47 columns"),
        Fault("label_copied", lambda d: _with_column(d, "has_nba_1"), r"not in the contract \['has_nba_1'\]"),
        Fault(
            "ground_truth_beside", lambda d: _with_column(d, "persona"), "ground_truth.csv: header", "ground_truth.csv"
        ),
        Fault("conflicting_keys", _conflicting, "rows refused, share"),
        Fault("future_month", _next_century, "fecha_dato in line 2 is '21"),
        Fault("cut_in_a_line", lambda d: d[: len(d) - 20], "not a readable CSV file"),
        Fault("wrong_encoding", lambda d: d.decode("utf-8").encode("utf-16"), "the header is not UTF-8"),
        Fault("no_rows", lambda d: d.split(b"\n", 1)[0] + b"\n", "found 0 rows under the header"),
        Fault("impossible_flag", lambda d: d[:-2] + b"7\n", "is not 0 or 1|critical expectations failed|rows refused"),
        Fault("byte_order_mark", lambda d: b"\xef\xbb\xbf" + d, None),
        Fault("quoted_commas", _quoted, None),
        Fault("rows_turned_round", _turned_round, None),
    )


def write(clean: Path, folder: Path) -> list[Path]:
    """A copy of the clean files per fault, with the fault in it.

    Raises:
        SettingsError: there is no clean CSV to start from.
    """
    months = sorted(clean.glob("*.csv"))
    if not months:
        raise SettingsError(f"{clean}: found no *.csv file, expected the clean raw files")
    for fault in faults():
        target = folder / fault.name
        shutil.copytree(clean, target)
        (target / (fault.beside or months[-1].name)).write_bytes(fault.change(months[-1].read_bytes()))
    return [folder / fault.name for fault in faults()]


def _lines(data: bytes) -> tuple[bytes, list[bytes]]:
    header, *rows = data.rstrip(b"\n").split(b"\n")
    return header, rows


def _joined(header: bytes, rows: list[bytes]) -> bytes:
    return b"\n".join([header, *rows]) + b"\n"


def _swapped(data: bytes, a: str, b: str) -> bytes:
    header, rows = _lines(data)
    names = [{a: b, b: a}.get(name, name) for name in header.decode().split(",")]
    return _joined(",".join(names).encode(), rows)


def _without_last_column(data: bytes) -> bytes:
    header, rows = _lines(data)
    return _joined(header.rsplit(b",", 1)[0], [row.rsplit(b",", 1)[0] for row in rows])


def _with_column(data: bytes, name: str) -> bytes:
    header, rows = _lines(data)
    return _joined(header + b"," + name.encode(), [row + b",1" for row in rows])


def _conflicting(data: bytes) -> bytes:
    """The first customer twice, with and without his last product."""
    header, rows = _lines(data)
    other = rows[0][:-1] + (b"1" if rows[0].endswith(b"0") else b"0")
    return _joined(header, [rows[0], other, *rows[1:]])


def _next_century(data: bytes) -> bytes:
    header, rows = _lines(data)
    return _joined(header, [b"21" + row[2:] for row in rows])


def _quoted(data: bytes) -> bytes:
    """Every date in quotes, and line ends as of Windows: the same table."""
    header, rows = _lines(data)
    return b"\r\n".join([header, *(b'"' + row[:10] + b'"' + row[10:] for row in rows)]) + b"\r\n"


def _turned_round(data: bytes) -> bytes:
    header, rows = _lines(data)
    return _joined(header, rows[::-1])
