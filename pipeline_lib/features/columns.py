"""What a generator declares: its columns, their kind and where every one of them comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from pipeline_lib.errors import ContractError

Floats: TypeAlias = npt.NDArray[np.float64]
Kind = Literal["num", "bin", "prob", "code", "cyc", "emb", "mask", "log"]
"""What scaling does to a column and what its NaN becomes; see ``normalise``. Source: features.md 12.2."""
Block = Literal["x_norm", "collab_emb", "hyper_emb", "hmm", "x_raw", "mask"]
BLOCKS: tuple[Block, ...] = ("x_norm", "collab_emb", "hyper_emb", "hmm", "x_raw", "mask")
"""Contiguous ranges of columns, in this order. Source: features.md 2.2."""

SNAPSHOT = "customer_snapshot"
EVENT = "transaction_event"
CATEGORY = "dim_mcc"
# Properties of the event stream that a source may lack; they are reported like unavailable columns.
TIME_OF_DAY = "transaction_event.time_of_day"
MERCHANT = "transaction_event.merchant_key"
PRODUCTS = "customer_snapshot.products"
"""Listed as absent when the source has no product at all."""


@dataclass(frozen=True)
class Column:
    """One feature.

    ``lineage`` are the ``table.column`` it is computed from; ``needs`` are further inputs without which it is not
    defined (an event type, the time of day). A column with an unavailable input leaves the schema; it is never
    filled with zeros. Source: features.md 2.3 and 3.
    """

    name: str
    kind: Kind
    lineage: tuple[str, ...]
    needs: tuple[str, ...] = ()
    fill: float | None = None
    """What NaN becomes in ``x_norm``; None: what the kind says."""
    lookback_days: int | None = None
    """Oldest data that can reach the value [d before the cutoff]; None: not bounded by days."""

    def missing(self, absent: Mapping[str, str]) -> str | None:
        """Why the column cannot be computed, or None when it can."""
        lacking = [name for name in (*self.lineage, *self.needs) if name in absent]
        return "; ".join(f"{name}: {absent[name]}" for name in lacking) or None


Values = dict[str, Floats]
"""Column name -> one value per row [R], NaN = not defined."""


def event_type(name: str) -> str:
    """Name under which the kind of event ``spend``, ``refund``, ... is listed when the source has none."""
    return f"transaction_event.event_type={name}"


def split_available(
    columns: Sequence[Column], absent: Mapping[str, str]
) -> tuple[list[Column], list[tuple[Column, str]]]:
    """Columns that can be computed, and those that cannot with the reason."""
    kept, dropped = [], []
    for column in columns:
        why = column.missing(absent)
        if why is None:
            kept.append(column)
        else:
            dropped.append((column, why))
    return kept, dropped


def require_declared(group: str, declared: Sequence[Column], made: Values, rows: int) -> None:
    """Raises ContractError when a generator made other columns, or another number of rows, than it declared."""
    names = [column.name for column in declared]
    if sorted(names) != sorted(made) or len(set(names)) != len(names):
        raise ContractError(f"group {group}: declared {sorted(names)}, made {sorted(made)}")
    if wrong := {name: len(values) for name, values in made.items() if len(values) != rows}:
        raise ContractError(f"group {group}: expected {rows} values in each column, found {wrong}")


def nan_where(condition: npt.NDArray[np.bool_], values: Floats) -> Floats:
    return np.where(condition, np.nan, values)


def ratio(top: Floats, bottom: Floats) -> Floats:
    """Top / bottom, NaN where the bottom is 0."""
    out: Floats = np.full(np.shape(bottom), np.nan)
    np.divide(top, bottom, out=out, where=bottom != 0)
    return out
