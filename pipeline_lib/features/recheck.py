"""Some rows made a second time, each alone and from a store of its own, compared bit for bit with what was written.

One mechanism for four promises: rows are not time (L21), nothing is joined by position (L22), a customer does not
depend on his batch (L23), and no event after a row's cutoff is there to be read, for the second store ends at it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline_lib.errors import ContractError
from pipeline_lib.features.inputs import FeatureInputs
from pipeline_lib.features.load import opened
from pipeline_lib.features.part import Recipe

Matrix = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
BATCH_ROWS = 64


@dataclass(frozen=True)
class Recheck:
    """Rows made again in one way."""

    name: str
    rows: int
    columns: int
    worst_difference: float
    differing: tuple[str, ...]


def recheck(
    recipe: Recipe, inputs: FeatureInputs, written: Callable[[Ints], Matrix], threads: int
) -> tuple[Recheck, ...]:
    """Make rows again: some over all the bank, each alone, and the first ones as a batch in reverse order.

    Args:
        written: numbers of rows [n] -> their columns as the ranges hold them [n, F].

    Raises:
        ContractError: a value differs; names group, column and row.
    """
    count, total = recipe.policy.work.recheck_rows, len(inputs.rows)
    spread = np.unique(np.linspace(0, total - 1, num=count).astype(np.int64))
    first = np.arange(min(total, BATCH_ROWS))[::-1].copy()
    ways = {"alone": [spread[i : i + 1] for i in range(len(spread))], "order": [first]}
    return tuple(_made_again(recipe, inputs, written, name, batches, threads) for name, batches in ways.items())


def _made_again(
    recipe: Recipe,
    inputs: FeatureInputs,
    written: Callable[[Ints], Matrix],
    name: str,
    batches: Sequence[Ints],
    threads: int,
) -> Recheck:
    places = np.concatenate(batches)
    made = np.concatenate([_make(recipe, inputs.at(inputs.rows[batch]), threads) for batch in batches])
    expected = written(places)
    same = (made.view(np.uint32) == expected.view(np.uint32)) | (np.isnan(made) & np.isnan(expected))
    for row, column in np.argwhere(~same)[:1]:
        group, what = recipe.layout.columns[column]
        row_key = inputs.rows.row(int(places[row]), named=True)
        raise ContractError(
            f"group {group}: column {what.name} of customer {row_key['customer_key']} at {row_key['cutoff_date']} is "
            f"{made[row, column]} when made again ({name}), expected {expected[row, column]} as in its range"
        )
    return Recheck(name, len(places), made.shape[1], 0.0, ())


def _make(recipe: Recipe, inputs: FeatureInputs, threads: int) -> Matrix:
    with opened(inputs, recipe.policy, threads) as data:
        return recipe.columns(data.material(recipe.fitted.timed))
