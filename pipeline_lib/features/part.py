"""One range of customers: their columns, diagrams, sequences and edges, and what the scaler needs of their train rows.

Every range is made and retried alone; ranges are put together in row order by ``assemble``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline_lib.errors import ContractError
from pipeline_lib.features.compute import Computed, compute
from pipeline_lib.features.diagram_files import DIAGRAMS, described_diagrams, write_diagrams
from pipeline_lib.features.fitted import Fitted
from pipeline_lib.features.groups import Plan
from pipeline_lib.features.inputs import FeatureInputs
from pipeline_lib.features.items import edges, item_names
from pipeline_lib.features.layout import Layout
from pipeline_lib.features.load import opened
from pipeline_lib.features.material import Material
from pipeline_lib.features.normalise import Moments
from pipeline_lib.features.sequences import write_sequences
from pipeline_lib.features.table_files import with_columns
from pipeline_lib.runs import Out
from pipeline_lib.settings.features import Features

log = logging.getLogger(__name__)
RAW, SEQUENCES, EDGES, MOMENTS = "raw.parquet", "sequences.parquet", "edges.parquet", "moments.safetensors"
KEYS = ("customer_key", "cutoff_date")
ROW = (*KEYS, "split", "part")


@dataclass(frozen=True)
class Recipe:
    """How every row of a run is made, whatever range it lies in."""

    plan: Plan
    layout: Layout
    fitted: Fitted
    policy: Features

    @property
    def names(self) -> list[str]:
        return [column.name for _, column in self.layout.columns]

    @property
    def diagrams(self) -> dict[str, dict[str, Any]]:
        """The diagrams that every row has, as the schema describes them."""
        return described_diagrams(self.layout, self.policy.topology)

    def made(self, m: Material) -> Computed:
        return compute(self.plan, self.layout, self.fitted.arrays, m)


def make_part(out: Out, recipe: Recipe, inputs: FeatureInputs, threads: int) -> None:
    """Write the files of the range that ``inputs`` holds.

    Raises:
        ContractError: a generator did not make what it declared, or two columns have one name.
    """
    policy, fitted, rows = recipe.policy, recipe.fitted, inputs.rows
    with opened(inputs, policy, threads) as data:
        material = data.material(fitted.timed)
        log.info("%d rows of %d customers read", len(rows), rows["customer_key"].n_unique())
        steps = write_sequences(
            out.path(SEQUENCES, rows=len(rows)),
            rows,
            data.store,
            fitted,
            policy.sequence.lookback_days,
            policy.sequence.max_len,
        )
    made = recipe.made(material)
    write_matrix(out, RAW, rows.select(ROW), recipe.names, made.features)
    if recipe.diagrams:
        write_diagrams(out.path(DIAGRAMS, rows=len(rows)), rows.select(KEYS), recipe.diagrams, made.lists)
    names = [name for name, _ in item_names(inputs.categories, inputs.products)]
    write_matrix(out, EDGES, rows.select(KEYS), names, edges(material, fitted.edge_scale))
    Moments.of(made.features[scaled_by(rows)]).write(out.path(MOMENTS))
    out.facts.update(rows=len(rows), steps=steps, features=made.features.shape[1], opened=list(inputs.opened))


def scaled_by(rows: pl.DataFrame) -> npt.NDArray[np.bool_]:
    """Rows that the scaler is learnt from [R]."""
    return (rows["split"] == "train").to_numpy()


def write_matrix(out: Out, name: str, keys: pl.DataFrame, names: list[str], values: npt.NDArray[np.float32]) -> None:
    if len(set(names)) != len(names):
        raise ContractError(f"feature names repeat: {sorted({n for n in names if names.count(n) > 1})}")
    table = with_columns(keys, names, values)
    table.write_parquet(out.path(name, rows=len(table)), compression="zstd")
