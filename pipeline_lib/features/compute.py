"""The columns of some rows, group after group. Values are rounded to float32 as they are stored, so that a group
which reads another one sees the same numbers whether that one was just made or was read back.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline_lib.errors import ContractError
from pipeline_lib.features.columns import Values, require_declared
from pipeline_lib.features.generator import Arrays, Generator, Ragged
from pipeline_lib.features.groups import Plan
from pipeline_lib.features.layout import Layout, Settled
from pipeline_lib.features.material import Material

log = logging.getLogger(__name__)
FEW_ROWS = 64
"""So few rows are made again for comparison; nobody waits for them."""
Stored = dict[str, npt.NDArray[np.float32]]
"""Column name -> one value per row [R], NaN = not defined."""


@dataclass(frozen=True)
class Computed:
    """What the groups make of some rows."""

    features: npt.NDArray[np.float32]
    """All columns of the layout, in schema order [R, F]."""
    lists: dict[str, Ragged]
    """Group -> its list per row, of the groups that have one."""


def compute(plan: Plan, layout: Layout, arrays: Mapping[str, Arrays], m: Material) -> Computed:
    """Columns and lists of the layout for the rows of ``m``.

    Raises:
        ContractError: a group did not make what it declared, or made infinite values.
    """
    made: dict[str, Stored] = {}
    lists: dict[str, Ragged] = {}
    for place, name in enumerate(plan.order, start=1):
        settled, generator, learnt = layout.groups[name], plan.generators[name], arrays.get(name, {})
        if settled.kept:
            if generator.make_listed is None:
                made[name] = make_group(name, generator, settled, learnt, m, made)
            else:
                values, lists[name] = generator.make_listed(m, learnt, inputs_of(generator, made))
                made[name] = _stored(name, settled, values, len(m))
            level = logging.INFO if len(m) > FEW_ROWS else logging.DEBUG
            log.log(level, "%d rows: %s made, %d of %d groups", len(m), name, place, len(plan.order))
    flat = [made[name][column.name] for name, column in layout.columns]
    return Computed(np.stack(flat, axis=1) if flat else np.empty((len(m), 0), dtype=np.float32), lists)


def make_group(
    name: str, generator: Generator, settled: Settled, learnt: Arrays, m: Material, made: Mapping[str, Stored]
) -> Stored:
    """The kept columns of one group."""
    return _stored(name, settled, generator.make(m, learnt, inputs_of(generator, made)), len(m))


def _stored(name: str, settled: Settled, values: Values, rows: int) -> Stored:
    lost = {column.name: np.full(rows, np.nan) for column, _ in settled.lost if column.name not in values}
    require_declared(name, [*settled.kept, *(column for column, _ in settled.lost)], values | lost, rows)
    stored = {column.name: values[column.name].astype(np.float32) for column in settled.kept}
    if infinite := [column for column, own in stored.items() if np.isinf(own).any()]:
        raise ContractError(f"group {name}: infinite values in {', '.join(infinite)}")
    return stored


def inputs_of(generator: Generator, made: Mapping[str, Stored]) -> Values:
    """Columns of the groups that a group reads, as far as they were made."""
    return {column: own.astype(np.float64) for name in generator.after for column, own in made.get(name, {}).items()}
