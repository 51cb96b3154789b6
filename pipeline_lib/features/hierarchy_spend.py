"""What the hierarchy groups share: a row's purchases of a year as weights on the leaves of the category tree.

Rows are worked on in blocks, so that memory is bounded whatever the number of rows. Sums run over a row's own events
in their order, and products with a table are sparse: a value is the same in any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from pipeline_lib.errors import ContractError
from pipeline_lib.features.columns import CATEGORY, EVENT, Column, Floats, Kind, Values, event_type
from pipeline_lib.features.inputs import usable_categories
from pipeline_lib.features.material import Material
from pipeline_lib.features.stream import LOOKBACK_DAYS, Window

BLOCK_ROWS = 5_000
QUARTERS = 4
QUARTER_DAYS = LOOKBACK_DAYS // QUARTERS
SPEND = (event_type("spend"),)
_LINEAGE = (
    f"{EVENT}.mcc_idx", f"{EVENT}.amount", f"{EVENT}.event_date", f"{CATEGORY}.l1_id", f"{CATEGORY}.l2_id",
    f"{CATEGORY}.customer_made",
)  # fmt: skip


def spend_column(name: str, kind: Kind) -> Column:
    """A column of the spend on the category tree."""
    return Column(name, kind, _LINEAGE, SPEND, lookback_days=LOOKBACK_DAYS)


@dataclass(frozen=True)
class LeafSpend:
    """Weight of the purchases of every row on every leaf: sum of amount x exp(-age / decay_days)."""

    quarters: Floats
    """[R, 4, leaves], oldest 90 days first."""

    @property
    def year(self) -> Floats:
        """[R, leaves]."""
        total: Floats = self.quarters.sum(axis=1)
        return total


def purchases(m: Material) -> Iterator[tuple[slice, Window]]:
    """The purchases of 360 days, a block of rows at a time.

    Raises:
        ContractError: the material has no events, although the source declares purchases.
    """
    if m.stream is None:
        raise ContractError("transaction_event: the group reads purchases, and these rows come without any event")
    for first in range(0, len(m), BLOCK_ROWS):
        rows = np.arange(first, min(first + BLOCK_ROWS, len(m)))
        yield slice(first, first + len(rows)), m.stream.at(rows).window(LOOKBACK_DAYS, ("spend",))


def leaf_of(categories: pl.DataFrame) -> npt.NDArray[np.int64]:
    """mcc_idx -> position among the leaves, -1 for what is no leaf [256]."""
    leaves = usable_categories(categories)["mcc_idx"].to_numpy()
    out = np.full(np.iinfo(np.uint8).max + 1, -1, dtype=np.int64)
    out[leaves] = np.arange(len(leaves))
    return out


def leaf_spend(window: Window, place: npt.NDArray[np.int64], decay_days: float) -> LeafSpend:
    """Weights on the leaves; ``place`` is ``leaf_of`` the source's categories."""
    leaves, leaf = int(place.max()) + 1, place[window.events.mcc]
    known = leaf >= 0
    quarter = QUARTERS - 1 - window.age // QUARTER_DAYS
    at = ((window.row * QUARTERS + quarter) * leaves + leaf)[known]
    weight = (window.events.amount * np.exp(-window.age / decay_days))[known]
    total = np.bincount(at, weights=weight, minlength=len(window) * QUARTERS * leaves)
    return LeafSpend(total.reshape(len(window), QUARTERS, leaves).astype(np.float64))


def in_blocks(m: Material, names: Sequence[str], made: Callable[[Window], Floats]) -> Values:
    """Columns of ``made``(purchases of a block) [B, columns], put together [R]."""
    out = np.empty((len(m), len(names)))
    for rows, window in purchases(m):
        out[rows] = made(window)
    return {name: out[:, i] for i, name in enumerate(names)}


def on(weights: Floats, table: Floats) -> Floats:
    """Weights [R, leaves] x table [leaves, C] -> [R, C]."""
    found: Floats = np.asarray(csr_array(weights) @ table)
    return found


def train_spend(m: Material, place: npt.NDArray[np.int64], decay_days: float) -> Floats:
    """Sum of the leaf weights over the rows [leaves]."""
    total = np.zeros(int(place.max()) + 1)
    for _, window in purchases(m):
        total += leaf_spend(window, place, decay_days).year.sum(axis=0)
    return total
