"""Rows a block at a time: a window of single events costs some 50 bytes an event, a million rows have 10^8."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from pipeline_lib.errors import ContractError
from pipeline_lib.features.columns import Floats, Values
from pipeline_lib.features.material import Material
from pipeline_lib.features.stream import Stream

BLOCK_ROWS = 8192


def stream_of(m: Material) -> Stream:
    """Raises ContractError when the source has no events; its columns should have left the schema."""
    if m.stream is None:
        raise ContractError("transaction_event: a group that reads single events was asked for, the source has none")
    return m.stream


def in_blocks(m: Material, size: int = BLOCK_ROWS) -> Iterator[tuple[npt.NDArray[np.int64], Stream]]:
    """(rows, their own part of the stream), in order; at least one block."""
    stream = stream_of(m)
    for first in range(0, max(len(m), 1), size):
        rows = np.arange(first, min(first + size, len(m)))
        yield rows, stream.at(rows)


def joined(parts: Sequence[Values]) -> Values:
    """Columns of the blocks, one under the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def by_block(m: Material, make: Callable[[Stream], Values]) -> Values:
    return joined([make(stream) for _, stream in in_blocks(m)])


def per_row(row: npt.NDArray[np.int64], rows: int, weight: Floats | None = None) -> Floats:
    """Sum of ``weight`` (default 1) of the entries of each row, added in their order [R]."""
    return np.bincount(row, weights=weight, minlength=rows).astype(np.float64)
