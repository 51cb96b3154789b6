"""The columns of some rows, group after group. Values are rounded to float32 as they are stored, so that a group
which reads another one sees the same numbers whether that one was just made or was read back.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from pipeline_lib.errors import ContractError
from pipeline_lib.features.columns import Values, require_declared
from pipeline_lib.features.generator import Arrays, Generator
from pipeline_lib.features.groups import Plan
from pipeline_lib.features.layout import Layout, Settled
from pipeline_lib.features.material import Material

log = logging.getLogger(__name__)
FEW_ROWS = 64
"""So few rows are made again for comparison; nobody waits for them."""
Stored = dict[str, npt.NDArray[np.float32]]
"""Column name -> one value per row [R], NaN = not defined."""


def compute(plan: Plan, layout: Layout, arrays: Mapping[str, Arrays], m: Material) -> npt.NDArray[np.float32]:
    """All columns of the layout for the rows of ``m``, in schema order [R, F].

    Raises:
        ContractError: a group did not make what it declared, or made infinite values.
    """
    made: dict[str, Stored] = {}
    for place, name in enumerate(plan.order, start=1):
        settled = layout.groups[name]
        if settled.kept:
            made[name] = make_group(name, plan.generators[name], settled, arrays.get(name, {}), m, made)
            level = logging.INFO if len(m) > FEW_ROWS else logging.DEBUG
            log.log(level, "%d rows: %s made, %d of %d groups", len(m), name, place, len(plan.order))
    flat = [made[name][column.name] for name, column in layout.columns]
    return np.stack(flat, axis=1) if flat else np.empty((len(m), 0), dtype=np.float32)


def make_group(
    name: str, generator: Generator, settled: Settled, learnt: Arrays, m: Material, made: Mapping[str, Stored]
) -> Stored:
    """The kept columns of one group."""
    values = generator.make(m, learnt, inputs_of(generator, made))
    lost = {column.name: np.full(len(m), np.nan) for column, _ in settled.lost if column.name not in values}
    require_declared(name, [*settled.kept, *(column for column, _ in settled.lost)], values | lost, len(m))
    stored = {column.name: values[column.name].astype(np.float32) for column in settled.kept}
    if infinite := [column for column, own in stored.items() if np.isinf(own).any()]:
        raise ContractError(f"group {name}: infinite values in {', '.join(infinite)}")
    return stored


def inputs_of(generator: Generator, made: Mapping[str, Stored]) -> Values:
    """Columns of the groups that a group reads, as far as they were made."""
    return {column: own.astype(np.float64) for name in generator.after for column, own in made.get(name, {}).items()}
