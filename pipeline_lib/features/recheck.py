"""Some rows made a second time, each alone and from a store of its own, compared bit for bit with what was written.

One mechanism for four promises, for features, edges, sequences and diagrams alike: rows are not time (L21), nothing
is joined by position (L22), a customer does not depend on his batch (L23), and neither event nor product after a row's
cutoff is there to be read, for the second store ends at it (L06).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipeline_lib.errors import ContractError
from pipeline_lib.features.diagram_files import DIAGRAMS, diagram_columns
from pipeline_lib.features.inputs import FeatureInputs
from pipeline_lib.features.items import edges, item_names
from pipeline_lib.features.load import Opened, opened
from pipeline_lib.features.matrix_files import rows_at
from pipeline_lib.features.part import EDGES, RAW, SEQUENCES, Recipe
from pipeline_lib.features.sequences import write_sequences

Matrix = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
BATCH_ROWS = 64
STEPS = ("txn_seq", "txn_dt", "txn_len", "asof_gap")


@dataclass(frozen=True)
class Recheck:
    """Rows made again in one way."""

    name: str
    rows: int
    columns: int
    worst_difference: float
    differing: tuple[str, ...]


@dataclass(frozen=True)
class Made:
    """All that is made of some rows [n]."""

    features: Matrix
    """[n, F]."""
    edges: Matrix
    """[n, items]."""
    lists: Mapping[str, list[Matrix]]
    """Title of a column of sequences or diagrams -> the values of every row, steps or bars after one another."""


def recheck(
    recipe: Recipe, inputs: FeatureInputs, written: Callable[[Ints], Made], threads: int
) -> tuple[Recheck, ...]:
    """Make rows again: some over all the bank, each alone, and the first ones as a batch in reverse order.

    Args:
        written: numbers of rows [n] -> what the ranges hold of them.

    Raises:
        ContractError: a value differs; names group or table, column and row.
    """
    count, total = recipe.policy.work.recheck_rows, len(inputs.rows)
    spread = np.unique(np.linspace(0, total - 1, num=count).astype(np.int64))
    first = np.arange(min(total, BATCH_ROWS))[::-1].copy()
    ways = {"alone": [spread[i : i + 1] for i in range(len(spread))], "order": [first]}
    return tuple(_made_again(recipe, inputs, written, name, batches, threads) for name, batches in ways.items())


def written_rows(recipe: Recipe, items: Sequence[str], table: Callable[[str, Sequence[str]], pa.Table]) -> Made:
    """Rows as the ranges hold them.

    Args:
        items: columns of the edges.
        table: file and columns -> the rows.
    """
    wide = ((RAW, recipe.names), (EDGES, items))
    features, weights = (pl.DataFrame(table(file, own)).to_numpy() for file, own in wide)
    lists, bars = _values(SEQUENCES, table(SEQUENCES, STEPS)), diagram_columns(recipe.diagrams)
    return Made(features, weights, lists | _values(DIAGRAMS, table(DIAGRAMS, bars)) if bars else lists)


def _made_again(
    recipe: Recipe,
    inputs: FeatureInputs,
    written: Callable[[Ints], Made],
    name: str,
    batches: Sequence[Ints],
    threads: int,
) -> Recheck:
    places, made = np.concatenate(batches), [_make(recipe, inputs.at(inputs.rows[b]), threads) for b in batches]
    again = Made(
        np.concatenate([one.features for one in made]),
        np.concatenate([one.edges for one in made]),
        {title: [values for one in made for values in one.lists[title]] for title in made[0].lists},
    )
    for row, what, found, expected in _differences(recipe, inputs, again, written(places)):
        key = inputs.rows.row(int(places[row]), named=True)
        raise ContractError(
            f"{what} of customer {key['customer_key']} at {key['cutoff_date']} is "
            f"{found} when made again ({name}), expected {expected} as in its range"
        )
    columns = again.features.shape[1] + again.edges.shape[1] + len(again.lists)
    return Recheck(name, len(places), columns, 0.0, ())


def _differences(recipe: Recipe, inputs: FeatureInputs, a: Made, b: Made) -> Iterator[tuple[int, str, Any, Any]]:
    """Row, column and both values of the first difference of every table."""
    names = [f"group {group}: column {what.name}" for group, what in recipe.layout.columns]
    items = [f"{EDGES}: column {item}" for item, _ in item_names(inputs.categories, inputs.products)]
    for titles, found, expected in ((names, a.features, b.features), (items, a.edges, b.edges)):
        for row, column in np.argwhere(~_same(found, expected))[:1]:
            yield int(row), titles[column], found[row, column], expected[row, column]
    for what in a.lists:
        for row, (own, other) in enumerate(zip(a.lists[what], b.lists[what], strict=True)):
            if len(own) != len(other):
                yield row, what, f"{len(own)} values", f"{len(other)} values"
            for place in np.flatnonzero(~_same(own, other))[:1] if len(own) == len(other) else ():
                yield row, f"{what}[{place}]", own[place], other[place]


def _same(a: Matrix, b: Matrix) -> npt.NDArray[np.bool_]:
    same: npt.NDArray[np.bool_] = (a.view(np.uint32) == b.view(np.uint32)) | (np.isnan(a) & np.isnan(b))
    return same


def _make(recipe: Recipe, inputs: FeatureInputs, threads: int) -> Made:
    with opened(inputs, recipe.policy, threads) as data:
        material, steps = data.material(recipe.fitted.timed), _steps(recipe, data)
    made = recipe.made(material)
    bars = {
        _title(DIAGRAMS, name): [part.reshape(-1) for part in np.split(own.values, own.offsets[1:-1])]
        for name, own in made.lists.items()
    }
    return Made(made.features, edges(material, recipe.fitted.edge_scale), steps | bars)


def _steps(recipe: Recipe, data: Opened) -> dict[str, list[Matrix]]:
    own, rows = recipe.policy.sequence, data.inputs.rows
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / SEQUENCES
        write_sequences(path, rows, data.store, recipe.fitted, own.lookback_days, own.max_len)
        return _values(SEQUENCES, rows_at(path, np.arange(len(rows)), STEPS))


def _values(file: str, table: pa.Table) -> dict[str, list[Matrix]]:
    return {
        _title(file, name): [np.atleast_1d(np.asarray(value, dtype=np.float32)) for value in table[name].to_pylist()]
        for name in table.column_names
    }


def _title(file: str, column: str) -> str:
    return f"{file}: column {column}"
