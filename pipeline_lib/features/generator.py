"""What a group of features is: declared columns, what is learnt from train rows, and a pure function of a row.

``make`` may read a row's own data (``Material``), the group's own fitted arrays and the columns of the groups named
in ``after``; nothing else. Its value for a row never depends on the other rows of the batch, on their order or on
the size of the batch. Undefined is NaN; a failure is raised. Source: features.md 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline_lib.features.columns import Block, Column, Values
from pipeline_lib.features.material import Material

Arrays = dict[str, npt.NDArray[Any]]
"""Fitted arrays of one group by name; stored as safetensors."""


@dataclass(frozen=True)
class Shape:
    """What is known of a source before any row is read; a group declares its columns from it and from the policy."""

    products: tuple[str, ...]
    """Short names in the source's order [P]."""
    families: tuple[int, ...]
    """``nba_class`` of every product [P]."""
    categories: pl.DataFrame
    """dim_mcc: mcc_idx, code, l2_id, l1_id, l2, l1, customer_made."""


class GroupUnavailable(Exception):
    """Raised by ``Generator.fit``: train rows do not carry what the group needs; it leaves the schema for this reason.

    Only for what cannot be known from the columns' lineage and ``needs`` beforehand, e.g. how many inputs of other
    groups exist, or that train has no edge at all.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def nothing_fitted(m: Material, made: Values) -> Arrays:
    return {}


@dataclass(frozen=True)
class Ragged:
    """A list of entries per row."""

    offsets: npt.NDArray[np.int64]
    """Entries of row r are [offsets[r], offsets[r + 1]) [R + 1]."""
    values: npt.NDArray[np.float32]
    """[entries, W]."""


@dataclass(frozen=True)
class Generator:
    columns: tuple[Column, ...]
    """In schema order."""
    make: Callable[[Material, Arrays, Values], Values]
    """(rows' own data, fitted arrays, columns of the groups in ``after``) -> exactly the declared columns [R]."""
    fit: Callable[[Material, Values], Arrays] = field(default=nothing_fitted)
    """(train rows' data, their columns of the groups in ``after``) -> arrays. Raises GroupUnavailable."""
    make_listed: Callable[[Material, Arrays, Values], tuple[Values, Ragged]] | None = None
    """As ``make``, and a list per row besides, both in one pass; None: the group has columns alone."""
    after: tuple[str, ...] = ()
    """Groups whose columns ``fit`` and ``make`` read; one that is not built, or lost columns, gives fewer."""
    columns_of: Callable[[Arrays, Mapping[str, Column]], tuple[Column, ...]] | None = None
    """Columns the group has after the fit, in schema order, where only the fit can tell (the rank of a decomposition,
    clusters that died): (fitted arrays, available columns of the groups in ``after`` by name) -> columns, whose
    lineage is then final. ``make`` gives exactly these. None: ``columns``. Where it is set, ``columns`` is the widest
    that the group can be and decides which of them the source's inputs allow at all."""
    block: Block = "x_norm"
    """Range of the tables the group lies in. Source: features.md 2.2."""
    backend: str = "numpy"
    """What computes the group, where there is a choice: part of the schema (L27)."""
    version: int = 1
    """Raised when the same inputs give other values than before."""


def seed_of(group: str) -> int:
    """Seed of a group's random numbers: fixed by its name. Source: features.md 3 (determinism)."""
    return int.from_bytes(sha256(f"feature:{group}".encode()).digest()[:8], "big") % (2**32)


def packed(texts: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Texts as bytes, because safetensors has no strings; ``unpacked`` is the way back."""
    return np.frombuffer("\0".join(texts).encode(), dtype=np.uint8).copy()


def unpacked(array: npt.NDArray[np.uint8]) -> list[str]:
    return array.tobytes().decode().split("\0") if len(array) else []


def all_nan(rows: int) -> npt.NDArray[np.float64]:
    return np.full(rows, np.nan)
